//! What a dump says of the database that it was made of, beside its content: owners, grants, settings, locale.
//!
//! `pg_restore --create --schema-only` writes it as a script in which every entry begins with a comment of three lines.

use std::collections::BTreeSet;
use std::path::Path;

use diy_backup_core::{Artifact, Control, Result};

use crate::PostgresConfig;
use crate::facts::Locale;
use crate::server::local_tool;
use crate::statement::{self, DatabaseStatement, Word};
use crate::toc::{self, Toc};

/// The database that a dump was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Original {
    /// The owner of the database.
    pub(crate) owner: Option<String>,
    /// The owners of what is in it.
    pub(crate) owners: BTreeSet<String>,
    /// Roles that grants, policies and settings name.
    pub(crate) named: BTreeSet<String>,
    /// Extensions, which the server must have.
    pub(crate) extensions: BTreeSet<String>,
    /// Tablespaces other than the server's own.
    pub(crate) tablespaces: BTreeSet<String>,
    /// The tablespace of the database itself.
    pub(crate) tablespace: Option<String>,
    pub(crate) locale: Option<Locale>,
    /// Settings, grants and comments of the database itself.
    pub(crate) statements: Vec<DatabaseStatement>,
}

/// Roles that every server has, or has not: nobody can create them.
const PREDEFINED: &str = "pg_";

const DETAIL_OWNER: &str = "owner";
const DETAIL_OWNERS: &str = "owners";
const DETAIL_NAMED: &str = "other-roles";
const DETAIL_EXTENSIONS: &str = "extensions";

impl Original {
    /// Reads it from a dump.
    pub(crate) async fn of(
        config: &PostgresConfig,
        dump: &Path,
        toc: &Toc,
        control: &Control,
    ) -> Result<Self> {
        let output = local_tool(config, "pg_restore")
            .args(["--create", "--schema-only", "--file=-"])
            .arg(dump)
            .run(control)
            .await?;
        let mut original = Self::parse(&output.stdout_text());
        // The body of a function may look like the beginning of an entry; its owner then stands in no entry of the list.
        original
            .owners
            .retain(|owner| toc.names_owner(&toc::one_line(owner)));
        Ok(original)
    }

    /// Reads what a manifest says of it: less than the dump does. `None` for backups that do not say.
    pub(crate) fn recorded(artifact: &Artifact) -> Option<Self> {
        let list = |name: &str| -> Option<BTreeSet<String>> {
            serde_json::from_str(artifact.detail(name)?).ok()
        };
        Some(Self {
            owner: artifact.detail(DETAIL_OWNER).map(str::to_owned),
            owners: list(DETAIL_OWNERS)?,
            named: list(DETAIL_NAMED)?,
            extensions: list(DETAIL_EXTENSIONS)?,
            ..Self::default()
        })
    }

    /// Adds to a manifest what a restore has to know before it has the dump.
    pub(crate) fn record(&self, mut artifact: Artifact) -> Artifact {
        if let Some(owner) = &self.owner {
            artifact = artifact.with_detail(DETAIL_OWNER, owner);
        }
        let lists = [
            (DETAIL_OWNERS, &self.owners),
            (DETAIL_NAMED, &self.named),
            (DETAIL_EXTENSIONS, &self.extensions),
        ];
        for (name, list) in lists {
            artifact = artifact.with_detail(name, serde_json::json!(list).to_string());
        }
        artifact
    }

    /// Returns `true` if the dump says whom things belong to; one made with `--no-owner` does not.
    pub(crate) fn has_owners(&self) -> bool {
        self.owner.is_some() || !self.owners.is_empty()
    }

    /// Roles that must be there to own things.
    pub(crate) fn all_owners(&self) -> BTreeSet<&str> {
        let owners = self.owners.iter().chain(&self.owner);
        owners.map(String::as_str).filter(is_creatable).collect()
    }

    /// Roles that must be there for grants, policies and settings.
    pub(crate) fn all_named(&self) -> BTreeSet<&str> {
        let named = self.named.iter().map(String::as_str);
        named.filter(is_creatable).collect()
    }

    fn parse(script: &str) -> Self {
        let mut original = Self::default();
        for entry in entries(script) {
            original.take(&entry);
        }
        original
    }

    fn take(&mut self, entry: &Entry<'_>) {
        let of_database = entry.name.starts_with("DATABASE ");
        if let Some(tablespace) = entry.tablespace {
            self.tablespaces.insert(tablespace.to_owned());
        }
        match entry.kind {
            "DATABASE" => {
                self.owner = entry.owner.map(str::to_owned);
                self.locale = parse_create(&entry.body);
                self.tablespace = option(create_options(&entry.body), "TABLESPACE");
            }
            "DATABASE PROPERTIES" => self.take_statements(entry),
            "ACL" | "COMMENT" | "SECURITY LABEL" if of_database => self.take_statements(entry),
            "ACL" | "DEFAULT ACL" => self.name_roles(entry),
            "EXTENSION" => {
                self.extensions.insert(entry.name.to_owned());
            }
            // Owners that do not have to be there: what is theirs is restored as far as it can be.
            "COMMENT" | "SECURITY LABEL" | "EVENT TRIGGER" | "SUBSCRIPTION" => {}
            kind if kind.starts_with("PUBLICATION") => {}
            "SCHEMA" if entry.name == "public" => {}
            kind => {
                self.owners.extend(entry.owner.map(str::to_owned));
                if kind == "POLICY" {
                    self.name_roles(entry);
                }
            }
        }
    }

    fn name_roles(&mut self, entry: &Entry<'_>) {
        for words in statement::split(&entry.body) {
            self.named.extend(statement::roles(&words));
        }
    }

    fn take_statements(&mut self, entry: &Entry<'_>) {
        for words in statement::split(&entry.body) {
            if let Some(statement) = DatabaseStatement::of(&words) {
                self.named.extend(statement::roles(&words));
                self.statements.push(statement);
            }
        }
    }
}

fn is_creatable(role: &&str) -> bool {
    !role.starts_with(PREDEFINED)
}

/// One entry of a script.
#[derive(Debug)]
struct Entry<'s> {
    name: &'s str,
    kind: &'s str,
    owner: Option<&'s str>,
    tablespace: Option<&'s str>,
    body: String,
}

/// Reads `-- Name: push; Type: TABLE; Schema: public; Owner: bitbucketuser; Tablespace: fast`.
fn header(line: &str) -> Option<Entry<'_>> {
    let rest = line.strip_prefix("-- Name: ")?;
    // A name may hold anything, so reading begins at the end.
    let (rest, tablespace) = match rest.rsplit_once("; Tablespace: ") {
        Some((rest, tablespace)) => (rest, Some(tablespace)),
        None => (rest, None),
    };
    let (rest, owner) = rest.rsplit_once("; Owner: ")?;
    let (rest, _schema) = rest.rsplit_once("; Schema: ")?;
    let (name, kind) = rest.rsplit_once("; Type: ")?;
    Some(Entry {
        name,
        kind,
        owner: Some(owner).filter(|owner| !matches!(*owner, "" | "-")),
        tablespace,
        body: String::new(),
    })
}

fn entries(script: &str) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut lines = script.split_inclusive('\n').peekable();
    let mut is_after_rule = false;
    while let Some(line) = lines.next() {
        let text = line.trim_end_matches(['\n', '\r']);
        let is_before_rule = lines.peek().is_some_and(|next| next.trim_end() == "--");
        if is_after_rule
            && is_before_rule
            && let Some(entry) = header(text)
        {
            entries.push(entry);
        } else if let Some(entry) = entries.last_mut() {
            entry.body.push_str(line);
        }
        is_after_rule = text == "--";
    }
    entries
}

/// What follows the name in a `CREATE DATABASE`, which may hold anything.
fn create_options(script: &str) -> &str {
    script
        .lines()
        .find(|line| line.starts_with("CREATE DATABASE "))
        .and_then(|statement| statement.rsplit_once(" WITH TEMPLATE = "))
        .map_or("", |(_, options)| options)
}

/// An option with a name or a text as its value.
fn option(options: &str, name: &str) -> Option<String> {
    let (_, rest) = options.split_once(&format!(" {name} = "))?;
    match statement::words(rest).into_iter().next()? {
        Word::Name(value) | Word::Text(value) | Word::Plain(value) => Some(value),
    }
}

/// Reads `CREATE DATABASE x WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C';`.
fn parse_create(script: &str) -> Option<Locale> {
    let options = create_options(script);
    let option = |name: &str| option(options, name);
    let provider = if options.contains("LOCALE_PROVIDER = icu") {
        "i"
    } else if options.contains("LOCALE_PROVIDER = builtin") {
        "b"
    } else {
        "c"
    };
    let common = option("LOCALE");
    Some(Locale {
        encoding: option("ENCODING")?,
        provider: provider.to_owned(),
        collate: option("LC_COLLATE").or_else(|| common.clone()),
        ctype: option("LC_CTYPE").or(common),
        of_provider: option("ICU_LOCALE").or_else(|| option("BUILTIN_LOCALE")),
        rules: option("ICU_RULES"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
--\n-- Name: bit bucket; Type: DATABASE; Schema: -; Owner: bb\n--\n\n\
CREATE DATABASE \"bit bucket\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C' TABLESPACE = \"Fast Disk\";\n\n\
ALTER DATABASE \"bit bucket\" OWNER TO bb;\n\n\\connect x\n\
--\n-- Name: bit bucket; Type: DATABASE PROPERTIES; Schema: -; Owner: bb\n--\n\n\
ALTER DATABASE \"bit bucket\" SET search_path TO 'bb', 'a;b';\n\
ALTER ROLE \"my role\" IN DATABASE \"bit bucket\" SET work_mem TO '7MB';\n\n\\connect x\n\
--\n-- Name: public; Type: SCHEMA; Schema: -; Owner: postgres\n--\n\n\
--\n-- Name: t; Type: TABLE; Schema: bb; Owner: Odd \"Röle; Tablespace: slow\n--\n\nCREATE TABLE bb.t ();\n\n\
--\n-- Name: t p; Type: POLICY; Schema: bb; Owner: bb\n--\n\nCREATE POLICY p ON bb.t TO r1, \"r 2\" USING ((n > 1));\n\n\
--\n-- Name: TABLE t; Type: ACL; Schema: bb; Owner: bb\n--\n\nGRANT SELECT ON TABLE bb.t TO reader WITH GRANT OPTION;\nREVOKE ALL ON TABLE bb.t FROM PUBLIC;\n\n\
--\n-- Name: pub; Type: PUBLICATION; Schema: -; Owner: postgres\n--\n\n\
--\n-- Name: pg_trgm; Type: EXTENSION; Schema: -; Owner: -\n--\n\n\
--\n-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: bb; Owner: bb\n--\n\nALTER DEFAULT PRIVILEGES FOR ROLE maker IN SCHEMA bb GRANT SELECT ON TABLES  TO pg_monitor;\n";

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn owners_roles_and_settings_are_read_from_the_dumps_own_script() {
        let original = Original::parse(SCRIPT);
        assert_eq!(original.owner.as_deref(), Some("bb"));
        assert_eq!(original.owners, set(&["bb", "Odd \"Röle"]));
        let named = ["maker", "my role", "pg_monitor", "r 2", "r1", "reader"];
        assert_eq!(original.named, set(&named));
        assert!(!original.all_named().contains("pg_monitor"));
        assert_eq!(original.extensions, set(&["pg_trgm"]));
        assert_eq!(original.tablespaces, set(&["slow"]));
        assert_eq!(original.tablespace.as_deref(), Some("Fast Disk"));
        let statements: Vec<String> = original
            .statements
            .iter()
            .map(|statement| statement.for_database("new\" x"))
            .collect();
        assert_eq!(
            statements,
            [
                "ALTER DATABASE \"new\"\" x\" SET search_path TO 'bb', 'a;b'",
                "ALTER ROLE \"my role\" IN DATABASE \"new\"\" x\" SET work_mem TO '7MB'"
            ]
        );
    }

    #[test]
    fn a_manifest_says_what_a_restore_must_know_first() {
        let original = Original::parse(SCRIPT);
        let recorded = Original::recorded(&original.record(Artifact::staged(1))).unwrap();
        assert_eq!(recorded.all_owners(), original.all_owners());
        assert_eq!(recorded.all_named(), original.all_named());
        assert_eq!(recorded.extensions, original.extensions);
        assert_eq!(Original::recorded(&Artifact::staged(1)), None);
    }

    #[test]
    fn the_locale_is_read_from_the_dumps_own_statement() {
        let script = "--\nCREATE DATABASE \"a WITH TEMPLATE = x\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'C' ICU_LOCALE = 'de-DE' ICU_RULES = '&V << w''';\n";
        let locale = parse_create(script).unwrap();
        assert_eq!(
            (locale.encoding.as_str(), locale.provider.as_str()),
            ("UTF8", "i")
        );
        assert_eq!(locale.collate.as_deref(), Some("C"));
        assert_eq!(locale.of_provider.as_deref(), Some("de-DE"));
        assert_eq!(locale.rules.as_deref(), Some("&V << w'"));
        let old = parse_create("CREATE DATABASE b WITH TEMPLATE = template0 ENCODING = 'LATIN1' LC_COLLATE = 'de_DE' LC_CTYPE = 'C';").unwrap();
        assert_eq!(
            (old.collate.as_deref(), old.ctype.as_deref()),
            (Some("de_DE"), Some("C"))
        );
        assert_eq!(parse_create("SELECT 1;"), None);
    }
}
