//! Backups and restores of generated homes with the rsync of this machine.
#![cfg(unix)]

#[cfg(test)]
mod backup;
#[cfg(test)]
mod busy;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod decay;
#[cfg(test)]
mod exclusions;
#[cfg(test)]
mod handed_down;
#[cfg(target_os = "linux")]
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod random_changes;
#[cfg(test)]
mod random_trees;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tracking;
#[cfg(test)]
mod unattributed;
