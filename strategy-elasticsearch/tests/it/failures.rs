//! Backups and restores on a real node that fail.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diy_backup_core::{
    ElasticsearchStrategy as _, ErrorKind, Requirement, RestoreSource, error_chain,
};
use diy_backup_testkit::{PrivateOpenSearch, skip_unless};
use serde_json::json;

use crate::node::Place;
use crate::support::{back_up, backup_cx, findings, fs, released, restore, restore_cx};

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The folders of all shards in the repository.
fn shards(place: &Place) -> Vec<PathBuf> {
    let indices = std::fs::read_dir(place.location().join("indices")).unwrap();
    indices
        .map(|index| index.unwrap().path().join("0"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_without_its_shards_is_a_failure_with_the_reasons() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let strategy = fs(&place.section());
    assert_eq!(strategy.requirement(), Requirement::Required);
    let good = back_up(&*strategy, &backup_cx()).await.unwrap();
    for shard in shards(&place) {
        set_mode(&shard, 0o555);
    }
    place.put(
        "search-v1",
        "new",
        &json!({"a": "file that cannot be written"}),
    );
    place.put(
        "index-version",
        "new",
        &json!({"a": "file that cannot be written"}),
    );
    let cx = backup_cx();
    let mut session = strategy.begin(&cx).await.unwrap();
    let error = session.complete(&released().await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Search);
    let words = error.to_string();
    assert!(words.contains("with 0 of 2 shards"), "{words}");
    assert!(
        words.contains(&place.index("search-v1")) && words.contains("AccessDenied"),
        "{words}"
    );
    for shard in shards(&place) {
        set_mode(&shard, 0o755);
    }
    session.abort().await.unwrap();
    assert!(cx.leftovers().is_empty());
    let kept = place.snapshots();
    assert!(good.bytes > 0 && kept.len() == 1, "{kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_could_not_be_written_at_all_is_a_failure() {
    let place = skip_unless!(Place::shared());
    place.fill();
    // The repository can be verified, and no index has room in it.
    let folder = place.location().join("indices");
    std::fs::create_dir_all(&folder).unwrap();
    place.node.give(&place.location()).unwrap();
    place.node.give(&folder).unwrap();
    set_mode(&folder, 0o555);
    let strategy = fs(&place.section());
    let cx = backup_cx();
    let mut session = strategy.begin(&cx).await.unwrap();
    let error = session.complete(&released().await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Search);
    session.abort().await.unwrap();
    assert!(place.snapshots().is_empty() && cx.leftovers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_no_node_can_write_to_fails_the_check_and_the_beginning() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let strategy = fs(&place.section());
    back_up(&*strategy, &backup_cx()).await.unwrap();
    let location = place.location();
    set_mode(&location, 0o555);
    let found = findings(&*strategy).await;
    let broken = found.iter().find(|finding| finding.fix.is_some()).unwrap();
    assert!(broken.message.contains("verify"), "{broken:?}");
    let cx = backup_cx();
    let error = strategy.begin(&cx).await.unwrap_err();
    assert!(error.to_string().contains("would not verify"), "{error}");
    assert!(error.hint().unwrap().contains("chown"));
    assert!(cx.leftovers().is_empty());
    set_mode(&location, 0o755);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_location_outside_of_path_repo_is_explained() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let location = place.location().display().to_string();
    let strategy = fs(&place.section().replace(&location, "/elsewhere"));
    let found = findings(&*strategy).await;
    let fix = found
        .iter()
        .find_map(|finding| finding.fix.clone())
        .unwrap();
    assert!(fix.contains("path.repo: [\"/elsewhere\"]"), "{fix}");
    let error = strategy.begin(&backup_cx()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("path.repo"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_index_there_is_nothing_to_back_up() {
    let place = skip_unless!(Place::shared());
    let strategy = fs(&place.section());
    let error = strategy.begin(&backup_cx()).await.unwrap_err();
    assert!(
        error.to_string().contains("no index that matches"),
        "{error}"
    );
    let found = findings(&*strategy).await;
    assert!(
        found
            .iter()
            .any(|finding| finding.message == error.to_string()),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_fails_the_restore_and_leaves_no_index() {
    let place = skip_unless!(Place::shared());
    place.fill();
    let strategy = fs(&place.section());
    let artifact = back_up(&*strategy, &backup_cx()).await.unwrap();
    place.lose_indices();
    damage(&place.location().join("indices"));
    let cx = restore_cx(&*strategy, &artifact);
    let mut session = strategy
        .restore()
        .unwrap()
        .prepare_restore(&cx)
        .await
        .unwrap();
    let error = session.apply(&RestoreSource::new()).await.unwrap_err();
    assert!(
        error.to_string().contains("could not be restored"),
        "{}",
        error_chain(&error)
    );
    session.abort().await.unwrap();
    assert!(place.indices().is_empty() && cx.leftovers().is_empty());
}

/// Empties every file that holds data.
fn damage(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            damage(&path);
        } else if name.starts_with("__") || name.starts_with("snap-") {
            std::fs::write(&path, b"").unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_in_the_middle_is_told_and_what_it_left_goes_later() {
    let place = Place::on(Arc::new(skip_unless!(PrivateOpenSearch::start())));
    place.fill();
    let before = place.documents();
    let strategy = fs(&place.section());
    let cx = backup_cx();
    let mut session = strategy.begin(&cx).await.unwrap();
    let Place { node, name } = place;
    let mut node = Arc::into_inner(node).unwrap();
    node.kill();
    let error = session.complete(&released().await).await.unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("cannot be reached"),
        "{error}"
    );
    assert!(session.abort().await.is_err());
    let leftovers = cx.leftovers();
    assert_eq!(leftovers.len(), 1);
    assert!(strategy.discard(&leftovers[0]).await.is_err());

    node.restart().unwrap();
    strategy.discard(&leftovers[0]).await.unwrap();
    let place = Place {
        node: Arc::new(node),
        name,
    };
    assert!(place.snapshots().is_empty());
    let artifact = back_up(&*strategy, &backup_cx()).await.unwrap();
    place.lose_indices();
    restore(&*strategy, &restore_cx(&*strategy, &artifact))
        .await
        .unwrap();
    assert_eq!(place.documents(), before);
}
