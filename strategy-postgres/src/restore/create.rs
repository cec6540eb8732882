//! Creating the database that a restore fills, with the encoding and locale of the original.

use std::time::Duration;

use diy_backup_core::{Artifact, Control, Error, ErrorKind, Result};
use serde::Deserialize;

use crate::config::PostgresConfig;
use crate::facts::Locale;
use crate::failure::Failure;
use crate::psql::Psql;
use crate::release::Release;
use crate::server::local_tool;
use crate::sql;
use crate::toc::Toc;

/// What a server says when it does not know a locale, or cannot combine it with an encoding.
const LOCALE_REFUSALS: [&str; 5] = ["42809", "22023", "42611", "0A000", "XX000"];

/// How often, and with what pause, a session is looked at that should end.
const END_LOOKS: u32 = 600;
const END_PAUSE: Duration = Duration::from_millis(50);

/// The locale that the manifest tells of.
pub(super) fn recorded(artifact: &Artifact) -> Option<Locale> {
    let detail = |name: &str| artifact.detail(name).map(str::to_owned);
    Some(Locale {
        encoding: detail("encoding")?,
        provider: detail("locale-provider")?,
        collate: detail("collate"),
        ctype: detail("ctype"),
        of_provider: detail("locale"),
    })
}

/// The locale that the dump itself tells of, in the statement that would create its database.
pub(super) async fn told_by_dump(
    config: &PostgresConfig,
    dump: &std::path::Path,
    toc: &Toc,
    work: &std::path::Path,
    control: &Control,
) -> Result<Option<Locale>> {
    let Some(list) = toc.database_only() else {
        return Ok(None);
    };
    let list_path = work.join("database.list");
    diy_backup_core::write_private(&list_path, list.as_bytes())?;
    let output = local_tool(config, "pg_restore")
        .args(["--create", "--file=-"])
        .arg("--use-list")
        .arg(&list_path)
        .arg(dump)
        .run(control)
        .await?;
    Ok(parse_create(&output.stdout_text()))
}

/// Reads `CREATE DATABASE x WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C';`.
fn parse_create(script: &str) -> Option<Locale> {
    let statement = script
        .lines()
        .find(|line| line.starts_with("CREATE DATABASE "))?;
    // The database's name may hold anything, so reading begins after it.
    let (_, options) = statement.rsplit_once(" WITH TEMPLATE = ")?;
    let option = |name: &str| {
        let (_, rest) = options.split_once(&format!(" {name} = "))?;
        let (value, _) = rest.strip_prefix('\'')?.split_once('\'')?;
        Some(value.to_owned())
    };
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
    })
}

/// What the session is called that creates `database`, for whoever has to end it.
fn creator(database: &str) -> String {
    let number = database.rsplit('_').next().unwrap_or_default();
    format!("diy-backup restore {number}")
}

/// Ends the session that creates `database`: the server goes on with that when its client is gone, and the database
/// would come into being after it was dropped.
pub(super) async fn end_creation(
    psql: &mut Psql,
    database: &str,
) -> std::result::Result<(), Failure> {
    #[derive(Deserialize)]
    struct Sessions {
        number: i64,
    }
    // Those that are counted are being ended.
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) AS number FROM pg_stat_activity \
         WHERE usename = current_user AND application_name = {}",
        sql::literal(&creator(database))
    );
    for _ in 0..END_LOOKS {
        let sessions: Sessions = psql.one(&end).await?;
        if sessions.number == 0 {
            break;
        }
        tokio::time::sleep(END_PAUSE).await;
    }
    Ok(())
}

/// Creates `database` for `owner`, like the original as far as this server can. Says what it could not.
pub(super) async fn create(
    psql: &mut Psql,
    release: Release,
    database: &str,
    owner: &str,
    locale: Option<&Locale>,
) -> Result<Option<String>> {
    let base = format!(
        "CREATE DATABASE {} OWNER {} TEMPLATE template0",
        sql::identifier(database),
        sql::identifier(owner)
    );
    let mut candidates = Vec::new();
    if let Some(locale) = locale {
        let encoding = format!("{base} ENCODING {}", sql::literal(&locale.encoding));
        let libc = format!("{encoding}{}", libc_options(locale));
        if let Some(provider) = provider_options(locale, release) {
            candidates.push(format!("{libc}{provider}"));
        }
        candidates.push(libc);
        candidates.push(encoding.clone());
        // The locale of a template may not go with the encoding; this one goes with every.
        candidates.push(format!("{encoding} LC_COLLATE 'C' LC_CTYPE 'C'"));
    } else {
        candidates.push(base);
    }
    let name = format!(
        "SET application_name = {}",
        sql::literal(&creator(database))
    );
    psql.execute(&name)
        .await
        .map_err(|failure| failure.doing("name the session"))?;
    let last = candidates.len() - 1;
    for (number, statement) in candidates.iter().enumerate() {
        match psql.execute(statement).await {
            Ok(()) if number == 0 => return Ok(None),
            Ok(()) => return Ok(locale.map(locale_warning)),
            Err(Failure::Refused(refusal))
                if number < last && LOCALE_REFUSALS.contains(&refusal.sqlstate.as_str()) => {}
            Err(failure) => return Err(cannot_create(failure, database)),
        }
    }
    Err(Error::new(
        ErrorKind::Internal,
        "no way to create a database was tried",
    ))
}

fn cannot_create(failure: Failure, database: &str) -> Error {
    failure.doing(format!("create the database {database:?}"))
}

fn locale_warning(locale: &Locale) -> String {
    format!(
        "the server does not have the locale of the original database (collation {}, character type {}): the restored one sorts by the server's default",
        locale
            .of_provider
            .as_deref()
            .or(locale.collate.as_deref())
            .unwrap_or("unknown"),
        locale.ctype.as_deref().unwrap_or("unknown")
    )
}

fn libc_options(locale: &Locale) -> String {
    let option = |name: &str, value: &Option<String>| {
        value.as_ref().map_or_else(String::new, |value| {
            format!(" {name} {}", sql::literal(value))
        })
    };
    option("LC_COLLATE", &locale.collate) + &option("LC_CTYPE", &locale.ctype)
}

/// For a provider other than libc; `None` on a server that has no choice of providers.
fn provider_options(locale: &Locale, release: Release) -> Option<String> {
    let name = locale.of_provider.as_deref().map(sql::literal);
    match (locale.provider.as_str(), name) {
        ("i", Some(name)) => Some(format!(" LOCALE_PROVIDER icu ICU_LOCALE {name}")),
        ("b", Some(name)) => Some(format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {name}")),
        ("c", _) if release >= Release::major(15) => Some(" LOCALE_PROVIDER libc".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_is_read_from_the_dumps_own_statement() {
        let script = "--\nCREATE DATABASE \"a WITH TEMPLATE = x\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'C' ICU_LOCALE = 'de-DE';\n";
        let locale = parse_create(script).unwrap();
        assert_eq!(
            (locale.encoding.as_str(), locale.provider.as_str()),
            ("UTF8", "i")
        );
        assert_eq!(locale.collate.as_deref(), Some("C"));
        assert_eq!(locale.of_provider.as_deref(), Some("de-DE"));
        let old = parse_create("CREATE DATABASE b WITH TEMPLATE = template0 ENCODING = 'LATIN1' LC_COLLATE = 'de_DE' LC_CTYPE = 'C';").unwrap();
        assert_eq!(
            (old.collate.as_deref(), old.ctype.as_deref()),
            (Some("de_DE"), Some("C"))
        );
        assert_eq!(parse_create("SELECT 1;"), None);
    }
}
