//! What is left out of the copies, as rules that rsync and our own walks understand alike.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use diy_backup_core::DatabaseLocation;

use crate::config::{RepositoryId, RsyncConfig};
use crate::layout::Layout;
use crate::platform;

/// The rules of one folder. All of them are anchored at its top.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exclusions {
    rules: Vec<Rule>,
    deepest: usize,
}

/// One rule: it leaves out what has this path, and everything below.
#[derive(Debug, Clone)]
struct Rule {
    segments: Vec<Segment>,
    applies_to: AppliesTo,
}

#[derive(Debug, Clone)]
enum Segment {
    /// This very name.
    Named(OsString),
    /// Every name that begins so.
    Beginning(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AppliesTo {
    Folders,
    Anything,
}

const ANY: Segment = Segment::Beginning("");

/// Left out of the home of a Bitbucket: what it builds anew, what belongs to this machine or this moment alone.
const BITBUCKET: &[&str] = &[
    "/caches/",
    "/tmp",
    "/.lock",
    "/shared/.lock",
    "/export/",
    "/shared/export/",
    "/plugins/.*/",
    "/search/data/",
    "/shared/search/data/",
];

/// Left out of a shared home alone: what is left out of `shared` in a whole home, and hidden directories of plugins.
const SHARED: &[&str] = &["/.lock", "/export/", "/plugins/.*/", "/search/data/"];

/// Left out of the home of a Mesh node.
const MESH: &[&str] = &["/caches/", "/tmp", "/.lock", "/export/"];

const LOGS: &str = "/log/";

/// The built-in database, which is no part of the backup when there is an external one.
const INTERNAL_DATABASE: &[&str] = &["/data/db.*", "/shared/data/db.*"];
const INTERNAL_DATABASE_OF_SHARED: &[&str] = &["/data/db.*"];

/// The folder that a file system keeps at its own top. It is the administrator's alone and says nothing elsewhere.
const LOST_AND_FOUND: &str = "/lost+found/";

/// What an NFS client renames a file to that is deleted while it is open, until it is closed. It may vanish at any time.
const SILLY_START: &str = ".nfs";
/// The same for rsync: files of such names, and no directories.
const SILLY_ARGUMENTS: &[&str] = &["--include=.nfs*/", "--exclude=.nfs*"];

fn is_silly_name(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(SILLY_START.as_bytes()))
}

impl Exclusions {
    /// The rules for the home directory. The excluded repositories of a Mesh node are added one by one, see
    /// [`leave_out`](Self::leave_out).
    pub(crate) fn of_home(
        config: &RsyncConfig,
        layout: Layout,
        database: DatabaseLocation,
    ) -> Self {
        let mut this = Self::default();
        let (fixed, internal_database) = match layout {
            Layout::Mesh => (MESH, [].as_slice()),
            Layout::SharedOnly => (SHARED, INTERNAL_DATABASE_OF_SHARED),
            Layout::Whole | Layout::DataStore => (BITBUCKET, INTERNAL_DATABASE),
        };
        for pattern in fixed {
            this.add_pattern(pattern);
        }
        this.add_pattern(LOST_AND_FOUND);
        // The logs of a node lie in its own home.
        if !config.include_logs && layout != Layout::SharedOnly {
            this.add_pattern(LOGS);
        }
        if database == DatabaseLocation::External {
            for pattern in internal_database {
                this.add_pattern(pattern);
            }
        }
        if let (place, Some(1)) = layout.repositories() {
            for id in &config.exclude_repositories {
                let place = place.split('/').map(|name| Segment::Named(name.into()));
                this.add_repository(place, id);
            }
        }
        this
    }

    /// The rules for a data store.
    pub(crate) fn of_data_store(config: &RsyncConfig) -> Self {
        let mut this = Self::default();
        this.add_pattern(LOST_AND_FOUND);
        for id in &config.exclude_repositories {
            this.add_repository([Segment::Named("repositories".into()), ANY, ANY], id);
        }
        this
    }

    /// Leaves out the one folder `relative`.
    pub(crate) fn leave_out(&mut self, relative: &Path) {
        let segments = relative
            .components()
            .map(|part| Segment::Named(part.as_os_str().to_owned()))
            .collect();
        self.add(Rule {
            segments,
            applies_to: AppliesTo::Folders,
        });
    }

    /// Whether the entry `relative`, whose path has `depth` parts, is left out.
    ///
    /// What lies below something that is left out is not asked for: neither rsync nor our walks descend there.
    pub(crate) fn cover(&self, relative: &Path, depth: usize, is_folder: bool) -> bool {
        if !is_folder && is_silly_name(relative) {
            return true;
        }
        depth <= self.deepest
            && self
                .rules
                .iter()
                .any(|rule| rule.matches(relative, depth, is_folder))
    }

    /// Returns `true` if entries whose path has `depth` parts, or more, could be left out.
    pub(crate) fn reach(&self, depth: usize) -> bool {
        depth <= self.deepest
    }

    /// Whether the entry `relative` or something above it is left out.
    pub(crate) fn cover_within(&self, relative: &Path, is_folder: bool) -> bool {
        let whole = relative.components().count();
        let above = relative.ancestors().take(whole);
        (1..=whole)
            .rev()
            .zip(above)
            .any(|(depth, path)| self.cover(path, depth, is_folder || depth < whole))
    }

    /// The rules as arguments of rsync.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = OsString> + '_ {
        let rules = self.rules.iter().map(|rule| {
            let mut argument = OsString::from("--exclude=");
            argument.push(rule.pattern());
            argument
        });
        rules.chain(SILLY_ARGUMENTS.iter().map(OsString::from))
    }

    /// Adds a rule in rsync's own notation, as far as [`Segment`] knows it.
    fn add_pattern(&mut self, pattern: &'static str) {
        let applies_to = if pattern.ends_with('/') {
            AppliesTo::Folders
        } else {
            AppliesTo::Anything
        };
        let segments = pattern
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| {
                part.strip_suffix('*')
                    .map_or_else(|| Segment::Named(part.into()), Segment::Beginning)
            })
            .collect();
        self.add(Rule {
            segments,
            applies_to,
        });
    }

    fn add_repository(&mut self, place: impl IntoIterator<Item = Segment>, id: &RepositoryId) {
        let mut segments: Vec<Segment> = place.into_iter().collect();
        segments.push(Segment::Named(id.as_str().into()));
        self.add(Rule {
            segments,
            applies_to: AppliesTo::Folders,
        });
    }

    fn add(&mut self, rule: Rule) {
        self.deepest = self.deepest.max(rule.segments.len());
        self.rules.push(rule);
    }
}

impl Rule {
    fn matches(&self, relative: &Path, depth: usize, is_folder: bool) -> bool {
        self.segments.len() == depth
            && (is_folder || self.applies_to == AppliesTo::Anything)
            && self
                .segments
                .iter()
                .zip(relative.components())
                .all(|(segment, part)| segment.matches(part.as_os_str()))
    }

    fn pattern(&self) -> OsString {
        // rsync takes a backslash as an escape only in a pattern that has a wildcard somewhere.
        let has_wildcard = self.segments.iter().any(Segment::has_wildcard);
        let mut pattern = Vec::new();
        for segment in &self.segments {
            pattern.push(b'/');
            match segment {
                Segment::Named(name) => push_name(&mut pattern, name, has_wildcard),
                Segment::Beginning(start) => {
                    pattern.extend_from_slice(start.as_bytes());
                    pattern.push(b'*');
                }
            }
        }
        if self.applies_to == AppliesTo::Folders {
            pattern.push(b'/');
        }
        platform::os_string(pattern)
    }
}

impl Segment {
    fn matches(&self, name: &OsStr) -> bool {
        match self {
            Self::Named(own) => own == name,
            Self::Beginning(start) => name.as_encoded_bytes().starts_with(start.as_bytes()),
        }
    }

    fn has_wildcard(&self) -> bool {
        match self {
            Self::Named(name) => name
                .as_encoded_bytes()
                .iter()
                .any(|byte| b"*?[".contains(byte)),
            Self::Beginning(_) => true,
        }
    }
}

fn push_name(pattern: &mut Vec<u8>, name: &OsStr, escaped: bool) {
    for &byte in name.as_encoded_bytes() {
        if escaped && b"*?[\\".contains(&byte) {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use diy_backup_core::Section;

    use super::*;

    fn config(text: &str) -> RsyncConfig {
        let text = format!("path = '/h'\n{text}");
        Section::from_text("home", &text).unwrap().parse().unwrap()
    }

    fn covers(rules: &Exclusions, path: &str) -> bool {
        let is_folder = path.ends_with('/');
        let path = Path::new(path.trim_end_matches('/'));
        rules.cover(path, path.components().count(), is_folder)
    }

    fn arguments(rules: &Exclusions) -> Vec<String> {
        rules
            .arguments()
            .map(|argument| argument.into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_lists_of_bitbucket_and_mesh_are_their_own() {
        let external = DatabaseLocation::External;
        let bitbucket = Exclusions::of_home(&config(""), Layout::Whole, external);
        let mesh = Exclusions::of_home(&config(""), Layout::Mesh, external);
        for both in ["caches/", "tmp/", "tmp", "log/", ".lock", "export/"] {
            assert!(covers(&bitbucket, both) && covers(&mesh, both), "{both}");
        }
        for one in [
            "shared/.lock",
            "plugins/.osgi/",
            "shared/data/db.mv.db",
            "shared/search/data/",
        ] {
            assert!(covers(&bitbucket, one) && !covers(&mesh, one), "{one}");
        }
        for neither in [
            "shared/caches/",
            "caches",
            "plugins/x/",
            "shared/data/dbx",
            "log",
        ] {
            assert!(
                !covers(&bitbucket, neither) && !covers(&mesh, neither),
                "{neither}"
            );
        }
    }

    #[test]
    fn a_shared_home_alone_is_treated_as_the_one_in_a_whole_home() {
        let config = config("exclude-repositories = [17]");
        let external = DatabaseLocation::External;
        let whole = Exclusions::of_home(&config, Layout::Whole, external);
        let shared = Exclusions::of_home(&config, Layout::SharedOnly, external);
        for path in [
            ".lock",
            "export/",
            "search/data/",
            "data/db.mv.db",
            "data/repositories/17/",
            "data/repositories/18/",
            "data/attachments/",
            "caches/",
            "log/",
            "tmp/",
            "config/",
            "bitbucket.properties",
            "plugins/installed-plugins/",
        ] {
            let in_whole = covers(&whole, &format!("shared/{path}"));
            assert_eq!(covers(&shared, path), in_whole, "{path}");
        }
        assert!(covers(&shared, "plugins/.osgi/"));
    }

    #[test]
    fn a_repository_is_left_out_where_repositories_are_and_nowhere_else() {
        let config = config("exclude-repositories = [17]");
        let home = Exclusions::of_home(&config, Layout::Whole, DatabaseLocation::External);
        assert!(covers(&home, "shared/data/repositories/17/"));
        assert!(!covers(&home, "shared/data/repositories/5/objects/17/"));
        assert!(!covers(&home, "shared/data/repositories/1/"));
        let store = Exclusions::of_data_store(&config);
        assert!(covers(&store, "repositories/ab/cd/17/"));
        assert!(!covers(&store, "repositories/ab/cd/5/objects/17/"));
        assert!(!covers(&store, "repositories/17/"));
    }

    #[test]
    fn wildcards_in_names_are_escaped_and_backslashes_only_beside_wildcards() {
        let config = config(r"exclude-repositories = ['a\b', 'a*\[b']");
        let home = arguments(&Exclusions::of_home(
            &config,
            Layout::Whole,
            DatabaseLocation::External,
        ));
        assert!(home.contains(&r"--exclude=/shared/data/repositories/a\b/".to_owned()));
        assert!(home.contains(&r"--exclude=/shared/data/repositories/a\*\\\[b/".to_owned()));
        let store = arguments(&Exclusions::of_data_store(&config));
        assert!(store.contains(&r"--exclude=/repositories/*/*/a\\b/".to_owned()));
    }
}
