//! Makes the binary seeds: `cargo run --example make_corpus` in this folder. What it makes is committed.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use diy_backup_core::{
    AbsolutePath, ArchiveStrategy, Artifact, BackupContext, BackupId, Manifest, PartName,
    PartRecord, Staging,
};
use strategy_tar::{Compression, TarArchive, TarConfig};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/archive");
    fs::create_dir_all(&corpus)?;
    let work = tempfile::tempdir()?;
    let staging = make_tree(&work.path().join("staging"))?;
    own_archives(work.path(), &staging, &corpus)?;
    script_archives(staging.root(), &corpus)?;
    crafted_archives(&corpus)?;
    Ok(())
}

/// A small backup with one of everything.
fn make_tree(root: &Path) -> Result<Staging> {
    let staging = Staging::new(root);
    let home = staging.home().join("shared/data");
    fs::create_dir_all(&home)?;
    fs::create_dir_all(staging.database())?;
    fs::create_dir_all(staging.data_store(0).join("repositories"))?;
    fs::write(staging.database().join("toc.dat"), "PGDMP")?;
    fs::write(home.join("file"), "content\n".repeat(100))?;
    fs::write(home.join("odd \n\\ name"), "x")?;
    fs::write(home.join("n".repeat(150)), "long name")?;
    fs::write(staging.data_store(0).join("repositories/HEAD"), "ref: x\n")?;
    fs::hard_link(home.join("file"), home.join("linked"))?;
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../../nowhere", home.join("dangling"))?;
        std::os::unix::fs::symlink("t".repeat(150), home.join("long-target"))?;
    }
    let mut sparse = fs::File::create(home.join("sparse"))?;
    sparse.write_all(b"begin")?;
    sparse.set_len(48_000)?;
    Ok(staging)
}

/// Archives as the strategy itself makes them.
fn own_archives(work: &Path, staging: &Staging, corpus: &Path) -> Result {
    let id: BackupId = "bitbucket-20260131-235959".parse()?;
    let mut manifest = Manifest::new(id.clone());
    for (name, strategy) in [
        (PartName::Home, "rsync"),
        (PartName::Database, "postgresql"),
    ] {
        let record = PartRecord::new(strategy, Artifact::staged(1));
        manifest.parts.insert(name, record);
    }
    manifest.write(&staging.manifest_path())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for (compression, suffix) in [
        (Compression::None, "tar"),
        (Compression::Gzip, "tar.gz"),
        (Compression::Zstd, "tar.zst"),
    ] {
        let directory = work.join(suffix);
        let absolute = AbsolutePath::new(&directory).ok_or("no absolute path")?;
        let config = TarConfig::new(absolute).with_compression(compression);
        let archives = TarArchive::new(id.name().clone(), config);
        let cx = BackupContext::new(id.clone(), staging.clone());
        let stored = runtime.block_on(archives.store(&cx, &manifest))?;
        fs::copy(stored.location, corpus.join(format!("own.{suffix}")))?;
    }
    fs::remove_file(staging.manifest_path())?;
    Ok(())
}

/// Archives as the shell scripts, and other programs, make them.
fn script_archives(root: &Path, corpus: &Path) -> Result {
    for (name, options) in [
        ("gnu-sparse.tar", &["--format=gnu", "--sparse"][..]),
        (
            "pax-sparse-0.0.tar",
            &["--format=pax", "--sparse", "--sparse-version=0.0"],
        ),
        (
            "pax-sparse-0.1.tar",
            &["--format=pax", "--sparse", "--sparse-version=0.1"],
        ),
        (
            "pax-sparse-1.0.tar",
            &["--format=pax", "--sparse", "--sparse-version=1.0"],
        ),
        ("scripts.tar.gz", &["--format=gnu", "--gzip"]),
    ] {
        let mut tar = Command::new("tar");
        tar.args(options)
            .args(["--owner=0", "--group=0", "--blocking-factor=1", "-C"]);
        tar.arg(root).arg("-cf").arg(corpus.join(name)).arg(".");
        if !tar.status()?.success() {
            return Err(format!("{tar:?} failed").into());
        }
    }
    Ok(())
}

/// Archives that nobody makes by accident.
fn crafted_archives(corpus: &Path) -> Result {
    let link_out = Crafted::new()
        .folder("bitbucket-home/")
        .link(tar::EntryType::Symlink, "bitbucket-home/x", "../../outside")
        .file("bitbucket-home/x/canary", b"overwritten");
    let hard_link_out = Crafted::new().folder("bitbucket-home/").link(
        tar::EntryType::Link,
        "bitbucket-home/x",
        "bitbucket-db/y",
    );
    let root_link = Crafted::new().link(tar::EntryType::Symlink, "bitbucket-home", "../outside");
    let root_file = Crafted::new().file("bitbucket-home", b"no folder");
    let climbing = Crafted::new().file("bitbucket-home/../../outside/canary", b"overwritten");
    let absolute = Crafted::new().file("/dev/shm/canary", b"overwritten");
    let twice = Crafted::new()
        .folder("bitbucket-db/")
        .file("bitbucket-db/a", b"1")
        .file("bitbucket-db/a", b"2");
    let stores = Crafted::new()
        .folder("bitbucket-data-stores/")
        .folder("bitbucket-data-stores/one/")
        .file("bitbucket-data-stores/one/a", b"1")
        .folder("bitbucket-data-stores/+1/")
        .folder("bitbucket-data-stores/two/")
        .folder("bitbucket-data-stores/three/")
        .file("bitbucket-data-stores/three/a", b"3");
    let huge_size = Crafted::new().extended("size", &u64::MAX.to_string(), "bitbucket-home/");
    let huge_hole = Crafted::new().folder("bitbucket-home/").extended(
        "GNU.sparse.size",
        &i64::MAX.to_string(),
        "bitbucket-home/hole",
    );
    for (name, crafted) in [
        ("link-out.tar", link_out),
        ("hard-link-out.tar", hard_link_out),
        ("root-link.tar", root_link),
        ("root-file.tar", root_file),
        ("climbing.tar", climbing),
        ("absolute.tar", absolute),
        ("twice.tar", twice),
        ("stores.tar", stores),
        ("huge-size.tar", huge_size),
        ("huge-hole.tar", huge_hole),
        ("empty.tar", Crafted::new()),
    ] {
        fs::write(corpus.join(name), crafted.finish())?;
    }
    compressed(corpus)
}

/// Small archives within compression, with what the formats have beside the data.
fn compressed(corpus: &Path) -> Result {
    let small = Crafted::new()
        .folder("bitbucket-db/")
        .file("bitbucket-db/a", b"content")
        .finish();
    let mut gzip = flate2::GzBuilder::new()
        .filename("name")
        .comment("comment")
        .write(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&small)?;
    fs::write(corpus.join("small.tar.gz"), gzip.finish()?)?;
    let (first, second) = small.split_at(700);
    let frames = [zstd::encode_all(first, 1)?, zstd::encode_all(second, 19)?];
    fs::write(corpus.join("two-frames.tar.zst"), frames.concat())?;
    Ok(())
}

struct Crafted(Vec<u8>);

impl Crafted {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn entry(mut self, kind: tar::EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_769_903_999);
        header.set_size(content.len() as u64);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn folder(self, name: &str) -> Self {
        self.entry(tar::EntryType::Directory, name, "", b"")
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(tar::EntryType::Regular, name, "", content)
    }

    fn link(self, kind: tar::EntryType, name: &str, target: &str) -> Self {
        self.entry(kind, name, target, b"")
    }

    /// A record of an extended header, in front of an empty entry: a folder if its name ends in a slash.
    fn extended(self, key: &str, value: &str, name: &str) -> Self {
        let rest = key.len() + value.len() + 3;
        let length = if rest + 2 < 100 { rest + 2 } else { rest + 3 };
        let record = format!("{length} {key}={value}\n");
        let extended = self.entry(tar::EntryType::XHeader, "pax", "", record.as_bytes());
        if name.ends_with('/') {
            extended.folder(name)
        } else {
            extended.file(name, b"")
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}
