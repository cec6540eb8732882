//! A session with the server, led through a `psql` that lives as long as it does.
//!
//! Statements go in by its standard input, so they stand in no argument list. After each, `psql` prints a line with a
//! tag that nobody can guess, which ends the answer and tells whether the statement was refused.

use diy_backup_core::{Control, Error, ErrorKind, Running};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use crate::failure::{self, Failure, Refusal};
use crate::script::copy_uncommitted;
use crate::server::Server;
use crate::sql;

/// Nothing that a schema of the database defines may stand in for what the catalog defines. And no limit that was set for
/// the role or the database, as sites do against hanging requests, may end what takes its time or waits for a window: as
/// far as the server knows them.
const PREPARE_SESSION: &str = "SELECT pg_catalog.set_config('search_path', 'pg_catalog', false) UNION ALL \
    SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout', \
    'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout') AND setting <> '0'";

/// An open session. Dropping it ends `psql`, and the server rolls back what was not committed.
#[derive(Debug)]
pub(crate) struct Psql {
    running: Option<Running>,
    /// Gone once a script has broken off.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    control: Control,
    tag: String,
}

impl Psql {
    /// Logs in to `database`.
    pub(crate) async fn open(
        server: &Server,
        database: &str,
        control: &Control,
    ) -> diy_backup_core::Result<Self> {
        let tool = server
            .tool("psql", database)
            .args(["-X", "-q", "-A", "-t", "--no-password"])
            .args(["-v", "ON_ERROR_STOP=0", "-v", "VERBOSITY=terse"])
            .env("PGCLIENTENCODING", "UTF8");
        let mut running = tool.spawn(control)?;
        let (Some(input), Some(output)) = (running.take_stdin(), running.take_stdout()) else {
            return Err(Error::new(ErrorKind::Internal, "psql has no pipes"));
        };
        let mut session = Self {
            running: Some(running),
            input: Some(input),
            output: BufReader::new(output),
            control: control.clone(),
            tag: format!("-- {:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
        };
        match session.run(PREPARE_SESSION).await {
            Ok(_) => Ok(session),
            Err(Failure::Lost(error)) => Err(failure::cannot_log_in(server, database, error)),
            Err(refused) => Err(refused.doing("begin a session")),
        }
    }

    /// Runs one statement, or several parted by `\;` that go to the server as one message, and ignores what it returns.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        self.run(sql).await.map(drop)
    }

    /// Runs a query and returns its rows, each read as a JSON object with a key for each column.
    pub(crate) async fn query<T: DeserializeOwned>(
        &mut self,
        sql: &str,
    ) -> Result<Vec<T>, Failure> {
        self.rows(&as_json(sql)).await
    }

    /// Like [`query`](Self::query), for statements whose last returns JSON objects by itself.
    pub(crate) async fn rows<T: DeserializeOwned>(&mut self, sql: &str) -> Result<Vec<T>, Failure> {
        let lines = self.run(sql).await?;
        lines
            .iter()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line))
            .collect::<Result<_, _>>()
            .map_err(|error| {
                let message = "psql has answered something else than what was asked for";
                Failure::Lost(Error::new(ErrorKind::Database, message).with_source(error))
            })
    }

    /// Runs a query that has exactly one row.
    pub(crate) async fn one<T: DeserializeOwned>(&mut self, sql: &str) -> Result<T, Failure> {
        let mut rows = self.query(sql).await?;
        if let (Some(row), true) = (rows.pop(), rows.is_empty()) {
            return Ok(row);
        }
        let message = "psql has answered another number of rows than one";
        Err(Failure::Lost(Error::new(ErrorKind::Database, message)))
    }

    /// Feeds in what `pg_restore --single-transaction` writes, up to its `COMMIT`. The first statement that fails ends
    /// the session.
    pub(crate) async fn feed(
        &mut self,
        script: impl AsyncRead + Unpin + Send,
    ) -> Result<(), Failure> {
        let control = self.control.clone();
        let closing = self.closing();
        let Some(mut input) = self.input.take() else {
            return Err(self.lost().await);
        };
        let (output, tag) = (&mut self.output, &self.tag);
        // When the script breaks off, perhaps within the rows of a table, `input` is dropped: psql sees the end and ends.
        let write = async move {
            input.write_all(b"\\set ON_ERROR_STOP 1\n").await?;
            copy_uncommitted(script, &mut input).await?;
            input.write_all(b"\n\\unset ON_ERROR_STOP\n").await?;
            input.write_all(closing.as_bytes()).await?;
            input.flush().await?;
            Ok::<_, std::io::Error>(input)
        };
        // What the script's own queries print is of no interest, but must not fill the pipe.
        let both = async { tokio::join!(write, read_answer(output, tag, Keep::Nothing)) };
        let (written, answer) = tokio::select! {
            biased;
            () = control.cancelled() => return Err(self.lost().await),
            both = both => both,
        };
        match (written, answer) {
            (Ok(input), Ok(Some(answer))) => {
                self.input = Some(input);
                answer.into_result().map(drop)
            }
            (Err(error), Ok(_)) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                let message = "cannot hand over what pg_restore writes";
                Err(Failure::Lost(Error::io(message, error)))
            }
            _ => Err(self.lost().await),
        }
    }

    /// Ends the session in order.
    pub(crate) async fn close(mut self) {
        if let Some(running) = self.running.take() {
            drop(self.input);
            drop(self.output);
            if let Err(error) = running.wait().await {
                tracing::debug!(%error, "psql ended badly, with nothing left to do");
            }
        }
    }

    async fn run(&mut self, sql: &str) -> Result<Vec<String>, Failure> {
        let request = format!("{sql}\n;\n{}", self.closing());
        let control = self.control.clone();
        let Some(input) = &mut self.input else {
            return Err(self.lost().await);
        };
        let exchange = async {
            input.write_all(request.as_bytes()).await?;
            input.flush().await?;
            read_answer(&mut self.output, &self.tag, Keep::Lines).await
        };
        let answer = tokio::select! {
            biased;
            () = control.cancelled() => return Err(self.lost().await),
            answer = exchange => answer,
        };
        match answer {
            Ok(Some(answer)) => answer.into_result(),
            Ok(None) | Err(_) => Err(self.lost().await),
        }
    }

    fn closing(&self) -> String {
        let tag = &self.tag;
        format!("\\echo '{tag}' :ERROR :SQLSTATE\n\\echo :LAST_ERROR_MESSAGE\n\\echo '{tag}' end\n")
    }

    /// Why `psql` has ended. Its last words on standard error say so.
    async fn lost(&mut self) -> Failure {
        self.input = None;
        let ended = match self.running.take() {
            Some(running) => running.wait().await,
            None => return Failure::Lost(Error::new(ErrorKind::Database, "the session has ended")),
        };
        Failure::Lost(match ended {
            Err(error) => error,
            Ok(output) => {
                let message = format!("psql ended too early: {}", output.stderr_tail);
                Error::new(ErrorKind::Database, message)
            }
        })
    }
}

/// A query whose rows come as JSON objects, one on a line: no value can be mistaken for the end of a column or row.
pub(crate) fn as_json(query: &str) -> String {
    format!("SELECT row_to_json(answer) FROM ({query}) AS answer")
}

/// Several statements as one message to the server.
pub(crate) fn batch<S: AsRef<str>>(statements: &[S]) -> String {
    let texts: Vec<&str> = statements.iter().map(AsRef::as_ref).collect();
    texts.join("\n\\; ")
}

/// Sets a parameter for the current transaction.
pub(crate) fn set_local(name: &str, value: &str) -> String {
    format!("SET LOCAL {name} = {}", sql::literal(value))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Lines,
    Nothing,
}

#[derive(Debug)]
struct Answer {
    lines: Vec<String>,
    refusal: Option<Refusal>,
}

impl Answer {
    fn into_result(self) -> Result<Vec<String>, Failure> {
        match self.refusal {
            None => Ok(self.lines),
            Some(refusal) => Err(Failure::Refused(refusal)),
        }
    }
}

/// Reads up to the closing lines; `None` when the output ends before them.
async fn read_answer(
    output: &mut BufReader<ChildStdout>,
    tag: &str,
    keep: Keep,
) -> std::io::Result<Option<Answer>> {
    let mut lines = Vec::new();
    let status = loop {
        let Some(line) = read_line(output).await? else {
            return Ok(None);
        };
        if let Some(status) = line.strip_prefix(tag) {
            break status.trim().to_owned();
        }
        if keep == Keep::Lines {
            lines.push(line);
        }
    };
    let mut message = Vec::new();
    loop {
        let Some(line) = read_line(output).await? else {
            return Ok(None);
        };
        if line.starts_with(tag) {
            break;
        }
        message.push(line);
    }
    let refusal = match status.split_once(' ') {
        Some(("false", _)) => None,
        Some((_, sqlstate)) => Some(Refusal {
            sqlstate: sqlstate.to_owned(),
            message: message.join(" "),
        }),
        None => Some(Refusal {
            sqlstate: String::new(),
            message: format!("psql has answered {status:?}"),
        }),
    };
    Ok(Some(Answer { lines, refusal }))
}

async fn read_line(output: &mut BufReader<ChildStdout>) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    if output.read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}
