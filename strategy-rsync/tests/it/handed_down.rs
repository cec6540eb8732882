//! What a folder hands down to whatever is made in it: an access list, and its group.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::tracking::{capture_changes, tracked_bench, write};

/// Reading and writing for user 12 too, as the kernel keeps it: a version, then tag, permissions and ID of each entry.
fn access_list() -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 7, NOBODY),
        (0x02, 6, 12),
        (0x04, 5, NOBODY),
        (0x10, 7, NOBODY),
        (0x20, 5, NOBODY),
    ];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_folder_hands_down_is_in_a_copy_only_where_the_original_has_it() {
    const ACL: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];
    let Some(bench) = tracked_bench(0).await else {
        return;
    };
    let data = bench.home.path.join("shared/data/handed down");
    for folder in [&data, &data.join("group alone")] {
        fs::create_dir_all(folder).unwrap();
        std::os::unix::fs::chown(folder, None, Some(34)).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o2755)).unwrap();
    }
    if let Err(error) = xattr::set(&data, ACL[1], &access_list()) {
        diy_backup_testkit::report_skipped(&format!("no access lists: {error}"));
        return;
    }
    let change = || {
        for path in ["with/file", "without/file", "plain", "group alone/file"] {
            write(&data.join(path), "x");
        }
        for path in ["without", "without/file", "plain", "group alone/file"] {
            let path = data.join(path);
            let _ = ACL.map(|name| xattr::remove(&path, name));
            std::os::unix::fs::chown(&path, None, Some(0)).unwrap();
        }
    };
    assert!(capture_changes(&bench, || ()).await);
    assert!(capture_changes(&bench, change).await);
    let copies = bench.staging().home().join("shared/data/handed down");
    let paths = ["", "with", "with/file", "without", "without/file", "plain"];
    for path in paths.into_iter().chain(["group alone/file"]) {
        let facts = |root: &Path| {
            let path = root.join(path);
            let lists = ACL.map(|name| xattr::get(&path, name).unwrap());
            let found = fs::metadata(&path).unwrap();
            (lists, found.mode(), found.uid(), found.gid())
        };
        assert_eq!(facts(&copies), facts(&data), "{path:?}");
    }
}
