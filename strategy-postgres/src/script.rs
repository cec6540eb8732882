//! What `pg_restore` writes as a script, made fit for a transaction of ours.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// How many lines of comments and settings a script begins with, at most.
const HEAD_LINES: usize = 40;

/// More than what follows the last statement of a script: comments, and the end of psql's restricted mode.
const TAIL_BYTES: usize = 4096;

/// Copies a script that `pg_restore --single-transaction` writes, without the `COMMIT` at its end: that is for the
/// caller to say. Without the one setting at its head, too, that servers before 17 do not know; it ends a session that
/// lasts too long, which no server does unless told to.
pub(crate) async fn copy_uncommitted(
    script: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut script = BufReader::new(script);
    let mut held = Vec::new();
    for _ in 0..HEAD_LINES {
        let start = held.len();
        script.read_until(b'\n', &mut held).await?;
        if held[start..].starts_with(b"SET transaction_timeout = ") {
            held.truncate(start);
        }
    }
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let count = script.read(&mut chunk).await?;
        if count == 0 {
            break;
        }
        held.extend_from_slice(&chunk[..count]);
        let ready = held.len().saturating_sub(TAIL_BYTES);
        to.write_all(&held[..ready]).await?;
        held.drain(..ready);
    }
    let commit = b"\nCOMMIT;";
    let at = held
        .windows(commit.len())
        .rposition(|part| part == commit)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the script of pg_restore has no end",
            )
        })?;
    to.write_all(&held[..at]).await?;
    to.write_all(&held[at + commit.len()..]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn copied(script: &str) -> io::Result<String> {
        let mut out = Vec::new();
        copy_uncommitted(script.as_bytes(), &mut out).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn only_the_last_commit_and_the_newer_setting_go() {
        let body = "x\nCOMMIT;\n".repeat(40_000);
        let script =
            format!("--\nSET transaction_timeout = 0;\nBEGIN;\n{body}\nCOMMIT;\n\n-- done\n");
        let expected = format!("--\nBEGIN;\n{body}\n\n-- done\n");
        assert_eq!(copied(&script).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_script_that_is_cut_off_is_an_error() {
        assert!(copied("BEGIN;\nSELECT 1;\n").await.is_err());
    }
}
