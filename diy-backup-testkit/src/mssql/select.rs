//! Queries of the catalog.

use super::refusal::Refusal;
use super::state::{Store, rows_of};
use super::syntax::{Expression, Select};

/// A value of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Number(i64),
    Text { text: String, unicode: bool },
    Bytes(Vec<u8>),
}

/// A result set.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) names: Vec<String>,
    pub(super) rows: Vec<Vec<Value>>,
}

type Record = Vec<(&'static str, Value)>;

pub(super) fn unicode(text: impl Into<String>) -> Value {
    Value::Text {
        text: text.into(),
        unicode: true,
    }
}

impl Value {
    fn text(&self) -> &str {
        match self {
            Self::Text { text, .. } => text,
            _ => "",
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text { text, .. } => f.write_str(text),
            Self::Bytes(bytes) => write!(f, "0x{}", hex::encode_upper(bytes)),
        }
    }
}

pub(super) fn run(store: &Store, database: &str, select: &Select) -> Result<Table, Refusal> {
    let mut records = match &select.from {
        Some(path) => view(store, database, path)?,
        None => vec![Vec::new()],
    };
    let scope = Scope {
        store,
        database,
        alias: select.alias.as_deref(),
    };
    if let Some((left, right)) = &select.condition {
        let mut kept = Vec::new();
        for record in records {
            if scope.value(left, &record)?.to_string() == scope.value(right, &record)?.to_string() {
                kept.push(record);
            }
        }
        records = kept;
    }
    let names = select
        .columns
        .iter()
        .map(|(_, name)| name.clone())
        .collect();
    let sums = select
        .columns
        .iter()
        .any(|(column, _)| is_aggregate(column));
    let rows = if sums {
        let row: Result<_, _> = select
            .columns
            .iter()
            .map(|(column, _)| scope.aggregate(column, &records))
            .collect();
        vec![row?]
    } else {
        let row_of = |record: &Record| {
            select
                .columns
                .iter()
                .map(|(column, _)| scope.value(column, record))
                .collect()
        };
        records.iter().map(row_of).collect::<Result<_, _>>()?
    };
    Ok(Table { names, rows })
}

fn is_aggregate(column: &Expression) -> bool {
    matches!(column, Expression::CountAll)
        || matches!(column, Expression::Call(name, _) if name == "SUM")
}

fn view(store: &Store, current: &str, path: &[String]) -> Result<Vec<Record>, Refusal> {
    let lower: Vec<String> = path.iter().map(|part| part.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    match lower.as_slice() {
        ["sys", "databases"] => Ok(databases(store)),
        [_, "sys", "objects"] => objects(store, &path[0]),
        ["sys", "objects"] => objects(store, current),
        [_, "sys", "tables"] => tables(store, &path[0]),
        ["sys", "tables"] => tables(store, current),
        ["sys", "database_files"] => files(store, current),
        [_, "sys", "database_files"] => files(store, &path[0]),
        _ => Err(Refusal::new(
            208,
            format!("Invalid object name '{}'.", path.join(".")),
        )),
    }
}

fn databases(store: &Store) -> Vec<Record> {
    let databases = store.state.databases.iter();
    databases
        .map(|(name, database)| {
            vec![
                ("name", unicode(name)),
                ("state_desc", unicode(&database.state)),
                ("user_access_desc", unicode(&database.access)),
                ("recovery_model_desc", unicode(&database.recovery)),
                ("collation_name", unicode("SQL_Latin1_General_CP1_CS_AS")),
                ("is_encrypted", Value::Number(i64::from(database.encrypted))),
            ]
        })
        .collect()
}

fn objects(store: &Store, name: &str) -> Result<Vec<Record>, Refusal> {
    let database = open(store, name)?;
    let object = |name: &str, shipped| {
        vec![
            ("name", unicode(name)),
            ("is_ms_shipped", Value::Number(shipped)),
        ]
    };
    let mut objects = vec![
        object("QueryNotificationErrorsQueue", 1),
        object("sysrowsets", 1),
    ];
    // Without the right to it, nobody sees what others have made.
    let own = store
        .state
        .databases
        .get(name)
        .is_some_and(|known| known.own);
    let visible = own || store.state.permissions.contains("VIEW DEFINITION");
    if visible && rows_of(&store.content(database)).is_some() {
        objects.push(object("push", 0));
    }
    Ok(objects)
}

/// Those of the objects that are tables: what ships with the server is none.
fn tables(store: &Store, name: &str) -> Result<Vec<Record>, Refusal> {
    let mut tables = objects(store, name)?;
    tables.retain(|record| record.contains(&("is_ms_shipped", Value::Number(0))));
    Ok(tables)
}

fn files(store: &Store, name: &str) -> Result<Vec<Record>, Refusal> {
    open(store, name)?;
    let files = store
        .state
        .databases
        .get(name)
        .map(|database| database.files.clone())
        .unwrap_or_default();
    let record = |file: super::state::DatabaseFile| {
        let sort = i64::from(file.sort == "L");
        vec![
            ("name", unicode(file.logical)),
            ("type", Value::Number(sort)),
        ]
    };
    Ok(files.into_iter().map(record).collect())
}

/// That a database can be used; the number of its content.
pub(super) fn open(store: &Store, name: &str) -> Result<u64, Refusal> {
    let Some(database) = store.state.databases.get(name) else {
        return Err(Refusal::no_database(name));
    };
    match database.state.as_str() {
        "ONLINE" if database.own || store.state.permissions.contains("CONNECT") => {
            Ok(database.number)
        }
        "ONLINE" => Err(Refusal::new(
            916,
            format!(
                "The server principal is not able to access the database \"{name}\" under the current security context."
            ),
        )),
        "RESTORING" => Err(Refusal::new(
            927,
            format!("Database '{name}' cannot be opened. It is in the middle of a restore."),
        )),
        _ => Err(Refusal::new(
            942,
            format!("Database '{name}' cannot be opened because it is offline."),
        )),
    }
}

struct Scope<'a> {
    store: &'a Store,
    database: &'a str,
    alias: Option<&'a str>,
}

impl Scope<'_> {
    fn aggregate(&self, column: &Expression, records: &[Record]) -> Result<Value, Refusal> {
        match column {
            Expression::CountAll => Ok(Value::Number(
                i64::try_from(records.len()).unwrap_or(i64::MAX),
            )),
            Expression::Call(name, arguments) if name == "SUM" && arguments.len() == 1 => {
                let mut sum = None;
                for record in records {
                    if let Value::Number(number) = self.value(&arguments[0], record)? {
                        sum = Some(sum.unwrap_or(0) + number);
                    }
                }
                Ok(sum.map_or(Value::Null, Value::Number))
            }
            _ => Err(Refusal::new(
                8120,
                "Column is invalid in the select list because it is not contained in an aggregate function.",
            )),
        }
    }

    fn value(&self, expression: &Expression, record: &Record) -> Result<Value, Refusal> {
        match expression {
            Expression::Null => Ok(Value::Null),
            Expression::Number(number) => Ok(Value::Number(*number)),
            Expression::Text { text, unicode } => Ok(Value::Text {
                text: text.clone(),
                unicode: *unicode,
            }),
            Expression::Column(path) => self.column(path, record),
            Expression::Convert {
                to,
                width,
                value,
                style,
            } => convert(self.value(value, record)?, to, *width, *style),
            Expression::Call(name, arguments) => {
                let values: Result<Vec<_>, _> = arguments
                    .iter()
                    .map(|one| self.value(one, record))
                    .collect();
                self.call(name, &values?)
            }
            Expression::CountAll => Err(Refusal::syntax("COUNT")),
        }
    }

    fn column(&self, path: &[String], record: &Record) -> Result<Value, Refusal> {
        let name = match path {
            [name] => Some(name),
            [alias, name] if Some(alias.as_str()) == self.alias => Some(name),
            _ => None,
        };
        let found = name.and_then(|name| record.iter().find(|(column, _)| column == name));
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| Refusal::new(207, format!("Invalid column name '{}'.", path.join("."))))
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, Refusal> {
        let state = &self.store.state;
        match (name, arguments) {
            ("SERVERPROPERTY", [property]) => Ok(match property.text() {
                "ProductVersion" => unicode(&state.version),
                "Edition" => unicode(&state.edition),
                "EngineEdition" => Value::Number(state.engine),
                "InstanceDefaultDataPath" => unicode(&state.data_path),
                "InstanceDefaultLogPath" => unicode(&state.log_path),
                _ => Value::Null,
            }),
            ("SUSER_SNAME", []) => Ok(unicode(&state.username)),
            ("QUOTENAME", [name]) => Ok(unicode(format!("[{}]", name.text().replace(']', "]]")))),
            ("HAS_DBACCESS", [name]) => Ok(match state.databases.get(name.text()) {
                Some(_) => Value::Number(i64::from(open(self.store, name.text()).is_ok())),
                None => Value::Null,
            }),
            ("HAS_PERMS_BY_NAME", [of, class, permission]) => {
                Ok(self.permission(of, class, permission.text()))
            }
            ("FILEPROPERTY", [file, property]) if property.text() == "SpaceUsed" => {
                let database = state.databases.get(self.database);
                let has_file = database.is_some_and(|database| {
                    database.files.iter().any(|one| one.logical == file.text())
                });
                Ok(if has_file {
                    Value::Number(128)
                } else {
                    Value::Null
                })
            }
            _ => Err(Refusal::new(
                195,
                format!("'{name}' is not a recognized built-in function name."),
            )),
        }
    }

    fn permission(&self, of: &Value, class: &Value, permission: &str) -> Value {
        let state = &self.store.state;
        let has = |name: &str| Value::Number(i64::from(state.permissions.contains(name)));
        match (of, class.text(), permission) {
            (Value::Null, "", "CREATE ANY DATABASE" | "ALTER ANY DATABASE") => has(permission),
            (Value::Text { text, .. }, "DATABASE", "CREATE DATABASE") if text == "master" => {
                has("CREATE ANY DATABASE")
            }
            (Value::Text { text, .. }, "DATABASE", "BACKUP DATABASE" | "VIEW DEFINITION") => {
                // The name is an identifier here, so that it has to be quoted if it is odd.
                let known = state
                    .databases
                    .iter()
                    .find(|(name, _)| format!("[{}]", name.replace(']', "]]")) == *text);
                match known {
                    Some((name, known)) if known.own && open(self.store, name).is_ok() => {
                        Value::Number(1)
                    }
                    Some((name, _)) if open(self.store, name).is_ok() => has(permission),
                    Some(_) => Value::Number(0),
                    None => Value::Null,
                }
            }
            _ => Value::Null,
        }
    }
}

fn convert(value: Value, to: &str, width: Option<i64>, style: i64) -> Result<Value, Refusal> {
    let width = width
        .and_then(|width| usize::try_from(width).ok())
        .unwrap_or(30);
    let cut = |text: &str| text.chars().take(width).collect::<String>();
    Ok(match (to, value) {
        (_, Value::Null) => Value::Null,
        ("int" | "bigint", Value::Number(number)) => Value::Number(number),
        ("nvarchar", Value::Text { text, .. }) => unicode(cut(&text)),
        ("nvarchar", Value::Number(number)) => unicode(number.to_string()),
        (
            "varbinary",
            Value::Text {
                text,
                unicode: true,
            },
        ) => {
            let bytes = text.encode_utf16().flat_map(u16::to_le_bytes);
            Value::Bytes(bytes.take(width).collect())
        }
        ("varchar", Value::Bytes(bytes)) if style == 2 => Value::Text {
            text: cut(&hex::encode_upper(bytes)),
            unicode: false,
        },
        (to, _) => {
            return Err(Refusal::new(
                529,
                format!("Explicit conversion to data type {to} is not allowed."),
            ));
        }
    })
}
