//! What the name of a file says: which backup it is, who made it, and whether it can be read.
//!
//! Ours is `<instance>-YYYYMMDD-HHMMSS` with one of four endings. The shell scripts write the same in local time, those
//! until 2017 followed by `-` and the last three digits of the seconds since the epoch; those for Stash always name it
//! `stash`. Forks of them encrypt what they pack, or pack it with other programs.

use std::ffi::OsStr;

use diy_backup_core::{BackupId, InstanceName};

/// Endings of the names of archives that are read.
const READ: [&str; 4] = [".tar.zst", ".tar.gz", ".tgz", ".tar"];
/// Those of them that the shell scripts give to theirs.
const OF_SCRIPTS: [&str; 3] = [".tar.gz", ".tgz", ".tar"];

/// Endings of the names of archives that are not read, why not, and how to get at what is in them: `{file}` is the
/// archive, and `{id}` what the new one is to be called by.
const NOT_READ: [(&[&str], &str, &str); 6] = [
    (
        &[".gpg", ".pgp", ".asc"],
        "it is encrypted",
        "`gpg --output {id}.tar.gz --decrypt {file}`",
    ),
    (
        &[".age"],
        "it is encrypted",
        "`age --decrypt --identity KEY --output {id}.tar.gz {file}`",
    ),
    (
        &[".enc", ".aes", ".aes256"],
        "it is encrypted",
        "the program that encrypted it, for example `openssl enc -d`, into {id}.tar.gz",
    ),
    (
        &[".zip", ".7z", ".rar"],
        "it is not a tar file",
        "`7z x -oDIRECTORY {file}` and `tar -czf {id}.tar.gz -C DIRECTORY .`",
    ),
    (
        &[".tar.bz2", ".tbz2", ".tbz"],
        "it is compressed with bzip2",
        "`bzip2 -dc {file} | gzip > {id}.tar.gz`",
    ),
    (
        &[
            ".tar.xz",
            ".txz",
            ".tar.lzma",
            ".tar.lz4",
            ".tar.lzo",
            ".tar.Z",
        ],
        "it is compressed in a way that is not read here",
        "for example `xz -dc {file} | gzip > {id}.tar.gz`",
    ),
];
/// What the scripts have called every instance.
const PRODUCTS: [&str; 2] = ["bitbucket", "stash"];

/// A file that is named like an archive of the shell scripts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ScriptName {
    /// Its ID, in local time.
    pub(crate) id: BackupId,
    /// The last three digits of the seconds since the epoch, where the name has them.
    pub(crate) ending: Option<u16>,
    /// Whose it is, by its name.
    pub(crate) whose: Whose,
    /// Why it is not read, and what to do.
    pub(crate) problem: Option<String>,
}

/// Whose an archive is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The instance of this configuration.
    Own,
    /// The scripts have called it by the product, which this instance is not called by.
    Unknown,
}

/// Returns the backup that a file of this name would be the archive of, if it was ours.
pub(crate) fn id_of(file_name: &OsStr) -> Option<BackupId> {
    let name = file_name.to_str()?;
    READ.iter()
        .find_map(|ending| name.strip_suffix(ending))?
        .parse()
        .ok()
}

/// Returns what the name says if it is one that the shell scripts give to an archive of `instance`.
pub(crate) fn of_scripts(file_name: &OsStr, instance: &InstanceName) -> Option<ScriptName> {
    let file = file_name.to_str()?;
    let read = OF_SCRIPTS
        .iter()
        .find_map(|ending| file.strip_suffix(ending));
    let (stem, trouble) = match read {
        Some(stem) => (stem, None),
        None => NOT_READ.iter().find_map(|(endings, why, how)| {
            let stem = endings
                .iter()
                .find_map(|ending| file.strip_suffix(ending))?;
            // What was encrypted has its own ending before that.
            let inner = READ.iter().find_map(|ending| stem.strip_suffix(ending));
            Some((inner.unwrap_or(stem), Some((why, how))))
        })?,
    };
    let (stem, ending) = without_ending(stem);
    let id: BackupId = stem.parse().ok()?;
    let name = id.name().as_str();
    let whose = if is_variant(name, instance.as_str()) {
        Whose::Own
    } else if PRODUCTS.contains(&name) {
        Whose::Unknown
    } else {
        return None;
    };
    let problem = trouble.map(|(why, how)| {
        let how = how.replace("{id}", &id.to_string()).replace("{file}", file);
        format!("{why}: make an archive of it that can be read, with {how}")
    });
    Some(ScriptName {
        id,
        ending,
        whose,
        problem,
    })
}

/// Takes the last digits of the seconds since the epoch off the end of a name.
fn without_ending(stem: &str) -> (&str, Option<u16>) {
    match stem.rsplit_once('-') {
        Some((rest, digits))
            if (1..=3).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            (rest, digits.parse().ok())
        }
        _ => (stem, None),
    }
}

/// Whether two names differ in nothing but case and punctuation, which our names allow less of.
fn is_variant(name: &str, instance: &str) -> bool {
    let plain = |name: &str| -> Vec<u8> {
        let kept = name.bytes().filter(u8::is_ascii_alphanumeric);
        kept.map(|byte| byte.to_ascii_lowercase()).collect()
    };
    plain(name) == plain(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(file: &str, instance: &str) -> Option<ScriptName> {
        of_scripts(OsStr::new(file), &instance.parse().unwrap())
    }

    #[test]
    fn names_of_every_generation_are_known() {
        for (file, instance, id, ending, whose) in [
            (
                "bitbucket-20260131-235959.tar.gz",
                "bitbucket",
                "bitbucket-20260131-235959",
                None,
                Whose::Own,
            ),
            (
                "bitbucket-20160131-235959-007.tar.gz",
                "bitbucket",
                "bitbucket-20160131-235959",
                Some(7),
                Whose::Own,
            ),
            (
                "stash-20150131-235959-123.tar.gz",
                "bitbucket",
                "stash-20150131-235959",
                Some(123),
                Whose::Unknown,
            ),
            (
                "bitbucket-20260131-235959.tgz",
                "prod",
                "bitbucket-20260131-235959",
                None,
                Whose::Unknown,
            ),
            (
                "Bitbucket_Prod-20260131-235959.tar",
                "bitbucket-prod",
                "Bitbucket_Prod-20260131-235959",
                None,
                Whose::Own,
            ),
        ] {
            let name = parsed(file, instance).unwrap();
            let id = id.parse().unwrap();
            assert_eq!(
                (name.id, name.ending, name.whose),
                (id, ending, whose),
                "{file}"
            );
            assert_eq!(name.problem, None, "{file}");
        }
    }

    #[test]
    fn what_is_not_read_says_how_to_get_at_it() {
        for (file, command) in [
            (
                "bitbucket-20260131-235959.tar.gz.gpg",
                "gpg --output bitbucket-20260131-235959.tar.gz --decrypt",
            ),
            (
                "bitbucket-20160131-235959-123.tar.gz.gpg",
                "gpg --output bitbucket-20160131-235959.tar.gz",
            ),
            (
                "bitbucket-20260131-235959.gpg",
                "--decrypt bitbucket-20260131-235959.gpg`",
            ),
            ("bitbucket-20260131-235959.tar.age", "age --decrypt"),
            ("bitbucket-20260131-235959.7z", "7z x"),
            ("bitbucket-20260131-235959.zip", "7z x"),
            ("bitbucket-20260131-235959.tar.bz2", "bzip2 -dc"),
            ("bitbucket-20260131-235959.tar.xz", "xz -dc"),
            ("bitbucket-20260131-235959.tar.gz.enc", "openssl"),
        ] {
            let problem = parsed(file, "bitbucket").unwrap().problem.unwrap();
            assert!(problem.contains(command), "{file}: {problem}");
        }
    }

    #[test]
    fn other_names_say_nothing() {
        for file in [
            "other-20260131-235959.tar.gz",
            "bitbucket-20260131.tar.gz",
            "bitbucket-20260131-235959.tar.gz.tmp",
            "bitbucket-20260131-235959-1234.tar.gz",
            "bitbucket-20260131-235959.manifest.json",
            ".bitbucket-20260131-235959.tar.gz.partial",
            "notes.zip",
        ] {
            assert_eq!(parsed(file, "bitbucket"), None, "{file}");
        }
    }
}
