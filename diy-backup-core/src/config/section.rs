//! A section of a configuration file that a strategy reads as its own type.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, ErrorKind, Result, ResultExt, printable};

/// A configuration file: its path and its text, so that errors can name file and line.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    inner: Arc<SourceText>,
}

#[derive(Debug)]
struct SourceText {
    path: PathBuf,
    text: String,
}

impl ConfigSource {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it cannot be read or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .io_context(|| format!("cannot read the configuration file {}", path.display()))
            .map_err(|error| {
                error.with_kind(ErrorKind::Config).with_hint(
                    "Name the file with `-c FILE`, or create it; the README shows a complete one.",
                )
            })?;
        Ok(Self::from_text(path, text))
    }

    /// Takes `text` as if it had been read from `path`.
    pub fn from_text(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            inner: Arc::new(SourceText {
                path: path.into(),
                text: text.into(),
            }),
        }
    }

    /// The file's path, as errors name it.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Splits the file into its sections: top-level tables, in the order of the file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with file and line for bad TOML, and for a key that stands outside all sections.
    pub fn sections(&self) -> Result<Vec<Section>> {
        let mut sections = Vec::new();
        for (key, value) in self.parse()?.into_inner() {
            let offset = key.span().start;
            let name = key.into_inner().into_owned();
            if !value.get_ref().is_table() {
                return Err(self.error_at(offset, &format!("`{name}` stands outside all sections")));
            }
            sections.push(Section {
                source: self.clone(),
                place: Place::Table { offset, name },
                taken: Vec::new(),
            });
        }
        sections.sort_by_key(Section::offset);
        Ok(sections)
    }

    fn parse(&self) -> Result<Spanned<DeTable<'_>>> {
        DeTable::parse(&self.inner.text).map_err(|error| self.error(&error))
    }

    fn error(&self, error: &toml::de::Error) -> Error {
        let offset = error.span().map_or(0, |span| span.start);
        self.error_at(offset, error.message())
    }

    fn error_at(&self, offset: usize, message: &str) -> Error {
        let before = self.inner.text.as_bytes().get(..offset).unwrap_or_default();
        let line = before.split(|&byte| byte == b'\n').count();
        let column = before
            .iter()
            .rev()
            .take_while(|&&byte| byte != b'\n')
            .count()
            + 1;
        let message = printable(&message.trim().replace('\n', ", "));
        Error::new(
            ErrorKind::Config,
            format!("{}:{line}:{column}: {message}", self.path().display()),
        )
    }
}

/// One `[section]` of a configuration file.
#[derive(Debug, Clone)]
pub struct Section {
    source: ConfigSource,
    place: Place,
    /// Keys that [`take_string`](Self::take_string) has removed.
    taken: Vec<String>,
}

#[derive(Debug, Clone)]
enum Place {
    /// The table of this name, whose header begins at the byte `offset`.
    Table { offset: usize, name: String },
    /// The whole text.
    Root { name: String },
}

impl Section {
    /// A section without a file: `name` and its `key = value` lines as TOML text. For embedders and tests.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for bad TOML.
    pub fn from_text(name: &str, text: &str) -> Result<Self> {
        let source = ConfigSource::from_text(format!("[{name}]"), text);
        source.parse()?;
        Ok(Self {
            source,
            place: Place::Root {
                name: name.to_owned(),
            },
            taken: Vec::new(),
        })
    }

    /// The section's name, without brackets.
    pub fn name(&self) -> &str {
        match &self.place {
            Place::Table { name, .. } | Place::Root { name } => name,
        }
    }

    /// Removes `key` and returns its text; `None` when it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the value is not a string.
    pub fn take_string(&mut self, key: &str) -> Result<Option<String>> {
        let table = self.table()?;
        let Some(value) = table.get_ref().get(key) else {
            return Ok(None);
        };
        let text = value.get_ref().as_str().map(str::to_owned);
        let at = value.span().start;
        let text = text.ok_or_else(|| {
            self.source
                .error_at(at, &format!("`{key}` must be a string"))
        })?;
        self.taken.push(key.to_owned());
        Ok(Some(text))
    }

    /// Reads the section as `T`, whose serde attributes decide which keys there may be.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with file, line and column: a missing or unknown key, a value of the wrong type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let table = self.table()?;
        let whole = table.span();
        T::deserialize(toml::de::Deserializer::from(table)).map_err(|error| {
            // An error about the section as a whole, a missing key, has its span: point at the header.
            let offset = match error.span() {
                Some(span) if span != whole => span.start,
                _ => self.offset(),
            };
            self.source
                .error_at(offset, &format!("[{}] {}", self.name(), error.message()))
        })
    }

    /// An error about this section as a whole, with file and line.
    pub fn error(&self, message: &str) -> Error {
        self.source
            .error_at(self.offset(), &format!("[{}] {message}", self.name()))
    }

    /// An error about one `key` of this section, with file and line.
    pub fn error_at_key(&self, key: &str, message: &str) -> Error {
        let offset = self.whole_table().ok().and_then(|table| {
            let entry = table.get_ref().get_key_value(key);
            entry.map(|(key, _)| key.span().start)
        });
        let text = format!("[{}] `{key}` {message}", self.name());
        self.source.error_at(offset.unwrap_or(self.offset()), &text)
    }

    fn offset(&self) -> usize {
        match self.place {
            Place::Table { offset, .. } => offset,
            Place::Root { .. } => 0,
        }
    }

    /// What is left of the section.
    fn table(&self) -> Result<Spanned<DeTable<'_>>> {
        let mut table = self.whole_table()?;
        for key in &self.taken {
            table.get_mut().remove(key.as_str());
        }
        Ok(table)
    }

    fn whole_table(&self) -> Result<Spanned<DeTable<'_>>> {
        let mut root = self.source.parse()?;
        match &self.place {
            Place::Root { .. } => Ok(root),
            Place::Table { name, .. } => match root.get_mut().remove(name.as_str()).map(split) {
                Some((span, DeValue::Table(table))) => Ok(Spanned::new(span, table)),
                _ => Err(self.error("is not a section")),
            },
        }
    }
}

fn split(value: Spanned<DeValue<'_>>) -> (std::ops::Range<usize>, DeValue<'_>) {
    (value.span(), value.into_inner())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Sample {
        path: crate::config::AbsolutePath,
        keep_time: Option<crate::config::HumanDuration>,
    }

    fn parse(text: &str) -> Result<Sample> {
        let source = ConfigSource::from_text("/etc/x.toml", text);
        let mut section = source.sections()?.pop().unwrap();
        section.take_string("strategy")?;
        section.parse()
    }

    fn message(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_strategy_reads_what_is_left_of_its_section() {
        let sample = parse("[home]\nstrategy = 'rsync'\npath = '/x'\nkeep-time = '4m'\n").unwrap();
        assert_eq!(sample.path.as_path(), Path::new("/x"));
        assert_eq!(sample.keep_time.unwrap().get().as_secs(), 240);
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let unknown = message("\n[home]\npath = '/x'\npaht = 1\n");
        assert!(
            unknown.starts_with("/etc/x.toml:4:1: [home] unknown field `paht`"),
            "{unknown}"
        );
        let missing = message("\n[home]\n");
        assert!(
            missing.starts_with("/etc/x.toml:2:2: [home] missing field `path`"),
            "{missing}"
        );
        let relative = message("[home]\npath = 'x'\n");
        assert!(
            relative.starts_with("/etc/x.toml:2:8: [home]") && relative.contains("absolute"),
            "{relative}"
        );
        let duration = message("[home]\npath = '/x'\nkeep-time = '4 parsecs'\n");
        assert!(
            duration.starts_with("/etc/x.toml:3:13: [home]") && duration.contains("4m"),
            "{duration}"
        );
        assert!(message("[home\n").starts_with("/etc/x.toml:1:"));
        assert!(message("home = 1\n").contains("outside all sections"));
        assert!(
            message("[home]\nstrategy = 1\n")
                .starts_with("/etc/x.toml:2:12: `strategy` must be a string")
        );
    }
}
