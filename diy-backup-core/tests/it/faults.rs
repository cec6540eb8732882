//! Everything that can go wrong with a REST call: it ends unlocked, or says how to unlock.

use std::sync::Arc;
use std::time::Duration;

use diy_backup_core::{ErrorKind, Phase};
use diy_backup_testkit::Simulator;
use diy_backup_testkit::simulator::{
    CallKind, DrainOutcome, Fault, FaultBody, FaultKind, Times, UnlockWhileRunning, When,
};
use tokio::sync::Semaphore;

use crate::fakes::{Step, Twist};
use crate::support::{Stage, words};

const CALLS: [CallKind; 9] = [
    CallKind::Status,
    CallKind::ApplicationProperties,
    CallKind::Lock,
    CallKind::LockState,
    CallKind::StartBackup,
    CallKind::MaintenanceState,
    CallKind::Progress,
    CallKind::Cancel,
    CallKind::Unlock,
];

fn kinds() -> Vec<(FaultKind, When)> {
    let status = |status, body| FaultKind::Status { status, body };
    vec![
        (status(500, FaultBody::Json), When::Before),
        (status(502, FaultBody::Html), When::Before),
        (status(503, FaultBody::Empty), When::Before),
        (status(503, FaultBody::Html), When::After),
        (status(404, FaultBody::Html), When::Before),
        (FaultKind::HtmlOk, When::Before),
        (FaultKind::HtmlOk, When::After),
        (FaultKind::LoginRedirect, When::Before),
        (FaultKind::Reset, When::Before),
        (FaultKind::Reset, When::After),
        (FaultKind::HalfBody, When::Before),
        (FaultKind::HalfBody, When::After),
        (FaultKind::MalformedJson, When::Before),
        (FaultKind::MalformedJson, When::After),
        (FaultKind::Hang, When::Before),
        (FaultKind::Hang, When::After),
    ]
}

/// Whether the backup's capture fails: only then is its task cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Capture {
    Succeeds,
    Fails,
}

async fn one_fault(call: CallKind, kind: FaultKind, when: When, capture: Capture) {
    let what = format!("{call:?} {kind:?} {when:?}, capture {capture:?}");
    let simulator = Simulator::builder().unlock_while_running(UnlockWhileRunning::Refused);
    let stage = Stage::with(simulator);
    if capture == Capture::Fails {
        stage.home.twist(Step::Capture, Twist::Fails);
    }
    let fault = stage.simulator.inject(Fault {
        when,
        ..Fault::once(call, kind)
    });
    let result = stage.backup().await;
    let wanted = capture == Capture::Fails || call != CallKind::Cancel;
    assert_eq!(stage.simulator.struck(fault), u64::from(wanted), "{what}");
    match result {
        Ok(_) => {
            assert!(!stage.simulator.is_locked(), "{what}");
            assert!(stage.journal().is_none(), "{what}");
            assert_eq!(capture, Capture::Succeeds, "{what}");
        }
        Err(error) if error.kind() == ErrorKind::StillLocked => {
            // Only a token that never arrived excuses that.
            assert!(
                call == CallKind::Lock && when == When::After,
                "{what}: {}",
                words(&error)
            );
            assert!(error.hint().unwrap().contains("unlock --token"), "{what}");
            let stuck = stage.recover().await.unwrap_err();
            assert_eq!(stuck.kind(), ErrorKind::StillLocked, "{what}");
            stage.simulator.unlock_from_page().unwrap();
            stage.recover().await.unwrap();
            stage.assert_clean(&what);
        }
        Err(error) => {
            assert!(!words(&error).is_empty());
            stage.assert_clean(&what);
        }
    }
}

/// All cases, several at a time: most of them wait.
async fn all(cases: impl Iterator<Item = (CallKind, FaultKind, When, Capture)>) {
    let places = Arc::new(Semaphore::new(8));
    let cases: Vec<_> = cases
        .map(|(call, kind, when, capture)| {
            let places = places.clone();
            tokio::spawn(async move {
                let _place = places.acquire().await.unwrap();
                one_fault(call, kind, when, capture).await;
            })
        })
        .collect();
    for case in cases {
        case.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_goes_wrong_once_leaves_nothing_locked() {
    let cases = CALLS.into_iter().flat_map(|call| {
        kinds()
            .into_iter()
            .map(move |(kind, when)| (call, kind, when))
    });
    let (calls, capture) = (cases.clone(), Capture::Succeeds);
    all(calls.map(|(call, kind, when)| (call, kind, when, capture))).await;
    let failing = cases.filter(|(call, ..)| {
        !matches!(
            call,
            CallKind::Status | CallKind::ApplicationProperties | CallKind::Progress
        )
    });
    all(failing.map(|(call, kind, when)| (call, kind, when, Capture::Fails))).await;
}

#[tokio::test]
async fn one_lost_answer_or_one_page_of_a_proxy_does_not_cost_the_backup() {
    for call in CALLS {
        if matches!(call, CallKind::Lock | CallKind::Cancel) {
            continue;
        }
        for kind in [FaultKind::Reset, FaultKind::HtmlOk] {
            let stage = Stage::new();
            stage.simulator.inject(Fault::once(call, kind));
            let result = stage.backup().await;
            assert!(result.is_ok(), "{call:?} {kind:?}: {:?}", result.err());
        }
    }
}

#[tokio::test]
async fn a_lock_that_did_not_reach_the_instance_is_asked_for_again() {
    for kind in [FaultKind::Reset, FaultKind::HtmlOk] {
        let stage = Stage::new();
        stage.simulator.inject(Fault::once(CallKind::Lock, kind));
        let report = stage.backup().await.unwrap();
        assert!(
            report.warnings[0].contains("trying again"),
            "{:?}",
            report.warnings
        );
        assert_eq!(stage.simulator.lock_count(), 1);
    }
}

#[tokio::test]
async fn a_lock_that_comes_late_is_not_taken_for_somebody_elses() {
    let mut stage = Stage::with(Simulator::builder().lock_delay(Duration::from_millis(1200)));
    stage.site.patience.request = Duration::from_millis(100);
    let error = stage.backup().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StillLocked, "{}", words(&error));
    assert!(error.hint().unwrap().contains("atlassian-bitbucket.log"));
    assert!(stage.journal().is_some(), "recovery knows of it");
    stage
        .simulator
        .wait_until(Simulator::is_locked)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_start_whose_answer_is_lost_goes_on_without_its_token() {
    let stage = Stage::new();
    stage.simulator.inject(Fault {
        when: When::After,
        ..Fault::once(CallKind::StartBackup, FaultKind::Reset)
    });
    let report = stage.backup().await.unwrap();
    assert!(
        report.warnings[0].contains("was lost"),
        "{:?}",
        report.warnings
    );
    assert_eq!(stage.simulator.count(CallKind::StartBackup), 1);
}

#[tokio::test]
async fn a_lost_cancel_token_is_made_up_for_once_the_instance_is_drained() {
    let drain = DrainOutcome::Drains {
        scm: Duration::from_millis(150),
        database: Duration::from_millis(150),
    };
    let mut stage = Stage::with(
        Simulator::builder()
            .unlock_while_running(UnlockWhileRunning::Refused)
            .drain_outcome(drain),
    );
    stage.site.backup.drain_timeout = Duration::from_millis(20).into();
    stage.simulator.inject(Fault {
        when: When::After,
        ..Fault::once(CallKind::StartBackup, FaultKind::HalfBody)
    });
    let broken = FaultKind::MalformedJson;
    stage.simulator.inject(Fault {
        when: When::After,
        ..Fault::always(CallKind::StartBackup, broken)
    });
    stage.backup().await.unwrap_err();
    stage.assert_clean("a lost cancel token");
}

#[tokio::test]
async fn progress_that_is_refused_is_a_warning() {
    let stage = Stage::new();
    let status = FaultKind::Status {
        status: 400,
        body: FaultBody::Json,
    };
    stage
        .simulator
        .inject(Fault::always(CallKind::Progress, status));
    let report = stage.backup().await.unwrap();
    assert!(
        report
            .warnings
            .iter()
            .any(|text| text.contains("was not told that the backup is done")),
        "{:?}",
        report.warnings
    );
    assert!(!stage.simulator.is_locked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_always_fail_lock_nothing_for_good() {
    let status = FaultKind::Status {
        status: 503,
        body: FaultBody::Html,
    };
    let cases: Vec<_> = CALLS
        .into_iter()
        .map(|call| tokio::spawn(always(call, status)))
        .collect();
    for case in cases {
        case.await.unwrap();
    }
}

async fn always(call: CallKind, kind: FaultKind) {
    let what = format!("{call:?} always {kind:?}");
    let mut stage = Stage::new();
    stage.site.backup.drain_timeout = Duration::from_millis(300).into();
    // From the lock on, so that the check passes.
    let fault = async {
        stage.recorder.reached(Phase::Prepare).await;
        stage.simulator.inject(Fault::always(call, kind));
    };
    stage.home.twist(Step::Prepare, Twist::Gated);
    let (result, ()) = tokio::join!(stage.backup(), async {
        fault.await;
        stage.home.open_gate();
    });
    let still_locked = matches!(&result, Err(error) if error.kind() == ErrorKind::StillLocked);
    match call {
        CallKind::Unlock => {
            assert!(
                still_locked && stage.simulator.is_locked(),
                "{what}: {result:?}"
            );
        }
        // Without that answer there is no proof, whatever the unlock said.
        CallKind::LockState | CallKind::Lock => {
            assert!(!stage.simulator.is_locked(), "{what}");
        }
        _ => assert!(
            !still_locked && !stage.simulator.is_locked(),
            "{what}: {result:?}"
        ),
    }
    if still_locked {
        let error = result.as_ref().unwrap_err();
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("diy-backup recover")),
            "{what}"
        );
        let last = diy_backup_core::status(&stage.site).await.unwrap();
        assert!(
            last.needs_recovery() && last.last.unwrap().instance_locked,
            "{what}"
        );
    }
    stage.simulator.clear_faults();
    stage.recover().await.unwrap();
    assert!(!stage.simulator.is_locked(), "{what}");
    assert!(stage.journal().is_none(), "{what}");
}

#[tokio::test]
async fn an_unlock_that_fails_for_a_while_is_tried_until_it_works() {
    let stage = Stage::new();
    for nth in 1..=5 {
        stage.simulator.inject(Fault {
            times: Times::Nth(nth),
            ..Fault::status_once(CallKind::Unlock, 502)
        });
    }
    stage.backup().await.unwrap();
    assert_eq!(stage.simulator.count(CallKind::Unlock), 6);
    assert!(!stage.simulator.is_locked());
}

#[tokio::test]
async fn a_drain_survives_a_load_balancer_that_takes_the_node_out() {
    let stage = Stage::with(Simulator::builder().drain(Duration::from_millis(300)));
    for (nth, kind) in (1..).zip([
        FaultKind::Reset,
        FaultKind::HtmlOk,
        FaultKind::MalformedJson,
    ]) {
        stage.simulator.inject(Fault {
            times: Times::Nth(nth),
            ..Fault::once(CallKind::MaintenanceState, kind)
        });
    }
    stage.backup().await.unwrap();
}

#[tokio::test]
async fn a_part_that_panics_is_named_and_the_instance_unlocked() {
    for step in [Step::Prepare, Step::Capture, Step::Complete] {
        for twist in [Twist::Panics, Twist::WorkerPanics] {
            let stage = Stage::new();
            stage.home.twist(step, Twist::Waits);
            stage.database.twist(step, twist);
            let text = words(&stage.backup().await.unwrap_err());
            let is_named =
                text.contains("the database part broke off") && text.contains("on purpose");
            assert!(is_named, "{step:?} {twist:?}: {text}");
            stage.assert_clean(&format!("{step:?} {twist:?}"));
        }
    }
}

#[tokio::test]
async fn when_both_parts_fail_by_themselves_both_are_told() {
    for step in [Step::Prepare, Step::Capture, Step::Complete] {
        let stage = Stage::new();
        stage.home.twist(step, Twist::WorkerPanics);
        stage.database.twist(step, Twist::Panics);
        let mut told = vec![words(&stage.backup().await.unwrap_err())];
        told.extend(stage.recorder.warnings());
        for part in ["the home part", "the database part"] {
            let is_told = told.iter().any(|text| text.contains(part));
            assert!(is_told, "{step:?}: {part} is not in {told:?}");
        }
    }
}
