//! The section `[elasticsearch]`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use diy_backup_core::{AbsolutePath, HumanDuration, Result, Secret, Section};
use serde::Deserialize;
use url::{Host, Url};

/// What kind of snapshot repository a strategy works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepositoryKind {
    /// A folder that every node has mounted.
    Fs,
    /// An S3 bucket, or what speaks like one.
    S3,
    /// The S3 bucket of an Amazon OpenSearch Service domain, whose calls are signed.
    AmazonEs,
}

impl RepositoryKind {
    pub(crate) const ALL: [Self; 3] = [Self::Fs, Self::S3, Self::AmazonEs];

    /// The name that the configuration chooses the strategy by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fs => "fs",
            Self::S3 => "s3",
            Self::AmazonEs => "amazon-es",
        }
    }

    /// The keys of this kind: those it needs, and those it may have beside the common ones.
    fn keys(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Fs => (&["location"], &[]),
            Self::S3 => (&["bucket"], &["base-path", "region", "endpoint", "client"]),
            Self::AmazonEs => (
                &["bucket", "region", "role-arn"],
                &["base-path", "endpoint"],
            ),
        }
    }
}

/// What the search strategies are told in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct SearchConfig {
    /// The cluster's base URL, with a path where there is one.
    pub url: String,
    /// The user that logs in with `password`.
    #[serde(default)]
    pub username: Option<String>,
    /// That user's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// An API key in its encoded form, instead of user and password.
    #[serde(default)]
    pub api_key: Option<Secret>,
    /// PEM certificates to trust beside those of the system.
    #[serde(default)]
    pub ca_file: Option<AbsolutePath>,
    /// Whether a backup without the index is a failure; `true` unless set.
    #[serde(default = "default_required")]
    pub required: bool,
    /// The names and patterns of the indices; `["bitbucket-*"]` unless set. A pattern that begins with `-` excludes.
    #[serde(default = "default_indices")]
    pub indices: Vec<String>,
    /// The name of the snapshot repository; `bitbucket-snapshots` unless set. It is made when it is missing.
    #[serde(default = "default_repository")]
    pub repository: String,
    /// More settings of the repository, such as `compress` or `server_side_encryption`.
    #[serde(default)]
    pub repository_settings: BTreeMap<String, SettingValue>,
    /// How long a snapshot may take; one hour unless set.
    #[serde(default = "default_patience")]
    pub snapshot_timeout: HumanDuration,
    /// How long the indices of a restore may take to become available; one hour unless set.
    #[serde(default = "default_patience")]
    pub restore_timeout: HumanDuration,
    /// How long a call is repeated that fails for a passing reason; 30 seconds unless set.
    #[serde(default = "default_retry_for")]
    pub retry_for: HumanDuration,
    /// `fs`: the folder of the repository, as the nodes see it.
    #[serde(default)]
    pub location: Option<String>,
    /// `s3` and `amazon-es`: the bucket.
    #[serde(default)]
    pub bucket: Option<String>,
    /// `s3` and `amazon-es`: the path in the bucket.
    #[serde(default)]
    pub base_path: Option<String>,
    /// `s3` and `amazon-es`: the bucket's region; for `amazon-es` also that of the domain.
    #[serde(default)]
    pub region: Option<String>,
    /// `s3` and `amazon-es`: the S3 endpoint.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// `s3`: which of the nodes' S3 client settings apply.
    #[serde(default)]
    pub client: Option<String>,
    /// `amazon-es`: the role that the service takes on to reach the bucket.
    #[serde(default)]
    pub role_arn: Option<String>,
}

/// The value of one setting of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum SettingValue {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl SearchConfig {
    /// Reads the section of a strategy of this kind.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line.
    pub fn from_section(kind: RepositoryKind, section: &Section) -> Result<Self> {
        let config: Self = section.parse()?;
        if let Err(problem) = config.base_url() {
            return Err(section.error_at_key("url", problem));
        }
        config.check_login(kind, section)?;
        config.check_repository(kind, section)?;
        if config.indices.is_empty() || !config.indices.iter().all(|name| is_index_pattern(name)) {
            let message =
                "must be names of indices in lower case, with `*` where anything may stand";
            return Err(section.error_at_key("indices", message));
        }
        Ok(config)
    }

    /// The base URL without slashes at its end.
    pub(crate) fn base_url(&self) -> Result<Url, &'static str> {
        let mut url = Url::parse(&self.url).map_err(|_| "is no address")?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("must start with http:// or https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user name or password: there are keys for them");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must not have a query or a fragment");
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(url)
    }

    /// Whether the cluster is on this machine: what is sent to it travels nowhere.
    pub(crate) fn is_local(&self) -> bool {
        let url = self.base_url().ok();
        match url.as_ref().and_then(Url::host) {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    fn check_login(&self, kind: RepositoryKind, section: &Section) -> Result<()> {
        let signed = kind == RepositoryKind::AmazonEs;
        if self.api_key.is_some() && (signed || self.username.is_some()) {
            let message = "cannot be combined with another way to log in";
            return Err(section.error_at_key("api-key", message));
        }
        if self.username.is_some() && signed {
            let message = "is not for amazon-es, whose calls are signed with AWS credentials";
            return Err(section.error_at_key("username", message));
        }
        match (&self.username, &self.password) {
            (Some(_), None) => Err(section.error_at_key("username", "needs a `password`")),
            (None, Some(_)) => Err(section.error_at_key("password", "needs a `username`")),
            (Some(name), _) if name.is_empty() || name.contains(':') => {
                Err(section.error_at_key("username", "must not be empty or hold a colon"))
            }
            _ => Ok(()),
        }
    }

    fn check_repository(&self, kind: RepositoryKind, section: &Section) -> Result<()> {
        let (needed, allowed) = kind.keys();
        let name = kind.name();
        for (key, value) in self.repository_keys() {
            let is_needed = needed.contains(&key);
            match value {
                None if is_needed => {
                    return Err(section.error(&format!("the strategy `{name}` needs `{key}`")));
                }
                Some("") => return Err(section.error_at_key(key, "is empty")),
                Some(_) if !is_needed && !allowed.contains(&key) => {
                    let message = format!("is no key of the strategy `{name}`");
                    return Err(section.error_at_key(key, &message));
                }
                _ => {}
            }
        }
        let known = self.repository_keys().map(|(key, _)| key.replace('-', "_"));
        if let Some(twice) = known
            .into_iter()
            .find(|key| self.repository_settings.contains_key(key))
        {
            let message = format!("holds `{twice}`, for which there is a key of its own");
            return Err(section.error_at_key("repository-settings", &message));
        }
        let is_plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        let repository = &self.repository;
        if repository.is_empty() || repository.starts_with('_') || !repository.chars().all(is_plain)
        {
            let message = "must be of lower case letters, digits, `-`, `_` and `.`";
            return Err(section.error_at_key("repository", message));
        }
        Ok(())
    }

    /// The keys that make up the repository, by their names in this file.
    pub(crate) fn repository_keys(&self) -> [(&'static str, Option<&str>); 7] {
        [
            ("location", self.location.as_deref()),
            ("bucket", self.bucket.as_deref()),
            ("base-path", self.base_path.as_deref()),
            ("region", self.region.as_deref()),
            ("endpoint", self.endpoint.as_deref()),
            ("client", self.client.as_deref()),
            ("role-arn", self.role_arn.as_deref()),
        ]
    }
}

fn is_index_pattern(text: &str) -> bool {
    let name = text.strip_prefix('-').unwrap_or(text);
    let forbidden = |c: char| {
        c.is_uppercase() || c.is_whitespace() || c.is_control() || r#"\/?"<>|,#:"#.contains(c)
    };
    !name.is_empty() && !name.starts_with(['_', '-', '+']) && !name.contains(forbidden)
}

fn default_required() -> bool {
    true
}

fn default_indices() -> Vec<String> {
    vec!["bitbucket-*".to_owned()]
}

fn default_repository() -> String {
    "bitbucket-snapshots".to_owned()
}

fn default_patience() -> HumanDuration {
    Duration::from_hours(1).into()
}

fn default_retry_for() -> HumanDuration {
    Duration::from_secs(30).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: RepositoryKind, text: &str) -> Result<SearchConfig> {
        SearchConfig::from_section(kind, &Section::from_text("elasticsearch", text)?)
    }

    fn fs(more: &str) -> Result<SearchConfig> {
        let text = format!("url = 'http://localhost:9200'\nlocation = '/mnt/x'\n{more}");
        parse(RepositoryKind::Fs, &text)
    }

    #[test]
    fn url_and_location_are_enough() {
        let config = fs("").unwrap();
        assert!(config.required);
        assert_eq!(config.indices, ["bitbucket-*"]);
        assert_eq!(config.repository, "bitbucket-snapshots");
    }

    #[test]
    fn only_this_machine_is_local() {
        let is_local = |url: &str| {
            let mut config = fs("").unwrap();
            config.url = url.to_owned();
            config.is_local()
        };
        for url in [
            "http://localhost:9200",
            "https://127.0.0.2",
            "http://[::1]:9200/x",
        ] {
            assert!(is_local(url), "{url}");
        }
        for url in [
            "http://localhost.example",
            "http://127.example",
            "https://10.0.0.1",
        ] {
            assert!(!is_local(url), "{url}");
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused_with_its_line() {
        let message = fs("bucket = 'b'").unwrap_err().to_string();
        assert!(
            message.contains(":3:") && message.contains("`bucket`"),
            "{message}"
        );
        let message = parse(RepositoryKind::S3, "url = 'http://x'")
            .unwrap_err()
            .to_string();
        assert!(message.contains("needs `bucket`"), "{message}");
    }

    #[test]
    fn values_that_a_call_could_not_carry_are_refused() {
        for (line, key) in [
            ("indices = []", "indices"),
            ("indices = ['a,b']", "indices"),
            ("indices = ['_all']", "indices"),
            ("indices = ['Bitbucket']", "indices"),
            ("repository = 'A b'", "repository"),
            ("username = 'u'", "username"),
            ("password = { value = 'p' }", "password"),
            ("username = 'a:b'\npassword = { value = 'p' }", "username"),
            (
                "api-key = { value = 'k' }\nusername = 'u'\npassword = { value = 'p' }",
                "api-key",
            ),
            (
                "repository-settings = { location = '/y' }",
                "repository-settings",
            ),
            ("retry-for = '3 parsecs'", "retry-for"),
            ("compress = true", "compress"),
        ] {
            let message = fs(line).unwrap_err().to_string();
            assert!(
                message.contains(key) || message.contains("duration"),
                "{line}: {message}"
            );
        }
        for url in [
            "localhost:9200",
            "ftp://x",
            "http://u:p@x",
            "http://x/?a",
            "http://",
        ] {
            let text = format!("url = '{url}'\nlocation = '/x'");
            let message = parse(RepositoryKind::Fs, &text).unwrap_err().to_string();
            assert!(message.contains("`url`"), "{url}: {message}");
        }
    }
}
