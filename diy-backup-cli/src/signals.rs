//! Signals: the first cancels in order, the second kills the children, the third ends the process.
//!
//! They are heard on a thread of their own: one that hangs on a file system whose server is gone keeps nobody from being
//! heard.

use std::io;
use std::sync::Arc;

use diy_backup_core::{CancelReason, Control, Event, Observer};
use tokio::runtime::{Builder, Runtime};

use crate::exit::Exit;

/// Listens for signals for as long as the process lives.
pub(crate) fn listen(control: Control, observer: &Arc<dyn Observer>) {
    let heard = Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| {
            // From here on, and not from when the thread gets its turn.
            let signals = {
                let _entered = runtime.enter();
                Signals::new()?
            };
            start(runtime, signals, control, Arc::clone(observer))
        });
    if let Err(error) = heard {
        observer.observe(&Event::Warning {
            text: format!("signals are not listened for, and end the run where it stands: {error}"),
        });
    }
}

fn start(
    runtime: Runtime,
    mut signals: Signals,
    control: Control,
    observer: Arc<dyn Observer>,
) -> io::Result<()> {
    let listener = std::thread::Builder::new().name("signals".to_owned());
    listener.spawn(move || {
        let listening = async {
            let name = signals.next(&control, &observer).await;
            control.cancel(CancelReason::Signal(name));
            signals.next(&control, &observer).await;
            control.kill_children();
            signals.next(&control, &observer).await;
        };
        runtime.block_on(listening);
        // From memory: the disk with the journal may be what hangs.
        let exit = if control.instance_may_be_locked() {
            Exit::StillLocked
        } else {
            Exit::Cancelled
        };
        std::process::exit(exit.code().into());
    })?;
    Ok(())
}

#[cfg(unix)]
use unix::Signals;

#[cfg(unix)]
mod unix {
    use std::io;
    use std::sync::Arc;

    use diy_backup_core::{Control, Event, Observer};
    use rustix::process::{Signal as Number, getpid, kill_process};
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// The signals that end a run, and the one that stops it.
    pub(super) struct Signals {
        interrupt: Option<Signal>,
        terminate: Option<Signal>,
        hangup: Option<Signal>,
        stop: Option<Signal>,
    }

    impl Signals {
        pub(super) fn new() -> io::Result<Self> {
            let ignored = Ignored::now();
            let listen = |number: Number| {
                if ignored.has(number) {
                    // Whoever started us wants it so: `nohup`, a shell that puts us in the background.
                    return Ok(None);
                }
                signal(SignalKind::from_raw(number.as_raw())).map(Some)
            };
            Ok(Self {
                interrupt: listen(Number::INT)?,
                terminate: listen(Number::TERM)?,
                hangup: listen(Number::HUP)?,
                stop: listen(Number::TSTP)?,
            })
        }

        /// The next signal that ends the run. A stop from the keyboard is obeyed unless the instance may be locked.
        pub(super) async fn next(
            &mut self,
            control: &Control,
            observer: &Arc<dyn Observer>,
        ) -> &'static str {
            loop {
                tokio::select! {
                    () = received(&mut self.interrupt) => return "SIGINT",
                    () = received(&mut self.terminate) => return "SIGTERM",
                    () = received(&mut self.hangup) => return "SIGHUP",
                    () = received(&mut self.stop) => stop(control, observer),
                }
            }
        }
    }

    async fn received(signal: &mut Option<Signal>) {
        let heard = match signal {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if heard.is_none() {
            std::future::pending::<()>().await;
        }
    }

    fn stop(control: &Control, observer: &Arc<dyn Observer>) {
        let stopped = control.unless_locked(|| {
            // The one that cannot be caught: having caught the other, we have to stop by ourselves.
            let _ = kill_process(getpid(), Number::STOP);
        });
        if !stopped {
            let observer = Arc::clone(observer);
            // Whoever reads what we print may have stopped, too.
            std::thread::spawn(move || {
                observer.observe(&Event::Warning {
                    text: "not stopping: the instance is locked, and a run that is stopped unlocks nobody; press Ctrl-C to cancel it".to_owned(),
                });
            });
        }
    }

    /// The signals that this process ignored when it was started.
    struct Ignored(u64);

    impl Ignored {
        #[cfg(target_os = "linux")]
        fn now() -> Self {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
            Self(mask.map_or(0, |mask| {
                u64::from_str_radix(mask.trim(), 16).unwrap_or_default()
            }))
        }

        // Elsewhere nothing tells without unsafe code.
        #[cfg(not(target_os = "linux"))]
        fn now() -> Self {
            Self(0)
        }

        fn has(&self, number: Number) -> bool {
            self.0 >> (number.as_raw() - 1) & 1 == 1
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self, _: &Control, _: &Arc<dyn Observer>) -> &'static str {
        let _ = tokio::signal::ctrl_c().await;
        "Ctrl-C"
    }
}
