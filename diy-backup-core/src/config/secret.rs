//! Secrets: where they are kept, and how they are read when they are needed.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::Error as _;

use crate::config::AbsolutePath;
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::tool::Tool;

/// How long a command may take to give a secret: one that waits for a person at a terminal waits for ever.
const DEADLINE: Duration = Duration::from_mins(1);

/// Where a secret comes from. It is read each time it is needed and never kept longer.
///
/// In a configuration file: `{ env = "NAME" }`, `{ file = "/path" }`, `{ command = ["prog", "arg"] }` or `{ value = "…" }`.
#[derive(Clone)]
pub struct Secret(Origin);

#[derive(Clone)]
enum Origin {
    Env(String),
    File(AbsolutePath),
    Command(Vec<String>),
    Value(SecretString),
}

impl Secret {
    /// A secret that is given as it is.
    pub fn value(secret: SecretString) -> Self {
        Self(Origin::Value(secret))
    }

    /// A secret that is the content of a file, without the newline at its end.
    pub fn file(path: AbsolutePath) -> Self {
        Self(Origin::File(path))
    }

    /// A secret that stands in an environment variable.
    pub fn env(name: impl Into<String>) -> Self {
        Self(Origin::Env(name.into()))
    }

    /// Reads the secret, without the one newline at its end that editors, `echo` and Kubernetes secrets add. A command
    /// has a minute for it; dropping the future ends it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the variable is not set, the file is missing, empty or can be read or written by
    /// others, or the command fails. The error says where the secret was looked for, never what it is.
    pub async fn reveal(&self) -> Result<SecretString> {
        match &self.0 {
            Origin::Value(secret) => Ok(secret.clone()),
            Origin::Env(name) => read_env(name),
            Origin::File(path) => read_file(path.as_path()),
            Origin::Command(command) => run_command(command).await,
        }
    }
}

/// Whether white space stands before or after the secret, beside the newline that is cut off: seldom on purpose, and
/// never to be seen.
pub(crate) fn has_white_space_around(secret: &SecretString) -> bool {
    let text = secret.expose_secret();
    text.trim() != text
}

fn read_env(name: &str) -> Result<SecretString> {
    let error = |what: &str| {
        let message = format!("the environment variable {name} {what}");
        Error::new(ErrorKind::Config, message)
            .with_hint("A secret of the configuration is read from it: set it for this process.")
    };
    let text = std::env::var(name).map_err(|_| error("is not set, or is not UTF-8"))?;
    first_line(&text).ok_or_else(|| error("is empty"))
}

fn read_file(path: &Path) -> Result<SecretString> {
    let shown = path.display();
    let config = |error: Error| error.with_kind(ErrorKind::Config);
    let metadata = std::fs::metadata(path)
        .io_context(|| format!("cannot read the secret file {shown}"))
        .map_err(config)?;
    let others = crate::platform::others_permissions(&metadata);
    if others != 0 {
        let message = format!(
            "the secret file {shown} can be read or changed by others (they have {others:03o})"
        );
        return Err(Error::new(ErrorKind::Config, message)
            .with_hint(format!("Keep it to its owner: `chmod 600 {shown}`.")));
    }
    let text = std::fs::read_to_string(path)
        .io_context(|| format!("cannot read the secret file {shown}"))
        .map_err(config)?;
    first_line(&text).ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            format!("the secret file {shown} is empty"),
        )
    })
}

async fn run_command(command: &[String]) -> Result<SecretString> {
    let (program, args) = command
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "an empty secret command"))?;
    let failed = |what: String| {
        let message = format!("the secret command `{program}` {what}");
        Error::new(ErrorKind::Config, message)
    };
    let tool = Tool::new(program).args(args).keep_environment();
    let control = Control::new();
    let output = tokio::time::timeout(DEADLINE, tool.run(&control))
        .await
        .map_err(|_| failed(format!("has not ended within {} s", DEADLINE.as_secs())))?
        .map_err(|error| failed("did not give a secret".to_owned()).with_source(error))?;
    first_line(&output.stdout_text()).ok_or_else(|| failed("printed nothing".to_owned()))
}

/// Drops the one newline that editors and `echo` add; anything else belongs to the secret.
fn first_line(text: &str) -> Option<SecretString> {
    let trimmed = text
        .strip_suffix('\n')
        .map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    (!trimmed.is_empty()).then(|| SecretString::from(trimmed.to_owned()))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::Env(name) => write!(f, "Secret(env {name})"),
            Origin::File(path) => write!(f, "Secret(file {})", path.as_path().display()),
            Origin::Command(command) => write!(f, "Secret(command {:?})", command.first()),
            Origin::Value(_) => f.write_str("Secret(value)"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecret {
    env: Option<String>,
    file: Option<AbsolutePath>,
    command: Option<Vec<String>>,
    value: Option<String>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const FORMS: &str = "a secret is one of { env = \"NAME\" }, { file = \"/path\" }, { command = [\"prog\", \"arg\"] }, { value = \"…\" }";
        let raw = deserializer.deserialize_any(TableOnly(FORMS))?;
        let origin = match raw {
            RawSecret {
                env: Some(name),
                file: None,
                command: None,
                value: None,
            } => Origin::Env(name),
            RawSecret {
                env: None,
                file: Some(path),
                command: None,
                value: None,
            } => Origin::File(path),
            RawSecret {
                env: None,
                file: None,
                command: Some(command),
                value: None,
            } if !command.is_empty() => Origin::Command(command),
            RawSecret {
                env: None,
                file: None,
                command: None,
                value: Some(value),
            } => Origin::Value(value.into()),
            _ => return Err(D::Error::custom(FORMS)),
        };
        Ok(Self(origin))
    }
}

/// Accepts a table alone, so that the error about `password = "secret"` does not print the secret.
struct TableOnly(&'static str);

impl<'de> serde::de::Visitor<'de> for TableOnly {
    type Value = RawSecret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<RawSecret, A::Error> {
        RawSecret::deserialize(serde::de::value::MapAccessDeserializer::new(map))
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<RawSecret, E> {
        Err(E::custom(self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Section;

    #[derive(Deserialize, Debug)]
    struct Holder {
        password: Secret,
    }

    fn parse(text: &str) -> Result<Secret> {
        Ok(Section::from_text("x", &format!("password = {text}"))?
            .parse::<Holder>()?
            .password)
    }

    #[tokio::test]
    async fn each_form_gives_its_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "pä ss\"\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for text in [
            format!("{{ file = {path:?} }}"),
            "{ value = 'pä ss\"' }".into(),
            "{ command = ['printf', 'pä ss\"\\n'] }".into(),
        ] {
            let secret = parse(&text).unwrap();
            assert_eq!(
                secret.reveal().await.unwrap().expose_secret(),
                "pä ss\"",
                "{text}"
            );
            assert!(!format!("{secret:?}").contains("ss\""));
        }
    }

    #[test]
    fn one_newline_is_cut_and_other_white_space_stays_and_is_told() {
        for (text, secret, is_odd) in [
            ("pw\n", "pw", false),
            ("pw\r\n", "pw", false),
            ("pw\n\n", "pw\n", true),
            (" pw \n", " pw ", true),
            ("p w\r", "p w\r", true),
        ] {
            let read = first_line(text).unwrap();
            assert_eq!(read.expose_secret(), secret, "{text:?}");
            assert_eq!(has_white_space_around(&read), is_odd, "{text:?}");
        }
        assert!(first_line("\n").is_none() && first_line("").is_none());
    }

    #[tokio::test]
    async fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Secret::file(AbsolutePath::new(&path).unwrap())
            .reveal()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("040") && error.hint().unwrap().contains("chmod 600"));
    }

    #[test]
    fn a_bare_string_is_refused_without_being_repeated() {
        let error = parse("'hunter2'").unwrap_err().to_string();
        assert!(
            error.contains("{ env =") && !error.contains("hunter2"),
            "{error}"
        );
        assert!(parse("{ env = 'A', value = 'b' }").is_err());
        assert!(parse("{ command = [] }").is_err());
    }
}
