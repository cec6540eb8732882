//! A dump made fit for a database of another name: without the statements that choose, create or drop a database, and
//! with definers that the server has.

use std::path::Path;

use super::definers::Definers;
use crate::tools::Flavour;
use diy_backup_core::{Error, Result};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader};

const CHUNK_BYTES: usize = 256 * 1024;

/// What lines that are looked at begin with. The values of a row stand in one line that begins with something else.
const DROPPED: [&[u8]; 8] = [
    b"USE `",
    // These need a privilege more, for tables that nobody else knows of.
    b"LOCK TABLES `",
    b"UNLOCK TABLES;",
    b"CREATE DATABASE ",
    b"DROP DATABASE ",
    b"/*!40000 DROP DATABASE ",
    // MariaDB's command against commands of the client, which MySQL's and older clients refuse; we forbid them anyhow.
    b"/*!999999\\- ",
    b"/*M!999999\\- ",
];
/// What belongs to the replication of the server that the dump comes from; the first may have many lines.
const DROPPED_STATEMENTS: [&[u8]; 3] = [
    b"SET @@GLOBAL.GTID_PURGED",
    b"SET @@SESSION.SQL_LOG_BIN",
    b"SET @MYSQLDUMP_TEMP_LOG_BIN",
];
const WITH_DEFINER: [&[u8]; 4] = [
    b"CREATE DEFINER=",
    b"/*!50013 DEFINER=",
    b"/*!50003 CREATE*/ /*!50017 DEFINER=",
    b"/*!50106 CREATE*/ /*!50117 DEFINER=",
];
/// The longest line that is rewritten, in bytes: a statement's first line, up to its definer and name.
const LOOKED_AT_BYTES: usize = 4096;

/// What a dump does not say: that the session takes its time.
fn patience(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => {
            "SET SESSION net_read_timeout = 86400, net_write_timeout = 86400, wait_timeout = 86400;\n"
        }
        Flavour::MariaDb => {
            "SET SESSION net_read_timeout = 86400, net_write_timeout = 86400, wait_timeout = 86400, max_statement_time = 0;\n"
        }
    }
}

/// Copies the dump at `path`, and returns which definers were replaced.
pub(super) async fn copy(
    path: &Path,
    flavour: Flavour,
    mut definers: Definers,
    mut to: impl AsyncWrite + Unpin,
) -> Result<Definers> {
    let reading = |error| Error::io(format!("cannot read {}", path.display()), error);
    let file = tokio::fs::File::open(path).await.map_err(reading)?;
    let copied = async {
        to.write_all(patience(flavour).as_bytes()).await?;
        let from = BufReader::with_capacity(CHUNK_BYTES, file);
        copy_lines(from, &mut definers, &mut to).await
    };
    copied
        .await
        .map_err(|error| Error::io("cannot hand the dump over to the client", error))?;
    Ok(definers)
}

async fn copy_lines(
    mut from: impl AsyncBufRead + Unpin,
    definers: &mut Definers,
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    // The beginning of the line that is being read, until it is known what kind of line it is.
    let mut head = Vec::new();
    let mut state = State::Head;
    let mut last = None;
    loop {
        let chunk = from.fill_buf().await?;
        if chunk.is_empty() {
            break;
        }
        let length = chunk.len();
        for part in chunk.split_inclusive(|&byte| byte == b'\n') {
            let ends = part.ends_with(b"\n");
            match state {
                State::Head => {
                    head.extend_from_slice(part);
                    if ends || head.len() >= LOOKED_AT_BYTES || !may_be_looked_at(&head) {
                        state = put_head(&head, definers, to).await?;
                        head.clear();
                    }
                }
                State::Kept => to.write_all(part).await?,
                State::DroppedLine | State::DroppedStatement => {}
            }
            last = part.trim_ascii_end().last().copied().or(last);
            if ends {
                if state != State::DroppedStatement || last == Some(b';') {
                    state = State::Head;
                }
                last = None;
            }
        }
        from.consume(length);
    }
    if state == State::Head {
        put_head(&head, definers, to).await?;
    }
    to.flush().await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Kept,
    DroppedLine,
    DroppedStatement,
}

fn may_be_looked_at(head: &[u8]) -> bool {
    let marks = DROPPED
        .iter()
        .chain(&DROPPED_STATEMENTS)
        .chain(&WITH_DEFINER);
    marks
        .into_iter()
        .any(|mark| head.starts_with(mark) || mark.starts_with(head))
}

async fn put_head(
    head: &[u8],
    definers: &mut Definers,
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<State> {
    if DROPPED.iter().any(|mark| head.starts_with(mark)) {
        return Ok(State::DroppedLine);
    }
    if DROPPED_STATEMENTS.iter().any(|mark| head.starts_with(mark)) {
        return Ok(State::DroppedStatement);
    }
    match WITH_DEFINER.iter().find(|mark| head.starts_with(mark)) {
        Some(mark) => {
            let rest = &head[mark.len()..];
            let after = after_account(rest);
            let account = &rest[..rest.len() - after.len()];
            to.write_all(mark).await?;
            to.write_all(definers.instead_of(account)).await?;
            to.write_all(after).await?;
        }
        None => to.write_all(head).await?,
    }
    Ok(State::Kept)
}

/// What follows `` `user`@`host` ``.
fn after_account(text: &[u8]) -> &[u8] {
    let name = |text: &[u8]| {
        let mut at = usize::from(text.first() == Some(&b'`'));
        while let Some(&byte) = text.get(at) {
            at += 1;
            if byte == b'`' {
                if text.get(at) != Some(&b'`') {
                    break;
                }
                at += 1;
            }
        }
        at
    };
    if text.first() != Some(&b'`') {
        return text;
    }
    let user = name(text);
    match text.get(user..) {
        Some([b'@', host @ ..]) if host.first() == Some(&b'`') => &host[name(host)..],
        _ => &text[user..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn copied(text: &str) -> String {
        let mut out = Vec::new();
        let from = BufReader::with_capacity(5, text.as_bytes());
        copy_lines(from, &mut Definers::default(), &mut out)
            .await
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn nothing_that_leads_to_another_database_is_left() {
        let dump = "/*M!999999\\- enable the sandbox mode */ \n-- x\n\n\
            CREATE DATABASE /*!32312 IF NOT EXISTS*/ `b` /*!40100 DEFAULT */;\n\
            /*!40000 DROP DATABASE IF EXISTS `b`*/;\nUSE `b`;\n\
            INSERT INTO `t` VALUES\n('USE `x`;'),\n('\\nUSE `y`;');\nUSE `z`;";
        let kept = "-- x\n\nINSERT INTO `t` VALUES\n('USE `x`;'),\n('\\nUSE `y`;');\n";
        assert_eq!(copied(dump).await, kept);
    }

    #[tokio::test]
    async fn replication_of_another_server_is_left_out() {
        let dump = "SET @MYSQLDUMP_TEMP_LOG_BIN = @@SESSION.SQL_LOG_BIN;\nSET @@SESSION.SQL_LOG_BIN= 0;\n\
            SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ 'a:1-5,\nb:1-3,\nc:1';\nLOCK TABLES `t` WRITE;\nkept;\nUNLOCK TABLES;\n";
        assert_eq!(copied(dump).await, "kept;\n");
    }

    #[tokio::test]
    async fn definers_become_the_one_who_restores() {
        let long = "x".repeat(9000);
        let dump = format!(
            "CREATE DEFINER=`a``b`@`%` PROCEDURE `p`()\n/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */\n\
             /*!50003 CREATE*/ /*!50017 DEFINER=`r`@`l`*/ /*!50003 TRIGGER {long}\n\
             /*!50106 CREATE*/ /*!50117 DEFINER=`r`@`l`*/ /*!50106 EVENT `e`\nDEFINER=`r`@`l`\n"
        );
        let rewritten = format!(
            "CREATE DEFINER=CURRENT_USER PROCEDURE `p`()\n/*!50013 DEFINER=CURRENT_USER SQL SECURITY DEFINER */\n\
             /*!50003 CREATE*/ /*!50017 DEFINER=CURRENT_USER*/ /*!50003 TRIGGER {long}\n\
             /*!50106 CREATE*/ /*!50117 DEFINER=CURRENT_USER*/ /*!50106 EVENT `e`\nDEFINER=`r`@`l`\n"
        );
        assert_eq!(copied(&dump).await, rewritten);
    }

    #[tokio::test]
    async fn the_rest_is_copied_byte_by_byte() {
        for text in ["", "\n", "a", "a\nb\r\n\0\n", "CREATE", "USE", "/*!5"] {
            assert_eq!(copied(text).await, text);
        }
    }
}
