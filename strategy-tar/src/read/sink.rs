//! Where the entries of an archive go.

use diy_backup_core::{Damage, Error, Result};

use crate::format::{Entry, ReadError};

/// Why an archive is not read on.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is not what it should be.
    Damage(Damage),
    /// Something else, which says nothing about it.
    Error(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Malformed(problem) => Self::Damage(Damage::whole(problem)),
            ReadError::Io(error) => Self::Error(Error::io("cannot read the archive", error)),
        }
    }
}

/// Takes the entries of an archive, in their order, after they were found harmless in themselves.
pub(crate) trait Sink {
    /// Makes what `entry` says; the content of a file follows.
    fn begin(&mut self, entry: &Entry) -> Result<(), Fault>;

    /// Adds to the content of the file that was begun.
    fn data(&mut self, data: &[u8]) -> Result<(), Fault>;

    /// Adds zero bytes for which no space is taken.
    fn hole(&mut self, length: u64) -> Result<(), Fault>;

    /// Ends the file that was begun.
    fn end_file(&mut self, entry: &Entry) -> Result<(), Fault>;

    /// Ends everything, once nothing was found to be wrong.
    fn finish(&mut self) -> Result<(), Fault>;
}

/// Writes nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Discard;

impl Sink for Discard {
    fn begin(&mut self, _: &Entry) -> Result<(), Fault> {
        Ok(())
    }

    fn data(&mut self, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }

    fn hole(&mut self, _: u64) -> Result<(), Fault> {
        Ok(())
    }

    fn end_file(&mut self, _: &Entry) -> Result<(), Fault> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}
