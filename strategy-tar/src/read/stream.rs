//! An archive's bytes, decompressed on a thread of their own that also takes the checksum of the whole file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use diy_backup_core::{Error, ErrorKind, Meter, Result, ResultExt};
use sha2::{Digest, Sha256};

const CHUNK_BYTES: usize = 256 * 1024;
const WAITING_CHUNKS: usize = 8;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The content of a compressed file. Fails with `InvalidData` where it is not well-formed.
#[derive(Debug)]
pub(crate) struct Stream {
    chunks: Option<Receiver<io::Result<Vec<u8>>>>,
    chunk: Vec<u8>,
    at: usize,
    quit: Arc<AtomicBool>,
    worker: Option<JoinHandle<Whole>>,
}

/// What the compressed file was.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: u64,
    /// Its SHA-256 in hex digits.
    pub(crate) sha256: String,
    /// Why it could not be read, which says nothing about its content.
    failure: Option<io::Error>,
}

impl Stream {
    /// Opens the archive at `path`, compressed in whatever way its first bytes say.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(path: &Path, meter: Meter) -> Result<Self> {
        let context = || format!("cannot read {}", path.display());
        let file = File::open(path).io_context(context)?;
        let (sender, receiver) = sync_channel(WAITING_CHUNKS);
        let quit = Arc::new(AtomicBool::new(false));
        let source = Source {
            file,
            hash: Sha256::new(),
            bytes: 0,
            failure: None,
            meter,
            quit: quit.clone(),
        };
        let worker = thread::Builder::new()
            .name("archive-reader".into())
            .spawn(move || pump(source, &sender))
            .io_context(context)?;
        Ok(Self {
            chunks: Some(receiver),
            chunk: Vec::new(),
            at: 0,
            quit,
            worker: Some(worker),
        })
    }

    /// Reads the compressed file to its end and says what it was. The rest of the content is dropped.
    ///
    /// # Errors
    /// When the file could not be read.
    pub(crate) fn finish(mut self) -> Result<Whole> {
        if let Some(chunks) = self.chunks.take() {
            for _ in chunks {}
        }
        let whole = self.worker.take().and_then(|worker| worker.join().ok());
        let mut whole = whole.ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                "the thread that reads the archive ended abruptly",
            )
        })?;
        match whole.failure.take() {
            Some(error) => Err(error).io_context(|| "cannot read the archive".to_owned()),
            None => Ok(whole),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            let Some(chunk) = self.chunks.as_ref().and_then(|chunks| chunks.recv().ok()) else {
                return Ok(0);
            };
            self.at = 0;
            self.chunk.clear();
            self.chunk = chunk?;
        }
        let taken = buffer.len().min(self.chunk.len() - self.at);
        buffer[..taken].copy_from_slice(&self.chunk[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.quit.store(true, Ordering::Relaxed);
        self.chunks = None;
        if let Some(worker) = self.worker.take() {
            // A panic there has been reported, and nobody wants the result.
            let _ = worker.join();
        }
    }
}

/// The compressed file, whose every byte goes through the checksum.
struct Source {
    file: File,
    hash: Sha256,
    bytes: u64,
    failure: Option<io::Error>,
    meter: Meter,
    quit: Arc<AtomicBool>,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.quit.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody wants the archive any more"));
        }
        match self.file.read(buffer) {
            Ok(length) => {
                self.hash.update(&buffer[..length]);
                self.bytes += length as u64;
                self.meter.advance(length as u64);
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                self.failure = Some(error);
                Err(copy)
            }
        }
    }
}

/// Decompresses `source` into `sender`, then reads on to the end of the file for the checksum's sake.
fn pump(mut source: Source, sender: &SyncSender<io::Result<Vec<u8>>>) -> Whole {
    if let Err(error) = decompress(&mut source, sender) {
        let error = if source.failure.is_some() {
            io::Error::other(error)
        } else {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the compressed data is damaged ({error})"),
            )
        };
        // The other end may be gone: then nobody wants to know.
        let _ = sender.send(Err(error));
    }
    let mut rest = vec![0; CHUNK_BYTES];
    while source.failure.is_none() {
        match source.read(&mut rest) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    Whole {
        bytes: source.bytes,
        sha256: hex::encode(source.hash.finalize()),
        failure: source.failure,
    }
}

fn decompress(source: &mut Source, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(CHUNK_BYTES, source);
    let start = input.fill_buf()?;
    if start.starts_with(&ZSTD_MAGIC) {
        forward(zstd::Decoder::with_buffer(input)?, sender)
    } else if start.starts_with(&GZIP_MAGIC) {
        forward(flate2::bufread::MultiGzDecoder::new(input), sender)
    } else {
        forward(input, sender)
    }
}

fn forward(mut input: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = input
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk);
        // What was decompressed before a flaw still tells which file it is in.
        let empty = chunk.is_empty();
        if !empty && sender.send(Ok(chunk)).is_err() {
            return Ok(());
        }
        read?;
        if empty {
            return Ok(());
        }
    }
}
