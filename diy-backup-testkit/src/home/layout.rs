//! What lies where in a home, apart from repositories.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{IoContext, Result};

/// What a backup never holds, as rsync patterns from the root of the home.
pub const EXCLUSIONS: &[&str] = &[
    "/caches/",
    "/tmp",
    "/log/",
    "/.lock",
    "/shared/.lock",
    "/export/",
    "/shared/export/",
    "/plugins/.*/",
    "/search/data/",
    "/shared/search/data/",
];

/// What a backup does not hold either when the database is an external one.
pub const DATABASE_EXCLUSIONS: &[&str] = &["/data/db.*", "/shared/data/db.*"];

/// Files that belong into a backup, some of them close to what does not.
const KEPT: &[(&str, &str)] = &[
    (
        "shared/bitbucket.properties",
        "setup.displayName=Bitbucket\njdbc.user=bitbucketuser\n",
    ),
    (
        "shared/config/logback-custom.xml",
        "<included><logger name=\"x\"/></included>\n",
    ),
    (
        "shared/config/git/.gitconfig",
        "[core]\n\tquotePath = false\n",
    ),
    (
        "shared/plugins/installed-plugins/example-1.0.jar",
        "PK\u{3}\u{4} not really\n",
    ),
    (
        "shared/data/attachments/1/2/screenshot.png",
        "\u{89}PNG\r\n",
    ),
    (
        "shared/data/attachments/tmp/kept",
        "not the tmp of the home\n",
    ),
    (
        "shared/data/attachments/caches/kept",
        "not the caches of the home\n",
    ),
    (
        "shared/data/attachments/log/kept",
        "not the log of the home\n",
    ),
    ("shared/data/dbx", "not the database\n"),
    (
        "shared/search/elasticsearch.yml",
        "cluster.name: bitbucket\n",
    ),
    (
        "plugins/installed/kept.jar",
        "not a hidden folder of plugins\n",
    ),
    ("bin/README.txt", "start here\n"),
    ("lib/native/empty", ""),
];

/// Files that a backup leaves out.
const LEFT_OUT: &[&str] = &[
    "caches/plugins/transformed.jar",
    "tmp/upload-17",
    "log/atlassian-bitbucket.log",
    "log/audit/audit.log",
    ".lock",
    "shared/.lock",
    "export/migration-1.tar",
    "shared/export/migration-2.tar",
    "plugins/.osgi-plugins/felix/bundle0",
    "search/data/nodes/0/segments_1",
    "shared/search/data/nodes/0/segments_2",
    "data/db.lck",
    "shared/data/db.h2.db",
];

/// Folders that are empty and stay so.
const EMPTY: &[&str] = &["shared/data/attachments/empty", "shared/config/ssh"];

pub(super) fn create(home: &Path) -> Result<()> {
    for (path, contents) in KEPT {
        write(&home.join(path), contents.as_bytes())?;
    }
    for path in LEFT_OUT {
        let contents = format!("{path} does not belong into a backup\n");
        write(&home.join(path), contents.as_bytes())?;
    }
    for path in EMPTY {
        folder(&home.join(path))?;
    }
    let private = home.join("shared/config/ssh-server-keys.pem");
    write(&private, b"-----BEGIN NOTHING-----\n")?;
    set_mode(&private, 0o600)
}

pub(super) fn folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).doing("create", path)
}

pub(super) fn write(path: &Path, contents: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        folder(parent)?;
    }
    std::fs::write(path, contents).doing("write", path)
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).doing("change the mode of", path)
}
