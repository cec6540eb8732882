//! Keeping a backup: written under a hidden name, synced, described, and only then given its name.

use std::fs;
use std::path::{Path, PathBuf};

use diy_backup_core::{
    ArchiveSeal, BackupContext, Error, ErrorKind, Leftover, Manifest, Phase, Result, ResultExt,
    StoredArchive, remove_durably, staging, sync_directory,
};

use crate::config::TarConfig;
use crate::format::Timestamp;
use crate::pack::{Packed, Packer, Pipe, Pipeline};
use crate::spool::Spool;
use crate::stop::Stop;
use crate::{catalog, platform, remove};

/// Keeps what lies in the staging folder as the backup that `manifest` describes.
pub(crate) fn store(
    config: &TarConfig,
    cx: &BackupContext,
    manifest: &Manifest,
    stop: &Stop,
) -> Result<StoredArchive> {
    let archive = NewArchive::begin(config, cx)?;
    let stored = archive.write(config, cx, manifest, stop);
    match &stored {
        // The backup is whole and listed, and `discard` leaves it alone: no reason to fail.
        Ok(_) => archive.forget(cx),
        Err(_) => archive.take_back(cx),
    }
    stored
}

/// An archive that is being written.
struct NewArchive {
    directory: PathBuf,
    file_name: String,
    partial: PathBuf,
    manifest: PathBuf,
    leftover: Leftover,
}

impl NewArchive {
    fn begin(config: &TarConfig, cx: &BackupContext) -> Result<Self> {
        let directory = config.directory.as_path();
        platform::create_private_directory(directory).io_context(|| {
            format!(
                "cannot make the folder for archives {}",
                directory.display()
            )
        })?;
        if let Err(error) = remove::sweep(directory, cx.id().name()) {
            cx.events().warning(format!(
                "the rest of a deleted backup is still there: {}",
                diy_backup_core::error_chain(&error)
            ));
        }
        let file_name = format!("{}{}", cx.id(), config.compression.suffix());
        let partial = remove::partial_path(directory, &file_name);
        let manifest = catalog::manifest_path(directory, cx.id());
        for path in [&directory.join(&file_name), &manifest, &partial] {
            refuse_existing(path)?;
        }
        let id = partial.display().to_string();
        let leftover = Leftover::new(crate::NAME, remove::PARTIAL_KIND, id);
        cx.record_leftover(leftover.clone())?;
        Ok(Self {
            directory: directory.to_owned(),
            file_name,
            partial,
            manifest,
            leftover,
        })
    }

    fn write(
        &self,
        config: &TarConfig,
        cx: &BackupContext,
        manifest: &Manifest,
        stop: &Stop,
    ) -> Result<StoredArchive> {
        let file = platform::create_private_file(&self.partial)
            .io_context(|| format!("cannot make {}", self.partial.display()))?;
        let (pipe, pipeline) = Pipeline::start(file, config.compression, config.level())?;
        let packed = self.pack(pipe, cx, manifest, stop);
        // What went wrong on the way to the disk is the cause of what the packing saw of it.
        let written = match (packed, pipeline.finish()) {
            (Ok(packed), Ok(written)) => (packed, written),
            (Err(error), _) if !is_broken_pipe(&error) => return Err(self.explain(error)),
            (_, Err(error)) | (Err(error), _) => return Err(self.explain(error)),
        };
        stop.ensure_running()?;
        let (packed, written) = written;
        let seal = ArchiveSeal::new(
            self.file_name.clone(),
            written.bytes,
            written.sha256,
            packed.entries,
            packed.content_bytes,
        );
        manifest.sealed(seal).write(&self.manifest)?;
        let path = self.directory.join(&self.file_name);
        fs::rename(&self.partial, &path)
            .io_context(|| format!("cannot give {} its name", path.display()))?;
        sync_directory(&self.directory)?;
        Ok(StoredArchive::new(
            path.display().to_string(),
            written.bytes,
        ))
    }

    fn pack(
        &self,
        pipe: Pipe,
        cx: &BackupContext,
        manifest: &Manifest,
        stop: &Stop,
    ) -> Result<Packed> {
        let sums = Spool::new(&self.directory)
            .io_context(|| "cannot make a temporary file for checksums".to_owned())?;
        let meter = cx.events().meter(Phase::Archive);
        let parts = manifest.parts.values();
        meter.set_total_bytes(parts.map(|part| part.artifact.bytes).sum());
        let modified = Timestamp {
            seconds: cx.id().created_unix(),
            nanoseconds: 0,
        };
        let mut packer = Packer::new(pipe, sums, stop.clone(), cx.events().clone(), meter);
        packer.add_text(staging::MANIFEST, manifest.to_json()?.as_bytes(), modified)?;
        let folder = cx.staging();
        packer.add_tree(&folder.database(), staging::DATABASE)?;
        packer.add_tree(&folder.home(), staging::HOME)?;
        packer.add_tree(&folder.data_stores(), staging::DATA_STORES)?;
        packer.finish(modified)
    }

    fn explain(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Space {
            return error;
        }
        error.with_hint(format!(
            "Make room on the file system of {}, or keep fewer backups: `keep-last` of [retention].",
            self.directory.display()
        ))
    }

    /// Removes everything that was written. What cannot be removed stays in the journal as a leftover.
    fn take_back(&self, cx: &BackupContext) {
        let removed = remove_durably(&self.partial)
            .and_then(|()| self.remove_orphaned_manifest())
            .and_then(|()| cx.forget_leftover(&self.leftover));
        if let Err(error) = removed {
            cx.events().warning(format!(
                "an unfinished archive is still there: {}",
                diy_backup_core::error_chain(&error)
            ));
        }
    }

    fn forget(&self, cx: &BackupContext) {
        if let Err(error) = cx.forget_leftover(&self.leftover) {
            cx.events().warning(format!(
                "the journal still names {}: {}",
                self.partial.display(),
                diy_backup_core::error_chain(&error)
            ));
        }
    }

    fn remove_orphaned_manifest(&self) -> Result<()> {
        let path = self.directory.join(&self.file_name);
        // Only the sync of the folder can fail after the rename; nothing unfinished may be listed then either.
        remove_durably(&path)?;
        remove_durably(&self.manifest)
    }
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Io,
        format!("{} is there already", path.display()),
    )
    .with_hint("Nothing that is there is overwritten: move it away."))
}

fn is_broken_pipe(error: &Error) -> bool {
    use std::error::Error as _;
    error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
