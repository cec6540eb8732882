//! The checksums that an archive ends with, against those of what was read.

use diy_backup_core::checksums::{self, ChecksumLine};
use diy_backup_core::{Damage, Result, printable};

use super::ledger::Notes;
use super::sink::Fault;

/// The longest line there can be: digits, and a path whose every byte is escaped.
const MAX_LINE_BYTES: usize = 70 + 2 * 4096;

/// Compares a list of checksums, as it comes, with the files that were noted. Both are in the order of the archive.
#[derive(Debug)]
pub(super) struct Comparison {
    notes: Notes,
    line: Vec<u8>,
    /// Whether the two lists no longer name the same files; what follows would be nothing but that.
    out_of_step: bool,
}

impl Comparison {
    pub(super) fn new(notes: Notes) -> Self {
        Self {
            notes,
            line: Vec::new(),
            out_of_step: false,
        }
    }

    /// Takes the next piece of the list.
    pub(super) fn take(
        &mut self,
        mut data: &[u8],
        report: &mut impl FnMut(Damage) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while let Some(end) = data.iter().position(|&byte| byte == b'\n') {
            self.line.extend_from_slice(&data[..end]);
            data = &data[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.compare(&line, report)?;
        }
        self.line.extend_from_slice(data);
        if self.line.len() > MAX_LINE_BYTES {
            return Err(Fault::Damage(not_well_formed()));
        }
        Ok(())
    }

    /// Ends the list, and gives back the notes.
    pub(super) fn finish(
        mut self,
        report: &mut impl FnMut(Damage) -> Result<(), Fault>,
    ) -> Result<Notes, Fault> {
        if !self.line.is_empty() {
            report(not_well_formed())?;
        }
        if !self.out_of_step
            && let Some(note) = self.notes.next_file()?
        {
            let problem = "there is no checksum for it in the archive";
            report(Damage::file(note.path.to_string(), problem))?;
        }
        Ok(self.notes)
    }

    fn compare(
        &mut self,
        line: &[u8],
        report: &mut impl FnMut(Damage) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.out_of_step {
            return Ok(());
        }
        let Some(line) = ChecksumLine::decode(line) else {
            self.out_of_step = true;
            return report(not_well_formed());
        };
        let listed = || printable(&line.path.to_string_lossy());
        match self.notes.next_file()? {
            Some(note) if note.path.as_path() != line.path => {
                self.out_of_step = true;
                let problem = format!("the checksum in its place is that of `{}`", listed());
                report(Damage::file(note.path.to_string(), problem))
            }
            Some(note) if note.sum != line.sha256 => {
                let problem = "its content does not match its checksum";
                report(Damage::file(note.path.to_string(), problem))
            }
            Some(_) => Ok(()),
            None => {
                self.out_of_step = true;
                let problem = "there is a checksum for it, but it is not in the archive";
                report(Damage::file(listed(), problem))
            }
        }
    }
}

fn not_well_formed() -> Damage {
    Damage::file(checksums::FILE_NAME, "it is not a list of checksums")
}
