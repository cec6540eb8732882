//! `pg_dump` and what is made sure of afterwards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use diy_backup_core::{Control, Error, ErrorKind, Meter, Result, Running, Tool};

use crate::facts::Table;
use crate::files;
use crate::server::{Server, local_tool};
use crate::toc::Toc;

/// How often a growing dump is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(500);

/// The files are read soon: by us, and by whoever makes an archive of them, which also is the better time to compress.
const UNCOMPRESSED: &str = "0";

/// What a compressed dump is smaller than the tables on the server's disk, on the average, for the progress alone.
const USUAL_RATIO: u64 = 3;

/// A call of `pg_dump`, planned before the window opens.
#[derive(Debug, Clone)]
pub(crate) struct Dump {
    tool: Tool,
    directory: PathBuf,
    /// By how much a dump is smaller than the tables.
    ratio: u64,
}

impl Dump {
    pub(crate) fn new(server: &Server, directory: PathBuf) -> Self {
        let config = server.config();
        let mut tool = server
            .tool("pg_dump", &config.name)
            .args(["--format=directory", "--no-password", "--no-sync"])
            .arg(format!("--jobs={}", config.jobs))
            .arg(format!(
                "--lock-wait-timeout={}",
                config.lock_timeout.get().as_millis().max(1)
            ));
        let compression = config.dump_compression.as_deref().unwrap_or(UNCOMPRESSED);
        tool = tool.arg(format!("--compress={compression}"));
        let mut file = std::ffi::OsString::from("--file=");
        file.push(&directory);
        Self {
            tool: tool.arg(file),
            directory,
            ratio: match compression {
                UNCOMPRESSED | "none" => 1,
                _ => USUAL_RATIO,
            },
        }
    }

    /// Starts it on a pinned state.
    pub(crate) fn start_at(&self, snapshot: &str, control: &Control) -> Result<Running> {
        self.tool
            .clone()
            .arg(format!("--snapshot={snapshot}"))
            .spawn(control)
    }

    /// Starts it on the state of now.
    pub(crate) fn start(&self, control: &Control) -> Result<Running> {
        self.tool.spawn(control)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Waits for the end of a dump, and shows its growth.
pub(crate) async fn finish(running: Running, dump: &Dump, meter: &Meter) -> Result<()> {
    let ended = running.wait();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            biased;
            output = &mut ended => {
                return output.map(drop);
            }
            () = tokio::time::sleep(MEASURE_EVERY) => {
                let directory = dump.directory.clone();
                let written = files::blocking(move || files::size_of(&directory)).await?;
                meter.set_done_bytes(written.saturating_mul(dump.ratio));
            }
        }
    }
}

/// Reads a dump's table of contents.
pub(crate) async fn contents(
    config: &crate::PostgresConfig,
    directory: &Path,
    control: &Control,
) -> Result<Toc> {
    let output = local_tool(config, "pg_restore")
        .arg("--list")
        .arg(directory)
        .run(control)
        .await?;
    Ok(Toc::parse(&output.stdout_text()))
}

/// Reads a whole dump back, as a restore would, and makes sure that it holds the data of `tables`.
pub(crate) async fn verify(
    config: &crate::PostgresConfig,
    directory: &Path,
    tables: &[Table],
    control: &Control,
) -> Result<Toc> {
    let damaged = |error: Error| {
        if error.kind() == ErrorKind::Cancelled {
            return error;
        }
        Error::new(
            ErrorKind::Damaged,
            "pg_restore cannot read the dump that pg_dump has just written",
        )
        .with_source(error)
    };
    let toc = contents(config, directory, control)
        .await
        .map_err(damaged)?;
    let expected: Vec<String> = tables
        .iter()
        .filter(|table| table.has_data())
        .map(Table::in_list)
        .collect();
    let missing = toc.without_data(expected.iter().map(String::as_str));
    if let Some(first) = missing.first() {
        let message = format!(
            "the dump lacks the data of {} tables, {first:?} among them",
            missing.len()
        );
        return Err(Error::new(ErrorKind::Damaged, message));
    }
    local_tool(config, "pg_restore")
        .arg(format!(
            "--file={}",
            if cfg!(windows) { "NUL" } else { "/dev/null" }
        ))
        .arg(directory)
        .run(control)
        .await
        .map_err(damaged)?;
    Ok(toc)
}
