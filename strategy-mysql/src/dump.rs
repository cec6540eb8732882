//! The dump program, the proof of its snapshot, and what is made sure of afterwards.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diy_backup_core::{
    Control, Error, ErrorKind, Meter, OutputLine, Result, ResultExt, Running, Tool, write_private,
};
use tokio::sync::watch;

use crate::server::Server;

/// The dump's name in its folder.
pub(crate) const FILE: &str = "dump.sql";

/// How often a growing dump is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(500);

/// What they say of a table that is not the one they have expected.
const CHANGED: [&str; 4] = [
    "Error 1412",
    "(1146)",
    "Error in field count",
    "Couldn't find table",
];

/// What both flavours' programs say with `--verbose` when the server has answered `START TRANSACTION WITH CONSISTENT
/// SNAPSHOT`, and before they list the tables.
const SNAPSHOT_TAKEN: &str = "-- Setting savepoint";

/// A call of the dump program, planned before the window opens.
#[derive(Debug, Clone)]
pub(crate) struct Dump {
    tool: Tool,
    database: String,
    path: PathBuf,
}

/// What the tables are held together by while they are dumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// One transaction with a snapshot.
    Snapshot,
    /// Locks that keep everybody from writing.
    Locks,
}

/// A dump program that runs.
#[derive(Debug)]
pub(crate) struct Dumping {
    running: Running,
    snapshot: watch::Receiver<bool>,
    warnings: Arc<Mutex<Vec<String>>>,
    path: PathBuf,
}

/// What became of a dump until its snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Its snapshot is taken.
    Taken,
    /// It has ended without saying so.
    Ended,
}

impl Dump {
    /// Plans a dump into `folder`, and makes the file, so that it is its owner's alone from the beginning.
    pub(crate) async fn new(server: &Server, folder: &Path, control: &Control) -> Result<Self> {
        let path = folder.join(FILE);
        write_private(&path, b"")?;
        let arguments = server.tools().dump_arguments(control).await?;
        let mut result = std::ffi::OsString::from("--result-file=");
        result.push(&path);
        let tool = server
            .dump_tool()
            .arg(result)
            .args([
                "--verbose",
                "--quick",
                "--hex-blob",
                "--tz-utc",
                "--comments",
            ])
            .args(["--routines", "--events", "--triggers"])
            .args(["--no-tablespaces", "--skip-add-locks"])
            .args(arguments);
        Ok(Self {
            tool,
            database: server.config().name.clone(),
            path,
        })
    }

    /// Starts it.
    pub(crate) fn start(&self, hold: Hold, control: &Control) -> Result<Dumping> {
        let hold = match hold {
            Hold::Snapshot => "--single-transaction",
            Hold::Locks => "--lock-tables",
        };
        let (taken, snapshot) = watch::channel(false);
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&warnings);
        let watch = move |line: OutputLine<'_>| {
            if line.text.starts_with(SNAPSHOT_TAKEN) {
                taken.send_replace(true);
            } else if !line.text.starts_with("-- ") && !line.text.trim().is_empty() {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push(diy_backup_core::printable(line.text));
            }
        };
        let running = self
            .tool
            .clone()
            .args([hold, "--", &self.database])
            .spawn_watched(control, watch)?;
        Ok(Dumping {
            running,
            snapshot,
            warnings,
            path: self.path.clone(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Dumping {
    /// Waits until the snapshot is taken, or the program has ended.
    pub(crate) async fn proof(&mut self, control: &Control) -> Result<Proof> {
        let snapshot = &mut self.snapshot;
        control
            .unless_cancelled(async {
                Ok(match snapshot.wait_for(|taken| *taken).await {
                    Ok(_) => Proof::Taken,
                    Err(_) => Proof::Ended,
                })
            })
            .await
    }

    /// Waits for the end, shows the growth, and returns what the program has complained of.
    pub(crate) async fn finish(self, meter: &Meter) -> Result<Vec<String>> {
        let Self {
            running,
            warnings,
            path,
            ..
        } = self;
        let ended = running.wait();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                biased;
                output = &mut ended => {
                    let said = warnings.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    return match output {
                        Ok(_) => Ok(said),
                        Err(error) => Err(failed(error, &said)),
                    };
                }
                () = tokio::time::sleep(MEASURE_EVERY) => {
                    let path = path.clone();
                    let written = blocking(move || std::fs::metadata(path)).await?;
                    meter.set_done_bytes(written.map_or(0, |metadata| metadata.len()));
                }
            }
        }
    }

    /// Ends it at once.
    pub(crate) async fn kill(self) {
        self.running.kill().await;
    }
}

/// What ends a dump before its end, told apart by what the program has said beside what it does.
fn failed(error: Error, said: &[String]) -> Error {
    if error.kind() != ErrorKind::Tool {
        return error;
    }
    let (how, words) = (error.to_string(), said.join(" | "));
    let how = how.split(": ").next().unwrap_or_default();
    let error = match words.as_str() {
        "" => error,
        words => Error::new(ErrorKind::Tool, format!("{how}: {words}")),
    };
    let has = |sign: &str| words.contains(sign);
    let (kind, message, hint) = if has("Errcode: 28") || has("errno 28") || has("No space left") {
        (
            ErrorKind::Space,
            "there is no room left for the dump",
            "Make room on the file system of the staging folder.",
        )
    } else if CHANGED.iter().any(|sign| has(sign)) {
        (
            ErrorKind::Database,
            "a table was changed or dropped before the dump came to it",
            "Let no ALTER TABLE, TRUNCATE, RENAME or DROP TABLE run during the backup, and take it once more.",
        )
    } else if has("1044") || has("1142") || has("1227") || has("insufficent privileges") {
        (
            ErrorKind::Database,
            "the account may not dump all of the database",
            "`diy-backup check` names what the account may not do, with the GRANT statement.",
        )
    } else {
        return error;
    };
    Error::new(kind, message).with_source(error).with_hint(hint)
}

/// The size of the dump in bytes. That it is durable is for the archive strategy to see to.
pub(crate) fn size_of(path: &Path) -> Result<u64> {
    let metadata = std::fs::metadata(path);
    let metadata = metadata.io_context(|| format!("cannot look at {}", path.display()))?;
    Ok(metadata.len())
}

/// Runs file work where it does not hold up anything else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(ErrorKind::Internal, "work on files ended unexpectedly").with_source(error)
    })
}
