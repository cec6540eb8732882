//! One pass of rsync over a folder, and what makes it exact.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use diy_backup_core::{Control, Error, ErrorKind, Meter, Output, Result, ResultExt, Shrink, Tool};

use crate::census::Census;
use crate::folder::Folder;
use crate::plain::PlainCopy;
use crate::platform;
use crate::rsync::{self, Extras, Rsync};
use crate::scan::{Scan, Scanned};
use crate::source::{Anchors, refuse_shrink};
use crate::survey::Plan;
use crate::unsynced::Unsynced;
use crate::walk::{READ_EVERYTHING, Stop, blocking};

/// How often a live pass is tried. What changes under rsync's hands can make it fail once, not again and again.
const LIVE_ATTEMPTS: u32 = 3;

/// Whether anything may change in the folder while it is copied.
#[derive(Debug, Clone)]
pub(crate) enum Quiet {
    /// People work: files come, go and change.
    No(Meter),
    /// The instance is drained: nothing may vanish.
    Yes,
}

impl Quiet {
    pub(crate) fn meter(&self) -> Option<&Meter> {
        match self {
            Self::No(meter) => Some(meter),
            Self::Yes => None,
        }
    }
}

/// Copies folders to the staging folder.
#[derive(Debug, Clone)]
pub(crate) struct Copier {
    pub(crate) rsync: Rsync,
    pub(crate) control: Control,
    /// What the sources have to be as long as copies are made of them.
    pub(crate) anchors: Arc<[Anchors]>,
    pub(crate) shrink: Shrink,
    /// What this has written.
    pub(crate) unsynced: Unsynced,
}

impl Copier {
    /// Makes the copy of `folder` the same as the folder. Copies whose originals changed before `proven_until` are
    /// known to be good if they look so; see [`scan`](crate::scan).
    ///
    /// # Errors
    /// [`ErrorKind::Tool`] when rsync fails; in a quiet folder also when a file vanishes.
    pub(crate) async fn pass(
        &self,
        folder: &Folder,
        proven_until: SystemTime,
        quiet: &Quiet,
    ) -> Result<Census> {
        let mut attempt = 1;
        loop {
            match self.pass_once(folder, proven_until, quiet).await {
                // What was listed a moment ago may be something else by now, such as a folder that has become a file.
                Err(error)
                    if error.kind() == ErrorKind::Tool
                        && matches!(quiet, Quiet::No(_))
                        && attempt < LIVE_ATTEMPTS =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn pass_once(
        &self,
        folder: &Folder,
        proven_until: SystemTime,
        quiet: &Quiet,
    ) -> Result<Census> {
        let scan = Scan {
            folder: folder.clone(),
            proven_until,
            began: platform::file_clock(),
            list: list_path(folder),
        };
        let list = scan.list.clone();
        self.unsynced.add_all(&folder.copy);
        let stop = Stop::new(&self.control);
        let _stop_with_us = stop.on_drop();
        let scanning = blocking(move || scan.run(&stop));
        let scanned = if matches!(quiet, Quiet::No(_)) {
            // What goes makes room for what comes.
            let scanned = scanning.await?;
            self.remove_surplus(folder, &scanned).await?;
            self.mirror(folder, quiet).await?;
            scanned
        } else {
            // The scan does not wait for rsync, nor rsync for the scan: each goes by what it sees, and both see the same
            // originals. So the lock window holds the longer of the two, not their sum.
            let mirroring = async { Ok(self.mirror(folder, quiet).await) };
            let (scanned, mirrored) = tokio::try_join!(scanning, mirroring)?;
            self.remove_surplus(folder, &scanned).await?;
            if scanned.has_conflicts {
                self.mirror(folder, quiet).await?;
            } else {
                mirrored?;
            }
            scanned
        };
        if scanned.doubtful > 0 {
            tracing::debug!(folder = %folder.role, files = scanned.doubtful, "comparing content");
            let checksum = std::iter::once("--checksum".into());
            self.copy_listed(folder, &list, checksum, quiet).await?;
            remove_list(list).await;
        }
        Ok(scanned.census)
    }

    /// Removes from the copy what a scan has found in it that its original does not have, or not so. rsync deletes by
    /// paths, and one of them may lead through a link by the time it does.
    async fn remove_surplus(&self, folder: &Folder, scanned: &Scanned) -> Result<()> {
        if scanned.surplus.is_empty() {
            return Ok(());
        }
        let stop = Stop::new(&self.control);
        let _stop_with_us = stop.on_drop();
        let (folder, surplus, kept) = (folder.clone(), scanned.surplus.clone(), scanned.kept);
        let (anchors, shrink) = (Arc::clone(&self.anchors), self.shrink);
        blocking(move || {
            let lost = surplus.count_lost(&folder, &stop)?;
            refuse_shrink(&folder, lost, kept + lost, shrink)?;
            Anchors::ensure_still(&anchors, &folder)?;
            surplus.remove(&folder, &stop)
        })
        .await
    }

    /// Does to the copy of `folder` what `plan` says, and nothing else.
    ///
    /// # Errors
    /// Like [`pass`](Self::pass).
    pub(crate) async fn follow(&self, folder: &Folder, plan: Plan, quiet: &Quiet) -> Result<()> {
        if plan.is_empty() {
            return Ok(());
        }
        self.unsynced.add(&folder.copy, &plan.list);
        let list = list_path(folder);
        let (stop, path) = (Stop::new(&self.control), list.clone());
        let _stop_with_us = stop.on_drop();
        let (copied, meter) = (folder.clone(), quiet.meter().cloned());
        let anchors = Arc::clone(&self.anchors);
        let is_done = blocking(move || {
            if !plan.remove.is_empty() {
                Anchors::ensure_still(&anchors, &copied)?;
            }
            plan.clear(&copied.copy, &stop)?;
            let plain = PlainCopy {
                folder: &copied,
                meter: meter.as_ref(),
                stop: &stop,
            };
            let left = plain.copy_listed(&plan.list)?;
            if !left.is_empty() {
                platform::create_private_file(&path)
                    .and_then(|mut file| file.write_all(&rsync::list_text(&left)))
                    .io_context(|| format!("cannot write {}", path.display()))?;
            }
            Ok(left.is_empty())
        })
        .await?;
        if is_done {
            return Ok(());
        }
        // rsync takes the folder itself for all entries in it, without what is in them: there the rules count, too.
        let rules = folder.exclusions.arguments();
        self.copy_listed(folder, &list, rules, quiet).await?;
        remove_list(list).await;
        Ok(())
    }

    /// Copies what looks different.
    async fn mirror(&self, folder: &Folder, quiet: &Quiet) -> Result<()> {
        let extras = self.extras(folder).await?;
        let tool = rsync::exact_copy(extras).args(folder.exclusions.arguments());
        self.run(folder, tool, quiet).await
    }

    /// Copies those of the listed files that are different, as `options` says.
    async fn copy_listed(
        &self,
        folder: &Folder,
        list: &Path,
        options: impl Iterator<Item = OsString>,
        quiet: &Quiet,
    ) -> Result<()> {
        let mut from = OsString::from("--files-from=");
        from.push(list);
        let mut tool = rsync::exact_copy(self.extras(folder).await?)
            .args(["--from0", "--no-recursive"])
            .args(options)
            .arg(from);
        if matches!(quiet, Quiet::No(_)) {
            tool = tool.arg("--ignore-missing-args");
        }
        self.run(folder, tool, quiet).await
    }

    /// Asks both file systems what they keep. A file server that does not answer must not keep the run from ending.
    async fn extras(&self, folder: &Folder) -> Result<Extras> {
        let (rsync, folder) = (self.rsync, folder.clone());
        blocking(move || Ok(rsync.extras(&folder.source, &folder.copy))).await
    }

    async fn run(&self, folder: &Folder, tool: Tool, quiet: &Quiet) -> Result<()> {
        let mut tool = tool.accept_exit(&[rsync::PARTIAL, rsync::VANISHED]);
        if matches!(quiet, Quiet::No(_)) {
            tool = tool.args(["--info=progress2", "--outbuf=N"]);
        }
        let tool = tool
            .arg("--")
            .arg(rsync::content_of(&folder.source))
            .arg(rsync::content_of(&folder.copy));
        let mut attempt = 1;
        loop {
            let output = self.run_once(&tool, quiet).await?;
            match (output.status, quiet) {
                (0, _) | (rsync::VANISHED, Quiet::No(_)) => return Ok(()),
                (rsync::VANISHED, Quiet::Yes) => return Err(vanished(folder, &output)),
                (_, Quiet::No(_)) if attempt < LIVE_ATTEMPTS => attempt += 1,
                // Another machine has replaced a file, and its name leads to the new one now.
                _ if is_stale(&output) && attempt < LIVE_ATTEMPTS => attempt += 1,
                _ => return Err(incomplete(folder, &output)),
            }
        }
    }

    async fn run_once(&self, tool: &Tool, quiet: &Quiet) -> Result<Output> {
        let Some(meter) = quiet.meter() else {
            return tool.run(&self.control).await;
        };
        let mut counted = 0;
        tool.run_watched(&self.control, |line| {
            if let Some(bytes) = rsync::progress_bytes(line.text) {
                meter.advance(bytes.saturating_sub(counted));
                counted = bytes.max(counted);
            }
        })
        .await
    }
}

/// Beside the copy, so that it is as private and on the same file system.
fn list_path(folder: &Folder) -> std::path::PathBuf {
    let mut name = folder.copy.as_os_str().to_owned();
    name.push(".rsync-doubtful");
    name.into()
}

async fn remove_list(list: std::path::PathBuf) {
    let removed = blocking(move || Ok(std::fs::remove_file(&list))).await;
    if !matches!(removed, Ok(Ok(()))) {
        tracing::debug!("a list of files stays until the next run");
    }
}

fn vanished(folder: &Folder, output: &Output) -> Error {
    let message = format!(
        "files vanished from {} while the instance was drained: {}",
        folder.role,
        one_line(output)
    );
    Error::new(ErrorKind::Tool, message).with_hint(format!(
        "Something else than Bitbucket works in {}: find it and keep it out during backups.",
        folder.source.display()
    ))
}

fn incomplete(folder: &Folder, output: &Output) -> Error {
    let message = format!(
        "rsync could not copy all of {}: {}",
        folder.role,
        one_line(output)
    );
    let full = output.stderr_tail.contains("No space left on device")
        || output.stderr_tail.contains("Disk quota exceeded");
    if full {
        return Error::new(ErrorKind::Space, message).with_hint(format!(
            "Make room on the file system of {}.",
            folder.copy.display()
        ));
    }
    Error::new(ErrorKind::Tool, message).with_hint(READ_EVERYTHING)
}

/// Whether rsync says of some file that the server does not know it any more.
fn is_stale(output: &Output) -> bool {
    let said = &output.stderr_tail;
    said.contains("Stale file handle") || said.contains("Stale NFS file handle")
}

fn one_line(output: &Output) -> String {
    output.stderr_tail.replace('\n', " | ")
}
