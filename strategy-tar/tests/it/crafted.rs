//! Archives made by hand, byte by byte, as no honest tool would make them.

use std::fs;
use std::io::Write;

use diy_backup_core::checksums::ChecksumLine;
use diy_backup_core::{ArchiveSeal, BackupEntry, Manifest};
use sha2::{Digest, Sha256};

use crate::site::{Site, id};

pub(crate) const FILE: u8 = b'0';
pub(crate) const HARD_LINK: u8 = b'1';
pub(crate) const SYMLINK: u8 = b'2';
pub(crate) const FOLDER: u8 = b'5';
pub(crate) const EXTENDED: u8 = b'x';

#[derive(Debug, Clone, Default)]
pub(crate) struct Crafted {
    bytes: Vec<u8>,
    sums: Vec<u8>,
    entries: u64,
    content_bytes: u64,
}

impl Crafted {
    /// An archive that begins with the folders of a backup, and its manifest if it is one of ours.
    pub(crate) fn ours() -> Self {
        let manifest = Manifest::new(id(3)).to_json().unwrap();
        Self::default()
            .file("manifest.json", manifest.as_bytes())
            .folders()
    }

    pub(crate) fn scripts() -> Self {
        Self::default().entry(FOLDER, "./", "", b"").folders()
    }

    fn folders(self) -> Self {
        self.entry(FOLDER, "bitbucket-db/", "", b"")
            .entry(FOLDER, "bitbucket-home/", "", b"")
            .entry(FOLDER, "bitbucket-data-stores/", "", b"")
            .entry(FOLDER, "bitbucket-data-stores/0/", "", b"")
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(FILE, name, "", content)
    }

    pub(crate) fn entry(mut self, kind: u8, name: &str, link: &str, content: &[u8]) -> Self {
        self.bytes.extend(header(
            kind,
            name.as_bytes(),
            link.as_bytes(),
            content.len() as u64,
        ));
        if kind == FILE {
            self.content_bytes += content.len() as u64;
            let line = ChecksumLine {
                sha256: Sha256::digest(content).into(),
                path: name.into(),
            };
            self.sums.extend(line.encode());
        }
        if kind != EXTENDED {
            self.entries += 1;
        }
        self.content(content)
    }

    /// An extended header with the records given.
    pub(crate) fn extended(self, records: &[(&str, &str)]) -> Self {
        let record = |(key, value): &(&str, &str)| {
            let rest = key.len() + value.len() + 3;
            let fits = |length: &usize| length - length.to_string().len() == rest;
            let length = (rest..rest + 9).find(fits).unwrap();
            format!("{length} {key}={value}\n")
        };
        let text: String = records.iter().map(record).collect();
        self.entry(EXTENDED, "x", "", text.as_bytes())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn content(mut self, content: &[u8]) -> Self {
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }

    /// Puts it among the archives with a checksum list and a seal that fit it.
    pub(crate) async fn seal(self, site: &Site) -> BackupEntry {
        let sums = self.sums.clone();
        let all = self.entry(FILE, "SHA256SUMS", "", &sums);
        let (entries, content_bytes) = (all.entries, all.content_bytes);
        all.seal_as(site, entries, content_bytes).await
    }

    pub(crate) async fn seal_as(self, site: &Site, entries: u64, content: u64) -> BackupEntry {
        let bytes = self.into_bytes();
        let name = format!("{}.tar", id(3));
        let sum = hex::encode(Sha256::digest(&bytes));
        let seal = ArchiveSeal::new(name.clone(), bytes.len() as u64, sum, entries, content);
        fs::create_dir_all(site.archives()).unwrap();
        fs::write(site.archives().join(name), bytes).unwrap();
        let manifest = site.archives().join(format!("{}.manifest.json", id(3)));
        Manifest::new(id(3)).sealed(seal).write(&manifest).unwrap();
        site.only_entry().await
    }

    /// Puts it among the archives as one of the shell scripts.
    pub(crate) async fn gzip(self, site: &Site) -> BackupEntry {
        fs::create_dir_all(site.archives()).unwrap();
        let path = site.archives().join(format!("{}.tar.gz", id(3)));
        let file = fs::File::create(path).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(&self.into_bytes()).unwrap();
        encoder.finish().unwrap();
        site.only_entry().await
    }
}

pub(crate) fn header(kind: u8, name: &[u8], link: &[u8], size: u64) -> [u8; 512] {
    let mut header = tar::Header::new_ustar();
    let ustar = header.as_ustar_mut().unwrap();
    ustar.name[..name.len()].copy_from_slice(name);
    ustar.linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o755);
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    header.set_mtime(1);
    header.set_size(size);
    header.set_cksum();
    *header.as_bytes()
}
