//! Journals of dead runs in every step, as they would be found.

use diy_backup_core::{ErrorKind, Leftover, Manifest, Step as At};
use serde_json::{Value, json};

use crate::fakes::{Step, Twist};
use crate::support::Stage;

impl Stage {
    /// Puts the journal of a dead run into the state folder.
    pub(crate) fn died_at(&self, operation: &str, step: At, more: &Value) {
        let mut record = json!({
            "format": 1,
            "operation": operation,
            "backup-id": "bitbucket-20260131-235959",
            "run": "0123456789abcdef",
            "process": 1,
            "url": self.simulator.base_url(),
            "step": step,
            "unlock-token": null,
            "cancel-token": null,
            "leftovers": [],
            "committing": [],
        });
        for (key, value) in more.as_object().unwrap() {
            record[key] = value.clone();
        }
        std::fs::create_dir_all(self.state()).unwrap();
        std::fs::write(self.state().join("journal.json"), record.to_string()).unwrap();
    }
}

#[tokio::test]
async fn every_step_of_a_backup_can_be_recovered_from_twice() {
    for step in [
        At::Started,
        At::Locking,
        At::Locked,
        At::Draining,
        At::Released,
        At::Archiving,
        At::Stored,
    ] {
        let stage = Stage::new();
        let mut more = json!({});
        if matches!(step, At::Locked | At::Draining) {
            more["unlock-token"] = json!(stage.simulator.lock_as("backup").unwrap());
        }
        for _ in 0..2 {
            stage.died_at("backup", step, &more);
            let recovery = stage.recover().await.unwrap();
            assert_eq!(recovery.found.unwrap().step, step);
            stage.assert_clean(&format!("{step:?}"));
        }
    }
}

#[tokio::test]
async fn what_a_run_was_writing_when_it_died_goes_with_its_journal() {
    let stage = Stage::new();
    for is_whole in [true, false] {
        stage.died_at("backup", At::Released, &json!({}));
        if !is_whole {
            std::fs::remove_file(stage.state().join("journal.json")).unwrap();
        }
        for name in [".journal.json.tmp", ".last-run.json.tmp"] {
            std::fs::write(stage.state().join(name), "{").unwrap();
        }
        stage.recover().await.unwrap();
        let left: Vec<_> = std::fs::read_dir(stage.state())
            .unwrap()
            .flatten()
            .collect();
        let left = left.iter().map(std::fs::DirEntry::file_name);
        let temporary: Vec<_> = left
            .filter(|name| name.to_string_lossy().ends_with(".tmp"))
            .collect();
        assert!(temporary.is_empty(), "{temporary:?}");
    }
}

#[tokio::test]
async fn a_run_that_died_while_it_asked_for_the_lock_says_where_the_token_is() {
    let stage = Stage::new();
    let token = stage.simulator.lock_as("backup").unwrap();
    stage.died_at("backup", At::Locking, &json!({}));
    let error = stage.recover().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StillLocked);
    assert!(error.hint().unwrap().contains("atlassian-bitbucket.log"));
    let control = diy_backup_core::Control::new();
    let observer = stage.recorder.clone();
    diy_backup_core::unlock(&stage.site, Some(token.into()), &control, observer)
        .await
        .unwrap();
    stage.recover().await.unwrap();
    stage.assert_clean("unlocked with the token from the log");
}

#[tokio::test]
async fn a_lock_of_somebody_else_is_not_touched() {
    let stage = Stage::new();
    stage.simulator.lock_as("somebody").unwrap();
    let stale = json!({"unlock-token": "0".repeat(40)});
    stage.died_at("backup", At::Locked, &stale);
    let error = stage.recover().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StillLocked);
    assert_eq!(stage.simulator.lock_owner().unwrap(), "somebody");
}

#[tokio::test]
async fn leftovers_are_discarded_and_those_that_stay_stay_in_the_journal() {
    let stage = Stage::new();
    let folder = stage.home.beside();
    std::fs::create_dir_all(&folder).unwrap();
    let leftovers = json!({"leftovers": [
        {"strategy": "fake-home", "kind": "folder", "id": folder},
        {"strategy": "fake-db", "kind": "folder", "id": "/nowhere"},
    ]});
    stage.died_at("backup", At::Released, &leftovers);
    stage.database.twist(Step::Discard, Twist::Fails);
    stage.recover().await.unwrap_err();
    assert!(!folder.exists());
    let left = stage.journal().unwrap().leftovers;
    assert_eq!(left, [Leftover::new("fake-db", "folder", "/nowhere")]);
    stage.database.untwist();
    stage.recover().await.unwrap();
    stage.assert_clean("the second try");
}

#[tokio::test]
async fn what_a_stored_backup_consists_of_is_no_leftover() {
    let stage = Stage::new();
    let snapshot = stage.home.beside();
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(stage.staging()).unwrap();
    let mut manifest = Manifest::new("bitbucket-20260131-235959".parse().unwrap());
    let artifact = diy_backup_core::Artifact::external([snapshot.display().to_string()]);
    let part = diy_backup_core::PartRecord::new("fake-home", artifact);
    manifest.parts.insert(diy_backup_core::PartName::Home, part);
    manifest
        .write(&stage.staging().join("manifest.json"))
        .unwrap();
    let leftovers =
        json!({"leftovers": [{"strategy": "fake-home", "kind": "folder", "id": snapshot}]});
    stage.died_at("backup", At::Archiving, &leftovers);
    stage.recover().await.unwrap();
    assert!(snapshot.exists() && stage.journal().is_none());
}

#[tokio::test]
async fn a_leftover_of_a_strategy_that_is_gone_says_what_to_do() {
    let stage = Stage::new();
    let leftovers = json!({"leftovers": [{"strategy": "acme", "kind": "volume", "id": "v1"}]});
    stage.died_at("backup", At::Released, &leftovers);
    let error = stage.recover().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.hint().is_some() && stage.journal().is_some());
}

#[tokio::test]
async fn a_restore_that_died_while_it_built_is_taken_back() {
    let stage = Stage::new();
    stage.home.lose();
    let work = stage.staging().join(".restore-bitbucket-20260131-235959");
    for folder in [&work, &stage.home.beside()] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let leftovers = json!({"leftovers": [
        {"strategy": "core", "kind": "work-folder", "id": work},
        {"strategy": "fake-home", "kind": "folder", "id": stage.home.beside()},
    ]});
    stage.died_at("restore", At::Building, &leftovers);
    let recovery = stage.recover().await.unwrap();
    assert!(!recovery.restore_finished);
    assert!(!work.exists() && !stage.home.beside().exists() && !stage.home.folder().exists());
}

#[tokio::test]
async fn a_restore_that_died_between_two_commits_goes_forward_and_before_the_first_back() {
    for committed in [false, true] {
        let stage = Stage::new();
        stage.home.lose();
        std::fs::create_dir_all(stage.home.beside()).unwrap();
        std::fs::write(stage.home.beside().join("ref"), "restored").unwrap();
        if !committed {
            std::fs::rename(stage.database.folder(), stage.database.beside()).unwrap();
        }
        let parts = json!([
            {"strategy": "fake-home", "kind": "folder", "id": stage.home.beside()},
            {"strategy": "fake-db", "kind": "folder", "id": stage.database.beside()},
        ]);
        let more = json!({"leftovers": parts, "committing": parts});
        stage.died_at("restore", At::Committing, &more);
        let recovery = stage.recover().await.unwrap();
        assert_eq!(recovery.restore_finished, committed);
        assert_eq!(stage.home.folder().exists(), committed);
        assert_eq!(stage.database.folder().exists(), committed);
        assert!(!stage.home.beside().exists() && !stage.database.beside().exists());
        assert!(stage.journal().is_none());
    }
}

#[tokio::test]
async fn a_journal_that_is_damaged_stops_everything_and_says_so() {
    let stage = Stage::new();
    std::fs::create_dir_all(stage.state()).unwrap();
    std::fs::write(stage.state().join("journal.json"), "{").unwrap();
    for error in [
        stage.recover().await.unwrap_err(),
        stage.backup().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.hint().unwrap().contains("unlock --token"));
    }
}

#[tokio::test]
async fn a_work_directory_that_is_not_ours_is_not_removed() {
    let stage = Stage::new();
    let elsewhere = stage.home.folder().with_extension("elsewhere");
    std::fs::create_dir_all(elsewhere.join("of-somebody")).unwrap();
    std::fs::create_dir_all(stage.staging()).unwrap();
    let link = stage.staging().join(".restore-bitbucket-20260131-235959");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    let up = stage.staging().join("../home.elsewhere");
    for named in [&elsewhere, &up, &link] {
        let leftovers = json!({"leftovers": [
            {"strategy": "core", "kind": "work-folder", "id": named},
        ]});
        stage.died_at("restore", At::Building, &leftovers);
        let recovery = stage.recover().await.unwrap();
        assert!(elsewhere.join("of-somebody").exists(), "{named:?}");
        assert!(stage.journal().is_none());
        let is_ours = *named == link;
        assert_eq!(recovery.unfinished.is_empty(), is_ours, "{recovery:?}");
        for unfinished in recovery.unfinished {
            std::fs::remove_file(unfinished.file).unwrap();
        }
    }
}

#[tokio::test]
async fn a_restore_that_cannot_be_finished_ends_and_keeps_nothing_from_running() {
    for lost in ["home", "database"] {
        let stage = Stage::new();
        // The other part stands in its place, and what this one was to become is gone.
        let (part, name) = if lost == "home" {
            (&stage.home, "the home part")
        } else {
            (&stage.database, "the database part")
        };
        part.lose();
        part.twist(Step::ResumeCommit, Twist::Fails);
        let parts = json!([
            {"owner": "home", "strategy": "fake-home", "kind": "folder", "id": stage.home.beside()},
            {"owner": "database", "strategy": "fake-db", "kind": "folder", "id": stage.database.beside()},
        ]);
        let more = json!({"leftovers": parts, "committing": parts});
        stage.died_at("restore", At::Committing, &more);

        let recovery = stage.recover().await.unwrap();
        assert!(!recovery.restore_finished && stage.journal().is_none());
        let [unfinished] = &recovery.unfinished[..] else {
            panic!("{recovery:?}")
        };
        assert!(unfinished.problems[0].contains(name), "{unfinished:?}");
        assert!(unfinished.problems[0].contains("on purpose"));
        assert_eq!(
            unfinished.file,
            stage
                .state()
                .join("journal-bitbucket-20260131-235959.unfinished.json")
        );
        assert_private(&unfinished.file);
        let status = diy_backup_core::status(&stage.site).await.unwrap();
        assert_eq!(status.unfinished, recovery.unfinished);
        assert!(!status.needs_recovery());

        // Whoever recovers once more tries again, and what is settled is forgotten.
        assert_eq!(stage.recover().await.unwrap().unfinished.len(), 1);
        part.write("ref", "restored by hand");
        part.untwist();
        stage.backup().await.unwrap();
        let reminded = |text: &String| text.contains("unfinished") && text.contains("recover");
        assert!(stage.recorder.warnings().iter().any(reminded));
        assert_eq!(stage.recover().await.unwrap().unfinished, []);
        let status = diy_backup_core::status(&stage.site).await.unwrap();
        assert_eq!(status.unfinished, []);
    }
}

#[tokio::test]
async fn where_nobody_can_tell_whether_a_part_is_in_place_nothing_is_removed() {
    let stage = Stage::new();
    stage.home.lose();
    stage.home.build("ref", "restored");
    stage.database.twist(Step::WasCommitted, Twist::Fails);
    let parts = json!([
        {"strategy": "fake-home", "kind": "folder", "id": stage.home.beside()},
        {"strategy": "fake-db", "kind": "folder", "id": stage.database.beside()},
    ]);
    let more = json!({"leftovers": parts, "committing": parts});
    stage.died_at("restore", At::Committing, &more);
    // The next run is not kept from beginning, even though its own check has something to say.
    stage.backup().await.unwrap_err();
    assert!(stage.journal().is_none() && stage.home.beside().exists());
    stage.database.untwist();
    let recovery = stage.recover().await.unwrap();
    assert_eq!(recovery.unfinished, []);
    assert_eq!(stage.home.read("ref").unwrap(), "restored");
}

#[tokio::test]
async fn a_leftover_that_cannot_be_removed_keeps_no_backup_from_being_taken() {
    for more in [
        json!({"leftovers": [{"strategy": "acme", "kind": "volume", "id": "v1"}]}),
        json!({"leftovers": [{"strategy": "fake-db", "kind": "folder", "id": "/nowhere"}]}),
    ] {
        let stage = Stage::new();
        stage.database.twist(Step::Discard, Twist::Fails);
        stage.died_at("backup", At::Released, &more);
        let report = stage.backup().await.unwrap();
        let left = more["leftovers"][0]["id"].as_str().unwrap();
        let told = report.warnings.iter().any(|text| text.contains(left));
        assert!(told, "{:?}", report.warnings);
        let status = diy_backup_core::status(&stage.site).await.unwrap();
        assert_eq!(status.unfinished.len(), 1);
    }
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_refused_and_everything_stays() {
    let stage = Stage::new();
    let folder = stage.home.beside();
    std::fs::create_dir_all(&folder).unwrap();
    let more = json!({"format": 2, "leftovers": [
        {"strategy": "fake-home", "kind": "folder", "id": folder},
    ]});
    stage.died_at("backup", At::Released, &more);
    let before = std::fs::read(stage.state().join("journal.json")).unwrap();
    for error in [
        stage.recover().await.unwrap_err(),
        stage.backup().await.unwrap_err(),
    ] {
        let text = crate::support::words(&error);
        assert!(text.contains("format 2"), "{text}");
    }
    let after = std::fs::read(stage.state().join("journal.json")).unwrap();
    assert!(folder.exists() && before == after);
}

#[track_caller]
fn assert_private(path: &std::path::Path) {
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o600);
}

/// Makes a directory that every user may write to, as one that somebody else has made.
fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

#[tokio::test]
async fn directories_that_others_can_replace_are_refused_and_nothing_is_obeyed() {
    for which in ["state", "staging"] {
        let mut stage = Stage::new();
        let open = stage.home.folder().with_extension("open");
        open_to_all(&open);
        stage.move_to(which, &open.join("ours"));
        let folder = stage.home.beside();
        std::fs::create_dir_all(&folder).unwrap();
        if which == "state" {
            let leftovers = json!({"leftovers": [
                {"strategy": "fake-home", "kind": "folder", "id": folder},
            ]});
            stage.died_at("backup", At::Released, &leftovers);
            assert_eq!(stage.recover().await.unwrap_err().kind(), ErrorKind::Check);
        }
        let error = stage.backup().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Check, "{which}: {error}");
        let text = crate::support::words(&error);
        assert!(
            text.contains(which) && text.contains("other users"),
            "{text}"
        );
        assert!(folder.exists() && stage.simulator.lock_count() == 0);
    }
}

#[tokio::test]
async fn directories_and_journals_of_another_user_are_refused_by_root() {
    // Not the user who runs this, even where that is `nobody`.
    let somebody = Some(65533);
    for which in ["state", "staging", "journal"] {
        let stage = Stage::new();
        let folder = stage.home.beside();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(stage.staging()).unwrap();
        let leftovers = json!({"leftovers": [
            {"strategy": "fake-home", "kind": "folder", "id": folder},
        ]});
        stage.died_at("backup", At::Released, &leftovers);
        let theirs = match which {
            "state" => stage.state(),
            "staging" => stage.staging(),
            _ => stage.state().join("journal.json"),
        };
        if std::os::unix::fs::chown(&theirs, somebody, somebody).is_err() {
            diy_backup_testkit::report_skipped(&"only root can make files of another user");
            return;
        }
        let error = stage.backup().await.unwrap_err();
        let text = crate::support::words(&error);
        assert!(
            text.contains("belongs to the user 65533"),
            "{which}: {text}"
        );
        assert_eq!(folder.exists(), which != "staging", "{which}");
        assert_eq!(stage.simulator.lock_count(), 0);
    }
}

#[tokio::test]
async fn a_link_in_the_place_of_a_file_of_ours_is_not_followed() {
    let stage = Stage::new();
    std::fs::create_dir_all(stage.state()).unwrap();
    let elsewhere = stage.home.folder().join("ref");
    for name in ["journal.json", "run.lock", "last-run.json"] {
        let link = stage.state().join(name);
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let error = diy_backup_core::status(&stage.site).await.unwrap_err();
        let text = crate::support::words(&error);
        assert!(text.contains("it is a symbolic link"), "{name}: {text}");
        std::fs::remove_file(&link).unwrap();
    }
    assert_eq!(stage.home.read("ref").unwrap(), "main");
}
