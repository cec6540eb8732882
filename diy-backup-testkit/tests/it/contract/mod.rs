//! The contract suites: a strategy that keeps its promises passes, and one that breaks any of them does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod archives;
mod parts;
mod searches;

use diy_backup_testkit::contract::{self, BrokenPromise, Capacity, Promise};
use tokio::task::LocalSet;

use archives::{ArchiveFault, FolderEnvironment, StagingEnvironment};
use parts::{Environment, PartFault};
use searches::{SearchEnvironment, SearchFault};

#[tokio::test]
async fn a_sound_home_strategy_passes() {
    contract::home(async || Environment::new(PartFault::None))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_sound_database_strategy_passes() {
    contract::database(async || Environment::new(PartFault::None))
        .await
        .unwrap();
}

#[tokio::test]
async fn every_broken_promise_of_a_part_is_found_and_named() {
    let faults = [
        (PartFault::FindsErrors, Promise::Check),
        (PartFault::CopiesLate, Promise::Capture),
        (PartFault::ChangesData, Promise::Capture),
        (PartFault::KeepsOldFiles, Promise::UsedStaging),
        (PartFault::AcceptsAnyTarget, Promise::NotEmpty),
        (PartFault::AppliesInPlace, Promise::Apply),
        (PartFault::LeavesAFileOnAbort, Promise::Abort),
        (PartFault::RecordsNothing, Promise::Drop),
        (PartFault::IgnoresCancel, Promise::Cancel),
        (PartFault::DiscardsOnce, Promise::Discard),
        (PartFault::ResumesOnce, Promise::Resume),
        (PartFault::ClaimsToBeCommitted, Promise::Resume),
    ];
    let cases = faults.map(|(fault, promise)| Box::pin(part_is_found(fault, promise)));
    all(cases).await;
}

#[tokio::test]
async fn a_sound_search_strategy_passes() {
    contract::search(async || SearchEnvironment::new(SearchFault::None))
        .await
        .unwrap();
}

#[tokio::test]
async fn every_broken_promise_of_a_search_strategy_is_found_and_named() {
    let faults = [
        (SearchFault::DeletesNothing, Promise::Delete),
        (SearchFault::DeletesAll, Promise::Restore),
        (SearchFault::LeavesASnapshotOnAbort, Promise::Abort),
        (SearchFault::RecordsNothing, Promise::Drop),
        (SearchFault::AcceptsAnyTarget, Promise::NotEmpty),
        (SearchFault::RestoresNothing, Promise::Delete),
        (SearchFault::ForgetsItsMark, Promise::Resume),
    ];
    let cases = faults.map(|(fault, promise)| {
        Box::pin(async move {
            let suite = contract::search(async || SearchEnvironment::new(fault)).await;
            assert_broken(suite, promise, &format!("{fault:?} of a search strategy"));
        })
    });
    all(cases).await;
}

async fn part_is_found(fault: PartFault, promise: Promise) {
    let home = contract::home(async || Environment::new(fault)).await;
    assert_broken(home, promise, &format!("{fault:?} of a home"));
    // The core empties the staging folder of the database: what was there cannot do harm.
    if fault != PartFault::KeepsOldFiles {
        let database = contract::database(async || Environment::new(fault)).await;
        assert_broken(database, promise, &format!("{fault:?} of a database"));
    }
}

/// Waits for all cases at once: most of them wait.
async fn all(cases: impl IntoIterator<Item: Future<Output = ()> + 'static>) {
    let set = LocalSet::new();
    let cases: Vec<_> = cases
        .into_iter()
        .map(|case| set.spawn_local(case))
        .collect();
    set.run_until(async {
        for case in cases {
            case.await.unwrap();
        }
    })
    .await;
}

#[track_caller]
fn assert_broken(suite: Result<(), BrokenPromise>, promise: Promise, what: &str) {
    let broken = suite.expect_err(&format!("{what} is not found"));
    assert_eq!(broken.promise(), promise, "{what}: {broken}");
    let text = broken.to_string();
    assert!(text.starts_with("broken promise of "), "{what}: {text}");
}

#[tokio::test]
async fn a_sound_archive_strategy_passes() {
    contract::archive(async || FolderEnvironment::new(ArchiveFault::None))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_archive_strategy_none_passes() {
    let environment = StagingEnvironment::new();
    assert_eq!(
        contract::ArchiveHarness::capacity(&environment),
        Capacity::One
    );
    contract::archive(async || StagingEnvironment::new())
        .await
        .unwrap();
}

#[tokio::test]
async fn every_broken_promise_of_an_archive_is_found_and_named() {
    let faults = [
        (ArchiveFault::ListsEarly, Promise::Store),
        (ArchiveFault::ListsNewestFirst, Promise::List),
        (ArchiveFault::LosesLinks, Promise::Fetch),
        (ArchiveFault::VerifiesNothing, Promise::Damage),
        (ArchiveFault::FetchesUnverified, Promise::Damage),
        (ArchiveFault::IgnoresCancel, Promise::Cancel),
        (ArchiveFault::RecordsNothing, Promise::Abort),
        (ArchiveFault::DeletesOnce, Promise::Delete),
        (ArchiveFault::PrunesNewest, Promise::Prune),
    ];
    let cases = faults.map(|(fault, promise)| async move {
        let suite = contract::archive(async || FolderEnvironment::new(fault)).await;
        assert_broken(suite, promise, &format!("{fault:?}"));
    });
    all(cases).await;
}
