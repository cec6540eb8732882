//! What lies in the staging folder, written down in two lists and compared with them.
//!
//! `SHA256SUMS` has every regular file, for `sha256sum --check`. `SHA256SUMS.others` has what that program does not
//! know, in the same form: links with the checksum of where they lead, and folders with the checksum of nothing.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Stop;
use crate::checksums::{self, ChecksumLine};
use crate::error::{Error, Result, ResultExt};
use crate::event::Meter;
use crate::platform;
use crate::staging::{self, Staging};
use crate::strategy::{Damage, Verdict};

/// How much damage is named before the reading ends.
const MAX_DAMAGE: usize = 1000;

/// One of the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Files,
    Others,
}

impl List {
    const ALL: [Self; 2] = [Self::Files, Self::Others];

    fn name(self) -> String {
        match self {
            Self::Files => checksums::FILE_NAME.to_owned(),
            Self::Others => format!("{}.others", checksums::FILE_NAME),
        }
    }

    fn path(self, staging: &Staging) -> PathBuf {
        staging.root().join(self.name())
    }
}

/// A list that is being written.
struct NewList {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl NewList {
    fn create(path: PathBuf) -> Result<Self> {
        staging::remove_file_if_there(&path)
            .io_context(|| format!("cannot remove {}", path.display()))?;
        let file = platform::create_private_file(&path)
            .io_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path,
            writer: BufWriter::new(file),
        })
    }

    fn add(&mut self, sha256: [u8; 32], path: &Path) -> Result<()> {
        let line = ChecksumLine {
            sha256,
            path: path.to_owned(),
        };
        self.writer
            .write_all(&line.encode())
            .io_context(|| format!("cannot write {}", self.path.display()))
    }

    fn finish(self) -> Result<()> {
        let synced = self
            .writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all());
        synced.io_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Writes both lists, and returns how many bytes the files hold.
pub(super) fn list(staging: &Staging, stop: &Stop, meter: &Meter) -> Result<u64> {
    let mut files = NewList::create(List::Files.path(staging))?;
    let mut others = NewList::create(List::Others.path(staging))?;
    let mut total = 0;
    walk(staging, |path, relative, list| {
        stop.ensure_running()?;
        let cannot_read = || format!("cannot read {}", path.display());
        match list {
            List::Files => {
                let (sha256, bytes) = hash(path, stop, meter)?.io_context(cannot_read)?;
                total += bytes;
                files.add(sha256, relative)
            }
            List::Others => others.add(sum_of_other(path).io_context(cannot_read)?, relative),
        }
    })?;
    files.finish()?;
    others.finish()?;
    make_durable(staging)?;
    Ok(total)
}

/// The parts may lie on file systems of their own.
fn make_durable(staging: &Staging) -> Result<()> {
    let parts = [staging.home(), staging.database(), staging.data_stores()];
    for part in parts.iter().filter(|part| part.exists()) {
        platform::sync_file_system(part)
            .io_context(|| format!("cannot write {} to its disk", part.display()))?;
    }
    Ok(())
}

/// Compares everything with the lists.
pub(super) fn compare(staging: &Staging, stop: &Stop, meter: &Meter) -> Result<Verdict> {
    let mut verdict = Verdict {
        has_checksums: true,
        ..Verdict::default()
    };
    let mut listed = 0;
    for list in List::ALL {
        compare_list(staging, list, &mut verdict, &mut listed, stop, meter)?;
    }
    // What nobody listed is as wrong as what is gone.
    let mut present = 0_u64;
    walk(staging, |_, _, _| {
        present += 1;
        stop.ensure_running()
    })?;
    if verdict.is_good() && present != listed {
        verdict.damage.push(Damage::whole(format!(
            "{listed} files, folders and links are listed, and {present} are there"
        )));
    }
    Ok(verdict)
}

fn compare_list(
    staging: &Staging,
    list: List,
    verdict: &mut Verdict,
    listed: &mut u64,
    stop: &Stop,
    meter: &Meter,
) -> Result<()> {
    let (path, name) = (list.path(staging), list.name());
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let problem = format!("the list of checksums {name} is missing");
            verdict.damage.push(Damage::whole(problem));
            return Ok(());
        }
        Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while verdict.damage.len() < MAX_DAMAGE {
        stop.ensure_running()?;
        line.clear();
        let count = reader
            .read_until(b'\n', &mut line)
            .io_context(|| format!("cannot read {}", path.display()))?;
        if count == 0 {
            break;
        }
        let Some(expected) = ChecksumLine::decode(&line) else {
            let problem = format!("the list of checksums {name} is damaged");
            verdict.damage.push(Damage::whole(problem));
            break;
        };
        *listed += 1;
        let whole = staging.root().join(&expected.path);
        let found = match list {
            List::Files => {
                verdict.files += 1;
                hash(&whole, stop, meter)?.map(|(sha256, bytes)| {
                    verdict.content_bytes += bytes;
                    sha256
                })
            }
            List::Others => sum_of_other(&whole),
        };
        let problem = match found {
            Ok(sha256) if sha256 == expected.sha256 => continue,
            Ok(_) if list == List::Files => "its content is not what was backed up".to_owned(),
            Ok(_) => "it is another folder or link than was backed up".to_owned(),
            Err(error) => format!("it cannot be read: {error}"),
        };
        let path = expected.path.display().to_string();
        verdict.damage.push(Damage::file(path, problem));
    }
    Ok(())
}

/// Calls `visit` with everything in the three parts, and these: its path, its path below the staging folder, and where
/// it is listed. Sockets, pipes and devices are no part of a backup.
fn walk(staging: &Staging, mut visit: impl FnMut(&Path, &Path, List) -> Result<()>) -> Result<()> {
    for part in [staging::DATABASE, staging::HOME, staging::DATA_STORES] {
        let path = staging.root().join(part);
        if path.is_dir() {
            visit(&path, Path::new(part), List::Others)?;
            walk_folder(&path, Path::new(part), &mut visit)?;
        }
    }
    Ok(())
}

fn walk_folder(
    folder: &Path,
    relative: &Path,
    visit: &mut impl FnMut(&Path, &Path, List) -> Result<()>,
) -> Result<()> {
    let shown = || format!("cannot read the folder {}", folder.display());
    for entry in fs::read_dir(folder).io_context(shown)? {
        let entry = entry.io_context(shown)?;
        let kind = entry.file_type().io_context(shown)?;
        let path = folder.join(entry.file_name());
        let relative = relative.join(entry.file_name());
        if kind.is_file() {
            visit(&path, &relative, List::Files)?;
        } else if kind.is_symlink() {
            visit(&path, &relative, List::Others)?;
        } else if kind.is_dir() {
            visit(&path, &relative, List::Others)?;
            walk_folder(&path, &relative, visit)?;
        }
    }
    Ok(())
}

/// Of where a link leads, or of nothing for a folder.
fn sum_of_other(path: &Path) -> io::Result<[u8; 32]> {
    let metadata = fs::symlink_metadata(path)?;
    let target = if metadata.is_symlink() {
        fs::read_link(path)?
    } else if metadata.is_dir() {
        PathBuf::new()
    } else {
        return Err(io::Error::other("it is neither a folder nor a link"));
    };
    Ok(Sha256::digest(target.as_os_str().as_encoded_bytes()).into())
}

/// The checksum of a file and its length, or why it cannot be read. The outer error says that nobody wants to know.
fn hash(path: &Path, stop: &Stop, meter: &Meter) -> Result<io::Result<([u8; 32], u64)>> {
    let opened = fs::symlink_metadata(path).and_then(|metadata| {
        if metadata.is_file() {
            File::open(path)
        } else {
            Err(io::Error::other("it is no file"))
        }
    });
    let mut file = match opened {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        stop.ensure_running()?;
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(Ok((hasher.finalize().into(), total))),
            Ok(count) => count,
            Err(error) => return Ok(Err(error)),
        };
        hasher.update(&buffer[..count]);
        total += count as u64;
        meter.advance(count as u64);
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    use super::*;
    use crate::control::Control;
    use crate::event::{Events, Silent};
    use crate::phase::Phase;

    fn verdict(staging: &Staging) -> Verdict {
        let meter = Events::new(Arc::new(Silent)).meter(Phase::Verify);
        compare(staging, &stop(), &meter).unwrap()
    }

    fn stop() -> Stop {
        Stop {
            control: Control::new(),
            abandoned: Arc::default(),
        }
    }

    fn stage(root: &Path) -> Staging {
        let staging = Staging::new(root);
        fs::create_dir_all(staging.home().join("refs/tags")).unwrap();
        fs::create_dir_all(staging.database()).unwrap();
        fs::write(staging.home().join("HEAD"), "ref").unwrap();
        fs::write(staging.home().join("a\nname"), "").unwrap();
        symlink("HEAD", staging.home().join("link")).unwrap();
        symlink("nowhere", staging.home().join("dangling")).unwrap();
        let meter = Events::new(Arc::new(Silent)).meter(Phase::Archive);
        assert_eq!(list(&staging, &stop(), &meter).unwrap(), 3);
        staging
    }

    #[test]
    fn links_and_empty_folders_are_part_of_a_backup() {
        type Harm = fn(&Path);
        let harms: [(&str, Harm); 9] = [
            ("an empty folder that is gone", |root| {
                fs::remove_dir(root.join("bitbucket-home/refs/tags")).unwrap();
            }),
            ("a folder more", |root| {
                fs::create_dir(root.join("bitbucket-home/more")).unwrap();
            }),
            ("a part that is gone", |root| {
                fs::remove_dir(root.join("bitbucket-db")).unwrap();
            }),
            ("a link that is gone", |root| {
                fs::remove_file(root.join("bitbucket-home/dangling")).unwrap();
            }),
            ("a link to something else", |root| {
                fs::remove_file(root.join("bitbucket-home/link")).unwrap();
                symlink("head", root.join("bitbucket-home/link")).unwrap();
            }),
            ("a file in place of a link", |root| {
                fs::remove_file(root.join("bitbucket-home/link")).unwrap();
                fs::write(root.join("bitbucket-home/link"), "ref").unwrap();
            }),
            ("a link in place of a file", |root| {
                let file = root.join("bitbucket-home/HEAD");
                fs::rename(&file, root.join("elsewhere")).unwrap();
                symlink(root.join("elsewhere"), file).unwrap();
            }),
            ("a list that is gone", |root| {
                fs::remove_file(root.join("SHA256SUMS.others")).unwrap();
            }),
            ("a list that ends early", |root| {
                let list = root.join("SHA256SUMS.others");
                let text = fs::read(&list).unwrap();
                let lines = text.split_inclusive(|&byte| byte == b'\n');
                let most: Vec<u8> = lines.skip(1).flatten().copied().collect();
                fs::write(list, most).unwrap();
            }),
        ];
        for (what, harm) in harms {
            let root = tempfile::tempdir().unwrap();
            let staging = stage(root.path());
            let good = verdict(&staging);
            assert_eq!((good.damage.len(), good.files), (0, 2));
            harm(root.path());
            assert!(!verdict(&staging).is_good(), "{what} is not found");
        }
    }
}
