//! Running `diy-backup` as a user would, and stopping it when the user has seen enough.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::Result;

/// Whether somebody wants the demo to end.
pub(crate) struct Interrupt {
    came: watch::Receiver<bool>,
}

impl Interrupt {
    /// Waits for the usual signals from now on.
    pub(crate) fn watch() -> io::Result<Self> {
        let (sender, came) = watch::channel(false);
        for kind in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ] {
            let mut signals = signal(kind)?;
            let sender = sender.clone();
            tokio::spawn(async move {
                signals.recv().await;
                sender.send_replace(true);
            });
        }
        Ok(Self { came })
    }

    async fn wait(&self) {
        let mut came = self.came.clone();
        if came.wait_for(|&came| came).await.is_err() {
            // Nobody is left who could interrupt.
            std::future::pending::<()>().await;
        }
    }
}

/// Somebody has ended the demo.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted: all servers are stopped")
    }
}

impl std::error::Error for Interrupted {}

pub(crate) struct Program {
    path: PathBuf,
    interrupt: Interrupt,
}

impl Program {
    pub(crate) fn new(path: &Path, interrupt: Interrupt) -> Self {
        Self {
            path: path.to_owned(),
            interrupt,
        }
    }

    /// Shows the command, and runs it to its good end.
    pub(crate) async fn run(&self, config: &Path, args: &[&str]) -> Result<()> {
        println!("\n$ diy-backup -c {} {}", config.display(), args.join(" "));
        // In a process group of its own, so that Ctrl-C reaches it once, through us.
        let mut child = Command::new(&self.path)
            .arg("-c")
            .arg(config)
            .args(args)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let status = tokio::select! {
            status = child.wait() => status?,
            () = self.interrupt.wait() => {
                if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                    kill_process(pid, Signal::TERM)?;
                }
                child.wait().await?;
                return Err(Interrupted.into());
            }
        };
        if status.success() {
            return Ok(());
        }
        Err(format!("`diy-backup {}` ended with {status}", args.join(" ")).into())
    }
}
