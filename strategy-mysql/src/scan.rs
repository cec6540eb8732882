//! Reading a dump from its beginning to its end.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use diy_backup_core::{Control, Error, ErrorKind, Result, ResultExt};

use crate::facts::{Database, Table};
use crate::sql;

/// What is kept of the beginning of a line, in bytes: more than a name in backticks can take.
const HEAD_BYTES: usize = 1024;
const CHUNK_BYTES: usize = 256 * 1024;

/// What there is in a dump.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scan {
    /// Lines that define a table, sequence or view, up to its name.
    definitions: BTreeSet<Vec<u8>>,
    databases: BTreeSet<Vec<u8>>,
    /// Whether it has comments, and so must have one at its end.
    commented: bool,
    completed: bool,
    /// The database that was dumped, if the dump creates it.
    pub(crate) database: Option<Database>,
    /// Whether it begins as compressed files do.
    compressed: bool,
    /// The longest statement, in bytes: a server may take none as long.
    pub(crate) longest_statement_bytes: u64,
}

/// What dump programs write last, unless they are told to write no comments, and what they begin with then, too.
const COMPLETED: &[u8] = b"-- Dump completed";
const COMMENTED: [&[u8]; 2] = [b"-- MySQL dump ", b"-- MariaDB dump "];

/// What they write last with `--skip-comments`: the statement that gives the client its last setting back.
const LAST_STATEMENTS: [&[u8]; 2] = [
    b"/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;",
    b"/*M!100616 SET NOTE_VERBOSITY=@OLD_NOTE_VERBOSITY */;",
];

/// How compressed files begin: gzip, zstd, xz and bzip2.
const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh"];

const MARKS: [&[u8]; 3] = [b"CREATE TABLE ", b"CREATE SEQUENCE ", b"/*!50001 VIEW "];

impl Scan {
    pub(crate) fn of(path: &Path, control: &Control) -> Result<Self> {
        let file = File::open(path).io_context(|| format!("cannot open {}", path.display()))?;
        Self::read(BufReader::with_capacity(CHUNK_BYTES, file), control).map_err(
            |error| match error.downcast::<Error>() {
                Ok(cancelled) => cancelled,
                Err(error) => Error::io(format!("cannot read {}", path.display()), error),
            },
        )
    }

    fn read(mut dump: impl BufRead, control: &Control) -> std::io::Result<Self> {
        let mut scan = Self::default();
        let mut line = Line::default();
        let mut statement_bytes = 0;
        loop {
            control.ensure_running().map_err(std::io::Error::other)?;
            let chunk = dump.fill_buf()?;
            if chunk.is_empty() {
                break;
            }
            if line.bytes == 0 && statement_bytes == 0 && scan.longest_statement_bytes == 0 {
                scan.compressed |= COMPRESSED.iter().any(|magic| chunk.starts_with(magic));
            }
            let length = chunk.len();
            for part in chunk.split_inclusive(|&byte| byte == b'\n') {
                line.add(part);
                if part.ends_with(b"\n") {
                    statement_bytes += line.bytes;
                    scan.take(&line);
                    if line.ends_statement() {
                        scan.longest_statement_bytes =
                            scan.longest_statement_bytes.max(statement_bytes);
                        statement_bytes = 0;
                    }
                    line = Line::default();
                }
            }
            dump.consume(length);
        }
        if line.bytes > 0 {
            statement_bytes += line.bytes;
            scan.take(&line);
        }
        scan.longest_statement_bytes = scan.longest_statement_bytes.max(statement_bytes);
        Ok(scan)
    }

    fn take(&mut self, line: &Line) {
        let head = line.head.trim_ascii_end();
        if head.is_empty() {
            return;
        }
        let begins = |marks: &[&[u8]]| marks.iter().any(|mark| head.starts_with(mark));
        self.commented |= begins(&COMMENTED);
        self.completed =
            head.starts_with(COMPLETED) || (!self.commented && begins(&LAST_STATEMENTS));
        if let Some(name) = head.strip_prefix(b"USE ") {
            self.databases.insert(name.to_vec());
        }
        if let Some(options) = head.strip_prefix(b"CREATE DATABASE ") {
            self.database = created(&String::from_utf8_lossy(options));
        }
        for mark in MARKS {
            if let Some(name) = head.strip_prefix(mark) {
                self.definitions.insert([mark, first_name(name)].concat());
            }
        }
    }

    /// Fails unless the dump has its end.
    pub(crate) fn ensure_completed(&self) -> Result<()> {
        if self.completed {
            return Ok(());
        }
        if self.compressed {
            let message =
                "the dump of the database is compressed, and only a plain one can be restored";
            return Err(Error::new(ErrorKind::Unsupported, message).with_hint(
                "Unpack the backup, decompress the dump in `bitbucket-db` (for example with `gunzip`), pack it again, and restore that.",
            ));
        }
        let message = "the dump is cut off: it ends neither with `-- Dump completed` nor with the statement that dump programs write last";
        Err(Error::new(ErrorKind::Damaged, message).with_hint(
            "A dump made with `--compact` has no end that could be told. If you know that it is whole, unpack the backup and run it by hand: `mysql NAME < bitbucket-db/…`, or add a last line `-- Dump completed` to it and pack it again.",
        ))
    }

    /// Fails if it is one of several databases.
    pub(crate) fn ensure_one_database(&self) -> Result<()> {
        if self.databases.len() <= 1 {
            return Ok(());
        }
        let message = format!("the dump holds {} databases", self.databases.len());
        Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("Restore it by hand with the client, or dump Bitbucket's database alone."))
    }

    /// Fails if one of `tables` is not in the dump.
    pub(crate) fn ensure_holds(&self, tables: &[Table]) -> Result<()> {
        let missing: Vec<&Table> = tables
            .iter()
            .filter(|table| !self.definitions.contains(&definition_of(table)))
            .collect();
        let Some(first) = missing.first() else {
            return Ok(());
        };
        let message = format!(
            "the dump lacks {} of {} tables, {:?} among them",
            missing.len(),
            tables.len(),
            first.name
        );
        Err(Error::new(ErrorKind::Damaged, message))
    }
}

/// Reads ``/*!32312 IF NOT EXISTS*/ `b` /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin */;``.
fn created(statement: &str) -> Option<Database> {
    // The name may hold anything, so reading begins after it.
    let (_, options) = statement.rsplit_once('`')?;
    let value = |keyword: &str| {
        let (_, rest) = options.split_once(keyword)?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        Some(rest[..end.unwrap_or(rest.len())].to_owned())
    };
    Some(Database {
        charset: value("CHARACTER SET ")?,
        collation: value("COLLATE ").unwrap_or_default(),
    })
}

fn definition_of(table: &Table) -> Vec<u8> {
    let mark = match table {
        table if table.is_view() => MARKS[2],
        table if table.is_sequence() => MARKS[1],
        _ => MARKS[0],
    };
    let quoted = sql::identifier(&table.name);
    // A line ends with the first newline in a name.
    let line = quoted.split('\n').next().unwrap_or_default();
    [mark, first_name(line.as_bytes())].concat()
}

/// A name in backticks at the beginning of `text`, or what there is of it.
fn first_name(text: &[u8]) -> &[u8] {
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte == b'`' {
            if text.get(at) != Some(&b'`') {
                break;
            }
            at += 1;
        }
    }
    text.get(..at).unwrap_or(text).trim_ascii_end()
}

#[derive(Debug, Default)]
struct Line {
    head: Vec<u8>,
    tail: Option<u8>,
    bytes: u64,
}

impl Line {
    fn add(&mut self, part: &[u8]) {
        let room = HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(&part[..part.len().min(room)]);
        self.bytes += part.len() as u64;
        if let Some(&last) = part.trim_ascii_end().last() {
            self.tail = Some(last);
        }
    }

    fn ends_statement(&self) -> bool {
        self.tail == Some(b';')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Scan {
        // Small pieces, as the end of a buffer may be anywhere.
        Scan::read(
            BufReader::with_capacity(7, text.as_bytes()),
            &Control::new(),
        )
        .unwrap()
    }

    fn table(name: &str, kind: &str) -> Table {
        let json = serde_json::json!({"name": name, "kind": kind, "engine": "InnoDB", "bytes": 0});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn tables_sequences_and_views_are_found_by_their_whole_names() {
        let dump = "CREATE TABLE `a``b` (\n);\nCREATE TABLE `long\nname` (\n);\nCREATE SEQUENCE `s` start with 1;\n\
            /*!50001 VIEW `v` AS select 1 */;\n-- Dump completed on 2026-01-01\n";
        let scan = scan(dump);
        scan.ensure_completed().unwrap();
        let there = [
            table("a`b", "BASE TABLE"),
            table("long\nname", "BASE TABLE"),
            table("s", "SEQUENCE"),
            table("v", "VIEW"),
        ];
        scan.ensure_holds(&there).unwrap();
        for absent in [
            table("a", "BASE TABLE"),
            table("v", "BASE TABLE"),
            table("s2", "SEQUENCE"),
        ] {
            assert_eq!(
                scan.ensure_holds(&[absent]).unwrap_err().kind(),
                ErrorKind::Damaged
            );
        }
    }

    #[test]
    fn a_dump_that_is_cut_off_anywhere_is_damage() {
        let whole = "INSERT INTO `a` VALUES\n(1,'-- Dump completed'),\n(2,'x');\n\n-- Dump completed on 2026-01-01  1:02:03\n";
        scan(whole).ensure_completed().unwrap();
        let end = whole.rfind("-- Dump").unwrap() + 17;
        for length in 0..end {
            let error = scan(&whole[..length]).ensure_completed().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{length}");
        }
    }

    #[test]
    fn a_dump_without_comments_ends_with_its_last_statement() {
        let mysql = "/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;\nINSERT INTO `a` VALUES (1);\n\
            /*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;\n/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;";
        let mariadb = "/*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY, NOTE_VERBOSITY=0 */;\nINSERT INTO `a` VALUES (1);\n\
            /*M!100616 SET NOTE_VERBOSITY=@OLD_NOTE_VERBOSITY */;";
        for whole in [mysql, mariadb] {
            scan(whole).ensure_completed().unwrap();
            scan(&format!("{whole}\n\n")).ensure_completed().unwrap();
            for length in 0..whole.len() {
                let error = scan(&whole[..length]).ensure_completed().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Damaged, "{length}");
                assert!(error.hint().unwrap().contains("by hand"));
            }
        }
    }

    #[test]
    fn a_dump_that_creates_its_database_says_how_texts_are_stored_there() {
        let found = |dump| {
            scan(dump)
                .database
                .map(|found| (found.charset, found.collation))
        };
        let both = "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `b COLLATE x` /*!40100 DEFAULT CHARACTER SET latin1 COLLATE latin1_bin */ /*!80016 DEFAULT ENCRYPTION='N' */;\n";
        assert_eq!(
            found(both),
            Some(("latin1".to_owned(), "latin1_bin".to_owned()))
        );
        let one = "CREATE DATABASE `b` /*!40100 DEFAULT CHARACTER SET utf8mb3 */;\n";
        assert_eq!(found(one), Some(("utf8mb3".to_owned(), String::new())));
        assert_eq!(
            found("INSERT INTO `a` VALUES ('CREATE DATABASE `b`');\n"),
            None
        );
    }

    #[test]
    fn a_compressed_dump_is_not_called_damaged() {
        let dump = BufReader::new(&b"\x1f\x8b\x08\x00\nabc"[..]);
        let scan = Scan::read(dump, &Control::new()).unwrap();
        let error = scan.ensure_completed().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_statement_of_many_lines_is_measured_as_a_whole() {
        let dump = "SET x;\nINSERT INTO `a` VALUES\n(1,'y;'),\n(2,'x');\n-- Dump completed\n";
        let insert = "INSERT INTO `a` VALUES\n(1,'y;'),\n(2,'x');\n";
        assert_eq!(scan(dump).longest_statement_bytes, insert.len() as u64);
    }

    #[test]
    fn several_databases_are_refused() {
        scan("USE `a`;\nUSE `a`;\n").ensure_one_database().unwrap();
        let error = scan("USE `a`;\nUSE `b`;\n")
            .ensure_one_database()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
