//! A child process that runs.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::platform::ProcessGroup;

const STDERR_LINES: usize = 20;
const LINE_BYTES: usize = 64 * 1024;
const STDOUT_BYTES: usize = 64 * 1024 * 1024;
/// How long a process group may take to end after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// A child process that was started with [`Tool::spawn`](crate::Tool::spawn). Dropping it kills its process group.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    group: ProcessGroup,
    control: Control,
    accepted: Vec<i32>,
    stderr: Option<JoinHandle<VecDeque<String>>>,
}

/// One line of a child's output, without its end.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OutputLine<'a> {
    /// The line; what is not UTF-8 is replaced.
    pub text: &'a str,
}

/// Who is shown each line of a child's standard error as it comes.
pub(super) type LineWatcher = Box<dyn FnMut(OutputLine<'_>) + Send>;

/// What a child process that ended well has printed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Output {
    /// Its exit status: 0, or one that was named acceptable.
    pub status: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// The last lines of its standard error.
    pub stderr_tail: String,
}

impl Output {
    /// Its standard output as text; what is not UTF-8 is replaced.
    pub fn stdout_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }
}

impl Running {
    pub(super) fn new(
        name: String,
        mut child: Child,
        control: Control,
        accepted: Vec<i32>,
        watch_stderr: Option<LineWatcher>,
    ) -> Result<Self> {
        let group = ProcessGroup::of(&child).ok_or_else(|| {
            Error::new(
                ErrorKind::Tool,
                format!("`{name}` ended before it could be watched"),
            )
        })?;
        let stderr = child
            .stderr
            .take()
            .map(|pipe| tokio::spawn(keep_tail(pipe, name.clone(), watch_stderr)));
        Ok(Self {
            name,
            child,
            group,
            control,
            accepted,
            stderr,
        })
    }

    /// Takes the child's standard input; dropping it closes the pipe.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Takes the child's standard output, which the caller then has to drain.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for the end and returns what is left of its output.
    ///
    /// # Errors
    /// Like [`Tool::run`](crate::Tool::run).
    pub async fn wait(self) -> Result<Output> {
        self.finish(|_| {}).await
    }

    /// Kills the process group at once and waits until the child is gone.
    pub async fn kill(mut self) {
        self.group.kill();
        let _ = self.child.wait().await;
        self.group.disarm();
    }

    pub(super) async fn finish(
        mut self,
        watch: impl FnMut(OutputLine<'_>) + Send,
    ) -> Result<Output> {
        drop(self.child.stdin.take());
        let stdout = self.child.stdout.take();
        let work = async {
            let stdout = match stdout {
                Some(pipe) => read_lines(pipe, watch).await,
                None => Ok(Vec::new()),
            };
            (stdout, self.child.wait().await)
        };
        let ended = tokio::select! {
            biased;
            () = self.control.cancelled() => None,
            ended = work => Some(ended),
        };
        let Some((stdout, status)) = ended else {
            self.end_politely().await;
            return Err(self.control.error());
        };
        let stderr_tail = self.stderr_tail().await;
        let failed = |what: String| Error::new(ErrorKind::Tool, what);
        let status = status.map_err(|error| {
            failed(format!("cannot wait for `{}`", self.name)).with_source(error)
        })?;
        self.group.disarm();
        let stdout = stdout.map_err(|error| {
            failed(format!("cannot read the output of `{}`", self.name)).with_source(error)
        })?;
        match status.code() {
            Some(code) if self.accepted.contains(&code) => Ok(Output {
                status: code,
                stdout,
                stderr_tail,
            }),
            _ => Err(failed(describe(&self.name, status, &stderr_tail))),
        }
    }

    /// SIGTERM to the group, and SIGKILL when its leader has not ended in time or the run is killed.
    async fn end_politely(&mut self) {
        self.group.terminate();
        tokio::select! {
            _ = self.child.wait() => {}
            () = tokio::time::sleep(GRACE) => {}
            () = self.control.killed() => {}
        }
        // The leader may have gone without its children.
        self.group.kill();
        let _ = self.child.wait().await;
        self.group.disarm();
    }

    async fn stderr_tail(&mut self) -> String {
        let Some(task) = self.stderr.take() else {
            return String::new();
        };
        // A grandchild may hold the pipe open for as long as it lives: the end of the child is what counts.
        let lines = tokio::time::timeout(Duration::from_secs(1), task).await;
        let lines = lines
            .ok()
            .and_then(std::result::Result::ok)
            .unwrap_or_default();
        Vec::from(lines).join("\n")
    }
}

fn describe(name: &str, status: ExitStatus, stderr_tail: &str) -> String {
    let end = match (status.code(), crate::platform::signal_of(status)) {
        (Some(code), _) => format!("failed with exit status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".to_owned(),
    };
    if stderr_tail.is_empty() {
        format!("`{name}` {end}")
    } else {
        format!("`{name}` {end}: {}", stderr_tail.replace('\n', " | "))
    }
}

async fn keep_tail(
    pipe: impl AsyncRead + Unpin,
    name: String,
    mut watch: Option<LineWatcher>,
) -> VecDeque<String> {
    let mut tail = VecDeque::with_capacity(STDERR_LINES);
    let keep = |line: OutputLine<'_>| {
        tracing::debug!(tool = %name, "{}", line.text);
        if let Some(watch) = &mut watch {
            watch(line);
        }
        if tail.len() == STDERR_LINES {
            tail.pop_front();
        }
        if !line.text.trim().is_empty() {
            tail.push_back(line.text.to_owned());
        }
    };
    let _ = split_lines(pipe, keep, |_| Ok(())).await;
    tail
}

async fn read_lines(
    pipe: impl AsyncRead + Unpin,
    watch: impl FnMut(OutputLine<'_>),
) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let collect = |chunk: &[u8]| {
        if all.len() + chunk.len() > STDOUT_BYTES {
            return Err(std::io::Error::other("it is longer than 64 MiB"));
        }
        all.extend_from_slice(chunk);
        Ok(())
    };
    split_lines(pipe, watch, collect).await?;
    Ok(all)
}

async fn split_lines(
    mut pipe: impl AsyncRead + Unpin,
    mut watch: impl FnMut(OutputLine<'_>),
    mut collect: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let count = pipe.read(&mut chunk).await?;
        collect(&chunk[..count])?;
        for &byte in &chunk[..count] {
            if matches!(byte, b'\n' | b'\r') {
                watch(OutputLine {
                    text: &String::from_utf8_lossy(&line),
                });
                line.clear();
            } else if line.len() < LINE_BYTES {
                line.push(byte);
            }
        }
        if count == 0 {
            if !line.is_empty() {
                watch(OutputLine {
                    text: &String::from_utf8_lossy(&line),
                });
            }
            return Ok(());
        }
    }
}
