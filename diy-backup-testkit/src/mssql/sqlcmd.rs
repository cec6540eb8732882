//! The client program: options, login, batches, and how results are printed.

use std::io::{self, Write};
use std::path::Path;

use super::engine::{self, Said};
use super::refusal::Refusal;
use super::select::Table;
use super::state::{State, Store};
use super::syntax;

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the program has as many switches"
)]
struct Options {
    server: String,
    username: Option<String>,
    trusted: bool,
    database: String,
    script: String,
    substitutes: bool,
    stops_at_errors: bool,
    errors_to_stderr: bool,
    trims: bool,
    width: usize,
    separator: String,
    trusts_certificate: bool,
    encrypts: bool,
}

/// Runs the program over the double in `folder` and returns its exit status.
pub(super) fn main(folder: &Path, args: &[String]) -> u8 {
    let state = match Store::open(folder) {
        Ok(store) => store.state.clone(),
        Err(error) => return fail(&format!("Sqlcmd: Error: the double has no state: {error}")),
    };
    if args == ["-?"] {
        print_help(&state);
        return 0;
    }
    let script = options(args, &state).and_then(|options| {
        log_in(&options, &state)?;
        let script = std::fs::read_to_string(&options.script);
        let script =
            script.map_err(|_| format!("Sqlcmd: '{}': Invalid filename.", options.script))?;
        substitute(&options, &script)?;
        Ok((options, script))
    });
    match script {
        Ok((options, script)) => run(folder, &options, &script),
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> u8 {
    let _ = writeln!(io::stderr(), "{message}");
    1
}

fn print_help(state: &State) {
    let text = match state.flavour.as_str() {
        "go" => "sqlcmd: Install/Create/Query SQL Server\n\nVersion: 1.8.2\n\nFlags:\n-C,--trust-server-certificate\n".to_owned(),
        version => format!("Microsoft (R) SQL Server Command Line Tool\nVersion {version}.1.0001.1 Linux\n\nusage: sqlcmd [-U login id]\n"),
    };
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Reads the options that the programs share, as each of them would.
fn options(args: &[String], state: &State) -> Result<Options, String> {
    let mut options = Options {
        substitutes: true,
        width: 80,
        // Since version 18, and in Go, connections are encrypted unless told otherwise.
        encrypts: state.flavour != "17",
        ..Options::default()
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .cloned()
                .ok_or_else(|| format!("Sqlcmd: '{arg}': Missing argument."))
        };
        match arg.as_str() {
            "-S" => options.server = value()?,
            "-U" => options.username = Some(value()?),
            "-E" => options.trusted = true,
            "-d" => options.database = value()?,
            "-i" => options.script = value()?,
            "-l" => drop(value()?),
            "-V" if value()? == "11" => {}
            "-x" => options.substitutes = false,
            "-b" => options.stops_at_errors = true,
            "-r0" | "-r1" => options.errors_to_stderr = true,
            "-W" => options.trims = true,
            "-w" => {
                options.width = value()?
                    .parse()
                    .map_err(|_| "Sqlcmd: '-w': Invalid argument.".to_owned())?;
            }
            "-s" => options.separator = value()?,
            "-C" => options.trusts_certificate = true,
            "-N" if state.flavour == "17" => options.encrypts = true,
            "-Ns" | "-Nm" | "-No" if state.flavour != "17" => options.encrypts = arg != "-No",
            _ => {
                return Err(format!(
                    "Sqlcmd: '{arg}': Unknown Option. Enter '-?' for help."
                ));
            }
        }
    }
    if options.username.is_some() && options.trusted {
        return Err("Sqlcmd: The -E and the -U/-P options are mutually exclusive.".to_owned());
    }
    if options.script.contains(',') || options.script.is_empty() {
        return Err(format!("Sqlcmd: '{}': Invalid filename.", options.script));
    }
    Ok(options)
}

fn log_in(options: &Options, state: &State) -> Result<(), String> {
    if options.server != state.address {
        return Err("Sqlcmd: Error: Login timeout expired. A network-related or instance-specific error has occurred.".to_owned());
    }
    if options.encrypts && state.unknown_certificate && !options.trusts_certificate {
        return Err(
            "Sqlcmd: Error: SSL Provider: certificate verify failed: self-signed certificate."
                .to_owned(),
        );
    }
    let password = std::env::var("SQLCMDPASSWORD").unwrap_or_default();
    let known = match &options.username {
        Some(username) => *username == state.username && password == state.password,
        None => state.trusted,
    };
    if !known {
        let who = options
            .username
            .as_deref()
            .unwrap_or("NT AUTHORITY\\ANONYMOUS LOGON");
        return Err(format!("Sqlcmd: Error: Login failed for user '{who}'."));
    }
    if options.database != "master" && !state.databases.contains_key(&options.database) {
        return Err(format!(
            "Sqlcmd: Error: Cannot open database \"{}\" requested by the login.",
            options.database
        ));
    }
    Ok(())
}

fn substitute(options: &Options, script: &str) -> Result<(), String> {
    match script.split_once("$(") {
        Some((_, rest)) if options.substitutes => {
            let name = rest.split(')').next().unwrap_or_default();
            Err(format!("'{name}' scripting variable not defined."))
        }
        _ => Ok(()),
    }
}

/// Runs batch by batch; a line that says GO ends one, wherever it stands.
fn run(folder: &Path, options: &Options, script: &str) -> u8 {
    let mut current = options.database.clone();
    let mut batch = String::new();
    let mut counts = true;
    for line in script.lines() {
        if !line.trim().eq_ignore_ascii_case("go") {
            batch.push_str(line);
            batch.push('\n');
            continue;
        }
        let outcome = run_batch(
            folder,
            options,
            &mut current,
            &std::mem::take(&mut batch),
            &mut counts,
        );
        if let Err(refusal) = outcome {
            let text = refusal.lines().join("\n") + "\n";
            let _ = if options.errors_to_stderr {
                io::stderr().write_all(text.as_bytes())
            } else {
                io::stdout().write_all(text.as_bytes())
            };
            if options.stops_at_errors {
                return 1;
            }
        }
    }
    // What no GO follows is never sent from a file that ends here; our scripts must not rely on it.
    u8::from(!batch.trim().is_empty())
}

fn run_batch(
    folder: &Path,
    options: &Options,
    current: &mut String,
    batch: &str,
    counts: &mut bool,
) -> Result<(), Refusal> {
    for statement in syntax::parse(batch)? {
        if statement == syntax::Statement::NoCount {
            *counts = false;
        }
        let mut store = Store::open(folder).map_err(|error| Refusal::internal(&error))?;
        let said = engine::execute(&mut store, current, &statement)?;
        drop(store);
        let lines = match said {
            Said::Nothing => Vec::new(),
            Said::Words(words) => words,
            Said::Table(table) => table_lines(options, &table, *counts),
        };
        let mut text = String::new();
        for line in lines {
            for part in wrapped(&line, options.width) {
                text.push_str(&part);
                text.push('\n');
            }
        }
        io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| Refusal::internal(&error))?;
    }
    Ok(())
}

fn table_lines(options: &Options, table: &Table, counts: bool) -> Vec<String> {
    let separator = if options.separator.is_empty() {
        " "
    } else {
        &options.separator
    };
    let pad = |cell: String| {
        if options.trims {
            cell
        } else {
            format!("{cell:<30}")
        }
    };
    let line = |cells: Vec<String>| {
        cells
            .into_iter()
            .map(pad)
            .collect::<Vec<_>>()
            .join(separator)
    };
    let rulers = table
        .names
        .iter()
        .map(|name| "-".repeat(name.len().max(1)))
        .collect();
    let mut lines = vec![line(table.names.clone()), line(rulers)];
    lines.extend(
        table
            .rows
            .iter()
            .map(|row| line(row.iter().map(ToString::to_string).collect())),
    );
    if counts {
        lines.push(String::new());
        lines.push(format!("({} rows affected)", table.rows.len()));
    }
    lines
}

fn wrapped(line: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    if letters.is_empty() {
        return vec![String::new()];
    }
    letters
        .chunks(width.max(1))
        .map(|part| part.iter().collect())
        .collect()
}
