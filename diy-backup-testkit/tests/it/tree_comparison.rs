use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use diy_backup_testkit::tree::{Aspect, Exclusions};
use diy_backup_testkit::{TreeDiff, TreeSnapshot, report_skipped};
use filetime::{FileTime, set_file_mtime};

/// Two equal trees, the second of which is changed; the result is what the comparison finds.
fn after(change: impl FnOnce(&Path)) -> TreeDiff {
    let folder = tempfile::tempdir().expect("a folder");
    let sides = [folder.path().join("original"), folder.path().join("copy")];
    for side in &sides {
        make(side);
    }
    change(&sides[1]);
    restore_folder_time(&sides[1]);
    let [original, copy] =
        sides.map(|side| TreeSnapshot::of(&side, &Exclusions::none()).expect("readable"));
    original.diff(&copy)
}

fn make(root: &Path) {
    fs::create_dir_all(root.join("folder")).expect("a folder");
    fs::write(root.join("folder/file"), "contents").expect("a file");
    fs::write(root.join("folder/new\nline"), "contents").expect("a file");
    fs::hard_link(root.join("folder/file"), root.join("folder/linked")).expect("a link");
    symlink("file", root.join("folder/soft")).expect("a link");
    for name in ["file", "new\nline"] {
        fs::set_permissions(
            root.join("folder").join(name),
            fs::Permissions::from_mode(0o644),
        )
        .expect("our file");
        set_file_mtime(root.join("folder").join(name), time(5)).expect("our file");
    }
    filetime::set_symlink_file_times(root.join("folder/soft"), time(5), time(5)).expect("ours");
    restore_folder_time(root);
}

fn restore_folder_time(root: &Path) {
    set_file_mtime(root.join("folder"), time(7)).expect("our folder");
}

fn time(nanoseconds: u32) -> FileTime {
    FileTime::from_unix_time(1_000_000_000, nanoseconds)
}

fn aspects(diff: &TreeDiff) -> Vec<(String, Aspect)> {
    diff.differences
        .iter()
        .map(|difference| (difference.path.display().to_string(), difference.aspect))
        .collect()
}

fn only(path: &str, aspect: Aspect) -> Vec<(String, Aspect)> {
    vec![(path.to_owned(), aspect)]
}

#[test]
fn equal_trees_have_no_differences() {
    let diff = after(|_| {});
    assert!(diff.is_empty(), "{diff}");
    assert_eq!(diff.to_string(), "no differences in 5 entries");
}

#[test]
fn a_missing_entry_is_found_and_its_name_is_escaped() {
    let diff = after(|root| fs::remove_file(root.join("folder/new\nline")).unwrap());
    assert_eq!(aspects(&diff), only("folder/new\nline", Aspect::Missing));
    assert!(diff.to_string().contains("folder/new\\nline: missing"));
}

#[test]
fn an_extra_entry_is_found_and_bytes_that_are_no_text_are_shown() {
    let name = std::ffi::OsStr::from_bytes(b"b\xff");
    let diff = after(|root| {
        if fs::write(root.join("folder").join(name), "").is_err() {
            fs::write(root.join("folder/b\\xff"), "").unwrap();
        }
    });
    assert_eq!(diff.differences[0].aspect, Aspect::Extra);
    assert!(diff.to_string().contains("folder/b\\xff: extra") || !cfg!(target_os = "linux"));
}

#[test]
fn changed_contents_of_the_same_length_and_time_are_found() {
    let diff = after(|root| {
        let path = root.join("folder/new\nline");
        fs::write(&path, "kontents").unwrap();
        set_file_mtime(&path, time(5)).unwrap();
    });
    assert_eq!(aspects(&diff), only("folder/new\nline", Aspect::Contents));
}

#[test]
fn a_changed_mode_is_found() {
    let diff = after(|root| {
        let path = root.join("folder/new\nline");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    });
    assert_eq!(aspects(&diff), only("folder/new\nline", Aspect::Mode));
    assert!(diff.to_string().ends_with("mode 0644 became 0600"));
}

#[test]
fn a_time_that_differs_by_a_nanosecond_is_found() {
    let diff = after(|root| set_file_mtime(root.join("folder/new\nline"), time(6)).unwrap());
    assert_eq!(aspects(&diff), only("folder/new\nline", Aspect::Modified));
    assert!(diff.without(&[Aspect::Modified]).is_empty());
}

#[test]
fn a_link_that_points_elsewhere_is_found() {
    let diff = after(|root| {
        let path = root.join("folder/soft");
        fs::remove_file(&path).unwrap();
        symlink("fil\ne", &path).unwrap();
        filetime::set_symlink_file_times(&path, time(5), time(5)).unwrap();
    });
    assert_eq!(aspects(&diff), only("folder/soft", Aspect::Target));
}

#[test]
fn a_hard_link_that_became_a_copy_is_found() {
    let diff = after(|root| {
        let path = root.join("folder/linked");
        fs::remove_file(&path).unwrap();
        fs::copy(root.join("folder/file"), &path).unwrap();
        set_file_mtime(&path, time(5)).unwrap();
    });
    let both = ["folder/file", "folder/linked"];
    let expected = both.map(|path| (path.to_owned(), Aspect::HardLinks));
    assert_eq!(aspects(&diff), expected);
}

#[test]
fn a_file_that_became_a_folder_is_found() {
    let diff = after(|root| {
        fs::remove_file(root.join("folder/new\nline")).unwrap();
        fs::create_dir(root.join("folder/new\nline")).unwrap();
    });
    assert_eq!(aspects(&diff), only("folder/new\nline", Aspect::Kind));
}

#[test]
fn a_lost_hole_and_a_lost_attribute_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let sides = [folder.path().join("original"), folder.path().join("copy")];
    for (side, sparse) in sides.iter().zip([true, false]) {
        fs::create_dir(side).unwrap();
        let path = side.join("file");
        if sparse {
            fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
            if xattr::set(&path, "user.testkit", b"value").is_err() {
                report_skipped(&"the file system has no extended attributes");
                return;
            }
        } else {
            fs::write(&path, vec![0; 1 << 20]).unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        set_file_mtime(&path, time(5)).unwrap();
    }
    let [original, copy] = sides.map(|side| TreeSnapshot::of(&side, &Exclusions::none()).unwrap());
    let diff = original.diff(&copy);
    let expected = [Aspect::Sparseness, Aspect::Attributes];
    assert_eq!(
        aspects(&diff),
        expected.map(|aspect| ("file".to_owned(), aspect))
    );
}
