//! Journals of other instances, half-written ones and damaged ones: no token is lost.

use std::fs;
use std::path::PathBuf;

use diy_backup_core::{Control, Error, ErrorKind, Step as At};
use serde_json::{Value, json};

use crate::support::Stage;

impl Stage {
    fn file(&self, name: &str) -> PathBuf {
        self.state().join(name)
    }

    /// A journal as it stands before it is renamed into place.
    fn was_writing(&self, step: At, more: &Value) {
        self.died_at("backup", step, more);
        fs::rename(self.file("journal.json"), self.file(".journal.json.tmp")).unwrap();
    }

    async fn unlock(&self, token: Option<&str>) -> Result<(), Error> {
        let token = token.map(Into::into);
        diy_backup_core::unlock(&self.site, token, &Control::new(), self.recorder.clone()).await
    }

    async fn cancel(&self, token: Option<&str>) -> Result<(), Error> {
        let token = token.map(Into::into);
        diy_backup_core::cancel(&self.site, token, self.recorder.clone()).await
    }

    /// Damaged files that were kept.
    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state()).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.contains(".damaged-")).collect()
    }
}

#[tokio::test]
async fn a_journal_of_another_instance_is_left_alone() {
    let other = Stage::new();
    let token = other.simulator.lock_as("backup").unwrap();
    let by_url = json!({"unlock-token": token, "url": other.simulator.base_url()});
    let by_name = json!({"unlock-token": token, "backup-id": "other-20260131-235959"});
    for more in [by_url, by_name] {
        let stage = Stage::new();
        stage.died_at("backup", At::Locked, &more);
        let before = fs::read(stage.file("journal.json")).unwrap();
        let errors = [
            stage.recover().await.map(drop),
            stage.backup().await.map(drop),
            stage.unlock(None).await,
            stage.cancel(None).await,
        ];
        for error in errors {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            let text = error.to_string();
            assert!(text.contains(&stage.simulator.base_url()), "{text}");
            let theirs = more.get("url").map_or("other", |url| url.as_str().unwrap());
            assert!(text.contains(theirs), "{text}");
        }
        let status = diy_backup_core::status(&stage.site).await.unwrap();
        assert!(status.journal_problem.is_some() && status.needs_recovery());
        // By hand, a token is a token; the journal is still none of ours.
        let mine = stage.simulator.lock_as("somebody").unwrap();
        stage.unlock(Some(&mine)).await.unwrap();
        assert!(!stage.simulator.is_locked());
        assert_eq!(fs::read(stage.file("journal.json")).unwrap(), before);
    }
    assert!(other.simulator.is_locked());
}

#[tokio::test]
async fn a_url_that_is_spelled_otherwise_is_the_same_instance() {
    let stage = Stage::new();
    let token = stage.simulator.lock_as("backup").unwrap();
    let url = format!("{}//", stage.simulator.base_url().replace("http", "HTTP"));
    stage.died_at(
        "backup",
        At::Locked,
        &json!({"unlock-token": token, "url": url}),
    );
    stage.recover().await.unwrap();
    stage.assert_clean("another spelling");
}

#[tokio::test]
async fn a_token_that_was_being_written_unlocks() {
    for has_older in [true, false] {
        let stage = Stage::new();
        let token = stage.simulator.lock_as("backup").unwrap();
        stage.was_writing(At::Locked, &json!({"unlock-token": token}));
        if has_older {
            stage.died_at("backup", At::Locking, &json!({}));
        }
        assert_eq!(stage.journal().unwrap().unlock_token, Some(token));
        stage.recover().await.unwrap();
        stage.assert_clean("a journal before its rename");
        assert!(!stage.file(".journal.json.tmp").exists());
    }
}

#[tokio::test]
async fn a_token_in_a_torn_journal_unlocks_and_the_file_is_kept() {
    let stage = Stage::new();
    let token = stage.simulator.lock_as("backup").unwrap();
    stage.was_writing(At::Locked, &json!({"unlock-token": token}));
    let text = fs::read_to_string(stage.file(".journal.json.tmp")).unwrap();
    let end = text.find(&token).unwrap() + token.len();
    fs::write(stage.file(".journal.json.tmp"), &text[..end]).unwrap();
    stage.died_at("backup", At::Locking, &json!({}));
    stage.recover().await.unwrap();
    stage.assert_clean("a torn journal");
    assert_eq!(stage.kept().len(), 1);
    assert!(!stage.file(".journal.json.tmp").exists());
}

#[tokio::test]
async fn a_token_in_a_damaged_journal_unlocks_and_the_file_is_kept() {
    let by_recovery = Stage::new();
    let by_backup = Stage::new();
    let by_hand = Stage::new();
    for stage in [&by_recovery, &by_backup, &by_hand] {
        let token = stage.simulator.lock_as("backup").unwrap();
        stage.died_at("backup", At::Locked, &json!({"unlock-token": token}));
        let text = fs::read_to_string(stage.file("journal.json")).unwrap();
        fs::write(stage.file("journal.json"), format!("\0\0{}", &text[1..])).unwrap();
    }
    by_recovery.recover().await.unwrap();
    by_backup.backup().await.unwrap();
    by_hand.unlock(None).await.unwrap();
    assert!(!by_hand.simulator.is_locked());
    // Unlocking by hand does nothing but unlock.
    assert!(by_hand.file("journal.json").exists());
    for stage in [by_recovery, by_backup] {
        assert!(!stage.simulator.is_locked());
        assert!(stage.journal().is_none());
        assert_eq!(stage.kept().len(), 1);
    }
}

#[tokio::test]
async fn a_token_by_hand_needs_no_journal_that_can_be_read() {
    let stage = Stage::new();
    let token = stage.simulator.lock_as("backup").unwrap();
    fs::create_dir_all(stage.state()).unwrap();
    fs::write(stage.file("journal.json"), "{").unwrap();
    stage.unlock(None).await.unwrap_err();
    let refused = stage.cancel(Some(&"0".repeat(40))).await.unwrap_err();
    assert_eq!(
        refused.kind(),
        ErrorKind::Bitbucket,
        "it was sent: {refused}"
    );
    stage.unlock(Some(&token)).await.unwrap();
    assert!(!stage.simulator.is_locked());
    assert_eq!(fs::read(stage.file("journal.json")).unwrap(), b"{");
}
