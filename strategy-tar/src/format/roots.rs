/// What becomes of names that begin at the root of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roots {
    /// They are refused.
    Refused,
    /// The first entry decides: `tar -P` makes archives in which all names are like that.
    AsTheFirst,
    /// They are read as if they were relative.
    Dropped,
}

impl Roots {
    /// Takes the name of the next entry, and drops the root if that is what the archive is like.
    pub(super) fn of_entry(self, name: &[u8]) -> Self {
        match self {
            Self::AsTheFirst if name.starts_with(b"/") => Self::Dropped,
            Self::AsTheFirst => Self::Refused,
            decided => decided,
        }
    }

    /// Returns the name as it is to be checked.
    pub(super) fn apply(self, name: &[u8]) -> &[u8] {
        let start = name.iter().position(|&byte| byte != b'/');
        match (self, start) {
            (Self::Dropped, Some(start)) => &name[start..],
            // The root itself.
            (Self::Dropped, None) if !name.is_empty() => b".",
            _ => name,
        }
    }
}
