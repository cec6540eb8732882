//! The threads behind the one that packs: compression, and writing with the checksum of the whole.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use diy_backup_core::{Error, ErrorKind, Result, ResultExt};
use sha2::{Digest, Sha256};
use zstd::zstd_safe::CParameter;

use crate::config::Compression;
use crate::platform;

/// How much goes from thread to thread at a time, in bytes.
const CHUNK_BYTES: usize = 512 * 1024;
/// What one thread compresses at a time, in bytes. Each holds some of it twice: more would need memory for little gain.
const JOB_BYTES: u32 = 2 << 20;
/// After so much the disk is to begin with what was written last, in bytes: then little is left to wait for at the end.
const WRITEBACK_BYTES: u64 = 8 << 20;
/// How many chunks may wait between two threads.
const WAITING_CHUNKS: usize = 8;

/// Where the archive goes, uncompressed.
#[derive(Debug)]
pub(crate) struct Pipe {
    sender: SyncSender<Message>,
    chunk: Vec<u8>,
}

#[derive(Debug)]
enum Message {
    Data(Vec<u8>),
    /// Without it, what came before is not whole.
    End,
}

/// The threads at the other end of a [`Pipe`].
#[derive(Debug)]
pub(crate) struct Pipeline {
    compressor: JoinHandle<io::Result<()>>,
    writer: JoinHandle<io::Result<Written>>,
}

/// What a file was written with.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    /// The SHA-256 of the whole file, in hex digits.
    pub(crate) sha256: String,
}

impl Pipeline {
    /// Starts the threads that compress what comes through the pipe and write it to `file`.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn start(file: File, compression: Compression, level: u32) -> Result<(Pipe, Self)> {
        let (plain, to_compress) = pipe();
        let (compressed, to_write) = pipe();
        let start = || -> io::Result<Self> {
            let writer = thread::Builder::new()
                .name("archive-writer".into())
                .spawn(move || write(file, &to_write))?;
            let compressor = thread::Builder::new()
                .name("archive-compressor".into())
                .spawn(move || compress(&to_compress, compressed, compression, level))?;
            Ok(Self { compressor, writer })
        };
        let pipeline = start().io_context(|| "cannot start the threads that write".to_owned())?;
        Ok((plain, pipeline))
    }

    /// Waits until all is written and synced.
    ///
    /// # Errors
    /// The one nearest to the disk, as it is the cause of the others.
    pub(crate) fn finish(self) -> Result<Written> {
        let compressed = self.compressor.join().map_err(|_| panicked())?;
        let written = self.writer.join().map_err(|_| panicked())?;
        match (compressed, written) {
            // A pipe that broke is what a thread sees of a failure elsewhere.
            (Err(error), Err(broken)) if broken.kind() == io::ErrorKind::BrokenPipe => Err(error),
            (_, Err(error)) | (Err(error), _) => Err(error),
            (Ok(()), Ok(written)) => Ok(written),
        }
        .io_context(|| "cannot write the archive".to_owned())
    }
}

fn panicked() -> Error {
    Error::new(
        ErrorKind::Internal,
        "a thread that writes the archive ended abruptly",
    )
}

fn pipe() -> (Pipe, Receiver<Message>) {
    let (sender, receiver) = sync_channel(WAITING_CHUNKS);
    let pipe = Pipe {
        sender,
        chunk: Vec::with_capacity(CHUNK_BYTES),
    };
    (pipe, receiver)
}

impl Pipe {
    /// Says that all was written. A pipe that is dropped without it fails the other end.
    ///
    /// # Errors
    /// `BrokenPipe` when the other end has failed.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Message::End)
    }

    fn send(&self, message: Message) -> io::Result<()> {
        let sent = self.sender.send(message);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.send(Message::Data(chunk))
    }
}

/// Gives every chunk to `take`, up to the end.
fn receive(
    receiver: &Receiver<Message>,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match receiver.recv() {
            Ok(Message::Data(chunk)) => take(&chunk)?,
            Ok(Message::End) => return Ok(()),
            Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

fn compress(
    input: &Receiver<Message>,
    mut output: Pipe,
    compression: Compression,
    level: u32,
) -> io::Result<()> {
    let output = match compression {
        Compression::Zstd => {
            let level = i32::try_from(level).unwrap_or(i32::MAX);
            let mut encoder = zstd::Encoder::new(output, level)?;
            encoder.include_checksum(true)?;
            encoder.multithread(workers())?;
            encoder.set_parameter(CParameter::JobSize(JOB_BYTES))?;
            receive(input, |chunk| encoder.write_all(chunk))?;
            encoder.finish()?
        }
        Compression::Gzip => {
            let level = flate2::Compression::new(level);
            let mut encoder = flate2::write::GzEncoder::new(output, level);
            receive(input, |chunk| encoder.write_all(chunk))?;
            encoder.finish()?
        }
        Compression::None => {
            receive(input, |chunk| output.write_all(chunk))?;
            output
        }
    };
    output.finish()
}

fn workers() -> u32 {
    let available = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(available).unwrap_or(1)
}

fn write(mut file: File, input: &Receiver<Message>) -> io::Result<Written> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut begun = 0;
    receive(input, |chunk| {
        hash.update(chunk);
        file.write_all(chunk)?;
        bytes += chunk.len() as u64;
        if bytes - begun >= WRITEBACK_BYTES {
            platform::begin_writeback(&file, begun..bytes);
            begun = bytes;
        }
        Ok(())
    })?;
    file.sync_all()?;
    Ok(Written {
        bytes,
        sha256: hex::encode(hash.finalize()),
    })
}
