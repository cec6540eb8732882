//! Signals: the first cancels in order, the second kills the children, the third ends the process.

use std::path::PathBuf;

use diy_backup_core::{CancelReason, Control, Journal};

use crate::exit::Exit;

/// Listens for signals for as long as the process lives. `state` is where the journal tells whether the instance may
/// be locked.
pub(crate) fn listen(control: Control, state: PathBuf) {
    tokio::spawn(async move {
        let Some(mut signals) = Signals::new() else {
            return;
        };
        let name = signals.next().await;
        control.cancel(CancelReason::Signal(name));
        signals.next().await;
        control.kill_children();
        signals.next().await;
        let locked = Journal::read(&state)
            .ok()
            .flatten()
            .is_some_and(|record| record.may_be_locked());
        let exit = if locked {
            Exit::StillLocked
        } else {
            Exit::Cancelled
        };
        std::process::exit(exit.code().into());
    });
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Option<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Some(Self {
            interrupt: signal(SignalKind::interrupt()).ok()?,
            terminate: signal(SignalKind::terminate()).ok()?,
            hangup: signal(SignalKind::hangup()).ok()?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Option<Self> {
        Some(Self)
    }

    async fn next(&mut self) -> &'static str {
        let _ = tokio::signal::ctrl_c().await;
        "Ctrl-C"
    }
}
