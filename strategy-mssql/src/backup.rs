//! The statements that make and verify backups.

use diy_backup_core::Meter;

use crate::failure::Failure;
use crate::sql;
use crate::sqlcmd::Server;

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Everything; later differential ones are based on it.
    Full,
    /// Everything, without a trace in what differential ones are based on.
    CopyOfAll,
    /// What has changed since the latest full one.
    Differential,
}

/// A backup to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) database: &'a str,
    pub(crate) content: Content,
    pub(crate) compressed: bool,
    /// What the server's history calls it.
    pub(crate) title: &'a str,
}

impl Plan<'_> {
    /// The statement that writes the file at `path`.
    fn statement(self, path: &str) -> String {
        let content = match self.content {
            Content::Full => "",
            Content::CopyOfAll => "COPY_ONLY, ",
            Content::Differential => "DIFFERENTIAL, ",
        };
        let compression = if self.compressed { ", COMPRESSION" } else { "" };
        format!(
            "BACKUP DATABASE {} TO DISK = {} WITH {content}FORMAT, INIT, CHECKSUM{compression}, NAME = {}, STATS = 2;",
            sql::identifier(self.database),
            sql::literal(path),
            sql::literal(self.title)
        )
    }

    /// Lets the server write the file at `path`.
    pub(crate) async fn make(
        self,
        server: &Server,
        path: &str,
        meter: &Meter,
        estimated_bytes: u64,
    ) -> Result<(), Failure> {
        server
            .execute_metered(&self.statement(path), meter, estimated_bytes)
            .await
    }
}

/// Lets the server read a whole backup and compare every page with its checksum.
pub(crate) async fn verify(server: &Server, path: &str) -> Result<(), Failure> {
    let statement = format!(
        "RESTORE VERIFYONLY FROM DISK = {} WITH CHECKSUM;",
        sql::literal(path)
    );
    server.execute(&statement).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_copy_leaves_the_chain_of_others_alone() {
        let plan = |content, compressed| Plan {
            database: "a]b",
            content,
            compressed,
            title: "t's",
        };
        assert_eq!(
            plan(Content::Full, true).statement("/b/x.bak"),
            "BACKUP DATABASE [a]]b] TO DISK = N'/b/x.bak' WITH FORMAT, INIT, CHECKSUM, COMPRESSION, NAME = N't''s', STATS = 2;"
        );
        assert!(
            plan(Content::CopyOfAll, false)
                .statement("x")
                .contains("WITH COPY_ONLY, FORMAT, INIT, CHECKSUM, NAME")
        );
        assert!(
            plan(Content::Differential, false)
                .statement("x")
                .contains("WITH DIFFERENTIAL, FORMAT")
        );
    }
}
