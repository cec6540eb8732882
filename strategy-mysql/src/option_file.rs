//! The private option file that hands host, account and password to the tools: neither an argument list nor an
//! environment ever holds them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use diy_backup_core::{
    BackupContext, Error, ErrorKind, Leftover, RestoreContext, Result, ResultExt, write_private,
};
use secrecy::{ExposeSecret, SecretString};

use crate::config::{MysqlConfig, SslMode};
use crate::strategy::NAME;
use crate::tools::Flavour;

pub(crate) const KIND: &str = "option-file";
const FOLDER: &str = "diy-backup-mysql-";
const FILE: &str = "client.cnf";

/// Where an option file is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hideout<'a> {
    /// In the folder for temporary files of the system.
    Temporary,
    /// There too, and recorded in the journal of a backup before it is made.
    OfBackup(&'a BackupContext),
    /// There too, and recorded in the journal of a restore before it is made.
    OfRestore(&'a RestoreContext),
}

/// What the journal says of an option file.
#[derive(Debug)]
enum Recorded {
    OfBackup(BackupContext, Leftover),
    OfRestore(RestoreContext, Leftover),
}

impl Recorded {
    fn new(hideout: Hideout<'_>, folder: &Path) -> Result<Option<Self>> {
        let leftover = Leftover::new(NAME, KIND, path_text(folder)?);
        Ok(match hideout {
            Hideout::Temporary => None,
            Hideout::OfBackup(cx) => {
                cx.record_leftover(leftover.clone())?;
                Some(Self::OfBackup(cx.clone(), leftover))
            }
            Hideout::OfRestore(cx) => {
                cx.record_leftover(leftover.clone())?;
                Some(Self::OfRestore(cx.clone(), leftover))
            }
        })
    }

    fn forget(&self) -> Result<()> {
        match self {
            Self::OfBackup(cx, leftover) => cx.forget_leftover(leftover),
            Self::OfRestore(cx, leftover) => cx.forget_leftover(leftover),
        }
    }
}

/// An option file in a folder of its own; both are gone when it is dropped.
#[derive(Debug)]
pub(crate) struct OptionFile {
    folder: PathBuf,
    recorded: Option<Recorded>,
}

impl OptionFile {
    pub(crate) fn create(hideout: Hideout<'_>, content: &SecretString) -> Result<Self> {
        let name = format!("{FOLDER}{:016x}", fastrand::u64(..));
        let folder = std::env::temp_dir().join(name);
        let recorded = Recorded::new(hideout, &folder)?;
        make_private_folder(&folder)
            .io_context(|| format!("cannot make the folder {}", folder.display()))?;
        let file = Self { folder, recorded };
        write_private(&file.path(), content.expose_secret().as_bytes())?;
        Ok(file)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Removes it and what the journal says of it.
    pub(crate) fn remove(&mut self) -> Result<()> {
        remove(&self.folder)?;
        match self.recorded.take() {
            Some(recorded) => recorded.forget(),
            None => Ok(()),
        }
    }
}

impl Drop for OptionFile {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(error = %diy_backup_core::error_chain(&error), "an option file is left over");
        }
    }
}

/// Removes the option file that a run that died has left.
pub(crate) fn discard(leftover: &Leftover) -> Result<()> {
    let path = Path::new(&leftover.id);
    let number = path
        .file_name()
        .and_then(|name| name.to_str()?.strip_prefix(FOLDER));
    let is_ours = number.is_some_and(|number| {
        number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    if !is_ours || !path.is_absolute() {
        let message = format!("{:?} is no leftover of {NAME}", leftover.id);
        return Err(Error::new(ErrorKind::Damaged, message));
    }
    remove(path)
}

/// What the tools of a flavour are to be told.
pub(crate) fn content(
    config: &MysqlConfig,
    password: Option<&SecretString>,
    flavour: Flavour,
) -> SecretString {
    let mut text = String::from("[client]\n");
    let mut option = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}={}", quoted(value));
    };
    if config.is_socket() {
        option("protocol", "SOCKET");
        option("socket", &config.host);
    } else {
        option("protocol", "TCP");
        option("host", &config.host);
        option("port", &config.port.to_string());
    }
    option("user", &config.username);
    if let Some(password) = password {
        option("password", password.expose_secret());
    }
    option("default-character-set", "utf8mb4");
    option("max-allowed-packet", "1073741824");
    if let Some(ca) = &config.ssl_ca {
        option("ssl-ca", &ca.as_path().to_string_lossy());
    }
    let mode = config
        .ssl_mode
        .or(config.ssl_ca.as_ref().map(|_| SslMode::VerifyFull));
    match (mode, flavour) {
        (None, _) | (Some(SslMode::Prefer), Flavour::MariaDb) => {}
        (Some(SslMode::Disable), Flavour::MariaDb) => text.push_str("skip-ssl\n"),
        (Some(SslMode::Require), Flavour::MariaDb) => {
            text.push_str("ssl\ndisable-ssl-verify-server-cert\n");
        }
        (Some(SslMode::VerifyCa | SslMode::VerifyFull), Flavour::MariaDb) => {
            text.push_str("ssl\nssl-verify-server-cert\n");
        }
        (Some(mode), Flavour::MySql) => option("ssl-mode", mysql_mode(mode)),
    }
    text.into()
}

fn mysql_mode(mode: SslMode) -> &'static str {
    match mode {
        SslMode::Disable => "DISABLED",
        SslMode::Prefer => "PREFERRED",
        SslMode::Require => "REQUIRED",
        SslMode::VerifyCa => "VERIFY_CA",
        SslMode::VerifyFull => "VERIFY_IDENTITY",
    }
}

/// A value in which `#` begins no comment and no blank is cut off.
fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

fn path_text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let message = format!("the path {} is not UTF-8", path.display());
        Error::new(ErrorKind::Unsupported, message).with_hint("Set TMPDIR to another folder.")
    })
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(
            format!("cannot remove {}", folder.display()),
            error,
        )),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn make_private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    std::fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private_folder(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir(path)
}

#[cfg(test)]
mod tests {
    use diy_backup_core::Section;

    use super::*;

    fn text(more: &str, flavour: Flavour) -> String {
        let section = format!("name = 'b'\nusername = 'u # x'\n{more}");
        let section = Section::from_text("database", &section).unwrap();
        let config = MysqlConfig::from_section(&section).unwrap();
        let password = SecretString::from("a\"b\\c #é");
        let content = content(&config, Some(&password), flavour);
        content.expose_secret().to_owned()
    }

    #[test]
    fn values_are_quoted_and_escaped() {
        let text = text("", Flavour::MariaDb);
        assert!(text.contains("\nuser=\"u # x\"\n"), "{text}");
        assert!(text.contains("\npassword=\"a\\\"b\\\\c #é\"\n"), "{text}");
        assert!(text.contains("\nprotocol=\"TCP\"\nhost=\"localhost\"\nport=\"3306\"\n"));
    }

    #[test]
    fn a_path_is_a_socket() {
        let text = text("host = '/run/mysqld/x.sock'", Flavour::MySql);
        assert!(text.contains("socket=\"/run/mysqld/x.sock\"") && !text.contains("host="));
    }

    #[test]
    fn each_flavour_is_told_of_tls_in_its_own_words() {
        let full = "ssl-mode = 'verify-full'\nssl-ca = '/ca.pem'";
        assert!(text(full, Flavour::MySql).contains("ssl-mode=\"VERIFY_IDENTITY\""));
        let mariadb = text(full, Flavour::MariaDb);
        assert!(mariadb.contains("\nssl-verify-server-cert\n") && !mariadb.contains("ssl-mode"));
        assert!(text("ssl-mode = 'disable'", Flavour::MariaDb).contains("\nskip-ssl\n"));
        assert!(text("ssl-ca = '/ca.pem'", Flavour::MySql).contains("VERIFY_IDENTITY"));
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_private_and_gone_with_its_value() {
        use std::os::unix::fs::PermissionsExt;

        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let file = OptionFile::create(Hideout::Temporary, &"x".into()).unwrap();
        let path = file.path();
        let folder = path.parent().unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(folder), 0o700);
        drop(file);
        assert!(!folder.exists());
    }

    #[test]
    fn a_leftover_that_is_no_option_file_is_refused() {
        for id in [
            "/etc",
            "diy-backup-mysql-0123456789abcdef",
            "/x/diy-backup-mysql-1",
        ] {
            let error = discard(&Leftover::new(NAME, KIND, id)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
        }
        let gone = Leftover::new(NAME, KIND, "/nonexistent/diy-backup-mysql-0123456789abcdef");
        discard(&gone).unwrap();
    }
}
