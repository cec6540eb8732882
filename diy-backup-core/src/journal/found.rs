//! What dead runs have left of their journal: a file that is whole, one that was being written, one that is damaged.
//!
//! Any of them may hold the only copy of a token, so none is removed before it was read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{FORMAT, Journal, JournalRecord};
use crate::durable;
use crate::error::{Error, ErrorKind, Result, ResultExt, printable};
use crate::platform;
use crate::trust::Directory;

/// How long a token of Bitbucket is, in hexadecimal digits.
const TOKEN_DIGITS: usize = 40;

/// The journal as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    path: PathBuf,
    /// Where a journal stands before it is renamed into place.
    temporary: PathBuf,
    main: Content,
    beside: Content,
    /// The record that counts, where one of the two files is whole.
    record: Option<JournalRecord>,
}

#[derive(Debug)]
enum Content {
    Absent,
    Whole(Box<JournalRecord>),
    Damaged { text: Vec<u8>, why: Error },
}

impl Found {
    /// Reads what stands in the state directory. Changes nothing.
    pub(crate) fn in_directory(state: &Path) -> Result<Self> {
        // What stands there is done: it must be ours.
        Directory::State.ensure_trusted(state)?;
        let path = Journal::path_in(state);
        let temporary = durable::temporary_of(&path)
            .io_context(|| format!("cannot read the journal {}", path.display()))?;
        // In this order: a run that is alive may rename the one to the other meanwhile.
        let beside = Content::read(&temporary)?;
        let main = Content::read(&path)?;
        let mut found = Self {
            path,
            temporary,
            main,
            beside,
            record: None,
        };
        found.record = found.merged();
        Ok(found)
    }

    /// The record that counts; `None` when no run has left one.
    pub(crate) fn record(&self) -> Result<Option<&JournalRecord>> {
        if let Some(record) = &self.record {
            return Ok(Some(record));
        }
        match &self.main {
            Content::Damaged { why, .. } => Err(unusable(&self.path, why)),
            _ => Ok(None),
        }
    }

    /// What may be an unlock token in files that are damaged.
    pub(crate) fn tokens_of_damaged(&self) -> Vec<String> {
        let mut tokens = Vec::new();
        for content in [&self.main, &self.beside] {
            if let Content::Damaged { text, .. } = content {
                tokens.extend(tokens_in(text));
            }
        }
        tokens.dedup();
        tokens
    }

    /// The newer whole file, with the tokens of whatever else there is.
    fn merged(&self) -> Option<JournalRecord> {
        let (mut record, other) = match (&self.main, &self.beside) {
            (Content::Whole(main), Content::Whole(beside)) => {
                // The file beside is the newer one. Two runs never meet here, unless somebody has copied files.
                if main.run != beside.run && main.may_be_locked() {
                    (main.clone(), beside.unlock_token.clone())
                } else {
                    (beside.clone(), None)
                }
            }
            (Content::Whole(record), _) | (_, Content::Whole(record)) => (record.clone(), None),
            _ => return None,
        };
        let tokens = other.into_iter().chain(self.tokens_of_damaged());
        for token in tokens {
            let known = [&record.unlock_token, &record.cancel_token]
                .into_iter()
                .flatten()
                .chain(&record.other_tokens)
                .any(|known| *known == token);
            if !known {
                record.other_tokens.push(token);
            }
        }
        Some(*record)
    }

    /// Brings the state directory to what was found: one journal that is whole, or none. A damaged file that may hold a
    /// token is kept under another name. Returns the record, and the files that were kept.
    ///
    /// Only under the run lock: a run that is alive writes these files.
    pub(crate) fn settle(self) -> Result<(Option<JournalRecord>, Vec<PathBuf>)> {
        let mut kept = Vec::new();
        if let Content::Damaged { .. } = &self.main {
            kept.push(set_aside(&self.path)?);
        }
        match &self.beside {
            Content::Whole(beside) => {
                let is_newer = self.record.as_ref().is_some_and(|r| r.run == beside.run);
                if is_newer {
                    put_in_place(&self.temporary, &self.path)?;
                } else {
                    kept.push(set_aside(&self.temporary)?);
                }
            }
            Content::Damaged { text, .. } if !tokens_in(text).is_empty() => {
                kept.push(set_aside(&self.temporary)?);
            }
            Content::Damaged { .. } | Content::Absent => {
                durable::discard_temporary(&self.path)?;
            }
        }
        Ok((self.record, kept))
    }
}

impl Content {
    fn read(path: &Path) -> Result<Self> {
        // A directory is no journal, and holds no token.
        if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(Self::Absent);
        }
        let read = durable::read_own(path);
        let Some(text) =
            read.io_context(|| format!("cannot read the journal {}", path.display()))?
        else {
            return Ok(Self::Absent);
        };
        Ok(match parse(&text) {
            Ok(record) => Self::Whole(Box::new(record)),
            Err(why) => Self::Damaged { text, why },
        })
    }
}

/// Reads one file and nothing beside it; `None` if there is none.
pub(super) fn read_file(path: &Path) -> Result<Option<JournalRecord>> {
    match Content::read(path)? {
        Content::Absent => Ok(None),
        Content::Whole(record) => Ok(Some(*record)),
        Content::Damaged { why, .. } => Err(unusable(path, &why)),
    }
}

fn unusable(path: &Path, why: &Error) -> Error {
    let shown = path.display();
    Error::new(
        ErrorKind::Damaged,
        format!("the journal {shown} cannot be used"),
    )
    .with_source(crate::error::chain(why))
    .with_hint(format!(
        "It may hold the token that unlocks the instance: look into {shown}, unlock with `diy-backup unlock --token TOKEN` if need be, then move the file away."
    ))
}

fn parse(text: &[u8]) -> Result<JournalRecord> {
    let record: JournalRecord = serde_json::from_slice(text).map_err(|error| {
        Error::new(ErrorKind::Damaged, "this is not a journal")
            .with_source(printable(&error.to_string()))
    })?;
    if record.format > FORMAT {
        let message = format!(
            "it has format {}, and this version reads up to {FORMAT}",
            record.format
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(record)
}

/// Whatever looks like a token in a text that is none of ours any more; the one that is called so first.
fn tokens_in(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let mut tokens: Vec<String> = Vec::new();
    let named = text.find("\"unlock-token\"").unwrap_or_default();
    for part in [&text[named..], &text[..named]] {
        let runs = part.split(|c: char| !c.is_ascii_hexdigit());
        for run in runs.filter(|run| run.len() == TOKEN_DIGITS) {
            if !tokens.iter().any(|token| token == run) {
                tokens.push(run.to_owned());
            }
        }
    }
    tokens
}

/// Renames a file so that it is out of the way, and never onto another one.
fn set_aside(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_start_matches('.').trim_end_matches(".tmp");
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let kept = (seconds..=seconds.saturating_add(1000))
        .map(|number| path.with_file_name(format!("{name}.damaged-{number}")))
        .find(|kept| !kept.exists())
        .unwrap_or_else(|| path.to_owned());
    put_in_place(path, &kept)?;
    Ok(kept)
}

fn put_in_place(from: &Path, to: &Path) -> Result<()> {
    // Its writer died before it knew that the content is on disk.
    fs::File::open(from)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(from, to))
        .and_then(|()| platform::sync_directory(to.parent().unwrap_or(Path::new("/"))))
        .io_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_in_what_is_left_of_a_journal() {
        let (unlock, cancel) = ("a1".repeat(20), "b2".repeat(20));
        let text =
            format!("{{\"cancel-token\":\"{cancel}\",\"unlock-token\": \"{unlock}\",\"run\":\"01");
        assert_eq!(tokens_in(text.as_bytes()), [unlock.clone(), cancel]);
        assert_eq!(
            tokens_in(format!("\0\0{unlock}\u{fffd}").as_bytes()),
            std::slice::from_ref(&unlock)
        );
        // Half a token unlocks nothing, and a checksum is none.
        assert!(tokens_in(&unlock.as_bytes()[..39]).is_empty());
        assert!(tokens_in("c3".repeat(32).as_bytes()).is_empty());
    }
}
