use std::fs;
use std::path::Path;

use diy_backup_core::checksums::ChecksumLine;
use diy_backup_core::{ErrorKind, Journal, LastRun, Manifest};

use super::{check_debug, check_message, scratch::scratch};

/// A manifest, as it stands in or beside an archive.
pub fn manifest(data: &[u8]) {
    let manifest = match Manifest::from_json(data) {
        Ok(manifest) => manifest,
        Err(error) => {
            assert!(matches!(
                error.kind(),
                ErrorKind::Damaged | ErrorKind::Unsupported
            ));
            return check_message(&error);
        }
    };
    let again = manifest
        .to_json()
        .and_then(|text| Manifest::from_json(text.as_bytes()));
    let mut again = again.unwrap_or_else(|error| panic!("cannot be written and read: {error:?}"));
    // The last digit of a fraction may be lost on the way; it is for people.
    assert_eq!(manifest.phases.len(), again.phases.len());
    again.phases.clone_from(&manifest.phases);
    again.locked_seconds = manifest.locked_seconds;
    assert_eq!(manifest, again);
}

/// A journal and the record of the last run, as they lie in the state folder.
pub fn journal(data: &[u8]) {
    let state = scratch();
    write(&Journal::path_in(state.path()), data);
    match Journal::read(state.path()) {
        Ok(record) => {
            let record = record.unwrap_or_else(|| panic!("there is a journal, and it is not seen"));
            assert!(record.may_be_locked() || record.unlock_token().is_none());
            check_debug(&record);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.hint().is_some_and(|hint| hint.contains("--token")));
            check_message(&error);
        }
    }
    write(&state.path().join("last-run.json"), data);
    if let Err(error) = LastRun::read(state.path()) {
        assert_eq!(error.kind(), ErrorKind::Damaged);
        check_message(&error);
    }
}

/// A list of checksums; the same bytes are also the name of a file in one.
pub fn checksums(data: &[u8]) {
    for line in data.split_inclusive(|&byte| byte == b'\n') {
        if let Some(line) = ChecksumLine::decode(line) {
            let again = line.encode();
            let end = again.iter().position(|&byte| byte == b'\n');
            assert_eq!(end, Some(again.len() - 1));
            assert_eq!(ChecksumLine::decode(&again), Some(line));
        }
    }
    if data.is_empty() || data.contains(&0) {
        return;
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        let path = std::ffi::OsString::from_vec(data.to_vec()).into();
        let line = ChecksumLine {
            sha256: [0x5a; 32],
            path,
        };
        assert_eq!(ChecksumLine::decode(&line.encode()), Some(line));
    }
}

fn write(path: &Path, data: &[u8]) {
    fs::write(path, data).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
