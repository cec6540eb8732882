//! The Bitbucket that is backed up: a PostgreSQL, a home, and people who push.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use diy_backup_testkit::{
    Application, GeneratedHome, HomeBuilder, PrivatePostgres, RoleKind, Simulator, TreeSnapshot,
};

use crate::Result;

pub(crate) const DATABASE: &str = "bitbucket";
pub(crate) const DATABASE_USER: &str = "bitbucketuser";
pub(crate) const DATABASE_PASSWORD: &str = "it's \"secret\" $HOME";
const FILES: usize = 4000;
const REPOSITORIES: u32 = 40;
const REAL_REPOSITORIES: u32 = 5;
const DRAIN: Duration = Duration::from_millis(300);

pub(crate) struct Instance {
    pub(crate) postgres: PrivatePostgres,
    pub(crate) simulator: Simulator,
    pub(crate) home: GeneratedHome,
    /// What the home held before the first push.
    pub(crate) contents: TreeSnapshot,
    pub(crate) data_store: PathBuf,
    pub(crate) data_store_contents: TreeSnapshot,
}

impl Instance {
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let (path, data_store) = (folder.join("home"), folder.join("data-store"));
        let postgres = tokio::task::spawn_blocking(start_postgres);
        let home = HomeBuilder::new(&path)
            .repositories(REPOSITORIES)
            .real_repositories(REAL_REPOSITORIES)
            .files(FILES)
            .data_store(&data_store)
            .build()?;
        let exclusions = home.exclusions();
        let contents = TreeSnapshot::of(&path, &exclusions)?;
        let data_store_contents = TreeSnapshot::of(&data_store, &exclusions)?;
        let postgres = postgres.await??;
        let simulator = Simulator::builder()
            .context_path("/bitbucket")
            .drain(DRAIN)
            .home(&path)
            .database(Arc::new(postgres.rows(DATABASE)))
            .start()
            .await?;
        Ok(Self {
            postgres,
            simulator,
            home,
            contents,
            data_store,
            data_store_contents,
        })
    }

    pub(crate) fn application(&self) -> Result<Arc<Application>> {
        Ok(self.simulator.application().ok_or("nobody is pushing")?)
    }

    /// People end their pushes before the servers go.
    pub(crate) async fn stop(self) {
        self.simulator.shutdown().await;
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.contents.entries().len();
        let repositories = self.home.repositories.len();
        writeln!(f, "REST       {}", self.simulator.base_url())?;
        writeln!(
            f,
            "database   {DATABASE} on {}:{}",
            self.postgres.host(),
            self.postgres.port()
        )?;
        writeln!(
            f,
            "home       {}, {files} entries, {repositories} repositories",
            self.home.path.display()
        )?;
        write!(f, "data store {}", self.data_store.display())
    }
}

fn start_postgres() -> diy_backup_testkit::Result<PrivatePostgres> {
    let postgres = PrivatePostgres::start()?;
    postgres.create_role(DATABASE_USER, DATABASE_PASSWORD, RoleKind::CreateDatabase)?;
    postgres.create_database(DATABASE, DATABASE_USER)?;
    postgres.create_schema(DATABASE, DATABASE_USER)?;
    Ok(postgres)
}
