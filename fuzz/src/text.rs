use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use diy_backup_core::{
    AbsolutePath, BackupId, Destinations, ErrorKind, HumanDuration, InstanceName, Registry, Section,
};

use super::{check_debug, check_line, check_message, scratch::scratch};

/// A configuration file, with all its sections and the strategies of this workspace.
pub fn configuration(data: &[u8]) {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    let registry = REGISTRY.get_or_init(|| {
        diy_backup_cli::default_registry().unwrap_or_else(|error| panic!("{error:?}"))
    });
    let folder = scratch();
    let path = folder.path().join("config.toml");
    fs::write(&path, data).unwrap_or_else(|error| panic!("{error}"));
    match diy_backup_cli::load(&path, registry) {
        Ok(site) => {
            for path in [&site.backup.staging, &site.backup.state] {
                check_absolute(path.as_path());
            }
            let limits = [site.backup.drain_timeout, site.backup.max_locked];
            assert!(limits.iter().all(|limit| !limit.get().is_zero()));
            assert!(!site.archive.name().is_empty());
            check_debug(&site);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
            check_message(&error);
            error.hint().into_iter().for_each(check_line);
        }
    }
}

/// Names of instances and backups, and durations.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<InstanceName>() {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!(text.len() < 100 && is_plain_file_name(text));
        }
        Err(error) => check_message(&error),
    }
    match text.parse::<BackupId>() {
        Ok(id) => {
            assert_eq!(id.to_string(), text);
            assert!(is_plain_file_name(text));
            assert_eq!(BackupId::at_unix(id.name(), id.created_unix()), id);
            assert!(id.next_second() > id);
            check_line(&id.created_rfc3339());
        }
        Err(error) => check_message(&error),
    }
    duration(text);
}

/// What the section `[backup]` makes of a duration.
fn duration(text: &str) {
    let quoted = format!("staging = '/s'\nstate = '/t'\nmax-locked = {text:?}");
    // Rust and TOML quote a few characters differently.
    let Ok(section) = Section::from_text("backup", &quoted) else {
        return;
    };
    if let Ok(settings) = section.parse::<diy_backup_core::BackupSettings>() {
        let limit: HumanDuration = settings.max_locked;
        assert!(!limit.get().is_zero());
        check_debug(&limit);
    }
}

fn is_plain_file_name(text: &str) -> bool {
    Path::new(text).file_name() == Some(text.as_ref()) && !text.starts_with(['.', '-'])
}

/// Paths of the configuration, and where the entries of an archive go.
pub fn paths(data: &[u8]) {
    let path = path_of(data);
    if let Some(absolute) = AbsolutePath::new(&path) {
        check_absolute(absolute.as_path());
        assert_eq!(AbsolutePath::new(absolute.as_path()), Some(absolute));
    }
    let destinations = Destinations::new("/d/database")
        .with_home("/d/home")
        .with_data_store(Path::new("/mnt/one"), "/d/one")
        .with_data_store(Path::new("/mnt/0"), "/d/zero");
    let is_harmless = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_harmless {
        return;
    }
    if let Some((root, below)) = destinations.route(&path) {
        assert!(
            ["/d/database", "/d/home", "/d/one", "/d/zero"]
                .map(Path::new)
                .contains(&root)
        );
        let mut parts = below.components();
        assert!(parts.all(|part| matches!(part, Component::Normal(_))));
        assert!(path.ends_with(&below));
    }
}

fn check_absolute(path: &Path) {
    assert!(path.is_absolute());
    assert!(path.components().all(|part| part != Component::ParentDir));
}

#[cfg(unix)]
fn path_of(data: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(data.to_vec()).into()
}

#[cfg(not(unix))]
fn path_of(data: &[u8]) -> PathBuf {
    String::from_utf8_lossy(data).into_owned().into()
}
