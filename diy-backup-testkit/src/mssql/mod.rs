//! A double of Microsoft SQL Server behind a double of `sqlcmd`.
//!
//! It is no database: it keeps rows as a list of changes, in which a position is what the server calls an LSN. What it
//! imitates is what backups and restores meet: full, copy-only and differential backups and what they are based on,
//! headers, checksums, permissions, states and names of databases, files that another database uses, and the numbers of
//! the messages it refuses with. A statement that it does not know is a syntax error.
//!
//! A program named `sqlcmd` is needed beside the tests, as Cargo builds examples:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     diy_backup_testkit::mssql::sqlcmd()
//! }
//! ```

mod engine;
mod media;
mod refusal;
mod select;
mod sqlcmd;
mod state;
mod syntax;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use async_trait::async_trait;
use tempfile::TempDir;

use crate::Pushes;
use crate::application::RowSink;
use crate::error::{Error, ErrorKind, IoContext, Result};
use state::{Base, Database, DatabaseFile, State, Store, change, rows_of};

/// The shared folder, as the server names it.
const SHARED: &str = r"D:\Backup of all";
const DATA: &str = r"D:\Data\";
const LOG: &str = r"E:\Log\";

/// The program `sqlcmd`, over the double in whose folder it stands: it is called by that path.
pub fn sqlcmd() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let folder = args
        .first()
        .and_then(|program| Path::new(program).parent())
        .unwrap_or(Path::new("."));
    ExitCode::from(sqlcmd::main(folder, args.get(1..).unwrap_or_default()))
}

/// A server double. Its folder goes with this value.
#[derive(Debug)]
pub struct SqlServerDouble {
    folder: TempDir,
}

/// Which `sqlcmd` there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlcmdFlavour {
    /// The one of the ODBC driver 17, whose `-N` takes no value.
    Odbc17,
    /// The one of the ODBC driver 18.
    Odbc18,
    /// The one written in Go.
    Go,
}

/// What the login may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlPermission {
    /// Create and restore databases, and look at backups.
    CreateAnyDatabase,
    /// Rename and drop databases of others.
    AlterAnyDatabase,
    /// Back up databases.
    BackupDatabase,
    /// Use databases of others.
    Connect,
    /// See what others have made in their databases.
    ViewDefinition,
}

impl SqlPermission {
    fn as_str(self) -> &'static str {
        match self {
            Self::CreateAnyDatabase => "CREATE ANY DATABASE",
            Self::AlterAnyDatabase => "ALTER ANY DATABASE",
            Self::BackupDatabase => "BACKUP DATABASE",
            Self::Connect => "CONNECT",
            Self::ViewDefinition => "VIEW DEFINITION",
        }
    }
}

impl SqlServerDouble {
    /// A SQL Server 2019 Standard without databases. `program` is an executable that calls [`sqlcmd`].
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] when there is no such program; [`ErrorKind::Io`].
    pub fn new(program: &Path) -> Result<Self> {
        if !program.is_file() {
            return Err(Error::new(
                ErrorKind::Missing,
                format!("the double of sqlcmd is not built: {}", program.display()),
            )
            .with_hint("`cargo test` builds it as an example; `--test` alone does not."));
        }
        let folder = tempfile::Builder::new().prefix("mssql-double-").tempdir();
        let folder = folder.doing("make a folder in", &std::env::temp_dir())?;
        let shared = folder.path().join("shared");
        std::fs::create_dir(&shared).doing("create", &shared)?;
        let link = folder.path().join("sqlcmd");
        std::os::unix::fs::symlink(program, &link).doing("create", &link)?;
        let state = State {
            address: "db.example.com,1444".to_owned(),
            flavour: "18".to_owned(),
            version: "15.0.4261.1".to_owned(),
            edition: "Standard Edition (64-bit)".to_owned(),
            engine: 2,
            username: "bit]bucket'user".to_owned(),
            password: "pä$(ss) 'w]ö\"rd".to_owned(),
            trusted: false,
            unknown_certificate: false,
            permissions: [
                "CREATE ANY DATABASE",
                "ALTER ANY DATABASE",
                "BACKUP DATABASE",
                "CONNECT",
                "VIEW DEFINITION",
            ]
            .map(str::to_owned)
            .into(),
            drives: vec![(SHARED.to_owned(), shared)],
            data_path: DATA.to_owned(),
            log_path: LOG.to_owned(),
            databases: std::collections::BTreeMap::new(),
            numbers: 0,
        };
        Store::create(folder.path(), &state)?;
        Ok(Self { folder })
    }

    /// The folder of `sqlcmd`.
    pub fn tools(&self) -> &Path {
        self.folder.path()
    }

    /// The host that it answers as.
    pub fn host(&self) -> &'static str {
        "db.example.com"
    }

    /// The port that it answers at.
    pub fn port(&self) -> u16 {
        1444
    }

    /// The login.
    pub fn username(&self) -> &'static str {
        "bit]bucket'user"
    }

    /// Its password.
    pub fn password(&self) -> &'static str {
        "pä$(ss) 'w]ö\"rd"
    }

    /// The folder that the server shares, as it names it.
    pub fn server_directory(&self) -> &'static str {
        SHARED
    }

    /// The same folder, where it is.
    pub fn directory(&self) -> PathBuf {
        self.folder.path().join("shared")
    }

    /// Makes an empty database, as an administrator does.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] when there is one of that name.
    pub fn create_database(&self, name: &str) -> Result<()> {
        let mut store = Store::open(self.folder.path())?;
        if store.state.databases.contains_key(name) {
            return Err(Error::new(
                ErrorKind::Database,
                format!("there is a database {name}"),
            ));
        }
        let number = store.next_number();
        let file = |logical: String, folder: &str, extension: &str, sort: &str| DatabaseFile {
            physical: format!("{folder}{number}.{extension}"),
            logical,
            sort: sort.to_owned(),
        };
        let database = Database {
            number,
            state: "ONLINE".to_owned(),
            access: "MULTI_USER".to_owned(),
            recovery: "SIMPLE".to_owned(),
            encrypted: false,
            own: false,
            files: vec![
                file(format!("{name}'s data"), DATA, "mdf", "D"),
                file(format!("{name}_log"), LOG, "ldf", "L"),
            ],
            base: None,
        };
        store.state.databases.insert(name.to_owned(), database);
        store.save()
    }

    /// Makes the table of the live application in a database.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] when there is no such database.
    pub fn create_schema(&self, name: &str) -> Result<()> {
        add(self.folder.path(), name, &change(&["table"]))
    }

    /// Empties the table at once.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] when there is no such database.
    pub fn truncate(&self, name: &str) -> Result<()> {
        add(self.folder.path(), name, &change(&["truncate"]))
    }

    /// Adds a data file to a database.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] when there is no such database.
    pub fn add_file(&self, name: &str, logical: &str) -> Result<()> {
        self.change(name, |number, database| {
            database.files.push(DatabaseFile {
                logical: logical.to_owned(),
                physical: format!("{DATA}{number}-{}.ndf", database.files.len()),
                sort: "D".to_owned(),
            });
        })
    }

    /// Drops a database, whatever state it is in; that there is none is no error.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn drop_database(&self, name: &str) -> Result<()> {
        let mut store = Store::open(self.folder.path())?;
        if let Some(database) = store.state.databases.remove(name) {
            store.remove_content(database.number);
        }
        store.save()
    }

    /// The names of all databases, each with its state.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn databases(&self) -> Result<Vec<(String, String)>> {
        let store = Store::open(self.folder.path())?;
        let databases = store.state.databases.iter();
        Ok(databases
            .map(|(name, database)| (name.clone(), database.state.clone()))
            .collect())
    }

    /// The rows of a database; none when it has no table, or is not there or not online.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn pushes(&self, name: &str) -> Result<Option<Pushes>> {
        let store = Store::open(self.folder.path())?;
        let database = store
            .state
            .databases
            .get(name)
            .filter(|database| database.state == "ONLINE");
        Ok(database.and_then(|database| rows_of(&store.content(database.number))))
    }

    /// The place where the live application writes its rows.
    pub fn rows(&self, name: &str) -> MssqlRows {
        MssqlRows {
            folder: self.folder.path().to_owned(),
            database: name.to_owned(),
        }
    }

    /// What happens when somebody else makes a full backup of a database: differential ones are based on that one now.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] when there is no such database.
    pub fn foreign_full_backup(&self, name: &str) -> Result<()> {
        let mut store = Store::open(self.folder.path())?;
        let id = engine::new_id(&mut store);
        store.save()?;
        let content = match store.state.databases.get(name) {
            Some(database) => store.content(database.number),
            None => Vec::new(),
        };
        drop(store);
        let length = content.len() as u64;
        self.change(name, |_, database| {
            database.base = Some(Base { id, length });
        })
    }

    /// What happens when the base of differential backups is lost, as after a revert to a snapshot.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] when there is no such database.
    pub fn forget_base(&self, name: &str) -> Result<()> {
        self.change(name, |_, database| database.base = None)
    }

    /// Sets the state of a database: `ONLINE`, `OFFLINE`, `RESTORING`, `SUSPECT`.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] when there is no such database.
    pub fn set_state(&self, name: &str, state: &str) -> Result<()> {
        self.change(name, |_, database| state.clone_into(&mut database.state))
    }

    /// Encrypts a database (TDE).
    ///
    /// # Errors
    /// [`ErrorKind::Database`] when there is no such database.
    pub fn encrypt(&self, name: &str) -> Result<()> {
        self.change(name, |_, database| database.encrypted = true)
    }

    /// Makes it another release and edition, such as `("13.0.5026.0", "Express Edition (64-bit)", 4)`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn set_edition(&self, version: &str, edition: &str, engine: i64) -> Result<()> {
        self.set(|state| {
            version.clone_into(&mut state.version);
            edition.clone_into(&mut state.edition);
            state.engine = engine;
        })
    }

    /// Takes a permission from the login.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn revoke(&self, permission: SqlPermission) -> Result<()> {
        self.set(|state| {
            state.permissions.remove(permission.as_str());
        })
    }

    /// Lets the account of the program log in, without a password.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn trust_account(&self) -> Result<()> {
        self.set(|state| state.trusted = true)
    }

    /// Gives the server a certificate that nobody knows.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn sign_itself(&self) -> Result<()> {
        self.set(|state| state.unknown_certificate = true)
    }

    /// Makes `sqlcmd` another one.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn set_flavour(&self, flavour: SqlcmdFlavour) -> Result<()> {
        let name = match flavour {
            SqlcmdFlavour::Odbc17 => "17",
            SqlcmdFlavour::Odbc18 => "18",
            SqlcmdFlavour::Go => "go",
        };
        self.set(|state| name.clone_into(&mut state.flavour))
    }

    fn set(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        let mut store = Store::open(self.folder.path())?;
        change(&mut store.state);
        store.save()
    }

    fn change(&self, name: &str, change: impl FnOnce(u64, &mut Database)) -> Result<()> {
        let mut store = Store::open(self.folder.path())?;
        let database = store.state.databases.get_mut(name);
        let database = database.ok_or_else(|| no_database(name))?;
        change(database.number, database);
        store.save()
    }
}

fn no_database(name: &str) -> Error {
    Error::new(ErrorKind::Database, format!("there is no database {name}"))
}

fn add(folder: &Path, name: &str, changes: &[u8]) -> Result<()> {
    let store = Store::open(folder)?;
    let database = store
        .state
        .databases
        .get(name)
        .filter(|database| database.state == "ONLINE");
    let number = database.ok_or_else(|| no_database(name))?.number;
    store.add_content(number, changes)
}

/// The rows of the live application in one database of a [`SqlServerDouble`].
#[derive(Debug)]
pub struct MssqlRows {
    folder: PathBuf,
    database: String,
}

#[async_trait]
impl RowSink for MssqlRows {
    async fn insert(&self, push_id: &str, payload: &str) -> Result<()> {
        add(
            &self.folder,
            &self.database,
            &change(&["put", push_id, payload]),
        )
    }

    async fn update(&self, push_id: &str, payload: &str) -> Result<()> {
        add(
            &self.folder,
            &self.database,
            &change(&["put", push_id, payload]),
        )
    }

    async fn rename(&self, push_id: &str, new_id: &str) -> Result<()> {
        let store = Store::open(&self.folder)?;
        let database = store.state.databases.get(&self.database);
        let number = database.ok_or_else(|| no_database(&self.database))?.number;
        let payload = rows_of(&store.content(number)).and_then(|mut rows| rows.remove(push_id));
        let payload = payload
            .ok_or_else(|| Error::new(ErrorKind::Database, format!("there is no row {push_id}")))?;
        let changes = [
            change(&["delete", push_id]),
            change(&["put", new_id, &payload]),
        ]
        .concat();
        store.add_content(number, &changes)
    }

    async fn delete(&self, push_id: &str) -> Result<()> {
        add(&self.folder, &self.database, &change(&["delete", push_id]))
    }
}
