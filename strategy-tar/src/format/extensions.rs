//! What extended headers say about the entry that follows them.

use super::{ReadError, Timestamp, acl, number, pax};

/// What stands in front of a header and changes what it says.
#[derive(Debug, Clone, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) modified: Option<Timestamp>,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseExtensions,
}

#[derive(Debug, Clone, Default)]
pub(super) struct SparseExtensions {
    pub(super) major: Option<u64>,
    pub(super) size: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// Versions 0.0 and 0.1 have the map in records.
    pub(super) numbers: Vec<u64>,
}

impl Extensions {
    /// Takes up the records of an extended header.
    pub(super) fn apply(&mut self, data: &[u8]) -> Result<(), ReadError> {
        for (key, value) in pax::parse(data)? {
            self.apply_record(key, value)?;
        }
        Ok(())
    }

    fn apply_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let sparse = &mut self.sparse;
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number::parse_decimal(value, "size")?),
            b"uid" => self.uid = Some(number::parse_decimal(value, "owner")?),
            b"gid" => self.gid = Some(number::parse_decimal(value, "group")?),
            b"mtime" => self.modified = Some(number::parse_time(value)?),
            b"GNU.sparse.major" => sparse.major = Some(number::parse_decimal(value, "version")?),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                sparse.size = Some(number::parse_decimal(value, "size")?);
            }
            b"GNU.sparse.name" => sparse.name = Some(value.to_vec()),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                sparse.numbers.push(number::parse_decimal(value, "map")?);
            }
            b"GNU.sparse.map" => {
                let numbers = value.split(|&byte| byte == b',');
                sparse.numbers = numbers
                    .map(|text| number::parse_decimal(text, "map"))
                    .collect::<Result<_, ReadError>>()?;
            }
            _ => self.apply_attribute(key, value),
        }
        Ok(())
    }

    fn apply_attribute(&mut self, key: &[u8], value: &[u8]) {
        let list = acl::LISTS.iter().find(|(_, list)| *list == key);
        if let Some((name, _)) = list {
            // One that names people without their numbers cannot be restored here.
            if let Some(value) = acl::from_text(value) {
                self.attributes.push((name.to_vec(), value));
            }
        } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            let name = pax::unescape_attribute(name);
            self.attributes.push((name, value.to_vec()));
        }
    }
}
