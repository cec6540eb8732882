//! Backups and restores on a real node, where something is not as usual.

use std::sync::Arc;

use diy_backup_core::{ElasticsearchStrategy as _, ErrorKind, RestoreSource};
use diy_backup_testkit::skip_unless;
use serde_json::{Value, json};

use crate::node::Place;
use crate::support::{back_up, backup_cx, fs, restore, restore_cx};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_comes_back_with_aliases_and_closed_indices() {
    let place = skip_unless!(Place::shared());
    place.fill();
    place.put("old", "1", &json!({"a": 1}));
    let alias = json!({"actions": [{"add": {"index": place.index("search-v1"), "alias": format!("{}-alias", place.name)}}]});
    place.must("POST", "/_aliases", &alias);
    let before = place.documents();
    place.must(
        "POST",
        &format!("/{}/_close", place.index("old")),
        &Value::Null,
    );

    let strategy = fs(&place.section());
    let cx = backup_cx();
    let artifact = back_up(&*strategy, &cx).await.unwrap();
    assert!(artifact.bytes > 0, "{artifact:?}");
    assert!(
        artifact
            .detail("server")
            .unwrap()
            .starts_with("OpenSearch ")
    );
    assert_eq!(artifact.detail("indices").unwrap().split(',').count(), 3);
    assert_eq!(cx.leftovers().len(), 1);

    place.must(
        "POST",
        &format!("/{}/_open", place.index("old")),
        &Value::Null,
    );
    place.lose_indices();
    let cx = restore_cx(&*strategy, &artifact);
    restore(&*strategy, &cx).await.unwrap();
    place.must(
        "POST",
        &format!("/{}/_open", place.index("old")),
        &Value::Null,
    );
    assert_eq!(place.documents(), before);
    assert!(place.marked().is_empty());
    let alias = format!("/_alias/{}-alias", place.name);
    place.must("GET", &alias, &Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_of_quiet_indices_are_counted_and_compared() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let strategy = fs(&place.section());
    let detail = format!("documents.{}", place.index("search-v1"));
    let artifact = back_up(&*strategy, &backup_cx()).await.unwrap();
    assert_eq!(artifact.detail(&detail), Some("5"));

    place.lose_indices();
    let wrong = artifact.clone().with_detail(detail, "6");
    let cx = restore_cx(&*strategy, &wrong);
    let mut session = strategy
        .restore()
        .unwrap()
        .prepare_restore(&cx)
        .await
        .unwrap();
    let error = session.apply(&RestoreSource::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(
        error.to_string().contains("has 5 documents, and had 6"),
        "{error}"
    );
    session.abort().await.unwrap();
    assert!(place.indices().is_empty() && cx.leftovers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_exists_is_refused_and_stays() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let strategy = fs(&place.section());
    let artifact = back_up(&*strategy, &backup_cx()).await.unwrap();
    let existing = [
        ("one of the backup's own", "search-v1"),
        ("another generation", "search"),
    ];
    for (what, name) in existing {
        place.lose_indices();
        place.put(name, "x", &json!({"of": "somebody else"}));
        let before = place.documents();
        let cx = restore_cx(&*strategy, &artifact);
        let error = restore(&*strategy, &cx).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{what}: {error}");
        assert!(error.hint().unwrap().contains(&place.index(name)), "{what}");
        assert_eq!(place.documents(), before, "{what}");
    }
    // Closed, it would be overwritten without a question.
    place.must(
        "POST",
        &format!("/{}/_close", place.index("search")),
        &Value::Null,
    );
    let error = restore(&*strategy, &restore_cx(&*strategy, &artifact))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_deletes_what_the_restore_has_made_and_nothing_else() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let strategy = fs(&place.section());
    let artifact = back_up(&*strategy, &backup_cx()).await.unwrap();
    place.lose_indices();
    let cx = restore_cx(&*strategy, &artifact);
    let mut session = strategy
        .restore()
        .unwrap()
        .prepare_restore(&cx)
        .await
        .unwrap();
    // Bitbucket was started in the meantime.
    place.put("search-v1", "x", &json!({"of": "Bitbucket"}));
    let before = place.documents();
    let error = session.apply(&RestoreSource::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error}");
    for leftover in cx.leftovers() {
        strategy.discard(&leftover).await.unwrap();
    }
    session.abort().await.unwrap();
    assert_eq!(place.documents(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_learns_of_the_repository_by_the_restore() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let before = place.documents();
    let strategy = fs(&place.section());
    let artifact = back_up(&*strategy, &backup_cx()).await.unwrap();
    place.lose_indices();
    place.must(
        "DELETE",
        &format!("/_snapshot/{}", place.name),
        &Value::Null,
    );
    let cx = restore_cx(&*strategy, &artifact);
    let prepared = strategy.restore().unwrap().prepare_restore(&cx).await;
    prepared.unwrap().abort().await.unwrap();
    let known = place.must("GET", "/_snapshot/_all", &Value::Null);
    assert!(
        known.get(&place.name).is_none(),
        "preparing a restore changes nothing: {known}"
    );
    restore(&*strategy, &restore_cx(&*strategy, &artifact))
        .await
        .unwrap();
    assert_eq!(place.documents(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_another_repository_or_name_is_not_discarded() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let strategy = fs(&place.section());
    let artifact = back_up(&*strategy, &backup_cx()).await.unwrap();
    let diy_backup_core::ArtifactKind::External { ids } = &artifact.kind else {
        panic!("{artifact:?}")
    };
    let of_another = ids[0].replacen(&place.name, "another", 1);
    for id in [format!("{}/nightly", place.name), of_another] {
        let forged = diy_backup_core::Leftover::new("fs", "search-snapshot", id.as_str());
        let error = strategy.discard(&forged).await.unwrap_err();
        let kinds = [ErrorKind::Damaged, ErrorKind::Config];
        assert!(kinds.contains(&error.kind()), "{id}: {error}");
    }
    assert_eq!(place.snapshots().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_somebody_else_has_made_is_neither_deleted_nor_restored() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let strategy = fs(&place.section());
    let artifact = back_up(&*strategy, &backup_cx()).await.unwrap();
    let path = format!("/_snapshot/{}/nightly", place.name);
    let others = json!({"indices": place.pattern(), "metadata": {"taken_by": "a policy"}});
    place.must("PUT", &format!("{path}?wait_for_completion=true"), &others);
    let mut wrong = artifact.clone();
    wrong.kind = diy_backup_core::ArtifactKind::External {
        ids: vec![format!("{}/nightly", place.name)],
    };
    let error = strategy.delete(&wrong).await.unwrap_err();
    assert!(error.to_string().contains("somebody else"), "{error}");
    place.lose_indices();
    let error = restore(&*strategy, &restore_cx(&*strategy, &wrong))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert_eq!(place.snapshots().len(), 2);
    strategy.delete(&artifact).await.unwrap();
    assert_eq!(place.snapshots(), ["nightly"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_deleted_although_the_cluster_has_forgotten_its_repository() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let strategy = fs(&place.section());
    let artifact = back_up(&*strategy, &backup_cx()).await.unwrap();
    let repository = format!("/_snapshot/{}", place.name);
    place.must("DELETE", &repository, &Value::Null);
    strategy.delete(&artifact).await.unwrap();
    assert!(place.snapshots().is_empty());

    let of_another = diy_backup_core::Artifact::external(["unknown/s".to_owned()]);
    let error = strategy.delete(&of_another).await.unwrap_err();
    assert!(error.hint().unwrap().contains("does not know"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_of_that_name_with_other_settings_is_refused() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let other = Place::on(Arc::clone(&place.node));
    back_up(&*fs(&place.section()), &backup_cx()).await.unwrap();
    let section = place.section().replace(
        &place.location().display().to_string(),
        &other.location().display().to_string(),
    );
    let cx = backup_cx();
    let error = back_up(&*fs(&section), &cx).await.unwrap_err();
    assert!(
        error.to_string().contains("other settings: location is"),
        "{error}"
    );
    assert_eq!((place.snapshots().len(), cx.leftovers().len()), (1, 0));
}
