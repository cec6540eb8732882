//! Running the site's own tools: `pg_dump`, `rsync`, and whatever a strategy needs.

mod running;
mod search_path;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use secrecy::{ExposeSecret, SecretString};
use tokio::process::Command;

use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use search_path::{is_mere_name, is_nowhere_in_path, search_path};

pub use running::{Output, OutputLine, Running};

/// What a child process is given of our environment. Anything else may hold a secret that is none of its business.
const PASSED_ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "TZ",
    "LANG",
    "LANGUAGE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SYSTEMROOT",
];

/// Marks every child process of a run, so that [`recover`](crate::recover) finds those that outlived it.
pub(crate) const RUN_MARKER: &str = "DIY_BACKUP_RUN";

/// A call of an external program, as a plan: nothing runs before [`run`](Self::run) or [`spawn`](Self::spawn).
///
/// The child gets its own process group, an environment without our secrets, and no standard input. Its argument list
/// is logged, so no secret may stand there: hand secrets over with [`secret_env`](Self::secret_env) or a private file.
/// Its standard error is always drained, and its last lines become part of the error.
#[derive(Clone)]
pub struct Tool {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    secret_env: Vec<(OsString, SecretString)>,
    directory: Option<PathBuf>,
    keeps_environment: bool,
    outlives_run: bool,
    accepted: Vec<i32>,
    package: Option<&'static str>,
}

impl Tool {
    /// The program of this name in `PATH`, or at this path.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            secret_env: Vec::new(),
            directory: None,
            keeps_environment: false,
            outlives_run: false,
            accepted: vec![0],
            package: None,
        }
    }

    /// The program `name` in `directory`, or in `PATH` when there is none.
    pub fn in_directory(directory: Option<&Path>, name: &str) -> Self {
        directory.map_or_else(
            || Self::new(name),
            |directory| Self::new(directory.join(name)),
        )
    }

    /// Names the Debian package that has the program, for the hint when it is missing.
    #[must_use]
    pub fn from_package(mut self, package: &'static str) -> Self {
        self.package = Some(package);
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable of the child.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable of the child that is never logged.
    #[must_use]
    pub fn secret_env(mut self, name: impl AsRef<OsStr>, value: &SecretString) -> Self {
        self.secret_env
            .push((name.as_ref().to_owned(), value.clone()));
        self
    }

    /// Sets the folder that the child starts in.
    #[must_use]
    pub fn current_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Hands our whole environment down: for the site's own commands alone.
    #[must_use]
    pub fn keep_environment(mut self) -> Self {
        self.keeps_environment = true;
        self
    }

    /// Says that what the program starts must live on after the run, as a server does. It does not bear the mark by which
    /// [`recover`](crate::recover) finds and kills what a dead run has left, and its standard output leads nowhere: a
    /// server that inherits it would keep the run waiting for its end.
    #[must_use]
    pub fn outlives_run(mut self) -> Self {
        self.outlives_run = true;
        self
    }

    /// Takes these exit statuses as success beside 0.
    #[must_use]
    pub fn accept_exit(mut self, statuses: &[i32]) -> Self {
        self.accepted.extend_from_slice(statuses);
        self
    }

    /// Runs the program to its end and returns what it printed, at most 64 MiB.
    ///
    /// # Errors
    /// [`ErrorKind::Tool`] when it is missing, fails or is killed; [`ErrorKind::Cancelled`] when `control` was
    /// cancelled: the process group has ended by then. Dropping the future kills the process group.
    pub async fn run(&self, control: &Control) -> Result<Output> {
        self.run_watched(control, |_| {}).await
    }

    /// Like [`run`](Self::run), and shows `watch` each line as it comes. A carriage return ends a line too.
    pub async fn run_watched(
        &self,
        control: &Control,
        watch: impl FnMut(OutputLine<'_>) + Send,
    ) -> Result<Output> {
        self.start(control, Stdio::null(), None)?
            .finish(watch)
            .await
    }

    /// Starts the program and returns at once. Its standard input is open: see [`Running`].
    ///
    /// # Errors
    /// [`ErrorKind::Tool`] when it cannot be started.
    pub fn spawn(&self, control: &Control) -> Result<Running> {
        self.start(control, Stdio::piped(), None)
    }

    /// Like [`spawn`](Self::spawn), and shows `watch` each line of standard error as it comes. `watch` is dropped when
    /// nobody has standard error open any more: at the end of the program and of what it has started.
    ///
    /// # Errors
    /// [`ErrorKind::Tool`] when it cannot be started.
    pub fn spawn_watched(
        &self,
        control: &Control,
        watch: impl FnMut(OutputLine<'_>) + Send + 'static,
    ) -> Result<Running> {
        self.start(control, Stdio::piped(), Some(Box::new(watch)))
    }

    /// The program's first line of `--version`.
    ///
    /// # Errors
    /// Like [`run`](Self::run).
    pub async fn version(&self, control: &Control) -> Result<String> {
        let output = self.clone().arg("--version").run(control).await?;
        Ok(output
            .stdout_text()
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned())
    }

    /// The program's name, without its folder.
    pub fn name(&self) -> Cow<'_, str> {
        self.program
            .file_name()
            .unwrap_or(self.program.as_os_str())
            .to_string_lossy()
    }

    fn start(
        &self,
        control: &Control,
        stdin: Stdio,
        watch_stderr: Option<running::LineWatcher>,
    ) -> Result<Running> {
        control.ensure_running()?;
        tracing::debug!(command = %self, "starting a child process");
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .stdin(stdin)
            .stdout(if self.outlives_run {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if !self.keeps_environment {
            command.env_clear();
            command.envs(std::env::vars_os().filter(|(name, _)| is_passed(name)));
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.envs(
            self.secret_env
                .iter()
                .map(|(name, value)| (name, value.expose_secret())),
        );
        match control.run_marker() {
            Some(marker) if !self.outlives_run => command.env(RUN_MARKER, marker),
            // We may be the child of a run ourselves, and hand our environment down.
            _ => command.env_remove(RUN_MARKER),
        };
        // Also where the program looks for others, and where we look for it.
        command.env("PATH", search_path());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        crate::platform::own_process_group(&mut command);
        let child = command
            .spawn()
            .map_err(|source| self.cannot_start(source))?;
        Running::new(
            self.name().into_owned(),
            child,
            control.clone(),
            self.accepted.clone(),
            watch_stderr,
        )
    }

    fn cannot_start(&self, source: std::io::Error) -> Error {
        let missing = match source.kind() {
            std::io::ErrorKind::NotFound => true,
            // So the kernel says, too, where it found nothing and may not look into a directory of PATH.
            std::io::ErrorKind::PermissionDenied => is_nowhere_in_path(&self.program),
            _ => false,
        };
        let message = if missing && is_mere_name(&self.program) {
            format!(
                "the program `{}` is in none of the directories {}",
                self.program.display(),
                search_path().to_string_lossy()
            )
        } else if missing {
            format!("the program `{}` is not there", self.program.display())
        } else {
            format!("cannot start `{}`", self.program.display())
        };
        let error = Error::new(ErrorKind::Tool, message).with_source(source);
        match self.package {
            Some(package) if missing => error.with_hint(format!(
                "Install it (on Debian and Ubuntu: `apt-get install {package}`), or put its directory into PATH."
            )),
            _ => error,
        }
    }
}

fn is_passed(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| PASSED_ENVIRONMENT.contains(&name) || name.starts_with("LC_"))
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.display())?;
        for arg in &self.args {
            write!(f, " {:?}", arg.to_string_lossy())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tool({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::CancelReason;

    fn shell(script: &str) -> Tool {
        Tool::new("/bin/sh").args(["-c", script])
    }

    #[tokio::test]
    async fn an_error_holds_the_status_and_the_last_words_on_standard_error() {
        let error = shell("echo no such table >&2; exit 3")
            .run(&Control::new())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tool);
        let text = format!("{error}");
        assert!(
            text.contains("`sh`") && text.contains('3') && text.contains("no such table"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_missing_program_names_its_package() {
        let tool = Tool::new("no-such-program-anywhere").from_package("rsync");
        let error = tool.run(&Control::new()).await.unwrap_err();
        assert!(error.hint().unwrap().contains("apt-get install rsync"));
        let text = error.to_string();
        assert!(
            text.contains("/usr/sbin") && text.contains("no-such-program-anywhere"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_secret_reaches_the_child_and_no_log() {
        let tool = shell("printf %s \"$WORD\"").secret_env("WORD", &"hunter2".into());
        assert!(!format!("{tool} {tool:?}").contains("hunter2"));
        assert_eq!(
            tool.run(&Control::new()).await.unwrap().stdout_text(),
            "hunter2"
        );
    }

    #[tokio::test]
    async fn our_own_environment_stays_with_us() {
        let output = Tool::new("/usr/bin/env")
            .run(&Control::new())
            .await
            .unwrap();
        let text = output.stdout_text();
        assert!(
            text.lines()
                .all(|line| is_passed(OsStr::new(line.split('=').next().unwrap()))),
            "{text}"
        );
    }

    #[tokio::test]
    async fn what_must_live_on_bears_no_mark_and_is_not_waited_for() {
        let control = Control::new();
        control.mark_children("0123");
        let marked = shell("echo $DIY_BACKUP_RUN").run(&control).await.unwrap();
        assert_eq!(marked.stdout_text().trim(), "0123");
        let folder = tempfile::tempdir().unwrap();
        // A server that keeps standard output open, as one does that was started in the background.
        let script = "env > environment; sleep 1000 2>&- & echo $! > server";
        let start = shell(script)
            .current_directory(folder.path())
            .keep_environment()
            .outlives_run();
        let minute = std::time::Duration::from_mins(1);
        let started = tokio::time::timeout(minute, start.run(&control)).await;
        started.expect("nobody waits for the server").unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(!read("environment").contains(RUN_MARKER));
        let server = read("server").trim().to_owned();
        let killed = std::process::Command::new("kill").arg(&server).status();
        assert!(killed.unwrap().success(), "the server lives");
    }

    #[tokio::test]
    async fn cancelling_ends_the_whole_process_group() {
        let control = Control::new();
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        shell(&format!("mkfifo {}", fifo.display()))
            .run(&control)
            .await
            .unwrap();
        // The grandchild ignores the polite signal and keeps the fifo open for writing until it is killed.
        let script = format!(
            "sh -c 'trap \"\" TERM; exec 3>{0}; echo up >&3; sleep 1000' & wait",
            fifo.display()
        );
        let running = tokio::spawn({
            let control = control.clone();
            async move { shell(&script).run(&control).await }
        });
        let mut reader = tokio::io::BufReader::new(tokio::fs::File::open(&fifo).await.unwrap());
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut reader, &mut line)
            .await
            .unwrap();
        control.cancel(CancelReason::Signal("SIGTERM"));
        let error = running.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        control.kill_children();
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut rest)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn standard_error_is_watched_while_the_program_runs() {
        let (seen, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let watch = move |line: OutputLine<'_>| seen.send(line.text.to_owned()).unwrap();
        let running = shell("echo ready >&2; read go; echo done >&2")
            .spawn_watched(&Control::new(), watch)
            .unwrap();
        assert_eq!(lines.recv().await.as_deref(), Some("ready"));
        running.wait().await.unwrap();
        assert_eq!(lines.recv().await.as_deref(), Some("done"));
        assert_eq!(lines.recv().await, None);
    }

    #[tokio::test]
    async fn output_is_watched_line_by_line() {
        let mut seen = Vec::new();
        let watch = |line: OutputLine<'_>| seen.push(line.text.to_owned());
        shell("printf 'one\\rtwo\\nthree'")
            .run_watched(&Control::new(), watch)
            .await
            .unwrap();
        assert_eq!(seen, ["one", "two", "three"]);
    }
}
