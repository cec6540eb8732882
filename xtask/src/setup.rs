//! Installing the programs that demo and tests need.

use std::path::Path;
use std::process::Command;

use crate::failure::{Context, Failure, Result};
use crate::opensearch;
use crate::shell;

/// A program or server, and the Debian package that has it.
struct Part {
    package: &'static str,
    is_there: fn() -> bool,
}

const PARTS: &[Part] = &[
    Part {
        package: "build-essential",
        is_there: || has("cc"),
    },
    Part {
        package: "git",
        is_there: || has("git"),
    },
    Part {
        package: "rsync",
        is_there: || has("rsync"),
    },
    Part {
        package: "postgresql",
        is_there: has_postgresql_server,
    },
    Part {
        package: "postgresql-client",
        is_there: || has("psql") && has("pg_dump"),
    },
    // Their packages have no service: nothing starts by itself.
    Part {
        package: "mariadb-server-core",
        is_there: has_mariadb_server,
    },
    Part {
        package: "mariadb-client",
        is_there: || has("mariadb") && has("mariadb-dump"),
    },
    Part {
        package: "acl",
        is_there: || has("setfacl"),
    },
    Part {
        package: "attr",
        is_there: || has("setfattr"),
    },
    Part {
        package: "sqlite3",
        is_there: || has("sqlite3"),
    },
    Part {
        package: "tar",
        is_there: || has("tar"),
    },
    Part {
        package: "zstd",
        is_there: || has("zstd"),
    },
    Part {
        package: "libarchive-tools",
        is_there: || has("bsdtar"),
    },
    Part {
        package: "pgbouncer",
        is_there: || has("pgbouncer") || Path::new("/usr/sbin/pgbouncer").is_file(),
    },
    Part {
        package: "faketime",
        is_there: || has("faketime"),
    },
];

/// Packages whose service an installation would start and start again at every boot.
const SERVICES: &[&str] = &["pgbouncer"];

/// Asked by Debian's packages before they start a service; the exit status 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const FORBID_SERVICES: &str = "#!/bin/sh\nexit 101\n";

/// Keeps the package `postgresql` from making a system-wide server: demo and tests start private ones.
const NO_SYSTEM_SERVER: &str = "create_main_cluster = false";
const CREATE_CLUSTER_CONF: &str = "/etc/postgresql-common/createcluster.conf";

pub(crate) fn run() -> Result {
    install_what_is_needed()?;
    opensearch::set_up()
}

fn install_what_is_needed() -> Result {
    let missing = missing_packages();
    if missing.is_empty() {
        println!("setup: everything is there");
        return Ok(());
    }
    let by_hand = format!("apt-get install {}", missing.join(" "));
    let Some(root) = Privilege::find().filter(|_| has("apt-get")) else {
        return Err(Failure::Failed(format!(
            "some programs are missing; as root, on Debian and Ubuntu:\n  {by_hand}"
        )));
    };
    println!("setup: installing {}", missing.join(", "));
    if let Err(stale) = root.apt_get(&["update"]) {
        // Package lists of earlier days may do.
        println!("setup: {stale}; going on with the package lists there are");
    }
    if missing.contains(&"postgresql") {
        root.apt_get(&[
            "install",
            "--yes",
            "--no-install-recommends",
            "postgresql-common",
        ])?;
        root.forbid_system_server()?;
    }
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&missing);
    if missing.iter().any(|package| SERVICES.contains(package)) {
        root.without_services(|| root.apt_get(&install))?;
    } else {
        root.apt_get(&install)?;
    }
    match missing_packages().as_slice() {
        [] => Ok(()),
        still => Err(Failure::Failed(format!(
            "installed, and yet not there: {}",
            still.join(", ")
        ))),
    }
}

/// Installs a package that only some tests need, and that the others can do without.
pub(crate) fn install_if_possible(package: &str) -> Result {
    let root = Privilege::find().filter(|_| has("apt-get"));
    let root = root.ok_or_else(|| Failure::Failed(format!("{package} is not installed")))?;
    println!("setup: installing {package}");
    let install = ["install", "--yes", "--no-install-recommends", package];
    root.apt_get(&install).or_else(|_| {
        root.apt_get(&["update"])?;
        root.apt_get(&install)
    })
}

fn missing_packages() -> Vec<&'static str> {
    PARTS
        .iter()
        .filter(|part| !(part.is_there)())
        .map(|part| part.package)
        .collect()
}

fn has(program: &str) -> bool {
    shell::find_program(program).is_some()
}

/// Debian keeps the servers of all releases out of `PATH`.
fn has_postgresql_server() -> bool {
    let releases = std::fs::read_dir("/usr/lib/postgresql");
    has("initdb")
        || releases
            .into_iter()
            .flatten()
            .flatten()
            .any(|release| release.path().join("bin/initdb").is_file())
}

/// Debian keeps it where only root's `PATH` leads.
fn has_mariadb_server() -> bool {
    has("mariadbd") || Path::new("/usr/sbin/mariadbd").is_file()
}

/// How we become root.
enum Privilege {
    Root,
    Sudo,
}

impl Privilege {
    fn find() -> Option<Self> {
        let user = shell::read(Command::new("id").arg("-u")).unwrap_or_default();
        if user.trim() == "0" {
            return Some(Self::Root);
        }
        shell::succeeds(Command::new("sudo").args(["-n", "true"])).then_some(Self::Sudo)
    }

    fn command(&self, program: &str) -> Command {
        match self {
            Self::Root => Command::new(program),
            Self::Sudo => {
                let mut sudo = Command::new("sudo");
                sudo.args(["-n", program]);
                sudo
            }
        }
    }

    fn apt_get(&self, args: &[&str]) -> Result {
        // `sudo` clears the environment, `env` sets it again.
        let mut apt_get = self.command("env");
        apt_get
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"])
            .args(args);
        shell::run(&mut apt_get)
    }

    /// Installs what brings a service along, and leaves that service off: demo and tests start private ones.
    ///
    /// A policy that is there already is the administrator's, and stays.
    fn without_services(&self, install: impl FnOnce() -> Result) -> Result {
        let policy = Path::new(POLICY);
        let is_ours = !policy.exists();
        if is_ours {
            self.write(policy, FORBID_SERVICES, "755")?;
        }
        let installed = install();
        if is_ours {
            shell::run(self.command("rm").arg("-f").arg(policy))?;
        }
        installed?;
        if has("systemctl") {
            for service in SERVICES {
                // Fails where no service manager runs, and nothing starts at boot there.
                let _ = shell::succeeds(
                    self.command("systemctl")
                        .args(["--quiet", "disable", service]),
                );
            }
        }
        Ok(())
    }

    /// Does nothing where the administrator has decided it already.
    fn forbid_system_server(&self) -> Result {
        let path = Path::new(CREATE_CLUSTER_CONF);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let is_decided = |line: &str| line.trim_start().starts_with("create_main_cluster");
        if text.lines().any(is_decided) {
            return Ok(());
        }
        self.write(path, &format!("{text}\n{NO_SYSTEM_SERVER}\n"), "644")
    }

    /// Writes a file of the system.
    fn write(&self, path: &Path, text: &str, mode: &str) -> Result {
        let written = tempfile::NamedTempFile::new().context("make a temporary file")?;
        std::fs::write(written.path(), text).context("write a temporary file")?;
        let mut install = self.command("install");
        install.args(["-m", mode]).arg(written.path()).arg(path);
        shell::run(&mut install)
    }
}
