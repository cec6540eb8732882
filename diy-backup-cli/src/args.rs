//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};
use clap_complete::Shell;
use diy_backup_core::{BackupId, Selector};
use secrecy::SecretString;

const EXIT_CODES: &str = "\
Exit codes:
  0    good
  1    failed; the instance is unlocked
  2    the command line cannot be understood
  3    the configuration cannot be used
  4    a check failed; nothing was touched
  5    the backup is good, something after it failed
  6    verification found damage
  10   failed, and the instance is STILL LOCKED; the message says how to unlock
  11   another run is going on
  130  cancelled; the instance is unlocked";

/// The configuration that is read unless another one is named.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/diy-backup/config.toml";

/// Backs up and restores Atlassian Bitbucket Server and Data Center.
#[derive(Debug, Parser)]
#[command(name = "diy-backup", version, about, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Args {
    /// The configuration file
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = DEFAULT_CONFIG
    )]
    pub(crate) config: PathBuf,

    /// Write JSON lines to standard output, each with a message type: status, log, error or summary
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print results, warnings and errors alone
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Log what is done (twice: every detail) to standard error; secrets are never logged
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at everything a backup or restore would need, without locking
    Check,
    /// Take a backup
    Backup {
        /// Take it although more than half of what the last good backup has is gone; no old backup is deleted then
        #[arg(long)]
        accept_shrink: bool,
    },
    /// Show the backups there are, newest last
    List,
    /// Read a backup again and check every byte: the verdict that a restore would give
    Verify {
        /// The backup: an ID or `latest`
        #[arg(value_parser = selector, default_value = "latest", conflicts_with = "all")]
        backup: Selector,
        /// Verify all backups
        #[arg(long)]
        all: bool,
    },
    /// Restore into an absent or empty home directory and database; anything else is refused and not touched
    Restore {
        /// The backup: an ID or `latest`
        #[arg(value_parser = selector)]
        backup: Selector,
    },
    /// Delete old backups, as the section [retention] says
    Prune {
        /// Show what would go, and delete nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Tell whether the instance is locked, whether a run is going on, and what the last one did
    ///
    /// Exit code 0: all is well, or a run is going on; 1: the last run failed, one that died needs `recover`, or the
    /// instance does not answer; 10: the instance is locked, and no run is going on.
    Status,
    /// Put right what a run that died has left: cancel, unlock, remove what is partial
    Recover,
    /// Unlock the instance by hand
    Unlock {
        /// The unlock token; without it, the one in the journal
        #[arg(long, value_name = "TOKEN")]
        token: Option<SecretString>,
    },
    /// Cancel Bitbucket's backup task by hand; the instance stays locked
    Cancel {
        /// The cancel token; without it, the one in the journal
        #[arg(long, value_name = "TOKEN")]
        token: Option<SecretString>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

fn selector(text: &str) -> Result<Selector, String> {
    text.parse().map_err(|error: diy_backup_core::Error| {
        format!("{error}; an ID looks like {}", example_id())
    })
}

fn example_id() -> String {
    "bitbucket".parse().map_or_else(
        |_| String::new(),
        |name| BackupId::at_unix(&name, 1_769_903_999).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_token_is_not_shown_by_debug() {
        let args = Args::try_parse_from(["diy-backup", "unlock", "--token", "0123abcd"]).unwrap();
        assert!(!format!("{args:?}").contains("0123abcd"));
    }
}
