//! Signals, as terminals, shells and `nohup` send them.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use diy_backup_testkit::simulator::{CallKind, DrainOutcome, Fault, FaultBody, FaultKind};
use diy_backup_testkit::{HomeBuilder, Simulator};

use crate::site::{BITBUCKET_PASSWORD, Config, Finished, Folder};

/// An instance without a database, that never drains.
pub(crate) struct Stage {
    simulator: Simulator,
    pub(crate) config: Config,
    _folder: Folder,
}

impl Stage {
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        let home = folder.join("home");
        HomeBuilder::new(&home).build().unwrap();
        let simulator = Simulator::builder()
            .credentials("backup", BITBUCKET_PASSWORD)
            .drain_outcome(DrainOutcome::Never)
            .start_blocking()
            .unwrap();
        let text = format!(
            "[instance]\nname = \"bitbucket\"\nurl = {url:?}\nusername = \"backup\"\n\
             password = {{ env = \"BITBUCKET_PASSWORD\" }}\n\
             [backup]\nstaging = {staging:?}\nstate = {state:?}\nmax-locked = \"3s\"\n\
             [home]\nstrategy = \"rsync\"\npath = {home:?}\n\
             [database]\nstrategy = \"none\"\n\
             [archive]\nstrategy = \"none\"\n",
            url = simulator.base_url(),
            staging = folder.join("staging"),
            state = folder.join("state"),
        );
        let path = folder.join("config.toml");
        std::fs::write(&path, text).unwrap();
        Self {
            simulator,
            config: Config { path },
            _folder: folder,
        }
    }

    /// Starts a backup, by a shell that runs `first` in the same process, and waits until it drains.
    fn backup(&self, first: &str) -> Child {
        self.config.run(&["check"]).expect(0);
        let backup = self.config.command(&["backup"]);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("{first}; exec \"$@\""), "sh"])
            .arg(backup.get_program())
            .args(backup.get_args())
            .envs(
                backup
                    .get_envs()
                    .filter_map(|(key, value)| Some((key, value?))),
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let running = shell.spawn().unwrap();
        self.wait_until(|simulator| simulator.count(CallKind::MaintenanceState) > 0);
        running
    }

    fn wait_until(&self, condition: impl FnMut(&Simulator) -> bool) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let waited = runtime.block_on(self.simulator.wait_until(condition));
        waited.unwrap();
    }

    /// Waits for so many more looks at the drain: the run is alive, and not stopped.
    fn looks_on(&self) {
        let before = self.simulator.count(CallKind::MaintenanceState);
        self.wait_until(|simulator| simulator.count(CallKind::MaintenanceState) > before + 3);
    }
}

fn send(signal: &str, running: &Child) {
    let pid = running.id().to_string();
    let sent = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(sent.unwrap().success());
}

fn ended(running: Child) -> Finished {
    Finished::of(running.wait_with_output().unwrap())
}

#[test]
fn a_hangup_that_was_ignored_at_the_start_stays_ignored() {
    let stage = Stage::start();
    let running = stage.backup("trap '' HUP");
    send("HUP", &running);
    stage.looks_on();
    send("TERM", &running);
    ended(running).expect(130);
    assert!(!stage.simulator.is_locked());
}

#[test]
fn a_stop_from_the_keyboard_does_not_stop_a_run_that_has_locked() {
    let stage = Stage::start();
    let running = stage.backup(":");
    send("TSTP", &running);
    stage.looks_on();
    // By itself, as `max-locked` says.
    let finished = ended(running).expect(1);
    let told = format!("{}{}", finished.stdout, finished.stderr);
    assert!(
        told.contains("not stopping: the instance is locked"),
        "{told}"
    );
    assert!(!stage.simulator.is_locked());
}

#[test]
fn a_run_that_was_stopped_past_max_locked_unlocks_at_once_when_it_goes_on() {
    let stage = Stage::start();
    let running = stage.backup(":");
    // The one stop that nobody can refuse.
    send("STOP", &running);
    let window = stage.simulator.window().unwrap();
    while window.locked.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(stage.simulator.is_locked());
    send("CONT", &running);
    ended(running).expect(1);
    assert!(!stage.simulator.is_locked());
}

#[test]
fn the_third_signal_ends_the_run_and_tells_whether_it_is_still_locked() {
    let stage = Stage::start();
    let status = FaultKind::Status {
        status: 503,
        body: FaultBody::Html,
    };
    stage
        .simulator
        .inject(Fault::always(CallKind::Unlock, status));
    let running = stage.backup(":");
    send("INT", &running);
    stage.wait_until(|simulator| simulator.count(CallKind::Unlock) > 0);
    send("TERM", &running);
    let tries = stage.simulator.count(CallKind::Unlock);
    stage.wait_until(|simulator| simulator.count(CallKind::Unlock) > tries + 1);
    send("INT", &running);
    ended(running).expect(10);
    assert!(stage.simulator.is_locked());
    stage.simulator.clear_faults();
    stage.config.run(&["recover"]).expect(0);
    assert!(!stage.simulator.is_locked());
}
