//! Where passwords and tokens must not show, and who may read what is written.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use diy_backup_testkit::process::{SecretWatch, SeenIn, Sighting};
use diy_backup_testkit::simulator::{CallKind, Fault, FaultKind};

use super::Result;
use super::lab::{DATABASE_PASSWORD, Lab};
use super::probes::{self, JournalWatch};
use super::report::{Report, Tally};
use super::stage::{Archive, Config, Options, Stage};

/// The only programs that are given the password of the database, and only in their environment.
const POSTGRES_TOOLS: [&str; 3] = ["pg_dump", "pg_restore", "psql"];

const LOOK_PAUSE: Duration = Duration::from_millis(2);

/// What a run has shown.
#[derive(Debug, Default)]
struct Seen {
    tokens: BTreeSet<String>,
    logs: Vec<(String, String)>,
    open: BTreeSet<String>,
}

pub(crate) fn run(lab: &Lab, seed: u64) -> Result<Report> {
    let tally = Tally::default();
    let stage = Stage::set(lab, &Options::new(Archive::Tar, seed))?;
    let bitbucket = stage.simulator.password().to_owned();
    let watch = SecretWatch::start(&[bitbucket.as_str(), DATABASE_PASSWORD])?;
    let mut seen = Seen::default();
    let used = use_everything(&stage, &mut seen);
    let (programs, rounds) = (watch.programs(), watch.rounds());
    let sightings = watch.finish();
    used?;

    for sighting in &sightings {
        judge_sighting(sighting, &tally);
    }
    let mut needles = forms_of("the password of Bitbucket", &bitbucket);
    needles.extend(forms_of("the password of the database", DATABASE_PASSWORD));
    let login = format!("{}:{bitbucket}", stage.simulator.username());
    needles.push(("the login".to_owned(), BASE64_STANDARD.encode(login)));
    let tokens = seen.tokens.iter();
    needles.extend(tokens.map(|token| ("a token".to_owned(), token.clone())));
    for (what, text) in &seen.logs {
        search(what, text.as_bytes(), &needles, &tally);
    }
    let mut files = 0;
    for folder in [&stage.state, &stage.staging, &stage.archives] {
        for path in probes::files_below(folder) {
            files += 1;
            let bytes = std::fs::read(&path)?;
            search(&path.display().to_string(), &bytes, &needles, &tally);
            if path.to_string_lossy().ends_with(".tar.zst") {
                let content = unpacked(&path)?;
                search("the content of the archive", &content, &needles, &tally);
            }
        }
    }
    tally.violate_all("modes", seen.open);
    if seen.tokens.len() < 2 {
        tally.violate("the tokens were not seen in the journal: nothing was tested");
    }
    let mut report = tally.into_report("secrets", "seen");
    let programs: Vec<_> = programs.into_iter().collect();
    report.notes = vec![
        format!("programs watched, {rounds} times: {}", programs.join(", ")),
        format!(
            "{} logs with all details and {files} files searched for {} words",
            seen.logs.len(),
            needles.len()
        ),
        format!("seed {seed}"),
    ];
    Ok(report)
}

fn judge_sighting(sighting: &Sighting, tally: &Tally) {
    let is_tool = POSTGRES_TOOLS.contains(&sighting.program.as_str());
    let is_database = sighting.secret == 1;
    if is_tool && is_database && sighting.seen_in == SeenIn::Environment {
        tally.count(
            format!("database password, {}", sighting.program),
            "environment",
        );
    } else {
        tally.violate(sighting.to_string());
    }
}

/// A secret as the many places write it that could let it slip.
fn forms_of(name: &str, secret: &str) -> Vec<(String, String)> {
    let json = serde_json::Value::from(secret).to_string();
    let in_json = json.trim_matches('"').to_owned();
    let in_debug = format!("{secret:?}").trim_matches('"').to_owned();
    let mut encoded = String::new();
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    [secret.to_owned(), in_json, in_debug, encoded]
        .map(|form| (name.to_owned(), form))
        .to_vec()
}

fn search(place: &str, bytes: &[u8], needles: &[(String, String)], tally: &Tally) {
    for (what, needle) in needles {
        let needle = needle.as_bytes();
        if bytes.windows(needle.len()).any(|window| window == needle) {
            tally.violate(format!("{what} stands in {place}"));
        }
    }
}

fn unpacked(archive: &Path) -> Result<Vec<u8>> {
    let output = Command::new("zstd")
        .arg("-dc")
        .arg(archive)
        .stderr(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err("zstd cannot unpack the archive".into());
    }
    Ok(output.stdout)
}

/// Every command, with all details, and with what makes them complain.
fn use_everything(stage: &Stage<'_>, seen: &mut Seen) -> Result {
    let mut all = |config, args: &[&str]| watched(stage, seen, config, args);
    let original = Config::Original;
    all(original, &["-vv", "check"])?;
    all(original, &["-vv", "backup"])?;
    all(original, &["-vv", "--json", "backup"])?;
    all(original, &["-vv", "list"])?;
    all(original, &["-vv", "verify", "--all"])?;
    all(Config::Restored, &["-vv", "restore", "latest"])?;
    all(Config::Restored, &["-vv", "--json", "restore", "latest"])?;
    stage.clear_targets()?;
    for (call, kind) in [
        (CallKind::StartBackup, FaultKind::LoginRedirect),
        (CallKind::Unlock, FaultKind::HtmlOk),
        (CallKind::Progress, FaultKind::HalfBody),
        (CallKind::Lock, FaultKind::Reset),
        (CallKind::MaintenanceState, FaultKind::MalformedJson),
    ] {
        stage.simulator.inject(Fault::once(call, kind));
        all(original, &["-vv", "backup"])?;
        stage.simulator.clear_faults();
    }
    // A server that is not there, and tools that complain.
    let rename = |from: &str, to: &str| {
        let sql = format!("ALTER ROLE \"{from}\" RENAME TO \"{to}\"");
        stage.lab.postgres.psql("postgres", &sql)
    };
    let hidden = "hidden";
    rename(super::lab::DATABASE_USER, hidden)?;
    all(original, &["-vv", "check"])?;
    all(original, &["-vv", "--json", "backup"])?;
    rename(hidden, super::lab::DATABASE_USER)?;
    let password = DATABASE_PASSWORD.replace('\'', "''");
    let sql = format!(
        "ALTER ROLE \"{}\" PASSWORD E'{}'",
        super::lab::DATABASE_USER,
        password.replace('\\', "\\\\")
    );
    stage.lab.postgres.psql("postgres", &sql)?;
    all(original, &["-vv", "status"])?;
    all(original, &["-vv", "recover"])?;
    all(original, &["-vv", "prune"])?;
    Ok(())
}

fn watched(stage: &Stage<'_>, seen: &mut Seen, config: Config, args: &[&str]) -> Result {
    let mut journal = JournalWatch::new(stage.journal());
    let mut open = BTreeSet::new();
    let ended = stage.start(config, args)?.wait_looking(|_| {
        // The watch of all processes needs its share of the machine too.
        std::thread::sleep(LOOK_PAUSE);
        journal.look();
        journal.tokens.extend(stage.simulator.unlock_token());
        journal.tokens.extend(stage.simulator.cancel_token());
        probes::open_to_others(&stage.state, 2, &mut open);
        probes::open_to_others(&stage.archives, 2, &mut open);
        // What is below the home copy has the modes of the home; nobody else gets there.
        probes::open_to_others(&stage.staging, 0, &mut open);
        probes::open_to_others(&stage.staging.join("bitbucket-db"), 3, &mut open);
        probes::open_to_others(&stage.staging.join("manifest.json"), 0, &mut open);
    })?;
    seen.tokens.extend(journal.tokens);
    seen.open.extend(open);
    let name = args.join(" ");
    seen.logs
        .push((format!("the output of `{name}`"), ended.stdout));
    seen.logs
        .push((format!("the log of `{name}`"), ended.stderr));
    Ok(())
}
