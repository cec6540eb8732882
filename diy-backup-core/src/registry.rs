//! Which strategies there are, by the names that a configuration chooses them by.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::builtin;
use crate::config::{BackupSettings, InstanceSettings, Section};
use crate::error::{Error, ErrorKind, Result};
use crate::strategy::{ArchiveStrategy, DbStrategy, ElasticsearchStrategy, HomeStrategy};

/// What a strategy is made from: its own section of the configuration, and what is common to all.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StrategyConfig {
    /// The strategy's section, without the key `strategy`.
    pub section: Section,
    /// The section `[instance]`.
    pub instance: InstanceSettings,
    /// The section `[backup]`.
    pub backup: BackupSettings,
}

impl StrategyConfig {
    /// A strategy's section with what is common to all.
    pub fn new(section: Section, instance: InstanceSettings, backup: BackupSettings) -> Self {
        Self {
            section,
            instance,
            backup,
        }
    }
}

type Factory<T> = Box<dyn Fn(&StrategyConfig) -> Result<Arc<T>> + Send + Sync>;

/// The strategies that a configuration can choose from. There is no global one: a program makes its own.
pub struct Registry {
    home: BTreeMap<String, Factory<dyn HomeStrategy>>,
    database: BTreeMap<String, Factory<dyn DbStrategy>>,
    elasticsearch: BTreeMap<String, Factory<dyn ElasticsearchStrategy>>,
    archive: BTreeMap<String, Factory<dyn ArchiveStrategy>>,
}

impl Registry {
    /// A registry with what needs no tool: `none` for home, database and archive, and the database `internal`.
    pub fn with_builtins() -> Self {
        let mut registry = Self {
            home: BTreeMap::new(),
            database: BTreeMap::new(),
            elasticsearch: BTreeMap::new(),
            archive: BTreeMap::new(),
        };
        builtin::register(&mut registry);
        registry
    }

    /// Adds a home strategy called `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is one of that name.
    pub fn register_home<F>(&mut self, name: &str, factory: F) -> Result<()>
    where
        F: Fn(&StrategyConfig) -> Result<Arc<dyn HomeStrategy>> + Send + Sync + 'static,
    {
        add(&mut self.home, "home", name, Box::new(factory))
    }

    /// Adds a database strategy called `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is one of that name.
    pub fn register_database<F>(&mut self, name: &str, factory: F) -> Result<()>
    where
        F: Fn(&StrategyConfig) -> Result<Arc<dyn DbStrategy>> + Send + Sync + 'static,
    {
        add(&mut self.database, "database", name, Box::new(factory))
    }

    /// Adds a search strategy called `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is one of that name.
    pub fn register_elasticsearch<F>(&mut self, name: &str, factory: F) -> Result<()>
    where
        F: Fn(&StrategyConfig) -> Result<Arc<dyn ElasticsearchStrategy>> + Send + Sync + 'static,
    {
        add(
            &mut self.elasticsearch,
            "elasticsearch",
            name,
            Box::new(factory),
        )
    }

    /// Adds an archive strategy called `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is one of that name.
    pub fn register_archive<F>(&mut self, name: &str, factory: F) -> Result<()>
    where
        F: Fn(&StrategyConfig) -> Result<Arc<dyn ArchiveStrategy>> + Send + Sync + 'static,
    {
        add(&mut self.archive, "archive", name, Box::new(factory))
    }

    /// Makes the home strategy that its section asks for.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with file and line: no such strategy, or a section that it cannot use.
    pub fn home(&self, name: &str, config: &StrategyConfig) -> Result<Arc<dyn HomeStrategy>> {
        make(&self.home, name, config)
    }

    /// Makes the database strategy that its section asks for.
    ///
    /// # Errors
    /// Like [`home`](Self::home).
    pub fn database(&self, name: &str, config: &StrategyConfig) -> Result<Arc<dyn DbStrategy>> {
        make(&self.database, name, config)
    }

    /// Makes the search strategy that its section asks for.
    ///
    /// # Errors
    /// Like [`home`](Self::home).
    pub fn elasticsearch(
        &self,
        name: &str,
        config: &StrategyConfig,
    ) -> Result<Arc<dyn ElasticsearchStrategy>> {
        make(&self.elasticsearch, name, config)
    }

    /// Makes the archive strategy that its section asks for.
    ///
    /// # Errors
    /// Like [`home`](Self::home).
    pub fn archive(&self, name: &str, config: &StrategyConfig) -> Result<Arc<dyn ArchiveStrategy>> {
        make(&self.archive, name, config)
    }
}

fn add<T: ?Sized>(
    map: &mut BTreeMap<String, Factory<T>>,
    role: &str,
    name: &str,
    factory: Factory<T>,
) -> Result<()> {
    if map.contains_key(name) {
        let message = format!("there are two {role} strategies called `{name}`");
        return Err(Error::new(ErrorKind::Config, message).with_hint(
            "A strategy's name is unique: register the other one under a name of its own.",
        ));
    }
    map.insert(name.to_owned(), factory);
    Ok(())
}

fn make<T: ?Sized>(
    map: &BTreeMap<String, Factory<T>>,
    name: &str,
    config: &StrategyConfig,
) -> Result<Arc<T>> {
    let factory = map.get(name).ok_or_else(|| {
        let known = map
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        config.section.error_at_key(
            "strategy",
            &format!("is `{name}`, which is none of: {known}"),
        )
    })?;
    factory(config)
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("home", &self.home.keys())
            .field("database", &self.database.keys())
            .field("elasticsearch", &self.elasticsearch.keys())
            .field("archive", &self.archive.keys())
            .finish()
    }
}
