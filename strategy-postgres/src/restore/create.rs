//! Creating the database that a restore fills, with the encoding and locale of the original.

use std::time::Duration;

use diy_backup_core::{Artifact, Error, ErrorKind, Result};
use serde::Deserialize;

use crate::facts::Locale;
use crate::failure::Failure;
use crate::psql::Psql;
use crate::release::Release;
use crate::sql;

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
        rules: detail("icu-rules"),
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
    tablespace: Option<&str>,
) -> Result<Option<String>> {
    let tablespace = tablespace.map_or_else(String::new, |name| {
        format!(" TABLESPACE {}", sql::identifier(name))
    });
    let base = format!(
        "CREATE DATABASE {} OWNER {} TEMPLATE template0{tablespace}",
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
        ("i", Some(name)) => {
            let rules = locale
                .rules
                .as_deref()
                .filter(|_| release >= Release::major(16));
            let rules = rules.map_or_else(String::new, |rules| {
                format!(" ICU_RULES {}", sql::literal(rules))
            });
            Some(format!(" LOCALE_PROVIDER icu ICU_LOCALE {name}{rules}"))
        }
        ("b", Some(name)) => Some(format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {name}")),
        ("c", _) if release >= Release::major(15) => Some(" LOCALE_PROVIDER libc".to_owned()),
        _ => None,
    }
}
