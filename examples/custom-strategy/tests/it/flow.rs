//! Backup, restore and check.

use crate::site::{Site, is_sqlite3_missing, sqlite3};

#[test]
fn a_backup_by_the_sites_own_strategy_is_restored() {
    if is_sqlite3_missing() {
        return;
    }
    let site = Site::start();
    let backup = site.run("the site's", &["backup"]);
    assert_eq!(backup.status.code(), Some(0), "{backup:?}");
    assert!(!site.simulator.is_locked());
    assert_eq!(site.simulator.lock_count(), 1);

    sqlite3(&site.database("the site's"), "DELETE FROM repository");
    let restore = site.run("restored", &["restore", "latest"]);
    assert_eq!(restore.status.code(), Some(0), "{restore:?}");
    let rows = sqlite3(&site.database("restored"), "SELECT * FROM repository");
    assert_eq!(rows, "1|naïve ☃\n2|it's\n");
}

#[test]
fn a_restore_leaves_a_database_that_is_there_alone() {
    if is_sqlite3_missing() {
        return;
    }
    let site = Site::start();
    assert!(site.run("the site's", &["backup"]).status.success());
    let before = std::fs::read(site.database("the site's")).unwrap();
    let restore = site.run("the site's", &["restore", "latest"]);
    assert!(!restore.status.success(), "{restore:?}");
    assert_eq!(std::fs::read(site.database("the site's")).unwrap(), before);
}

#[test]
fn a_check_finds_a_database_that_is_not_there() {
    if is_sqlite3_missing() {
        return;
    }
    let site = Site::start();
    let check = site.run("nowhere", &["check"]);
    assert_eq!(check.status.code(), Some(4), "{check:?}");
    assert!(!site.simulator.is_locked());
}
