//! A server that is slow to do what it has accepted, and a gateway that answers in its place.

use std::time::{Duration, Instant};

use diy_backup_testkit::simulator::{
    CallKind, Fault, FaultBody, FaultKind, Times, UnlockWhileRunning,
};
use rustix::process::Signal;

use super::super::Result;
use super::super::audit::Wrong;
use super::super::lab::Lab;
use super::super::probes::JournalWatch;
use super::super::program::{Ended, Target};
use super::super::stage::{Archive, Config, Options, Stage};
use super::{Cases, SLOW};

/// How long a gateway stands in front, by the time that a step takes.
const GATEWAY: u32 = 2;
const LATE_LOCK: Duration = Duration::from_secs(25);

pub(super) fn play(lab: &Lab, slow: Duration, seed: u64, cases: &mut Cases) -> Result {
    let options = Options {
        start_delay: slow,
        end_delay: slow,
        unlock_while_running: UnlockWhileRunning::Refused,
        ..Options::new(Archive::Tar, seed)
    };
    let mut stage = Stage::set(lab, &options)?;
    succeeds(&mut stage, cases, "a server whose steps take a while")?;
    drop(stage);

    let mut stage = Stage::set(lab, &Options::new(Archive::Tar, seed))?;
    for body in [FaultBody::GatewayJson, FaultBody::Empty, FaultBody::Html] {
        gateway_for_a_while(&mut stage, slow / GATEWAY, cases, body)?;
    }
    if slow < SLOW {
        return Ok(());
    }
    gateway_for_good(&mut stage, cases)?;
    drop(stage);

    let late = Options {
        lock_delay: LATE_LOCK,
        ..Options::new(Archive::Tar, seed)
    };
    late_lock(&Stage::set(lab, &late)?, cases)
}

fn succeeds(stage: &mut Stage<'_>, cases: &mut Cases, case: &str) -> Result {
    let before = stage.ids()?;
    let ended = stage.run(Config::Original, &["backup"])?;
    let mut wrong = Wrong::new();
    if !ended.is(0) {
        wrong.push(ended.words());
    }
    stage.is_at_rest(&mut wrong);
    stage.all_listed_verify(&mut wrong)?;
    if let Some(id) = stage.remember_new(&before)? {
        stage.restores(&id, &mut wrong)?;
    }
    cases.keep(case, &ended, wrong);
    Ok(())
}

/// From the moment the window opens, every request is answered 404 by something else, for some time.
fn gateway_for_a_while(
    stage: &mut Stage<'_>,
    time: Duration,
    cases: &mut Cases,
    body: FaultBody,
) -> Result {
    let before = stage.ids()?;
    let mut watch = JournalWatch::new(stage.journal());
    let mut in_front = None;
    let simulator = &stage.simulator;
    let ended = stage
        .start(Config::Original, &["backup"])?
        .wait_looking(|_| {
            watch.look();
            let (fault, since) = *in_front.get_or_insert_with(|| (None, Instant::now()));
            in_front = match fault {
                None if watch.step.as_deref() == Some("draining") => {
                    let fault = simulator.inject(Fault::gateway(404, body));
                    Some((Some(fault), Instant::now()))
                }
                Some(fault) if since.elapsed() > time => {
                    simulator.remove_fault(fault);
                    Some((Some(fault), since))
                }
                other => Some((other, since)),
            };
        })?;
    stage.simulator.clear_faults();
    let mut wrong = Wrong::new();
    if !ended.is(0) && !ended.is(1) {
        wrong.push(ended.words());
    }
    stage.is_at_rest(&mut wrong);
    stage.remember_new(&before)?;
    stage.all_listed_verify(&mut wrong)?;
    let case = format!("a gateway answers 404 ({body:?}) for {time:?} in the window");
    cases.keep(&case, &ended, wrong);
    Ok(())
}

/// The unlock and its proof are answered 404 by a gateway, always: nothing is proven, and the token stays.
fn gateway_for_good(stage: &mut Stage<'_>, cases: &mut Cases) -> Result {
    let not_found = FaultKind::Status {
        status: 404,
        body: FaultBody::GatewayJson,
    };
    stage
        .simulator
        .inject(Fault::always(CallKind::Unlock, not_found));
    let proof = Fault {
        times: Times::After(1),
        ..Fault::once(CallKind::LockState, not_found)
    };
    stage.simulator.inject(proof);
    let ended = stage.run(Config::Original, &["backup"])?;
    let mut wrong = Wrong::new();
    if stage.simulator.is_locked() != ended.is(10) {
        wrong.push(format!("it says the wrong thing; {}", ended.words()));
    }
    if stage.simulator.is_locked() && !stage.journal().exists() {
        wrong.push("the only copy of the token is gone".to_owned());
    }
    stage.simulator.clear_faults();
    let recovered = stage.run(Config::Original, &["recover"])?;
    if !recovered.is(0) {
        wrong.push(format!("`recover` failed: {}", recovered.words()));
    }
    stage.is_at_rest(&mut wrong);
    cases.keep(
        "a gateway answers the unlock and its proof with 404",
        &ended,
        wrong,
    );
    Ok(())
}

/// Killed while the lock is on its way: the recovery must not say that the instance is free before it arrives.
fn late_lock(stage: &Stage<'_>, cases: &mut Cases) -> Result {
    let mut watch = JournalWatch::new(stage.journal());
    let mut asked = None;
    let killed = stage
        .start(Config::Original, &["backup"])?
        .wait_looking(|run| {
            watch.look();
            if watch.step.as_deref() == Some("locking") {
                let since = *asked.get_or_insert_with(Instant::now);
                if since.elapsed() > Duration::from_secs(1) {
                    run.signal(Signal::KILL, Target::Tree);
                }
            }
        })?;
    let asked: Instant = asked.ok_or_else(|| format!("it never locked; {}", killed.words()))?;
    let recovered = stage.run(Config::Original, &["recover"])?;
    let mut wrong = Wrong::new();
    // Until the lock must have arrived, whatever the recovery said.
    std::thread::sleep(LATE_LOCK.saturating_sub(asked.elapsed()) + Duration::from_secs(1));
    let locked = stage.simulator.is_locked();
    if locked && !recovered.is(10) {
        wrong.push(format!(
            "locked, and it said otherwise; {}",
            recovered.words()
        ));
    }
    if locked && !stage.journal().exists() {
        wrong.push("the journal is gone, and the instance is locked".to_owned());
    }
    unlock_by_hand(stage, &mut wrong)?;
    stage.is_at_rest(&mut wrong);
    cases.keep(
        "the lock arrives 25 s after the run was killed",
        &recovered,
        wrong,
    );
    Ok(())
}

/// The way that the message names for a token which nobody here knows.
fn unlock_by_hand(stage: &Stage<'_>, wrong: &mut Wrong) -> Result {
    let mut good = |ended: Ended, what: &str| {
        if !ended.is(0) {
            wrong.push(format!("{what} failed: {}", ended.words()));
        }
    };
    if let Some(token) = stage.simulator.unlock_token() {
        let unlocked = stage.run(Config::Original, &["unlock", "--token", &token])?;
        good(unlocked, "`unlock`");
    }
    good(stage.run(Config::Original, &["recover"])?, "`recover`");
    Ok(())
}
