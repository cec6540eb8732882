//! What each command does.

mod reports;
mod summaries;

use std::path::Path;
use std::sync::Arc;

use clap::CommandFactory;
use diy_backup_core::{
    self as core, Control, Error, ErrorKind, Observer, Purpose, Registry, Result, Selector, Site,
};

use crate::args::{Args, Command, DEFAULT_CONFIG};
use crate::config;
use crate::exit::Exit;
use crate::output::{Format, Printer};
use crate::signals;

/// Does what the command line says.
pub(crate) async fn run(args: &Args, registry: &Registry) -> Exit {
    let format = Format::of(args);
    let result = match &args.command {
        Command::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Args::command(),
                "diy-backup",
                &mut std::io::stdout(),
            );
            return Exit::Good;
        }
        Command::Man => {
            // A reader that has gone has read enough.
            let _ = clap_mangen::Man::new(Args::command()).render(&mut std::io::stdout());
            return Exit::Good;
        }
        command => with_site(&args.config, registry, format, command).await,
    };
    match result {
        Ok(exit) => exit,
        Err(error) => {
            let exit = exit_of(&args.command, &error);
            let error = to_be_typed(error, &args.config);
            format.error(&error, exit.code());
            if matches!(args.command, Command::Backup { .. }) && format == Format::Json {
                format.result("", summaries::FailedBackup::new(&error, exit));
            }
            exit
        }
    }
}

/// Damage is a verdict of `verify` and `restore`; elsewhere it is a failure like any other.
fn exit_of(command: &Command, error: &core::Error) -> Exit {
    let reads_backups = matches!(command, Command::Verify { .. } | Command::Restore { .. });
    if error.kind() == ErrorKind::Damaged && !reads_backups {
        Exit::Failed
    } else {
        Exit::of(error)
    }
}

async fn with_site(
    config: &Path,
    registry: &Registry,
    format: Format,
    command: &Command,
) -> Result<Exit> {
    let site = config::load(config, registry)?;
    let printer = Arc::new(Printer::start(format));
    let observer: Arc<dyn Observer> = printer.clone();
    let control = Control::new();
    if is_a_run(command) {
        signals::listen(control.clone(), &observer);
    }
    let task = Task {
        site,
        control,
        observer,
        format,
    };
    let result = task.perform(command).await;
    printer.finish();
    Ok(result?.print(format))
}

/// The commands that a first signal cancels in order. The others end at once.
fn is_a_run(command: &Command) -> bool {
    matches!(
        command,
        Command::Backup { .. }
            | Command::Restore { .. }
            | Command::Recover
            | Command::Unlock { .. }
            | Command::Verify { .. }
    )
}

/// A command with what it works on.
struct Task {
    site: Site,
    control: Control,
    observer: Arc<dyn Observer>,
    format: Format,
}

impl Task {
    async fn perform(&self, command: &Command) -> Result<reports::Outcome> {
        let Self { site, control, .. } = self;
        let observer = Arc::clone(&self.observer);
        Ok(match command {
            Command::Check => {
                reports::check(&core::check(site, Purpose::Everything, control).await?)
            }
            Command::Backup { accept_shrink } => {
                let options = core::BackupOptions::new().with_shrink(if *accept_shrink {
                    core::Shrink::Accepted
                } else {
                    core::Shrink::Refused
                });
                let backup = core::backup(site, &options, control, observer);
                reports::backup(&Box::pin(backup).await?, self.format)
            }
            Command::List => reports::list(&core::list(site).await?),
            Command::Verify { backup, all } => self.verify(backup, *all).await?,
            Command::Restore { backup } => {
                reports::restore(&Box::pin(core::restore(site, backup, control, observer)).await?)
            }
            Command::Prune { dry_run } => self.prune(*dry_run).await?,
            Command::Status => reports::status(&core::status(site).await?),
            Command::Recover => reports::recovery(&core::recover(site, control, observer).await?),
            Command::Unlock { token } => {
                core::unlock(site, token.clone(), control, observer).await?;
                reports::done("unlock")
            }
            Command::Cancel { token } => {
                core::cancel(site, token.clone(), observer).await?;
                reports::done("cancel")
            }
            // Both need no site, and were done before.
            Command::Completions { .. } | Command::Man => reports::done("print"),
        })
    }

    async fn verify(&self, backup: &Selector, all: bool) -> Result<reports::Outcome> {
        let entries = if all {
            core::list(&self.site).await?
        } else {
            vec![core::find_to_verify(&self.site, backup).await?]
        };
        let mut verdicts = Vec::new();
        for entry in entries {
            let verdict = core::verify(
                &self.site,
                &entry,
                &self.control,
                Arc::clone(&self.observer),
            )
            .await?;
            verdicts.push((entry, verdict));
        }
        Ok(reports::verify(&verdicts))
    }

    async fn prune(&self, dry_run: bool) -> Result<reports::Outcome> {
        let plan = core::plan_prune(&self.site).await?;
        if !dry_run {
            core::apply_prune(&self.site, &plan).await?;
        }
        Ok(reports::prune(&plan, dry_run))
    }
}

/// Commands in a hint are typed as they stand: they have to name the configuration, unless it is the one that is read
/// anyway.
fn to_be_typed(error: Error, config: &Path) -> Error {
    let Some(hint) = error.hint() else {
        return error;
    };
    if config == Path::new(DEFAULT_CONFIG) {
        return error;
    }
    let named = format!(" -c {}", quoted_for_shell(&config.to_string_lossy()));
    let mut pieces = hint.split('`');
    let mut typed = pieces.next().unwrap_or_default().to_owned();
    // Every other piece stands between two backticks.
    for (piece, is_code) in pieces.zip([true, false].into_iter().cycle()) {
        typed.push('`');
        typed.push_str(piece);
        if is_code && piece.starts_with("diy-backup ") {
            typed.push_str(&named);
        }
    }
    error.with_hint(typed)
}

fn quoted_for_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_a_hint_can_be_typed_as_they_stand() {
        let hint = "Run `diy-backup recover`, or `diy-backup unlock --token T`; not `rm`.";
        let error = |config: &str| {
            let error = Error::new(ErrorKind::StillLocked, "locked").with_hint(hint);
            to_be_typed(error, Path::new(config))
                .hint()
                .unwrap()
                .to_owned()
        };
        assert_eq!(error(DEFAULT_CONFIG), hint);
        assert_eq!(
            error("/etc/b c.toml"),
            "Run `diy-backup recover -c '/etc/b c.toml'`, or `diy-backup unlock --token T -c '/etc/b c.toml'`; not `rm`."
        );
        assert_eq!(quoted_for_shell("it's"), r"'it'\''s'");
        assert_eq!(quoted_for_shell("/a/b-1.toml"), "/a/b-1.toml");
    }
}
