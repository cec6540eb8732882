//! The archive strategy `none`: the staging folder is the backup.

use diy_backup_core::{Control, Selector, Silent, Verdict};
use std::sync::Arc;

use crate::support::Stage;

async fn verify(stage: &Stage) -> Verdict {
    let entry = diy_backup_core::find_to_verify(&stage.site, &Selector::Latest)
        .await
        .unwrap();
    diy_backup_core::verify(&stage.site, &entry, &Control::new(), Arc::new(Silent))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_backup_is_listed_verified_and_gone_with_the_next_one_that_fails() {
    let stage = Stage::new();
    let report = stage.backup().await.unwrap();
    let listed = diy_backup_core::list(&stage.site).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].id, listed[0].is_good()), (&report.id, true));
    assert!(verify(&stage).await.is_good());

    stage
        .home
        .twist(crate::fakes::Step::Complete, crate::fakes::Twist::Fails);
    stage.backup().await.unwrap_err();
    assert!(diy_backup_core::list(&stage.site).await.unwrap().is_empty());
}

#[tokio::test]
async fn every_damage_is_found() {
    type Harm = fn(&std::path::Path);
    let harms: [(&str, Harm); 5] = [
        ("a changed byte", |staging| {
            std::fs::write(staging.join("bitbucket-home/ref"), "mein").unwrap();
        }),
        ("a missing file", |staging| {
            std::fs::remove_file(staging.join("bitbucket-db/rows")).unwrap();
        }),
        ("an extra file", |staging| {
            std::fs::write(staging.join("bitbucket-home/extra"), "").unwrap();
        }),
        ("a missing list", |staging| {
            std::fs::remove_file(staging.join("SHA256SUMS")).unwrap();
        }),
        ("a cut list", |staging| {
            let list = staging.join("SHA256SUMS");
            let text = std::fs::read(&list).unwrap();
            std::fs::write(&list, &text[..text.len() - 3]).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let stage = Stage::new();
        stage.backup().await.unwrap();
        harm(&stage.staging());
        assert!(!verify(&stage).await.is_good(), "{what} is not found");
        stage.home.lose();
        stage.database.lose();
        let error = stage.restore().await.unwrap_err();
        assert_eq!(error.kind(), diy_backup_core::ErrorKind::Damaged, "{what}");
    }
}

#[tokio::test]
async fn a_damaged_manifest_is_shown_and_keeps_no_backup_from_being_taken() {
    let stage = Stage::new();
    stage.backup().await.unwrap();
    std::fs::write(stage.staging().join("manifest.json"), "{").unwrap();
    let listed = diy_backup_core::list(&stage.site).await.unwrap();
    assert!(listed[0].damage().is_some());
    stage.backup().await.unwrap();
    assert!(verify(&stage).await.is_good());
}
