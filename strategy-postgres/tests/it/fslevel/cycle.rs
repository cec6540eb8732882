use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diy_backup_core::{
    AbsolutePath, BackupOptions, BackupSettings, CheckContext, Control, DbStrategy, ErrorKind,
    InstanceSettings, Registry, RestoreContext, RestoreSource, Secret, Section, Selector, Silent,
    Site, Staging, StrategyConfig,
};
use diy_backup_testkit::{Comparison, Simulator, skip_unless};

use super::volume::{Volume, parts, run};
use crate::instance::HELD_LOCK;
use crate::support::{DATABASE, ROLE, text};

fn site(volume: &Volume, simulator: &Simulator) -> Site {
    let mut instance = InstanceSettings::new("bitbucket".parse().unwrap());
    instance.url = Some(simulator.base_url().parse().unwrap());
    instance.username = Some(simulator.username().to_owned());
    instance.password = Some(Secret::value(simulator.password().into()));
    let at = |name: &str| AbsolutePath::new(volume.folder.path().join(name)).unwrap();
    let backup = BackupSettings::new(at("staging"), at("state"));
    let section = Section::from_text("archive", "").unwrap();
    let config = StrategyConfig::new(section, instance.clone(), backup.clone());
    let archive = Registry::with_builtins().archive("none", &config).unwrap();
    let (home, database) = parts(volume);
    Site::new(instance, backup, home, database, archive)
}

/// Work that no lock of Bitbucket holds back: pairs of rows that add up to nothing, and pages that are rewritten.
fn noise(volume: &Volume, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<u32> {
    let setup = "CREATE TABLE noise (n int, value int); CREATE INDEX ON noise (n);";
    volume.postgres.psql(DATABASE, setup).unwrap();
    let mut psql = volume.postgres.tool("psql");
    psql.args(["-X", "-q", "-d", DATABASE, "-c"])
        .arg("INSERT INTO noise SELECT n, v FROM generate_series(1, 500) n, (VALUES (1), (-1)) s (v); UPDATE noise SET value = -value WHERE n % 7 = 0;");
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            run(&mut psql);
            rounds += 1;
        }
        rounds
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_a_working_server_recovers_to_the_instant_of_the_window() {
    let mut volume = skip_unless!(Volume::start());
    volume.postgres.psql(DATABASE, "TRUNCATE push;").unwrap();
    let simulator = Simulator::builder()
        .home(volume.home())
        .database(Arc::new(volume.postgres.rows(DATABASE)))
        .writers(3)
        .start()
        .await
        .unwrap();
    let site = site(&volume, &simulator);
    let application = simulator.application().unwrap();
    application.wait_for_pushes(20).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let noise = noise(&volume, &stop);
    let report = diy_backup_core::backup(
        &site,
        &BackupOptions::new(),
        &Control::new(),
        Arc::new(Silent),
    )
    .await
    .unwrap();
    application.wait_for_pushes(20).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    assert!(noise.join().unwrap() > 0);
    application.stop().await;
    let drained = application.drained_set().unwrap();
    volume.lose();
    let restored = diy_backup_core::restore(
        &site,
        &Selector::Id(report.id),
        &Control::new(),
        Arc::new(Silent),
    )
    .await;
    restored.unwrap();
    let rows = volume.postgres.pushes(DATABASE).unwrap();
    let comparison = Comparison::against(&volume.home(), &rows, &drained).unwrap();
    assert!(comparison.is_consistent(), "{comparison}");
    let sums = "SELECT sum(value) FROM noise; SET enable_seqscan = off; SELECT sum(value) FROM noise WHERE n > 0;";
    let sums = volume.postgres.psql(DATABASE, sums).unwrap();
    assert!(["0\n0", "\n", ""].contains(&sums.as_str()), "{sums:?}");

    // A server with files is no target.
    std::fs::remove_dir_all(volume.home()).unwrap();
    let error =
        diy_backup_core::restore(&site, &Selector::Latest, &Control::new(), Arc::new(Silent))
            .await
            .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_stopped_for_a_restore_is_started_again_when_that_fails() {
    let volume = skip_unless!(Volume::start());
    let mark = volume.folder.path().join("runs");
    std::fs::write(&mark, "").unwrap();
    // A service that runs with its files elsewhere.
    let service = format!(
        "service-start = ['touch', '{0}']\nservice-stop = ['rm', '{0}']\nservice-status = ['test', '-e', '{0}']\n\
         data-directory = '{1}/to-be'",
        mark.display(),
        volume.path().display()
    );
    let strategy = volume.strategy_with(&service);
    let work = volume.folder.path().join("work");
    let cx = RestoreContext::new("bitbucket-20260101-000000".parse().unwrap(), work)
        .with_home(volume.home_strategy().coverage());
    for die in [false, true] {
        let mut session = strategy
            .restore()
            .unwrap()
            .prepare_restore(&cx)
            .await
            .unwrap();
        session.apply(&RestoreSource::new()).await.unwrap();
        assert!(!mark.exists());
        let leftovers = cx.leftovers();
        if die {
            drop(session);
            for _ in 0..2 {
                strategy.discard(&leftovers[0]).await.unwrap();
            }
        } else {
            session.abort().await.unwrap();
            assert!(cx.leftovers().is_empty());
        }
        assert!(mark.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_come_back_with_the_home_are_refused() {
    let volume = skip_unless!(Volume::start());
    let strategy = volume.strategy_with("data-directory = '/nonexistent/pg'");
    let work = volume.folder.path().join("work");
    let cx = RestoreContext::new("bitbucket-20260101-000000".parse().unwrap(), work)
        .with_home(volume.home_strategy().coverage());
    let error = strategy
        .restore()
        .unwrap()
        .prepare_restore(&cx)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("does not come back with the home directory"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_lock_of_an_upgrade_is_an_error_of_a_check_and_a_warning_of_a_restore() {
    let mut volume = skip_unless!(Volume::start());
    let strategy = volume.strategy();
    let home = volume.home_strategy().coverage();
    let mut checked = CheckContext::new(Staging::new("/nonexistent/staging"));
    checked.home = home.clone();
    let findings = strategy.check(&checked).await.unwrap();
    assert!(findings.inventory.tables.unwrap() > 3);
    let lock = format!("SET ROLE {ROLE}; {HELD_LOCK}");
    volume.postgres.psql(DATABASE, &lock).unwrap();
    let findings = strategy.check(&checked).await.unwrap();
    let said = text(&findings);
    assert!(
        findings.has_errors() && said.contains("is locked by node1"),
        "{said}"
    );

    // The home directory brings the server's files back after the target was looked at.
    volume.postgres.stop();
    let (data, aside) = (volume.postgres.data_dir(), volume.path().join("aside"));
    std::fs::rename(&data, &aside).unwrap();
    let work = volume.folder.path().join("work");
    let cx =
        RestoreContext::new("bitbucket-20260101-000000".parse().unwrap(), work).with_home(home);
    let way_back = strategy.restore().unwrap();
    let mut session = way_back.prepare_restore(&cx).await.unwrap();
    session.apply(&RestoreSource::new()).await.unwrap();
    std::fs::rename(&aside, &data).unwrap();
    session.commit().await.unwrap();
    session.verify().await.unwrap();
    let warnings = cx.events().warnings().join("\n");
    assert!(warnings.contains("does not start"), "{warnings}");
}
