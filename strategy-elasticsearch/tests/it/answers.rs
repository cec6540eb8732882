//! Answers that get lost, come late, or are of somebody else.

use std::sync::atomic::{AtomicU32, Ordering};

use diy_backup_core::{CancelReason, Control, ElasticsearchStrategy as _, ErrorKind};
use serde_json::{Value, json};
use strategy_elasticsearch::RepositoryKind;

use crate::double::{Answer, Asked, Double, elasticsearch, refusal, snapshot};
use crate::support::{back_up, backup_cx, fs, released, restore, restore_cx, strategy};

const RELEASE: &str = "8.18.1";

fn begins_a_snapshot(asked: &Asked) -> bool {
    asked.method == "PUT" && asked.path().starts_with("/_snapshot/bitbucket-snapshots/")
}

#[tokio::test]
async fn passing_faults_are_sat_out() {
    let number = AtomicU32::new(0);
    let double = Double::start(move |asked| match number.fetch_add(1, Ordering::Relaxed) {
        0 | 4 => Answer::Text(503, "<html>busy</html>"),
        2 => Answer::Reset,
        6 => Answer::Json(429, json!({"error": "too many", "status": 429})),
        _ => elasticsearch(RELEASE, asked),
    });
    let artifact = back_up(&*fs(&double.section()), &backup_cx())
        .await
        .unwrap();
    assert_eq!(artifact.detail("server"), Some("Elasticsearch 8.18.1"));
    assert_eq!(
        artifact.detail("indices"),
        Some("bitbucket-project,bitbucket-search")
    );
}

#[tokio::test]
async fn a_snapshot_whose_acceptance_got_lost_is_the_one_that_was_begun() {
    let number = AtomicU32::new(0);
    let double = Double::start(move |asked| {
        if !begins_a_snapshot(asked) {
            return elasticsearch(RELEASE, asked);
        }
        match number.fetch_add(1, Ordering::Relaxed) {
            0 => Answer::Reset,
            _ => refusal(
                400,
                "invalid_snapshot_name_exception",
                "snapshot with the same name already exists",
            ),
        }
    });
    back_up(&*fs(&double.section()), &backup_cx())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_name_that_is_taken_at_once_is_not_ours() {
    let double = Double::start(|asked| {
        if begins_a_snapshot(asked) {
            return refusal(
                400,
                "invalid_snapshot_name_exception",
                "snapshot with the same name already exists",
            );
        }
        elasticsearch(RELEASE, asked)
    });
    let error = back_up(&*fs(&double.section()), &backup_cx())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
}

#[tokio::test]
async fn a_partial_snapshot_is_a_failure() {
    let double = Double::start(|asked| {
        let name = asked.path().rsplit('/').next().unwrap();
        if asked.method == "GET" && name.starts_with("instance-") {
            let mut partial = snapshot(name, RELEASE);
            partial["state"] = "PARTIAL".into();
            partial["shards"] = json!({"total": 2, "failed": 1, "successful": 1});
            partial["failures"] = json!([{"index": "bitbucket-search", "shard_id": 0, "node_id": "n", "reason": "IndexShardSnapshotFailedException[aborted]"}]);
            return Answer::Json(200, json!({"snapshots": [partial]}));
        }
        elasticsearch(RELEASE, asked)
    });
    let strategy = fs(&double.section());
    let cx = backup_cx();
    let mut session = strategy.begin(&cx).await.unwrap();
    let error = session.complete(&released().await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Search);
    assert!(
        error
            .to_string()
            .contains("is PARTIAL, with 1 of 2 shards: bitbucket-search[0]: IndexShard"),
        "{error}"
    );
    session.abort().await.unwrap();
    let deleted = double.asked();
    assert!(deleted.iter().any(|asked| asked.method == "DELETE"));
}

#[tokio::test]
async fn a_cancelled_wait_ends_at_once_and_the_abort_deletes_the_snapshot() {
    let double = Double::start(|asked| {
        let name = asked.path().rsplit('/').next().unwrap();
        if asked.method == "GET" && name.starts_with("instance-") {
            let mut running = snapshot(name, RELEASE);
            running["state"] = "IN_PROGRESS".into();
            running["shards"] = json!({"total": 0, "failed": 0, "successful": 0});
            return Answer::Json(200, json!({"snapshots": [running]}));
        }
        elasticsearch(RELEASE, asked)
    });
    let control = Control::new();
    let cx = backup_cx().with_control(control.clone());
    let mut session = fs(&double.section()).begin(&cx).await.unwrap();
    let proof = released().await;
    let cancel = async {
        tokio::task::yield_now().await;
        control.cancel(CancelReason::Requested);
    };
    let (completed, ()) = tokio::join!(session.complete(&proof), cancel);
    assert_eq!(completed.unwrap_err().kind(), ErrorKind::Cancelled);
    session.abort().await.unwrap();
    assert!(double.asked().iter().any(|asked| asked.method == "DELETE"));
    assert!(cx.leftovers().is_empty());
}

#[tokio::test]
async fn old_servers_are_not_sent_what_they_do_not_know() {
    for (number, keeps) in [("7.2.1", false), ("7.3.0", true), ("8.18.1", true)] {
        let double = Double::start(move |asked| elasticsearch(number, asked));
        back_up(&*fs(&double.section()), &backup_cx())
            .await
            .unwrap();
        let asked = double.asked();
        let begun = asked.iter().find(|asked| begins_a_snapshot(asked)).unwrap();
        let body: Value = serde_json::from_str(&begun.body).unwrap();
        assert_eq!(body.get("metadata").is_some(), keeps, "{number}");
        assert_eq!(body["indices"], "bitbucket-project,bitbucket-search");
        assert_eq!(
            (&body["partial"], &body["include_global_state"]),
            (&json!(false), &json!(false))
        );
        assert_eq!(begun.header("content-type"), Some("application/json"));
        assert_eq!(begun.header("accept"), Some("application/json"));
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_is_no_answer_and_no_deletion() {
    let double = Double::start(|_| Answer::Text(200, "<html>Sign in</html>"));
    let error = fs(&double.section()).begin(&backup_cx()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("does not answer like a search cluster"),
        "{error}"
    );
    let gone = Double::start(|_| Answer::Text(404, "<html>Not here</html>"));
    let artifact = diy_backup_core::Artifact::external(["r/s".to_owned()]);
    assert!(fs(&gone.section()).delete(&artifact).await.is_err());
}

#[tokio::test]
async fn an_expired_licence_is_told() {
    let double = Double::start(|_| {
        refusal(
            403,
            "security_exception",
            "current license is non-compliant for [security]",
        )
    });
    let error = fs(&double.section()).begin(&backup_cx()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("GET /_license"), "{error}");
}

#[tokio::test]
async fn a_snapshot_of_a_newer_server_is_not_restored_and_nothing_changes() {
    let double = Double::start(|asked| {
        let name = asked.path().rsplit('/').next().unwrap();
        match asked.path() {
            path if path.ends_with("/_settings") => Answer::Json(200, json!({})),
            _ if name == "s" => Answer::Json(200, json!({"snapshots": [snapshot("s", "9.1.0")]})),
            _ => elasticsearch(RELEASE, asked),
        }
    });
    let strategy = fs(&double.section());
    let artifact = diy_backup_core::Artifact::external(["bitbucket-snapshots/s".to_owned()])
        .with_detail("uuid", "u")
        .with_detail("indices", "bitbucket-project,bitbucket-search");
    let error = restore(&*strategy, &restore_cx(&*strategy, &artifact))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check, "{error}");
    assert!(error.to_string().contains("9.1.0"), "{error}");
    assert!(double.asked().iter().all(|asked| asked.method == "GET"));
}

#[tokio::test]
async fn the_repository_of_s3_is_made_as_configured() {
    let made = AtomicU32::new(0);
    let double = Double::start(move |asked| match asked.call().as_str() {
        "GET /_snapshot/search" if made.load(Ordering::Relaxed) == 0 => {
            refusal(404, "repository_missing_exception", "[search] missing")
        }
        "PUT /_snapshot/search" => {
            made.store(1, Ordering::Relaxed);
            elasticsearch(RELEASE, asked)
        }
        _ => elasticsearch(RELEASE, asked),
    });
    let section = format!(
        "url = '{}'\nrepository = 'search'\nbucket = 'b'\nbase-path = 'x/y'\nregion = 'eu-central-1'\nendpoint = 'https://minio'\nclient = 'second'\n\
         repository-settings = {{ server_side_encryption = true, buffer_size = '10mb' }}\n",
        double.url()
    );
    back_up(&*strategy(RepositoryKind::S3, &section), &backup_cx())
        .await
        .unwrap();
    let asked = double.asked();
    let put = asked
        .iter()
        .find(|asked| asked.call() == "PUT /_snapshot/search")
        .unwrap();
    let body: Value = serde_json::from_str(&put.body).unwrap();
    let settings = json!({
        "bucket": "b", "base_path": "x/y", "region": "eu-central-1", "endpoint": "https://minio", "client": "second",
        "server_side_encryption": "true", "buffer_size": "10mb",
    });
    assert_eq!(body, json!({"type": "s3", "settings": settings}));
    assert_eq!(double.count("POST /_snapshot/search/_verify"), 1);
}
