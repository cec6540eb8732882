//! The site's own commands that start and stop the server.

use diy_backup_core::{Control, Error, ErrorKind, Findings, Leftover, Result, Tool};

use super::config::FslevelConfig;
use super::{NAME, SUBJECT};

const KIND: &str = "stopped-service";

/// What is recorded before the server is stopped.
pub(super) fn leftover(config: &FslevelConfig) -> Leftover {
    Leftover::new(NAME, KIND, config.service_start.join(" "))
}

/// Starts the server that a restore which died has stopped.
pub(super) async fn discard(config: &FslevelConfig, leftover: &Leftover) -> Result<()> {
    if leftover.kind != KIND {
        let message = format!("{:?} is no leftover of {NAME}", leftover.kind);
        return Err(Error::new(ErrorKind::Damaged, message));
    }
    start(config, &Control::new()).await
}

/// Whether the server runs.
pub(super) async fn is_running(config: &FslevelConfig, control: &Control) -> Result<bool> {
    let every_failure: Vec<i32> = (1..256).collect();
    let status = command(&config.service_status)?.accept_exit(&every_failure);
    Ok(status.run(control).await?.status == 0)
}

/// Starts the server unless it runs.
pub(super) async fn start(config: &FslevelConfig, control: &Control) -> Result<()> {
    if is_running(config, control).await? {
        return Ok(());
    }
    let start = command(&config.service_start)?.outlives_run();
    let started = start.run(control).await;
    started
        .map(drop)
        .map_err(|error| failed("start", &config.service_start, error))
}

/// Stops the server, and makes sure of it.
pub(super) async fn stop(config: &FslevelConfig, control: &Control) -> Result<()> {
    let stopped = command(&config.service_stop)?.run(control).await;
    stopped.map_err(|error| failed("stop", &config.service_stop, error))?;
    if is_running(config, control).await? {
        let message = "the server still runs after the command that should stop it";
        return Err(Error::new(ErrorKind::Database, message)
            .with_hint("Check `service-stop` and `service-status` in the section [database]."));
    }
    Ok(())
}

fn failed(what: &str, words: &[String], error: Error) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        return error;
    }
    Error::new(ErrorKind::Database, format!("cannot {what} the server"))
        .with_source(error)
        .with_hint(format!(
            "Try it by hand: `{}`; the server's log says why.",
            words.join(" ")
        ))
}

fn command(words: &[String]) -> Result<Tool> {
    let Some((program, args)) = words.split_first() else {
        return Err(Error::new(
            ErrorKind::Config,
            "a command of the service is empty",
        ));
    };
    Ok(Tool::new(program).args(args).keep_environment())
}

/// That the server can be asked about; it runs, as it has just been looked at.
pub(super) async fn check(
    config: &FslevelConfig,
    control: &Control,
    findings: &mut Findings,
) -> Result<()> {
    match is_running(config, control).await {
        Ok(true) => Ok(()),
        Ok(false) if findings.has_errors() => Ok(()),
        Ok(false) => {
            findings.error(
                SUBJECT,
                format!("`{}` says that the server does not run", config.service_status.join(" ")),
                "Correct `service-status` in the section [database]: it must succeed while the server runs, and fail when it does not.",
            );
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
        Err(error) => {
            findings.failure(SUBJECT, &error);
            Ok(())
        }
    }
}
