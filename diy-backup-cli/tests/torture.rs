//! A quick slice of each loop of `cargo xtask torture`.
#![cfg(target_os = "linux")]

#[path = "../../xtask/examples/torture/loops/mod.rs"]
mod loops;

use std::path::Path;
use std::time::Duration;

use diy_backup_testkit::{report_skipped, skip_unless};

use loops::lab::Lab;
use loops::report::Report;
use loops::{Result, corruption, disk_full, faults, field, kills, secrets};

fn torture(run: impl FnOnce(&Lab) -> Result<Report>) {
    let postgres = skip_unless!(Lab::postgres());
    let lab =
        Lab::open(Path::new(env!("CARGO_BIN_EXE_diy-backup")), postgres).expect("a laboratory");
    let report = run(&lab).expect("the loop runs");
    if let Some(reason) = &report.skipped {
        report_skipped(reason);
    }
    assert!(report.is_good(), "{report}");
}

#[test]
fn a_fault_of_any_call_leaves_no_lock_and_no_partial_backup() {
    let choice = faults::Choice {
        sample: Some(8),
        ..faults::Choice::default()
    };
    torture(|lab| faults::run(lab, &choice, 1));
}

#[test]
fn a_run_that_is_killed_can_be_put_right() {
    torture(|lab| kills::run(lab, 4, Some(2), 1));
}

#[test]
fn damage_is_refused_by_verify_and_restore_alike() {
    torture(|lab| corruption::run(lab, 12, 1));
}

#[test]
fn a_full_disk_costs_nothing_but_the_run() {
    torture(|lab| disk_full::run(lab, 3, 1));
}

#[test]
fn secrets_are_shown_to_nobody() {
    torture(|lab| secrets::run(lab, 1));
}

#[test]
fn what_sites_really_have_breaks_no_promise() {
    torture(|lab| field::run(lab, Duration::from_secs(2), 1));
}
