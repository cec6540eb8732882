//! Reading a whole archive and finding everything that is wrong with it, whatever is done with its content.

use std::path::{Path, PathBuf};

use diy_backup_core::{
    ArchiveSeal, Damage, Manifest, Meter, Result, ResultExt, Verdict, checksums,
};
use sha2::{Digest, Sha256};

use super::comparison::Comparison;
use super::first::{is_manifest, read_text};
use super::layout::{Layout, Placed};
use super::ledger::{Ledger, Notes};
use super::sink::{Fault, Sink};
use super::stream::{Stream, Whole};
use crate::format::{Content, Entry, FileSize, Kind, Part, Roots, TarReader};
use crate::stop::Stop;
use crate::sums;

/// More than this is not collected.
const MAX_DAMAGE: usize = 1000;

/// What is read, and what it is compared with.
#[derive(Debug)]
pub(crate) struct Subject {
    /// The archive.
    pub(crate) path: PathBuf,
    /// What it says about itself; none for one that the shell scripts have made.
    pub(crate) manifest: Option<Manifest>,
    /// What was found to be wrong without reading it.
    pub(crate) problem: Option<String>,
    /// A folder for temporary files.
    pub(crate) work: PathBuf,
}

/// What is done when something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDamage {
    /// Nothing more is written.
    Stop,
    /// More is looked for.
    Collect,
}

/// One reading of one archive.
#[derive(Debug)]
pub(crate) struct Inspection<'a, S> {
    sink: &'a mut S,
    subject: &'a Subject,
    seal: Option<&'a ArchiveSeal>,
    stop: &'a Stop,
    findings: Damages,
    ledger: Option<Ledger>,
    notes: Option<Notes>,
    /// Where the parts lie in an archive that is not ours.
    layout: Option<Layout>,
    entries: u64,
    content_bytes: u64,
    files: u64,
}

#[derive(Debug)]
struct Damages {
    on_damage: OnDamage,
    list: Vec<Damage>,
}

impl Damages {
    fn report(&mut self, damage: Damage) -> Result<(), Fault> {
        if self.on_damage == OnDamage::Stop {
            return Err(Fault::Damage(damage));
        }
        if self.list.len() < MAX_DAMAGE {
            self.list.push(damage);
        }
        Ok(())
    }
}

impl<'a, S: Sink> Inspection<'a, S> {
    /// Reads `subject` into `sink`, and says what is wrong with it. Nothing of it may be used unless nothing is.
    ///
    /// # Errors
    /// What says nothing about the archive: it cannot be read, or its content cannot be written.
    pub(crate) fn run(
        subject: &'a Subject,
        sink: &'a mut S,
        on_damage: OnDamage,
        stop: &'a Stop,
        meter: Meter,
    ) -> Result<Verdict> {
        let inspection = Self {
            sink,
            subject,
            seal: subject
                .manifest
                .as_ref()
                .and_then(|manifest| manifest.archive.as_ref()),
            stop,
            findings: Damages {
                on_damage,
                list: Vec::new(),
            },
            ledger: Some(Ledger::new(&subject.work)?),
            notes: None,
            layout: None,
            entries: 0,
            content_bytes: 0,
            files: 0,
        };
        inspection.read(meter)
    }

    fn read(mut self, meter: Meter) -> Result<Verdict> {
        match self.read_all(meter) {
            Ok(()) => {}
            Err(Fault::Damage(damage)) => self.findings.list.push(damage),
            Err(Fault::Error(error)) => return Err(error),
        }
        let has_checksums = self.is_ours();
        let mut verdict = Verdict::default();
        (verdict.files, verdict.content_bytes) = (self.files, self.content_bytes);
        (verdict.has_checksums, verdict.damage) = (has_checksums, self.findings.list);
        Ok(verdict)
    }

    fn read_all(&mut self, meter: Meter) -> Result<(), Fault> {
        let path = &self.subject.path;
        let size = size_of(path)?;
        meter.set_total_bytes(size);
        if let Some(problem) = &self.subject.problem {
            self.findings.report(Damage::whole(problem))?;
        }
        if let Some(seal) = self.seal
            && seal.bytes != size
        {
            let problem = format!(
                "the archive has {size} bytes, and its manifest says {}",
                seal.bytes
            );
            self.findings.report(Damage::whole(problem))?;
        }
        let mut roots = Roots::Refused;
        if !self.is_ours() {
            roots = Roots::AsTheFirst;
            self.layout = Some(Layout::find(path, self.stop)?);
        }
        let mut reader = TarReader::new(Stream::open(path, meter)?, roots);
        let mut last = None;
        let read = self.read_entries(&mut reader, &mut last);
        let whole_content = match read {
            Err(Fault::Damage(damage)) => {
                self.findings.report(self.placed(damage, last))?;
                false
            }
            other => {
                other?;
                true
            }
        };
        let whole = reader.into_input().finish()?;
        self.stop.ensure_running()?;
        self.compare_with_seal(&whole)?;
        if whole_content {
            self.check_all_together()?;
        }
        if self.findings.list.is_empty() {
            self.sink.finish()?;
        }
        Ok(())
    }

    fn is_ours(&self) -> bool {
        self.subject.manifest.is_some()
    }

    fn read_entries(
        &mut self,
        reader: &mut TarReader<Stream>,
        last: &mut Option<String>,
    ) -> Result<(), Fault> {
        loop {
            self.stop.ensure_running()?;
            let Some(entry) = reader.next()? else {
                return Ok(());
            };
            *last = Some(entry.path.to_string());
            let Some(layout) = &mut self.layout else {
                self.entry(reader, &entry)?;
                continue;
            };
            match layout.place(entry)? {
                Placed::Outside => {}
                Placed::Entry(entry) => self.entry(reader, &entry)?,
                Placed::InDirectory(directory, entry) => {
                    self.entry(reader, &directory)?;
                    self.entry(reader, &entry)?;
                }
            }
        }
    }

    /// Says where it was that an archive could not be read on.
    fn placed(&self, damage: Damage, last: Option<String>) -> Damage {
        let missing = self
            .seal
            .map(|seal| seal.entries.saturating_sub(self.entries))
            .filter(|&missing| missing > 0)
            .map(|missing| format!("; {missing} more entries were not reached"))
            .unwrap_or_default();
        let problem = format!("{}{missing}", damage.problem);
        match damage.path.or(last) {
            Some(path) => Damage::file(path, problem),
            None => Damage::whole(problem),
        }
    }

    fn entry(&mut self, reader: &mut TarReader<Stream>, entry: &Entry) -> Result<(), Fault> {
        self.count(entry)?;
        if self.is_ours() {
            if self.notes.is_some() {
                let problem = format!(
                    "it stands behind {}, which is the last",
                    checksums::FILE_NAME
                );
                return Err(damage(entry, problem));
            }
            if self.entries == 1 {
                return self.manifest(reader, entry);
            }
            if entry.path.as_bytes() == checksums::FILE_NAME.as_bytes() {
                return self.checksums(reader, entry);
            }
        }
        if let Kind::HardLink(target) = &entry.kind
            && (target.part() != entry.path.part() || target.part() == Part::Other)
        {
            let problem =
                format!("it is a hard link to `{target}`, which is in no part or another");
            return Err(damage(entry, problem));
        }
        // The places that a restore puts parts to are folders, and there before the first entry.
        if entry.path.holds_part() && entry.kind != Kind::Directory {
            return Err(damage(entry, "it is to be a folder, and is none"));
        }
        self.sink.begin(entry)?;
        let mut sum = [0; 32];
        if let Kind::File(size) = &entry.kind {
            sum = self.file(reader, size)?;
            self.sink.end_file(entry)?;
            self.files += 1;
        }
        self.note(entry, sum)
    }

    /// Refuses what is more than the manifest says, before anything of it is written.
    fn count(&mut self, entry: &Entry) -> Result<(), Fault> {
        let content = match &entry.kind {
            Kind::File(size) => size.logical(),
            Kind::Directory | Kind::Symlink(_) | Kind::HardLink(_) => 0,
        };
        self.entries += 1;
        self.content_bytes = self.content_bytes.saturating_add(content);
        let Some(seal) = self.seal else {
            return Ok(());
        };
        if self.entries > seal.entries {
            let problem = format!(
                "the archive holds more than the {} entries of its manifest",
                seal.entries
            );
            return Err(damage(entry, problem));
        }
        if self.content_bytes > seal.content_bytes {
            let problem = format!(
                "the archive holds more than the {} bytes of its manifest",
                seal.content_bytes
            );
            return Err(damage(entry, problem));
        }
        Ok(())
    }

    fn manifest(&mut self, reader: &mut TarReader<Stream>, entry: &Entry) -> Result<(), Fault> {
        if !is_manifest(entry) {
            return Err(damage(
                entry,
                "the archive does not begin with its manifest",
            ));
        }
        let text = match read_text(reader, entry) {
            Err(error) if error.kind() == diy_backup_core::ErrorKind::Damaged => {
                return Err(damage(entry, diy_backup_core::error_chain(&error)));
            }
            other => other?,
        };
        let beside = self.subject.manifest.clone().map(|mut manifest| {
            manifest.archive = None;
            manifest
        });
        if Manifest::from_json(&text).ok() != beside {
            let problem = "it is not the manifest that stands beside the archive";
            self.findings
                .report(Damage::file(entry.path.to_string(), problem))?;
        }
        self.files += 1;
        self.note(entry, Sha256::digest(&text).into())
    }

    fn checksums(&mut self, reader: &mut TarReader<Stream>, entry: &Entry) -> Result<(), Fault> {
        let (Kind::File(size), Some(ledger)) = (&entry.kind, self.ledger.take()) else {
            return Err(damage(entry, "it is not a list of checksums"));
        };
        let mut comparison = Comparison::new(ledger.read_back()?);
        let findings = &mut self.findings;
        let mut report = |damage| findings.report(damage);
        reader.content::<Fault>(size, |content| match content {
            Content::Data(data) => comparison.take(data, &mut report),
            Content::Hole(_) => Err(damage(entry, "it is not a list of checksums")),
        })?;
        self.notes = Some(comparison.finish(&mut report)?);
        Ok(())
    }

    fn file(&mut self, reader: &mut TarReader<Stream>, size: &FileSize) -> Result<[u8; 32], Fault> {
        let mut hash = self.is_ours().then(Sha256::new);
        let (sink, stop) = (&mut *self.sink, self.stop);
        reader.content::<Fault>(size, |content| {
            stop.ensure_running()?;
            match content {
                Content::Data(data) => {
                    if let Some(hash) = &mut hash {
                        hash.update(data);
                    }
                    sink.data(data)
                }
                Content::Hole(length) => {
                    if let Some(hash) = &mut hash {
                        sums::hash_zeros(hash, length, || stop.ensure_running())?;
                    }
                    sink.hole(length)
                }
            }
        })?;
        Ok(hash.map_or([0; 32], |hash| hash.finalize().into()))
    }

    fn note(&mut self, entry: &Entry, sum: [u8; 32]) -> Result<(), Fault> {
        if let Some(ledger) = &mut self.ledger {
            ledger.note(entry, sum)?;
        }
        Ok(())
    }

    fn compare_with_seal(&mut self, whole: &Whole) -> Result<(), Fault> {
        let Some(seal) = self.seal else {
            return Ok(());
        };
        // A wrong size has been reported.
        if whole.bytes == seal.bytes && !whole.sha256.eq_ignore_ascii_case(&seal.sha256) {
            let problem = "the archive does not match the checksum in its manifest";
            self.findings.report(Damage::whole(problem))?;
        }
        Ok(())
    }

    /// What only shows once everything was read.
    fn check_all_together(&mut self) -> Result<(), Fault> {
        let mut notes = match (self.notes.take(), self.ledger.take()) {
            (Some(notes), _) => notes,
            (None, Some(ledger)) => {
                if self.is_ours() {
                    let problem = format!("the archive has no {}", checksums::FILE_NAME);
                    self.findings.report(Damage::whole(problem))?;
                }
                ledger.read_back()?
            }
            (None, None) => return Ok(()),
        };
        let findings = &mut self.findings;
        notes.check(self.stop, |damage| findings.report(damage))?;
        if self.entries == 0 {
            self.findings
                .report(Damage::whole("the archive is empty"))?;
        }
        if self
            .layout
            .as_ref()
            .is_some_and(|layout| !layout.has_part())
        {
            let problem = "it holds nothing of a backup: neither `bitbucket-home` nor `bitbucket-db`; what \
                           Bitbucket's own backup client has made goes back with its restore client alone";
            self.findings.report(Damage::whole(problem))?;
        }
        let Some(seal) = self.seal else {
            return Ok(());
        };
        if (self.entries, self.content_bytes) != (seal.entries, seal.content_bytes) {
            let problem = format!(
                "the archive holds {} entries with {} bytes, and its manifest says {} with {}",
                self.entries, self.content_bytes, seal.entries, seal.content_bytes
            );
            self.findings.report(Damage::whole(problem))?;
        }
        Ok(())
    }
}

fn damage(entry: &Entry, problem: impl Into<String>) -> Fault {
    Fault::Damage(Damage::file(entry.path.to_string(), problem))
}

fn size_of(path: &Path) -> Result<u64> {
    let metadata =
        std::fs::metadata(path).io_context(|| format!("cannot read {}", path.display()))?;
    Ok(metadata.len())
}
