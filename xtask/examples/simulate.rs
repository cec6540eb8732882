//! `cargo xtask simulate`: a Bitbucket simulator to talk to by hand.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to its user"
)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use diy_backup_testkit::simulator::{Fault, FaultBody, UnlockWhileRunning};
use diy_backup_testkit::{
    HomeBuilder, MemoryRows, PrivatePostgres, RoleKind, RowSink, Simulator, tree,
};
use lexopt::prelude::*;
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
Usage: cargo xtask simulate [OPTIONS]

Runs a Bitbucket simulator on the loopback interface until Ctrl-C, with people who push.

  --port N           the port; a free one unless given
  --context-path P   the path all calls are below, such as /bitbucket
  --user NAME        the administrator's name; backup unless given
  --password WORD    the administrator's password; secret unless given
  --drain SECONDS    how long draining takes; 2 unless given
  --lock SECONDS     how long locking takes, also when the client has gone meanwhile
  --slow SECONDS     how long the backup is refused after the lock, and the unlock after 100 %
  --gateway STATUS   SIGUSR1 puts a gateway in front that answers everything with it, or removes it again
  --home DIR         the home in which people push; one is generated where there is none
  --postgres         keep the rows in a private PostgreSQL, not in memory
";

const DATABASE: &str = "bitbucket";
const DATABASE_USER: &str = "bitbucketuser";
const DATABASE_PASSWORD: &str = "secret";

struct Options {
    port: u16,
    context_path: String,
    user: String,
    password: String,
    drain: Duration,
    lock: Duration,
    slow: Duration,
    gateway: Option<u16>,
    home: Option<PathBuf>,
    rows: Rows,
}

enum Rows {
    InMemory,
    InPostgres,
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match simulate(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}"));
            eprintln!("error: {error}{}", cause.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

/// `None` when help is asked for.
fn parse() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        port: 0,
        context_path: String::new(),
        user: "backup".to_owned(),
        password: "secret".to_owned(),
        drain: Duration::from_secs(2),
        lock: Duration::ZERO,
        slow: Duration::ZERO,
        gateway: None,
        home: None,
        rows: Rows::InMemory,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("port") => options.port = parser.value()?.parse()?,
            Long("context-path") => options.context_path = parser.value()?.string()?,
            Long("user") => options.user = parser.value()?.string()?,
            Long("password") => options.password = parser.value()?.string()?,
            Long("drain") => options.drain = seconds(&parser.value()?)?,
            Long("lock") => options.lock = seconds(&parser.value()?)?,
            Long("slow") => options.slow = seconds(&parser.value()?)?,
            Long("gateway") => options.gateway = Some(parser.value()?.parse()?),
            Long("home") => options.home = Some(parser.value()?.into()),
            Long("postgres") => options.rows = Rows::InPostgres,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn seconds(value: &std::ffi::OsString) -> Result<Duration, lexopt::Error> {
    value.parse_with(|seconds| Duration::try_from_secs_f64(seconds.parse().unwrap_or(f64::NAN)))
}

fn simulate(options: &Options) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let folder = tempfile::Builder::new()
        .prefix("bitbucket-simulator-")
        .tempdir()?;
    let home = match &options.home {
        Some(home) => home.clone(),
        None => folder.path().join("home"),
    };
    if !home.exists() {
        HomeBuilder::new(&home).build()?;
    }
    let result = runtime.block_on(serve(options, home));
    tree::make_removable(folder.path())?;
    result
}

async fn serve(options: &Options, home: PathBuf) -> Result<(), Box<dyn Error>> {
    let postgres = match options.rows {
        Rows::InMemory => None,
        Rows::InPostgres => Some(tokio::task::spawn_blocking(start_postgres).await??),
    };
    let rows: Arc<dyn RowSink> = match &postgres {
        Some(postgres) => Arc::new(postgres.rows(DATABASE)),
        None => Arc::new(MemoryRows::new()),
    };
    let simulator = Simulator::builder()
        .port(options.port)
        .context_path(&options.context_path)
        .credentials(&options.user, &options.password)
        .drain(options.drain)
        .lock_delay(options.lock)
        .start_delay(options.slow)
        .end_delay(options.slow)
        .home(&home)
        .database(rows)
        // People, not a load test: the home is somebody's disk.
        .pause(Duration::from_secs(1))
        .unlock_while_running(if options.slow.is_zero() {
            UnlockWhileRunning::Cancels
        } else {
            UnlockWhileRunning::Refused
        })
        .start()
        .await?;
    println!("url        {}", simulator.base_url());
    println!("user       {}", simulator.username());
    println!("password   {}", simulator.password());
    println!("home       {}", home.display());
    if let Some(postgres) = &postgres {
        let (host, port) = (postgres.host(), postgres.port());
        println!(
            "database   {DATABASE} on {host}:{port}, user {DATABASE_USER}, password {DATABASE_PASSWORD}"
        );
    }
    println!("\n{}", calls(&simulator));
    println!("Ctrl-C ends it.");
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let mut toggle = signal(SignalKind::user_defined1())?;
    let mut in_front = None;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = toggle.recv() => {}
        }
        in_front = match (in_front, options.gateway) {
            (Some(fault), _) => {
                simulator.remove_fault(fault);
                None
            }
            (None, Some(status)) => {
                Some(simulator.inject(Fault::gateway(status, FaultBody::GatewayJson)))
            }
            (None, None) => None,
        };
    }
    simulator.shutdown().await;
    Ok(())
}

fn start_postgres() -> diy_backup_testkit::Result<PrivatePostgres> {
    let postgres = PrivatePostgres::start()?;
    postgres.create_role(DATABASE_USER, DATABASE_PASSWORD, RoleKind::CreateDatabase)?;
    postgres.create_database(DATABASE, DATABASE_USER)?;
    postgres.create_schema(DATABASE, DATABASE_USER)?;
    Ok(postgres)
}

/// The calls of a backup, to be pasted one after another.
fn calls(simulator: &Simulator) -> String {
    let url = simulator.base_url();
    let login = shell_quoted(&format!(
        "{}:{}",
        simulator.username(),
        simulator.password()
    ));
    format!(
        "\
# lock; note the unlockToken
curl -u {login} -H 'Content-Type: application/json' -X POST {url}/mvc/maintenance/lock
UNLOCK=…
# begin to drain; note the cancelToken
curl -u {login} -H 'Content-Type: application/json' -H \"X-Atlassian-Maintenance-Token: $UNLOCK\" -X POST '{url}/mvc/admin/backups?external=true'
CANCEL=…
# until both states are DRAINED
curl -u {login} -H \"X-Atlassian-Maintenance-Token: $UNLOCK\" {url}/mvc/maintenance
# 100 ends the backup
curl -H 'Content-Type: application/json' -X POST \"{url}/mvc/admin/backups/progress/client?token=$UNLOCK&percentage=100\"
# or cancel it
curl -H 'Content-Type: application/json' -X POST \"{url}/mvc/maintenance?token=$CANCEL\"
# unlock
curl -H 'Content-Type: application/json' -X DELETE \"{url}/mvc/maintenance/lock?token=$UNLOCK\"
# 404: not locked
curl -o /dev/null -w '%{{http_code}}\\n' -s {url}/mvc/maintenance/lock
"
    )
}

fn shell_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
