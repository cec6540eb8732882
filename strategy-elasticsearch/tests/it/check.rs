//! What a check tells of clusters that are not as they should be.

use diy_backup_core::{Finding, Severity};
use serde_json::json;
use strategy_elasticsearch::RepositoryKind;

use crate::double::{Answer, Double, elasticsearch, nobody, refusal};
use crate::support::{findings, fs, strategy};

fn errors(found: &[Finding]) -> Vec<&Finding> {
    let mut found: Vec<_> = found.iter().collect();
    found.retain(|finding| finding.severity == Severity::Error);
    found
}

#[tokio::test]
async fn elasticsearch_of_every_supported_release_passes() {
    for number in ["7.0.1", "7.17.28", "8.18.1", "9.0.0"] {
        let double = Double::start(move |asked| elasticsearch(number, asked));
        let found = findings(&*fs(&double.section())).await;
        assert!(errors(&found).is_empty(), "{found:?}");
        assert!(
            found[0]
                .message
                .contains(&format!("Elasticsearch {number}")),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn a_release_that_is_too_old_is_told() {
    let double = Double::start(|asked| elasticsearch("2.3.1", asked));
    let found = findings(&*fs(&double.section())).await;
    assert!(
        errors(&found)[0]
            .message
            .contains("Elasticsearch 2.3.1, which is too old"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_cluster_that_is_down_is_an_error_or_a_warning_as_configured() {
    let section = format!(
        "url = '{}'\nlocation = '/x'\nretry-for = '50ms'\n",
        nobody()
    );
    let found = findings(&*fs(&section)).await;
    assert!(
        errors(&found)[0].message.contains("cannot be reached"),
        "{found:?}"
    );
    let found = findings(&*fs(&format!("{section}required = false\n"))).await;
    assert!(errors(&found).is_empty());
    assert_eq!(found[0].severity, Severity::Warning);
    assert!(
        found[0].message.contains("without the search index"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_red_index_is_told_before_a_snapshot_fails_on_it() {
    let double = Double::start(|asked| match asked.path() {
        path if path.starts_with("/_cluster/health") => Answer::Json(200, json!({"status": "red"})),
        _ => elasticsearch("8.18.1", asked),
    });
    let found = findings(&*fs(&double.section())).await;
    assert!(
        errors(&found)[0]
            .fix
            .as_ref()
            .unwrap()
            .contains("_cluster/allocation/explain"),
        "{found:?}"
    );
}

#[tokio::test]
async fn nodes_without_the_plugin_for_s3_are_told_how_to_get_it() {
    let double = Double::start(|asked| match asked.path() {
        "/_snapshot/bitbucket-snapshots" => refusal(
            404,
            "repository_missing_exception",
            "[bitbucket-snapshots] missing",
        ),
        _ => elasticsearch("7.17.28", asked),
    });
    let section = format!("url = '{}'\nbucket = 'b'\n", double.url());
    let found = findings(&*strategy(RepositoryKind::S3, &section)).await;
    let fix = errors(&found)[0].fix.as_ref().unwrap();
    assert!(
        fix.contains("install repository-s3") && fix.contains("keystore add"),
        "{fix}"
    );
}

#[tokio::test]
async fn a_missing_privilege_is_told_with_the_call_that_grants_it() {
    let double = Double::start(|asked| match asked.path() {
        path if path.starts_with("/_snapshot") => refusal(
            403,
            "security_exception",
            "action [cluster:admin/repository/get] is unauthorized for user [backup]",
        ),
        _ => elasticsearch("8.18.1", asked),
    });
    let found = findings(&*fs(&double.section())).await;
    let error = errors(&found)[0];
    assert!(
        error.message.contains("cluster:admin/repository/get"),
        "{error:?}"
    );
    assert!(
        error.fix.as_ref().unwrap().contains("PUT /_security/role"),
        "{error:?}"
    );
}
