//! A backup and a restore of the search index alone, as the core drives them.

use std::sync::Arc;
use std::time::Duration;

use bitbucket_maintenance_client::{Client, Credentials, ProxyUse};
use diy_backup_core::{
    Artifact, BackupContext, BackupId, CheckContext, Control, ElasticsearchStrategy, Finding,
    LockLimits, LockWindow, Manifest, PartName, PartRecord, Released, RestoreContext,
    RestoreSource, Result, Section, Staging,
};
use diy_backup_testkit::Simulator;
use strategy_elasticsearch::{RepositoryKind, SearchConfig, SearchStrategy};

pub(crate) fn strategy(kind: RepositoryKind, section: &str) -> Arc<SearchStrategy> {
    let section = Section::from_text("elasticsearch", section).unwrap();
    let config = SearchConfig::from_section(kind, &section).unwrap();
    Arc::new(SearchStrategy::new(kind, config))
}

pub(crate) fn fs(section: &str) -> Arc<SearchStrategy> {
    strategy(RepositoryKind::Fs, section)
}

pub(crate) fn id() -> BackupId {
    "Instance-20260131-235959".parse().unwrap()
}

pub(crate) fn backup_cx() -> BackupContext {
    BackupContext::new(id(), Staging::new("/nowhere"))
}

/// The proof of an unlock that a session asks for.
pub(crate) async fn released() -> Released {
    let simulator = Simulator::builder().start().await.unwrap();
    let password = simulator.password().to_owned().into();
    let client = Client::builder(&simulator.base_url())
        .credentials(Credentials::basic(simulator.username(), password))
        .proxy(ProxyUse::Direct)
        .build()
        .unwrap();
    let limits = LockLimits {
        drain: Duration::from_mins(1),
        locked: Duration::from_mins(10),
    };
    let window = LockWindow::lock(&client, &backup_cx(), limits)
        .await
        .unwrap();
    window.release(&Control::new()).await.unwrap()
}

pub(crate) async fn back_up(
    strategy: &dyn ElasticsearchStrategy,
    cx: &BackupContext,
) -> Result<Artifact> {
    let mut session = strategy.begin(cx).await?;
    session.complete(&released().await).await
}

pub(crate) fn restore_cx(
    strategy: &dyn ElasticsearchStrategy,
    artifact: &Artifact,
) -> RestoreContext {
    let mut manifest = Manifest::new(id());
    let record = PartRecord::new(strategy.name(), artifact.clone());
    manifest.parts.insert(PartName::Elasticsearch, record);
    RestoreContext::new(id(), "/nowhere")
        .with_manifest(manifest)
        .for_part(PartName::Elasticsearch)
}

pub(crate) async fn restore(
    strategy: &dyn ElasticsearchStrategy,
    cx: &RestoreContext,
) -> Result<()> {
    let way_back = strategy.restore().unwrap();
    let mut session = way_back.prepare_restore(cx).await?;
    session.apply(&RestoreSource::new()).await?;
    session.commit().await?;
    session.verify().await
}

pub(crate) async fn findings(strategy: &dyn ElasticsearchStrategy) -> Vec<Finding> {
    let cx = CheckContext::new(Staging::new("/nowhere"));
    strategy.check(&cx).await.unwrap().findings
}
