//! Contract suites: what the traits of strategies promise, driven as the core drives it.
//!
//! A strategy's author implements a small harness ([`HomeHarness`], [`DatabaseHarness`], [`SearchHarness`] or
//! [`ArchiveHarness`]) over a fresh environment, and calls [`home`], [`database`], [`search`](fn@search) or [`archive`]
//! in one test. The error names the promise that
//! was broken and how:
//!
//! ```text
//! called `Result::unwrap()` on an `Err` value: broken promise of `capture`: whatever happens to the instance
//! afterwards, `complete` yields the state of a moment inside the call
//!   restored into an absent target: "b" is "later", and it was "first"
//! ```
//!
//! Each check has an environment of its own, so a harness may be destructive.

mod archive;
mod backup;
mod broken;
mod corruption;
mod harness;
mod interruption;
mod restore;
mod search;
mod stage;
mod strategy;

pub use archive::archive;
pub use broken::{BrokenPromise, Promise};
pub use harness::{
    ArchiveHarness, Capacity, DatabaseHarness, Harness, HomeHarness, SearchHarness, Target,
};

use stage::{Stage, Unpacked};
use strategy::Strategy;

/// Holds a home strategy to its promises.
///
/// `environment` makes a fresh harness; it is called once for each of about twenty checks.
///
/// # Errors
/// The first promise that is broken.
pub async fn home<H: HomeHarness>(environment: impl AsyncFn() -> H) -> Result<(), BrokenPromise> {
    part(async || {
        let harness = environment().await;
        let strategy = Strategy::Home(harness.strategy());
        Stage::new(harness, strategy)
    })
    .await
}

/// Holds a database strategy to its promises.
///
/// `environment` makes a fresh harness; it is called once for each of about twenty checks.
///
/// # Errors
/// The first promise that is broken.
pub async fn database<H: DatabaseHarness>(
    environment: impl AsyncFn() -> H,
) -> Result<(), BrokenPromise> {
    part(async || {
        let harness = environment().await;
        let strategy = Strategy::Database(harness.strategy());
        Stage::new(harness, strategy)
    })
    .await
}

/// Holds a search strategy to its promises.
///
/// `environment` makes a fresh harness; it is called once for each of about twenty checks.
///
/// # Errors
/// The first promise that is broken.
pub async fn search<H: SearchHarness>(
    environment: impl AsyncFn() -> H,
) -> Result<(), BrokenPromise> {
    let stage = async || {
        let harness = environment().await;
        let strategy = Strategy::Search(harness.strategy());
        Stage::new(harness, strategy)
    };
    search::deletes_what_belongs_to_a_backup(stage().await?).await?;
    part(stage).await
}

async fn part<H: Harness>(
    stage: impl AsyncFn() -> Result<Stage<H>, BrokenPromise>,
) -> Result<(), BrokenPromise> {
    backup::check_is_good(stage().await?).await?;
    for target in [Target::Absent, Target::Empty] {
        for source in [Unpacked::InIntake, Unpacked::InStaging] {
            restore::round_trip(stage().await?, target, source).await?;
        }
    }
    backup::second_backup(stage().await?).await?;
    restore::refuses_what_is_not_empty(stage().await?).await?;
    restore::resumes_a_commit(stage().await?).await?;
    for step in interruption::BACKUP_STEPS {
        interruption::abort_backup(stage().await?, step).await?;
        interruption::cancel_backup(stage().await?, step).await?;
        interruption::drop_backup(stage().await?, step).await?;
    }
    for step in interruption::RESTORE_STEPS {
        interruption::abort_restore(stage().await?, step).await?;
        interruption::drop_restore(stage().await?, step).await?;
    }
    interruption::cancel_restore(stage().await?).await
}
