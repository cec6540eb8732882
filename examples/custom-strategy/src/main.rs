//! The `diy-backup` of a site that has a strategy of its own.

use std::process::ExitCode;

use diy_backup_core::{Registry, Result};

fn main() -> ExitCode {
    match registry() {
        Ok(registry) => diy_backup_cli::run(&registry),
        Err(error) => diy_backup_cli::fail(&error),
    }
}

fn registry() -> Result<Registry> {
    let mut registry = diy_backup_cli::default_registry()?;
    custom_strategy::register(&mut registry)?;
    Ok(registry)
}
