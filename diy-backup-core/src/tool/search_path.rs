//! Where programs are looked for.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Where programs of a site are, wherever PATH looks: cron gives its jobs no more than `/usr/bin:/bin`.
#[cfg(unix)]
const USUAL_DIRECTORIES: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];
#[cfg(not(unix))]
const USUAL_DIRECTORIES: &[&str] = &[];

/// The directories of PATH, and after them the usual ones that it lacks.
pub(super) fn search_path() -> OsString {
    with_usual_directories(&std::env::var_os("PATH").unwrap_or_default())
}

fn with_usual_directories(path: &OsStr) -> OsString {
    let mut directories: Vec<PathBuf> = std::env::split_paths(path)
        .filter(|directory| !directory.as_os_str().is_empty())
        .collect();
    for usual in USUAL_DIRECTORIES.iter().map(Path::new) {
        if !directories.iter().any(|directory| directory == usual) {
            directories.push(usual.to_owned());
        }
    }
    // One with a colon in its name cannot be in PATH, so it did not come from there.
    std::env::join_paths(directories).unwrap_or_else(|_| path.to_owned())
}

pub(super) fn is_mere_name(program: &Path) -> bool {
    program.components().count() == 1 && !program.has_root()
}

/// Whether `program` is a mere name that no directory has in which it is looked for, as far as we may look.
pub(super) fn is_nowhere_in_path(program: &Path) -> bool {
    let is_there = |directory: PathBuf| directory.join(program).exists();
    is_mere_name(program) && !std::env::split_paths(&search_path()).any(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_cron_is_completed_and_an_own_one_comes_first() {
        let complete = |path: &str| {
            let path = with_usual_directories(OsStr::new(path));
            path.into_string().unwrap()
        };
        assert_eq!(
            complete("/usr/bin:/bin"),
            "/usr/bin:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin"
        );
        let own =
            complete("/opt/pg/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        assert!(own.starts_with("/opt/pg/bin:") && own.ends_with(":/sbin:/bin"));
        // An empty entry is the current directory, in which anybody may have put a program.
        assert!(!complete("").contains("::") && complete("").starts_with('/'));
    }

    #[test]
    fn a_mere_name_is_looked_for_in_path_and_a_path_is_not() {
        assert!(is_nowhere_in_path(Path::new("no-such-program-anywhere")));
        assert!(!is_nowhere_in_path(Path::new("sh")));
        assert!(!is_nowhere_in_path(Path::new("/no-such-program-anywhere")));
    }
}
