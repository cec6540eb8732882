use diy_backup_core::{AbsolutePath, Result, Section};
use serde::Deserialize;

/// The section `[archive]` with `strategy = "tar"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct TarConfig {
    /// The folder that the archives are kept in.
    pub directory: AbsolutePath,
    /// How new archives are compressed; archives of any kind are read.
    #[serde(default)]
    pub compression: Compression,
    /// How hard the compression tries: 1 to 19 for `zstd`, 1 to 9 for `gzip`. Default: 1 for `zstd`, 3 for `gzip`.
    pub level: Option<u32>,
}

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Compression {
    /// Zstandard, on all processors: `<id>.tar.zst`.
    #[default]
    Zstd,
    /// As the shell scripts do it, on one processor: `<id>.tar.gz`.
    Gzip,
    /// Not at all: `<id>.tar`.
    None,
}

impl TarConfig {
    /// Archives in `directory`, with every default.
    pub fn new(directory: AbsolutePath) -> Self {
        Self {
            directory,
            compression: Compression::default(),
            level: None,
        }
    }

    /// The same with another compression.
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Reads the section and checks that its values fit together.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line.
    pub fn from_section(section: &Section) -> Result<Self> {
        let config: Self = section.parse()?;
        let Some(level) = config.level else {
            return Ok(config);
        };
        let highest = config.compression.highest_level();
        if (1..=highest).contains(&level) {
            return Ok(config);
        }
        let problem = if highest == 0 {
            "has no meaning with compression = \"none\"".to_owned()
        } else {
            format!("is {level}, and must be between 1 and {highest} for this compression")
        };
        Err(section.error_at_key("level", &problem))
    }

    pub(crate) fn level(&self) -> u32 {
        self.level.unwrap_or(self.compression.default_level())
    }
}

impl Compression {
    /// What the file name of an archive ends in.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Zstd => ".tar.zst",
            Self::Gzip => ".tar.gz",
            Self::None => ".tar",
        }
    }

    /// Most of a home are packs, on which no level saves anything. Of a dump, which is full of hexadecimal digits, zstd
    /// saves as much at level 1 as at level 3, in a third of the time.
    fn default_level(self) -> u32 {
        match self {
            Self::Zstd => 1,
            Self::Gzip | Self::None => 3,
        }
    }

    fn highest_level(self) -> u32 {
        match self {
            Self::Zstd => 19,
            Self::Gzip => 9,
            Self::None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TarConfig> {
        TarConfig::from_section(&Section::from_text("archive", text)?)
    }

    #[test]
    fn a_directory_is_all_it_takes() {
        let config = parse("directory = '/srv/archives'").unwrap();
        assert_eq!((config.compression, config.level()), (Compression::Zstd, 1));
    }

    #[test]
    fn a_level_must_fit_the_compression() {
        for (text, fits) in [
            ("level = 19", true),
            ("level = 20", false),
            ("level = 0", false),
            ("compression = 'gzip'\nlevel = 9", true),
            ("compression = 'gzip'\nlevel = 10", false),
            ("compression = 'none'\nlevel = 1", false),
        ] {
            let parsed = parse(&format!("directory = '/a'\n{text}"));
            assert_eq!(parsed.is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn unknown_keys_and_relative_folders_are_refused() {
        for text in [
            "directory = 'a'",
            "directory = '/a'\nformat = 'zip'",
            "directory = '/a'\ncompression = 'lz4'",
            "",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
