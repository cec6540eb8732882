//! What can be known to fail before a backup begins.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use diy_backup_core::{CheckContext, Findings, InstanceKind, Inventory, Purpose, Result};

use crate::config::{RsyncConfig, TrackChanges};
use crate::folder::{Circumstances, Folder, Role};
use crate::layout::Layout;
use crate::platform::{self, Facts};
use crate::proven::Proven;
use crate::repositories;
use crate::rsync::Rsync;
use crate::source::{self, Anchors};
use crate::track::{Tracker, Unavailable};
use crate::tracked;
use crate::walk::{Entry, READ_EVERYTHING, Stop, Unreadable, Walk, blocking};

const PURPOSE: &str = "the copy of the home directory";

/// What a check has found, and what it measured on the way.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) findings: Findings,
    pub(crate) bytes_to_copy: u64,
    /// What the sources are known again by.
    pub(crate) anchors: Vec<Anchors>,
}

/// Looks at rsync, at the folders, and at all that is in them.
///
/// # Errors
/// When the run was cancelled, or a folder cannot be read for another reason than a missing permission.
pub(crate) async fn check(
    config: &RsyncConfig,
    kind: InstanceKind,
    cx: &CheckContext,
) -> Result<Checked> {
    let mut findings = Findings::new();
    let rsync = match Rsync::find(&cx.control).await {
        Ok(rsync) => {
            findings.info("rsync", format!("version {}", rsync.version));
            Some(rsync)
        }
        Err(error) => {
            cx.control.ensure_running()?;
            findings.failure("rsync", &error);
            None
        }
    };
    if cx.purpose == Purpose::Everything
        && let Some(owner) = &config.owner
        && let Err(error) = owner.resolve()
    {
        findings.warning(
            "owner",
            format!("{error}; a restore on this machine would fail"),
            error.hint().unwrap_or_default(),
        );
    }
    let stop = Stop::new(&cx.control);
    let _stop_with_us = stop.on_drop();
    let (config, cx) = (config.clone(), cx.clone());
    blocking(move || {
        let mut checked = Checked {
            findings,
            ..Checked::default()
        };
        check_folders(&config, kind, rsync, &cx, &stop, &mut checked)?;
        Ok(checked)
    })
    .await
}

fn check_folders(
    config: &RsyncConfig,
    kind: InstanceKind,
    rsync: Option<Rsync>,
    cx: &CheckContext,
    stop: &Stop,
    checked: &mut Checked,
) -> Result<()> {
    let circumstances = Circumstances {
        config,
        kind,
        database: cx.database,
        staging: &cx.staging,
    };
    let (has_stores, known) = (!config.data_stores.is_empty(), Proven::read(&cx.staging));
    let mut present = BTreeSet::new();
    let mut repositories = 0;
    let mut folders = Vec::new();
    let mut measured = Measured::default();
    for (role, path) in circumstances.roles() {
        let folder = match circumstances.folder(role, path) {
            Ok(folder) => folder,
            Err(error) => {
                checked.findings.failure(path.display().to_string(), &error);
                continue;
            }
        };
        let findings = &mut checked.findings;
        if folder.source != path {
            let message = format!("is a link to {}, which is copied", folder.source.display());
            findings.info(path.display().to_string(), message);
        }
        checked.anchors.push(Anchors::of(&folder));
        source::report(&folder, kind, has_stores, &known, findings);
        if role == Role::Home {
            report_shape(&folder, findings);
        }
        let essential = folder.layout.essential().iter().map(PathBuf::from);
        report_outside_links(&folder, essential, findings);
        if let Some(rsync) = rsync {
            compare_file_systems(&folder, rsync, cx.staging.root(), findings);
        }
        let found = check_repositories(&folder, config, findings);
        repositories += repositories::count_kept(&found, &config.exclude_repositories);
        present.extend(found.iter().filter_map(|path| repositories::id_of(path)));
        let (of_folder, links) = measure(&folder, stop, findings)?;
        measured.add(&of_folder);
        report_lost_content(&folder, &links, config, findings);
        folders.push(folder);
    }
    check_tracking(config.track_changes, &folders, &mut checked.findings);
    for id in config.exclude_repositories.difference(&present) {
        checked.findings.warning(
            "exclude-repositories",
            format!("there is no repository {id}"),
            "Correct or remove the ID in the section [home].",
        );
    }
    let findings = &mut checked.findings;
    findings.staged_bytes = measured.bytes;
    findings.staged_files = measured.entries;
    findings.inventory = Inventory::new()
        .with_tree(measured.entries, measured.content_bytes)
        .with_repositories(repositories);
    findings.need_space(
        cx.staging.root(),
        // A file is written anew before its old copy goes.
        measured.missing_bytes + measured.largest,
        measured.missing_entries,
        PURPOSE,
    );
    checked.bytes_to_copy = measured.missing_bytes;
    Ok(())
}

/// Reports whether the lock window grows with the number of files, and why.
fn check_tracking(wanted: TrackChanges, folders: &[Folder], findings: &mut Findings) {
    const SUBJECT: &str = "track-changes";
    if wanted == TrackChanges::Never {
        let message = "is `never`: every file is looked at while the instance is locked";
        return findings.info(SUBJECT, message);
    }
    match Tracker::start(folders) {
        Ok(_) => {
            findings.info(SUBJECT, "the kernel tells what has changed since the live pass");
        }
        Err(unavailable) if wanted == TrackChanges::Always => {
            findings.failure(SUBJECT, &tracked::refusal(&unavailable));
        }
        Err(Unavailable { reason, fix }) => findings.info(
            SUBJECT,
            format!("not available, so every file is looked at while the instance is locked: {reason}. To change that: {fix}"),
        ),
    }
}

fn report_shape(home: &Folder, findings: &mut Findings) {
    if home.layout == Layout::SharedOnly {
        let subject = home.source.display().to_string();
        findings.info(subject, "is a shared home alone, and is backed up as one");
    }
}

/// A link is copied as a link: where what it leads to is not in the backup, a restore would lack it.
fn report_outside_links(
    folder: &Folder,
    relative: impl IntoIterator<Item = PathBuf>,
    findings: &mut Findings,
) {
    for relative in relative {
        let path = folder.source.join(&relative);
        let is_link = path
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_symlink());
        let leads_inside =
            std::fs::canonicalize(&path).is_ok_and(|real| real.starts_with(&folder.source));
        if is_link && !leads_inside {
            findings.error(
                path.display().to_string(),
                "is a link that leads out of the folder, so its content would not be in the backup",
                "Mount its content there (`mount --bind`) instead of linking to it; where it is a data store, name it in `data-stores`. Where `shared` is the link, `path` in the section [home] may name what it leads to: a shared home alone is backed up as one.",
            );
        }
    }
}

/// Warns of links to what is not in the backup: a restore on another machine would lack it.
fn report_lost_content(
    folder: &Folder,
    links: &[PathBuf],
    config: &RsyncConfig,
    findings: &mut Findings,
) {
    let sources: Vec<PathBuf> = std::iter::once(&config.path)
        .chain(&config.data_stores)
        .filter_map(|path| std::fs::canonicalize(path).ok())
        .collect();
    let is_lost = |path: &&PathBuf| {
        // A link that leads nowhere has no content.
        std::fs::canonicalize(path)
            .is_ok_and(|real| !sources.iter().any(|source| real.starts_with(source)))
    };
    let mut lost: Vec<&PathBuf> = links.iter().filter(is_lost).collect();
    lost.sort();
    let Some(first) = lost.first() else {
        return;
    };
    let message = match lost.len() {
        1 => format!("{} is a link to what is not in the backup", first.display()),
        count => format!(
            "{count} links lead to what is not in the backup, such as {}",
            first.display()
        ),
    };
    findings.warning(
        folder.source.display().to_string(),
        message,
        "A restore brings the links alone back: put the content in their place, or back it up by other means.",
    );
}

fn compare_file_systems(folder: &Folder, rsync: Rsync, staging: &Path, findings: &mut Findings) {
    let Some(existing) = staging.ancestors().find(|path| path.is_dir()) else {
        return;
    };
    let lost = [
        (
            "access control lists",
            rsync.acls,
            platform::keeps_acls as fn(&Path) -> bool,
        ),
        (
            "extended attributes",
            rsync.xattrs,
            platform::keeps_attributes,
        ),
    ];
    for (what, known_to_rsync, keeps) in lost {
        if !keeps(&folder.source) {
            continue;
        }
        let reason = if !known_to_rsync {
            "this rsync cannot copy them"
        } else if !keeps(existing) {
            "the file system of the staging folder cannot hold them"
        } else {
            continue;
        };
        findings.warning(
            folder.source.display().to_string(),
            format!("{what} are not in the backup: {reason}"),
            "Bitbucket needs none; if you do, use an rsync that is built with them and stage on ext4, XFS or Btrfs.",
        );
    }
}

/// Reports excluded repositories that others need, and repositories that are links. Returns all repositories.
fn check_repositories(
    folder: &Folder,
    config: &RsyncConfig,
    findings: &mut Findings,
) -> Vec<PathBuf> {
    let repositories = match repositories::of(&folder.source, folder.layout) {
        Ok(repositories) => repositories,
        Err(error) => {
            findings.failure(folder.source.display().to_string(), &error);
            return Vec::new();
        }
    };
    report_outside_links(folder, linked_repositories(folder), findings);
    if !config.exclude_repositories.is_empty() {
        for repository in &repositories {
            report_lenders(repository, config, findings);
        }
    }
    repositories
}

/// Returns the links that stand where a repository, or a directory on the way to one, is expected.
fn linked_repositories(folder: &Folder) -> Vec<PathBuf> {
    let (place, depth) = folder.layout.repositories();
    let mut links = Vec::new();
    let mut level = vec![PathBuf::from(place)];
    for _ in 0..depth.unwrap_or(0) {
        let mut next = Vec::new();
        for relative in level {
            let entries = std::fs::read_dir(folder.source.join(&relative));
            for entry in entries.into_iter().flatten().flatten() {
                let path = relative.join(entry.file_name());
                match entry.file_type() {
                    Ok(kind) if kind.is_symlink() => links.push(path),
                    Ok(kind) if kind.is_dir() => next.push(path),
                    _ => {}
                }
            }
        }
        level = next;
    }
    links
}

/// A fork borrows objects from its origin: without the origin it is broken.
fn report_lenders(repository: &Path, config: &RsyncConfig, findings: &mut Findings) {
    let excluded = &config.exclude_repositories;
    if repositories::is_one_of(repository, excluded) {
        return;
    }
    let borrower = repository.display().to_string();
    match repositories::lenders(repository) {
        Ok(lenders) => {
            for lender in lenders.iter().filter(|lender| excluded.contains(lender)) {
                findings.error(
                    borrower.clone(),
                    format!("borrows objects from the repository {lender}, which `exclude-repositories` leaves out: restored, it would be broken"),
                    format!("Exclude both repositories, or remove {lender} from `exclude-repositories` in the section [home]."),
                );
            }
        }
        Err(error) => findings.error(
            borrower,
            format!("cannot tell which repositories it borrows objects from: {error}"),
            READ_EVERYTHING,
        ),
    }
}

/// What a folder holds, against what its copy holds already.
#[derive(Debug, Default)]
struct Measured {
    entries: u64,
    bytes: u64,
    content_bytes: u64,
    missing_entries: u64,
    missing_bytes: u64,
    largest: u64,
}

impl Measured {
    fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.bytes += other.bytes;
        self.content_bytes += other.content_bytes;
        self.missing_entries += other.missing_entries;
        self.missing_bytes += other.missing_bytes;
        self.largest = self.largest.max(other.largest);
    }
}

/// Measures a folder. Returns its links as well.
fn measure(
    folder: &Folder,
    stop: &Stop,
    findings: &mut Findings,
) -> Result<(Measured, Vec<PathBuf>)> {
    let counter = Counter::default();
    let has_copy = folder.copy.is_dir();
    let walk = Walk {
        root: &folder.source,
        exclusions: &folder.exclusions,
        stop,
    };
    let visit = |entry: &Entry<'_>, (): &mut ()| {
        let facts = Facts::of(entry.metadata);
        let kind = entry.metadata.file_type();
        if !kind.is_dir() && !kind.is_file() && !kind.is_symlink() {
            return Ok(None);
        }
        if kind.is_file() && !platform::is_readable(entry.path, &facts, false) {
            counter
                .unreadable
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(entry.path);
        }
        if kind.is_symlink() {
            let mut links = counter.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.push(entry.path.to_owned());
        }
        if facts.user != platform::own_user() {
            counter.foreign.fetch_add(1, Ordering::Relaxed);
        }
        let counts = kind.is_dir() || facts.links == 1 || counter.is_first_name(facts.id);
        let copy = has_copy
            .then(|| folder.copy.join(entry.relative).symlink_metadata().ok())
            .flatten();
        let bytes = if counts { facts.allocated_bytes } else { 0 };
        if counts && kind.is_file() {
            let length = entry.metadata.len();
            counter.content_bytes.fetch_add(length, Ordering::Relaxed);
        }
        counter.add(bytes, facts.modified, copy.as_ref());
        Ok(Some(()))
    };
    let mut unreadable = walk.run_where_allowed((), visit, |_, ()| Ok(()))?;
    let own = counter
        .unreadable
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    unreadable.count += own.count;
    unreadable.examples.extend(own.examples);
    if let Some(what) = unreadable.in_words() {
        findings.error(folder.source.display().to_string(), what, READ_EVERYTHING);
    }
    let foreign = counter.foreign.into_inner();
    if foreign > 0 && !platform::is_administrator() {
        findings.warning(
            folder.source.display().to_string(),
            format!("{foreign} files belong to other users, and only root can keep that in a copy"),
            "Run as root, or set `owner` in the section [home] so that a restore gives everything to that owner.",
        );
    }
    let links = counter.links.into_inner();
    let measured = Measured {
        entries: counter.entries.into_inner(),
        bytes: counter.bytes.into_inner(),
        content_bytes: counter.content_bytes.into_inner(),
        missing_entries: counter.missing_entries.into_inner(),
        missing_bytes: counter.missing_bytes.into_inner(),
        largest: counter.largest.into_inner(),
    };
    Ok((measured, links.unwrap_or_else(PoisonError::into_inner)))
}

#[derive(Debug, Default)]
struct Counter {
    entries: AtomicU64,
    bytes: AtomicU64,
    content_bytes: AtomicU64,
    missing_entries: AtomicU64,
    missing_bytes: AtomicU64,
    largest: AtomicU64,
    foreign: AtomicU64,
    linked: Mutex<HashSet<(u64, u64)>>,
    links: Mutex<Vec<PathBuf>>,
    unreadable: Mutex<Unreadable>,
}

impl Counter {
    fn is_first_name(&self, id: (u64, u64)) -> bool {
        self.linked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id)
    }

    fn add(&self, bytes: u64, modified: (i64, i64), copy: Option<&std::fs::Metadata>) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let copy = copy.map(Facts::of);
        let held = copy.map_or(0, |copy| copy.allocated_bytes);
        match copy {
            None => {
                self.missing_entries.fetch_add(1, Ordering::Relaxed);
            }
            Some(copy) if copy.modified != modified => {
                self.largest.fetch_max(bytes, Ordering::Relaxed);
            }
            Some(_) => {}
        }
        self.missing_bytes
            .fetch_add(bytes.saturating_sub(held), Ordering::Relaxed);
    }
}
