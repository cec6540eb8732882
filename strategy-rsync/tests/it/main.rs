//! Backups and restores of generated homes with the rsync of this machine.
#![cfg(unix)]

mod backup;
mod changes;
mod checks;
mod crash;
mod exclusions;
mod restore;
mod support;
