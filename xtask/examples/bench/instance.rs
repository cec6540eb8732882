//! The Bitbucket that is backed up, and the server that it is restored into.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use diy_backup_testkit::home::{DATABASE_EXCLUSIONS, EXCLUSIONS, Names};
use diy_backup_testkit::tree::Exclusions;
use diy_backup_testkit::{
    Application, GeneratedHome, HomeBuilder, PrivatePostgres, RoleKind, Simulator, TreeSnapshot,
};

use crate::Result;

pub(crate) const DATABASE: &str = "bitbucket";
pub(crate) const DATABASE_USER: &str = "bitbucketuser";
pub(crate) const DATABASE_PASSWORD: &str = "secret";

/// Loose objects in each repository.
const FILES_IN_REPOSITORY: usize = 100;
const PACK_MEGABYTES: usize = 4;

/// The rows are spread over so many tables: `pg_dump` works on several tables at once, on one alone.
const TABLES: usize = 4;

/// Short, as it is the same for everybody.
const DRAIN: Duration = Duration::from_millis(200);

/// Four people with this pause push some twenty times in a second.
const PAUSE: Duration = Duration::from_millis(200);

/// How much there is to back up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) files: usize,
    pub(crate) pack_megabytes: usize,
    pub(crate) rows: usize,
}

impl Size {
    /// The same packs, more files and rows.
    pub(crate) fn times(self, scale: usize) -> Self {
        Self {
            files: self.files * scale,
            rows: self.rows * scale,
            ..self
        }
    }
}

pub(crate) struct Instance {
    pub(crate) postgres: PrivatePostgres,
    /// Where restores go.
    pub(crate) other_postgres: PrivatePostgres,
    pub(crate) simulator: Simulator,
    pub(crate) home: GeneratedHome,
    /// What the home held before the first push.
    pub(crate) contents: TreeSnapshot,
    pub(crate) database_bytes: u64,
}

impl Instance {
    pub(crate) fn start(folder: &Path, size: Size) -> Result<Self> {
        let path = folder.join("home");
        let repositories = size.files.div_ceil(FILES_IN_REPOSITORY).max(10);
        let home = HomeBuilder::new(&path)
            .repositories(u32::try_from(repositories)?)
            .files(size.files)
            // Plain copying with `rsync -a` keeps neither hard links nor extended attributes.
            .names(Names::Plain)
            .build()?;
        add_packs(&home.repositories, size.pack_megabytes)?;
        let contents = TreeSnapshot::of(&path, &outside_of_pushes())?;
        let postgres = server()?;
        postgres.create_database(DATABASE, DATABASE_USER)?;
        postgres.create_schema(DATABASE, DATABASE_USER)?;
        add_rows(&postgres, size.rows)?;
        let bytes = postgres.psql(DATABASE, "SELECT pg_database_size(current_database());")?;
        let simulator = Simulator::builder()
            .context_path("/bitbucket")
            .credentials("backup", "secret")
            .drain(DRAIN)
            .home(&path)
            .database(Arc::new(postgres.rows(DATABASE)))
            .pause(PAUSE)
            .start_blocking()?;
        Ok(Self {
            postgres,
            other_postgres: server()?,
            simulator,
            home,
            contents,
            database_bytes: bytes.trim().parse()?,
        })
    }

    pub(crate) fn application(&self) -> Result<Arc<Application>> {
        Ok(self.simulator.application().ok_or("nobody is pushing")?)
    }
}

/// Everything of a home that a backup holds and that people do not change here.
pub(crate) fn outside_of_pushes() -> Exclusions {
    let pushes: &[&str] = &[
        "/shared/data/repositories/*/pushes/",
        "/shared/data/repositories/*/pushes.head",
    ];
    Exclusions::new(&[pushes, EXCLUSIONS, DATABASE_EXCLUSIONS].concat())
}

/// As a database server is set up whose data fits into memory, but for `fsync`: nothing here needs to last.
fn server() -> Result<PrivatePostgres> {
    let server = PrivatePostgres::builder()
        .setting("shared_buffers", "256MB")
        .setting("max_wal_size", "4GB")
        .start()?;
    server.create_role(DATABASE_USER, DATABASE_PASSWORD, RoleKind::CreateDatabase)?;
    Ok(server)
}

fn add_packs(repositories: &[PathBuf], megabytes: usize) -> Result {
    // Packs are compressed already: noise is what they look like to whoever compresses them again.
    let mut noise = File::open("/dev/urandom")?;
    let mut left = megabytes;
    let mut targets = repositories.iter().cycle();
    while left > 0 {
        let size = left.min(PACK_MEGABYTES);
        let folder = targets
            .next()
            .ok_or("there are no repositories")?
            .join("objects/pack");
        std::fs::create_dir_all(&folder)?;
        let mut file = File::create(folder.join(format!("pack-{left:040x}.pack")))?;
        std::io::copy(&mut noise.by_ref().take((size as u64) << 20), &mut file)?;
        left -= size;
    }
    Ok(())
}

/// Removes the packs of a restored home, which take more room than everything else, if there is one.
pub(crate) fn remove_packs(home: &Path) -> Result {
    let repositories = home.join("shared/data/repositories");
    if !repositories.is_dir() {
        return Ok(());
    }
    for repository in std::fs::read_dir(repositories)? {
        let packs = repository?.path().join("objects/pack");
        if packs.is_dir() {
            std::fs::remove_dir_all(packs)?;
        }
    }
    Ok(())
}

/// Rows of 1 KB of hexadecimal digits, which compress to about half.
fn add_rows(postgres: &PrivatePostgres, rows: usize) -> Result {
    for table in 1..=TABLES {
        let share = rows / TABLES + usize::from(table <= rows % TABLES);
        let sql = format!(
            "SET ROLE {DATABASE_USER};
             CREATE TABLE activity_{table} (id bigint PRIMARY KEY, author integer NOT NULL, body text NOT NULL);
             INSERT INTO activity_{table} SELECT n, n % 500,
                 (SELECT string_agg(md5(({table} * n + k)::text || 'x' || k), '') FROM generate_series(1, 32) AS k)
                 FROM generate_series(1, {share}) AS n;
             CREATE INDEX idx_activity_{table}_author ON activity_{table} (author);
             ANALYZE activity_{table};"
        );
        postgres.psql(DATABASE, &sql)?;
    }
    Ok(())
}

/// What the tables that nobody changes hold, in one line.
pub(crate) fn fingerprint(postgres: &PrivatePostgres) -> Result<String> {
    let tables: Vec<_> = (1..=TABLES)
        .map(|table| {
            format!(
                "SELECT {table} AS number, count(*), sum(hashtext(body)::bigint) FROM activity_{table}"
            )
        })
        .collect();
    let sql = format!("{} ORDER BY number;", tables.join(" UNION ALL "));
    Ok(postgres.psql(DATABASE, &sql)?.replace('\n', "; "))
}
