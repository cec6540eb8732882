//! Lists that grow with the number of files, kept in nameless temporary files.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

const BUFFER_BYTES: usize = 64 * 1024;

/// A list that is written once and then read back. Nothing of it stays, however the process ends.
#[derive(Debug, Default)]
pub(crate) struct Spool(Option<BufWriter<File>>);

/// A list that is read back.
#[derive(Debug)]
pub(crate) struct SpoolReader {
    input: BufReader<File>,
    length: u64,
}

impl Spool {
    /// An empty list in a file on the file system of `directory`, or of the system's temporary files if there is no
    /// such folder.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        let file = match tempfile::tempfile_in(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => tempfile::tempfile()?,
            other => other?,
        };
        Ok(Self(Some(BufWriter::with_capacity(BUFFER_BYTES, file))))
    }

    /// Goes to the beginning of what was written.
    pub(crate) fn read_back(self) -> io::Result<SpoolReader> {
        let mut file = self.into_file()?;
        let length = file.stream_position()?;
        file.rewind()?;
        Ok(SpoolReader {
            input: BufReader::with_capacity(BUFFER_BYTES, file),
            length,
        })
    }

    /// What was written, as a file.
    pub(crate) fn into_file(self) -> io::Result<File> {
        let writer = self.0.ok_or(io::ErrorKind::NotFound)?;
        writer.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let writer = self.0.as_mut().ok_or(io::ErrorKind::NotFound)?;
        writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl SpoolReader {
    /// Its length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Begins once more.
    pub(crate) fn rewind(&mut self) -> io::Result<()> {
        self.input.rewind()
    }
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}
