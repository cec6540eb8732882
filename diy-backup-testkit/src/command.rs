//! Running the programs that test parts are made with.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::error::{Error, ErrorKind, Result};

/// How much of a program's complaints an error keeps, in bytes.
const STDERR_KEPT_BYTES: usize = 2_000;

/// The path of a program in `PATH`, if there is one.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// The path of a program, or an error that names the Debian package it comes in.
pub(crate) fn require(program: &str, package: &str) -> Result<PathBuf> {
    find_in_path(program).ok_or_else(|| Error::missing(program, package))
}

/// Runs a program to its end and returns its standard output; a failing status is an error with the end of stderr.
pub(crate) fn run(command: &mut Command) -> Result<Vec<u8>> {
    run_with_input(command, b"")
}

/// Like [`run`], with bytes for standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let program = command.get_program().to_owned();
    let failed = |source| {
        Error::new(ErrorKind::Io, format!("cannot run {}", shown(&program))).with_source(source)
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A program that ends without reading all of its input says why by its status.
                let _ = stdin.write_all(input);
            }
        });
        child.wait_with_output()
    })
    .map_err(failed)?;
    into_stdout(&program, output)
}

fn into_stdout(program: &OsStr, output: Output) -> Result<Vec<u8>> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let start = output.stderr.len().saturating_sub(STDERR_KEPT_BYTES);
    let complaint = String::from_utf8_lossy(&output.stderr[start..]);
    Err(Error::new(
        ErrorKind::Command,
        format!(
            "{} failed with {}: {}",
            shown(program),
            output.status,
            complaint.trim().replace('\n', " | ")
        ),
    ))
}

fn shown(program: &OsStr) -> String {
    std::path::Path::new(program)
        .file_name()
        .unwrap_or(program)
        .to_string_lossy()
        .into_owned()
}
