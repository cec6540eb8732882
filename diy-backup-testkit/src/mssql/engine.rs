//! What the server does when it is told to.

use super::media::{self, Header, Media};
use super::refusal::Refusal;
use super::select::{self, Table};
use super::state::{Base, Database, DatabaseFile, Store};
use super::syntax::{Item, Restore, Statement};

/// What a statement prints.
pub(super) enum Said {
    Nothing,
    Words(Vec<String>),
    Table(Table),
}

pub(super) fn execute(
    store: &mut Store,
    current: &mut String,
    statement: &Statement,
) -> Result<Said, Refusal> {
    match statement {
        Statement::NoCount => Ok(Said::Nothing),
        Statement::Use(name) => {
            if name != "master" {
                select::open(store, name)?;
            }
            current.clone_from(name);
            Ok(Said::Words(vec![format!(
                "Changed database context to '{name}'."
            )]))
        }
        Statement::Select(query) => select::run(store, current, query).map(Said::Table),
        Statement::Backup {
            database,
            path,
            options,
        } => backup(store, database, path, &Options::of(options)?),
        Statement::Restore {
            what,
            path,
            options,
        } => {
            allowed(
                store,
                "CREATE ANY DATABASE",
                "CREATE DATABASE permission denied in database 'master'.",
            )?;
            let options = Options::of(options)?;
            match what {
                Restore::Database(name) => restore(store, name, path, &options),
                Restore::HeaderOnly => {
                    Ok(Said::Table(media::header_table(&media::read(store, path)?)))
                }
                Restore::FileListOnly => {
                    Ok(Said::Table(media::file_table(&media::read(store, path)?)))
                }
                Restore::VerifyOnly => {
                    media::read(store, path)?.verify(options.has("CHECKSUM"))?;
                    Ok(Said::Words(vec![
                        "The backup set on file 1 is valid.".to_owned(),
                    ]))
                }
            }
        }
        Statement::Rename { from, to } => rename(store, from, to),
        Statement::Drop { name, if_exists } => drop_database(store, name, *if_exists),
    }
}

fn allowed(store: &Store, permission: &str, message: &str) -> Result<(), Refusal> {
    if store.state.permissions.contains(permission) {
        Ok(())
    } else {
        Err(Refusal::new(262, message))
    }
}

/// The options of a backup or restore, all of them known ones.
struct Options<'a>(&'a [Item]);

impl<'a> Options<'a> {
    fn of(items: &'a [Item]) -> Result<Self, Refusal> {
        const WORDS: &[&str] = &[
            "FORMAT",
            "INIT",
            "CHECKSUM",
            "COMPRESSION",
            "DIFFERENTIAL",
            "COPY_ONLY",
            "RECOVERY",
            "NORECOVERY",
            "REPLACE",
        ];
        for item in items {
            let known = match item {
                Item::Word(word) => WORDS.contains(&word.as_str()),
                Item::Text(name, _) => name == "NAME",
                Item::Number(name, _) => name == "STATS",
                Item::Move { .. } => true,
            };
            if !known {
                return Err(Refusal::new(
                    155,
                    format!("{item:?} is not a recognized option."),
                ));
            }
        }
        Ok(Self(items))
    }

    fn has(&self, word: &str) -> bool {
        self.0
            .iter()
            .any(|item| matches!(item, Item::Word(there) if there == word))
    }

    fn moves(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(|item| match item {
            Item::Move { logical, physical } => Some((logical.as_str(), physical.as_str())),
            _ => None,
        })
    }

    fn name(&self) -> &'a str {
        let mut names = self.0.iter().filter_map(|item| match item {
            Item::Text(_, text) => Some(text.as_str()),
            _ => None,
        });
        names.next_back().unwrap_or_default()
    }
}

pub(super) fn new_id(store: &mut Store) -> String {
    format!("00000000-0000-4000-8000-{:012X}", store.next_number())
}

fn backup(
    store: &mut Store,
    name: &str,
    path: &str,
    options: &Options<'_>,
) -> Result<Said, Refusal> {
    let number = select::open(store, name)?;
    let denied = format!("BACKUP DATABASE permission denied in database '{name}'.");
    let own = store
        .state
        .databases
        .get(name)
        .is_some_and(|known| known.own);
    if !own {
        allowed(store, "BACKUP DATABASE", &denied).map_err(|refusal| refusal.ends("BACKUP"))?;
    }
    let edition = &store.state.edition;
    if options.has("COMPRESSION") && (edition.starts_with("Express") || edition.starts_with("Web"))
    {
        let message = format!("BACKUP DATABASE WITH COMPRESSION is not supported on {edition}.");
        return Err(Refusal::new(1844, message).ends("BACKUP"));
    }
    let exists = store.local(path).is_some_and(|local| local.exists());
    if exists && !options.has("INIT") {
        return Err(Refusal::internal(&"adding to a media set is not imitated"));
    }
    let content = store.content(number);
    let id = new_id(store);
    let known = store
        .state
        .databases
        .get(name)
        .cloned()
        .ok_or_else(|| Refusal::no_database(name))?;
    let mut header = Header::unsealed(options.name(), name, id, &store.state.version);
    header.files = known.files;
    header.checksums = options.has("CHECKSUM");
    header.length = content.len() as u64;
    let mut body = content.as_slice();
    if options.has("DIFFERENTIAL") {
        let Some(base) = known.base else {
            let message = format!(
                "Cannot perform a differential backup for database \"{name}\", because a current database backup does not exist."
            );
            return Err(Refusal::new(3035, message).ends("BACKUP"));
        };
        header.kind = 5;
        let from = usize::try_from(base.length).unwrap_or(usize::MAX);
        body = body.get(from..).unwrap_or_default();
        header.base = Some(base);
    } else {
        header.copy_only = options.has("COPY_ONLY");
    }
    let media = Media {
        header: header.sealed(body),
        content: body.to_vec(),
    };
    media::write(store, path, &media)?;
    if media.header.kind == 1
        && !media.header.copy_only
        && let Some(database) = store.state.databases.get_mut(name)
    {
        database.base = Some(Base {
            id: media.header.id.clone(),
            length: media.header.length,
        });
    }
    store.save().map_err(|error| Refusal::internal(&error))?;
    let words = [
        "50 percent processed.",
        "100 percent processed.",
        "BACKUP DATABASE successfully processed 42 pages.",
    ];
    Ok(Said::Words(words.map(str::to_owned).to_vec()))
}

fn restore(
    store: &mut Store,
    name: &str,
    path: &str,
    options: &Options<'_>,
) -> Result<Said, Refusal> {
    let media = media::read(store, path)?;
    media.verify(options.has("CHECKSUM"))?;
    let release = |version: &str| {
        version
            .split('.')
            .next()
            .and_then(|text| text.parse::<u32>().ok())
    };
    if release(&media.header.version) > release(&store.state.version) {
        let message = format!(
            "The database was backed up on a server running version {}. That version is incompatible with this server.",
            media.header.version
        );
        return Err(Refusal::new(3169, message).ends("RESTORE"));
    }
    match media.header.base.clone() {
        None => restore_full(store, name, &media, options)?,
        Some(base) => restore_differential(store, name, &base, &media, options)?,
    }
    if !options.has("NORECOVERY")
        && let Some(database) = store.state.databases.get_mut(name)
    {
        "ONLINE".clone_into(&mut database.state);
    }
    store.save().map_err(|error| Refusal::internal(&error))?;
    Ok(Said::Words(vec![
        "RESTORE DATABASE successfully processed 42 pages.".to_owned(),
    ]))
}

fn restore_full(
    store: &mut Store,
    name: &str,
    media: &Media,
    options: &Options<'_>,
) -> Result<(), Refusal> {
    let before = store.state.databases.get(name);
    if before.is_some_and(|database| database.state != "RESTORING") && !options.has("REPLACE") {
        let message = format!(
            "The backup set holds a backup of a database other than the existing '{name}' database."
        );
        return Err(Refusal::new(3154, message).ends("RESTORE"));
    }
    if let Some(before) = before.map(|database| database.number) {
        store.remove_content(before);
    }
    let files = placed(
        store,
        name,
        &media.header.files,
        options,
        &media.header.database,
    )?;
    let number = store.next_number();
    let database = Database {
        number,
        state: "RESTORING".to_owned(),
        access: "MULTI_USER".to_owned(),
        recovery: "FULL".to_owned(),
        encrypted: false,
        own: true,
        files,
        base: Some(Base {
            id: media.header.id.clone(),
            length: media.header.length,
        }),
    };
    store.state.databases.insert(name.to_owned(), database);
    let kept = store
        .save()
        .and_then(|()| store.set_content(number, &media.content));
    kept.map_err(|error| Refusal::internal(&error))
}

fn restore_differential(
    store: &mut Store,
    name: &str,
    base: &Base,
    media: &Media,
    options: &Options<'_>,
) -> Result<(), Refusal> {
    let restoring = store
        .state
        .databases
        .get(name)
        .filter(|database| database.state == "RESTORING");
    let Some(database) = restoring.cloned() else {
        let message = "The log or differential backup cannot be restored because no files are ready to rollforward.";
        return Err(Refusal::new(3117, message).ends("RESTORE"));
    };
    if database.base.as_ref() != Some(base) {
        let message = "This differential backup cannot be restored because the database has not been restored to the correct earlier state.";
        return Err(Refusal::new(3136, message).ends("RESTORE"));
    }
    let is_new =
        |file: &&DatabaseFile| !database.files.iter().any(|one| one.logical == file.logical);
    let added: Vec<DatabaseFile> = media.header.files.iter().filter(is_new).cloned().collect();
    let added = placed(store, name, &added, options, &media.header.database)?;
    let written = store.add_content(database.number, &media.content);
    written.map_err(|error| Refusal::internal(&error))?;
    if let Some(database) = store.state.databases.get_mut(name) {
        database.files.extend(added);
    }
    Ok(())
}

/// Where the files of a restored database go: where they were, unless they are moved.
fn placed(
    store: &Store,
    name: &str,
    files: &[DatabaseFile],
    options: &Options<'_>,
    original: &str,
) -> Result<Vec<DatabaseFile>, Refusal> {
    for (logical, _) in options.moves() {
        if !files.iter().any(|file| file.logical == logical) {
            let message = format!(
                "Logical file '{logical}' is not part of database '{original}'. Use RESTORE FILELISTONLY to list the logical file names."
            );
            return Err(Refusal::new(3234, message).ends("RESTORE"));
        }
    }
    let mut placed: Vec<DatabaseFile> = Vec::new();
    for file in files {
        let moved = options
            .moves()
            .find(|(logical, _)| *logical == file.logical);
        let physical = moved.map_or(file.physical.as_str(), |(_, physical)| physical);
        let others = store
            .state
            .databases
            .iter()
            .filter(|(other, _)| *other != name);
        let taken = others
            .flat_map(|(_, database)| &database.files)
            .chain(&placed)
            .any(|one| one.physical == physical);
        if taken {
            let message = format!(
                "The file '{physical}' cannot be overwritten. It is being used by a database."
            );
            return Err(Refusal::new(1834, message).ends("RESTORE"));
        }
        let is_in = |folder: &str| {
            let rest = physical.strip_prefix(folder);
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['\\', '/']))
        };
        if !is_in(&store.state.data_path) && !is_in(&store.state.log_path) {
            let message = format!(
                "Directory lookup for the file \"{physical}\" failed with the operating system error 3."
            );
            return Err(Refusal::new(5133, message).ends("RESTORE"));
        }
        placed.push(DatabaseFile {
            physical: physical.to_owned(),
            ..file.clone()
        });
    }
    Ok(placed)
}

fn may_alter(store: &Store, database: &Database) -> bool {
    database.own || store.state.permissions.contains("ALTER ANY DATABASE")
}

fn rename(store: &mut Store, from: &str, to: &str) -> Result<Said, Refusal> {
    let known = store.state.databases.get(from);
    let Some(database) = known
        .filter(|database| database.state == "ONLINE" && may_alter(store, database))
        .cloned()
    else {
        let message = format!(
            "User does not have permission to alter database '{from}', the database does not exist, or the database is not in a state that allows access checks."
        );
        return Err(Refusal::new(5011, message));
    };
    if store.state.databases.contains_key(to) {
        return Err(Refusal::new(
            1801,
            format!("Database '{to}' already exists. Choose a different database name."),
        ));
    }
    store.state.databases.remove(from);
    store.state.databases.insert(to.to_owned(), database);
    store.save().map_err(|error| Refusal::internal(&error))?;
    Ok(Said::Words(vec![format!(
        "The database name '{to}' has been set."
    )]))
}

fn drop_database(store: &mut Store, name: &str, if_exists: bool) -> Result<Said, Refusal> {
    match store.state.databases.get(name) {
        None if if_exists => return Ok(Said::Nothing),
        Some(database) if may_alter(store, database) => store.remove_content(database.number),
        _ => {
            let message = format!(
                "Cannot drop the database '{name}', because it does not exist or you do not have permission."
            );
            return Err(Refusal::new(3701, message));
        }
    }
    store.state.databases.remove(name);
    store.save().map_err(|error| Refusal::internal(&error))?;
    Ok(Said::Nothing)
}
