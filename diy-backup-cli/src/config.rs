//! From a configuration file to a site.

use std::path::Path;
use std::sync::Arc;

use diy_backup_core::{
    BackupSettings, ConfigSource, Error, ErrorKind, InstanceKind, InstanceSettings, Registry,
    Result, RetentionSettings, Section, Site, StrategyConfig,
};

const SECTIONS: [&str; 7] = [
    "instance",
    "backup",
    "home",
    "database",
    "elasticsearch",
    "archive",
    "retention",
];

/// Reads the configuration file at `path` and makes the site that it describes, with the strategies of `registry`.
///
/// # Errors
/// [`ErrorKind::Config`] with file and line.
pub fn load(path: &Path, registry: &Registry) -> Result<Site> {
    let mut file = Sections::read(path)?;
    let instance_section = file.required("instance")?;
    let instance: InstanceSettings = instance_section.parse()?;
    check_login(&instance, &instance_section)?;
    let backup: BackupSettings = file.required("backup")?.parse()?;
    let maker = Maker {
        instance: &instance,
        backup: &backup,
    };

    let home = maker.make(&file.required("home")?, |name, config| {
        registry.home(name, config)
    })?;
    let database = match (file.optional("database"), instance.kind) {
        (Some(section), _) => section,
        (None, InstanceKind::Mesh) => Section::from_text("database", "strategy = \"none\"")?,
        (None, _) => return Err(file.missing("database")),
    };
    let database = maker.make(&database, |name, config| registry.database(name, config))?;
    let archive = maker.make(&file.required("archive")?, |name, config| {
        registry.archive(name, config)
    })?;
    let search = file.optional("elasticsearch");
    let search = search
        .map(|section| {
            maker.make(&section, |name, config| {
                registry.elasticsearch(name, config)
            })
        })
        .transpose()?;
    let retention = file
        .optional("retention")
        .map(|section| section.parse::<RetentionSettings>())
        .transpose()?;

    let mut site = Site::new(instance, backup, home, database, archive);
    if let Some(search) = search {
        site = site.with_search(search);
    }
    if let Some(retention) = retention {
        site = site.with_retention(retention);
    }
    Ok(site)
}

/// The sections of a file that have not been used yet.
struct Sections {
    source: ConfigSource,
    sections: Vec<Section>,
}

impl Sections {
    fn read(path: &Path) -> Result<Self> {
        let source = ConfigSource::read(path)?;
        let sections = source.sections()?;
        let unknown = sections
            .iter()
            .find(|section| !SECTIONS.contains(&section.name()));
        if let Some(section) = unknown {
            let known = SECTIONS.map(|name| format!("[{name}]")).join(", ");
            return Err(section.error(&format!("is not a section of this file; there are {known}")));
        }
        Ok(Self { source, sections })
    }

    fn optional(&mut self, name: &str) -> Option<Section> {
        let index = self
            .sections
            .iter()
            .position(|section| section.name() == name)?;
        Some(self.sections.remove(index))
    }

    fn required(&mut self, name: &str) -> Result<Section> {
        self.optional(name).ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> Error {
        let path = self.source.path().display();
        Error::new(
            ErrorKind::Config,
            format!("{path}: the section [{name}] is missing"),
        )
        .with_hint("The README shows a complete configuration file.")
    }
}

struct Maker<'a> {
    instance: &'a InstanceSettings,
    backup: &'a BackupSettings,
}

impl Maker<'_> {
    fn make<T: ?Sized>(
        &self,
        section: &Section,
        make: impl FnOnce(&str, &StrategyConfig) -> Result<Arc<T>>,
    ) -> Result<Arc<T>> {
        let mut own = section.clone();
        let name = own
            .take_string("strategy")?
            .ok_or_else(|| section.error("missing field `strategy`"))?;
        make(
            &name,
            &StrategyConfig::new(own, self.instance.clone(), self.backup.clone()),
        )
    }
}

/// A Bitbucket is locked over REST, which needs a login; a Mesh node has nothing to lock.
fn check_login(instance: &InstanceSettings, section: &Section) -> Result<()> {
    if instance.kind == InstanceKind::Mesh {
        return Ok(());
    }
    let missing = [
        ("url", instance.url.is_none()),
        ("username", instance.username.is_none()),
        ("password", instance.password.is_none()),
    ];
    match missing.iter().find(|(_, missing)| *missing) {
        Some((key, _)) => Err(section.error(&format!("missing field `{key}`"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[instance]
name = "bitbucket"
url = "http://localhost:7990/bitbucket"
username = "backup"
password = { value = "p ä\"s" }

[backup]
staging = "/tmp/x/staging"
state = "/tmp/x/state"
drain-timeout = "4m"

[home]
strategy = "none"

[database]
strategy = "none"

[archive]
strategy = "tar"
directory = "/tmp/x/archives"

[retention]
keep-last = 3
"#;

    fn load_text(text: &str) -> Result<Site> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, &crate::default_registry().unwrap())
    }

    #[test]
    fn a_whole_file_makes_a_site() {
        let site = load_text(GOOD).unwrap();
        assert_eq!(site.archive.name(), "tar");
        assert_eq!(site.retention.unwrap().keep_last.get(), 3);
        assert!(!format!("{site:?}").contains("ä"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let cases = [
            (
                "name = \"bitbucket\"",
                "name = \"bit bucket\"",
                ":3:8:",
                "bit bucket",
            ),
            (
                "drain-timeout = \"4m\"",
                "drain-timeout = \"4\"",
                ":11:17:",
                "duration",
            ),
            (
                "staging = \"/tmp/x/staging\"",
                "staging = \"staging\"",
                ":9:11:",
                "absolute",
            ),
            (
                "username = \"backup\"",
                "usrname = \"backup\"",
                ":5:1:",
                "usrname",
            ),
            ("[archive]", "[archives]", ":19:2:", "archives"),
            ("strategy = \"tar\"", "strategy = \"tape\"", ":20:", "tape"),
            ("keep-last = 3", "keep-last = 0", ":24:13:", "zero"),
            (
                "password = { value = \"p ä\\\"s\" }",
                "",
                ":2:2:",
                "password",
            ),
        ];
        for (good, bad, place, word) in cases {
            let error = load_text(&GOOD.replacen(good, bad, 1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
            let text = error.to_string();
            assert!(text.contains(place) && text.contains(word), "{bad}: {text}");
        }
    }

    #[test]
    fn a_missing_section_is_named() {
        let text = GOOD.replace("[home]\nstrategy = \"none\"", "");
        assert!(
            load_text(&text)
                .unwrap_err()
                .to_string()
                .contains("the section [home] is missing")
        );
    }
}
