//! Running other programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Context, Failure, Result};

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Prints a command and runs it; its output goes where ours does.
pub(crate) fn run(command: &mut Command) -> Result {
    println!("$ {}", words(command));
    let status = command
        .status()
        .context(format_args!("run {}", name(command)))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{} failed ({status})",
        name(command)
    )))
}

/// Runs a command and returns what it prints on standard output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context(format_args!("run {}", name(command)))?;
    if !output.status.success() {
        let status = output.status;
        return Err(Failure::Failed(format!(
            "{} failed ({status})",
            name(command)
        )));
    }
    String::from_utf8(output.stdout).context(format_args!("read what {} prints", name(command)))
}

/// Whether a command ends well; its output is nobody's business.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Becomes another program, so that signals reach it and its exit code is ours.
#[cfg(unix)]
pub(crate) fn become_program(command: &mut Command) -> Result {
    use std::os::unix::process::CommandExt;

    Err(command.exec()).context(format_args!("run {}", name(command)))
}

/// Runs another program in our place: there is no `exec` here.
#[cfg(not(unix))]
pub(crate) fn become_program(command: &mut Command) -> Result {
    run(command)
}

/// Where the program `name` is in `PATH`, or in one of the folders that are in root's `PATH` alone.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let first = command.get_args().next().map(OsStr::to_string_lossy);
    format!("{} {}", name.to_string_lossy(), first.unwrap_or_default())
        .trim_end()
        .to_owned()
}

/// The command as it would be typed.
fn words(command: &Command) -> String {
    let program = Path::new(command.get_program());
    std::iter::once(program.file_name().unwrap_or(program.as_os_str()))
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--", "it's here", ""]);
        assert_eq!(words(&command), r"cargo test -- 'it'\''s here' ''");
        assert_eq!(name(&command), "cargo test");
    }
}
