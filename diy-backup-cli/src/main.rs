//! Backs up and restores Atlassian Bitbucket Server and Data Center.

use std::process::ExitCode;

fn main() -> ExitCode {
    match diy_backup_cli::default_registry() {
        Ok(registry) => diy_backup_cli::run(&registry),
        Err(error) => diy_backup_cli::fail(&error),
    }
}
