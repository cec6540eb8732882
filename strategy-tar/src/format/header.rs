//! Entries as they are written: ustar headers, with extended ones for what does not fit.

use tar::{EntryType, Header};

use super::{ArchivePath, BLOCK, Entry, FileSize, Kind, acl, number, pax};

/// The greatest number in the seven octal digits of an ID field.
const MAX_ID: u64 = 0o777_7777;
/// The greatest number in the eleven octal digits of a size or time field.
const MAX_SIZE: u64 = 0o777_7777_7777;
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;

/// The headers of an entry, with the map of a file with holes; the stored content and its [`padding`] follow.
pub(crate) fn encode(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    let mut header = Header::new_ustar();
    header.set_entry_type(entry_type(&entry.kind));
    set_name(&mut header, &mut records, entry);
    set_link(&mut header, &mut records, &entry.kind);
    set_metadata(&mut header, &mut records, entry);
    let map = set_size(&mut header, &mut records, &entry.kind);
    header.set_cksum();

    let mut encoded = Vec::with_capacity(BLOCK);
    if !records.is_empty() {
        push_extended_header(&mut encoded, &entry.path, &records);
    }
    encoded.extend_from_slice(header.as_bytes());
    encoded.extend_from_slice(&map);
    encoded
}

/// How many zero bytes fill the last block of content.
pub(crate) fn padding(content_bytes: u64) -> usize {
    let used = usize::try_from(content_bytes % BLOCK as u64).unwrap_or(0);
    (BLOCK - used) % BLOCK
}

fn entry_type(kind: &Kind) -> EntryType {
    match kind {
        Kind::Directory => EntryType::Directory,
        Kind::File(_) => EntryType::Regular,
        Kind::Symlink(_) => EntryType::Symlink,
        Kind::HardLink(_) => EntryType::Link,
    }
}

fn set_name(header: &mut Header, records: &mut Vec<u8>, entry: &Entry) {
    if let Kind::File(FileSize::Sparse(map)) = &entry.kind {
        pax::push(records, b"GNU.sparse.major", b"1");
        pax::push(records, b"GNU.sparse.minor", b"0");
        push_name(records, b"GNU.sparse.name", entry.path.as_bytes());
        let size = map.size().to_string();
        pax::push(records, b"GNU.sparse.realsize", size.as_bytes());
        // Readers that know nothing of holes write this one, beside the real name.
        let stand_in = [b"GNUSparseFile.0/", tail(entry.path.name(), 80)].concat();
        fill_name(header, &stand_in, b"");
        return;
    }
    let mut name = entry.path.as_bytes().to_vec();
    if entry.kind == Kind::Directory {
        name.push(b'/');
    }
    if let Some((prefix, rest)) = split_name(&name) {
        fill_name(header, rest, prefix);
    } else {
        push_name(records, b"path", &name);
        fill_name(header, tail(&name, NAME_BYTES), b"");
    }
}

/// Pax names are UTF-8 unless it is said that they are not.
fn push_name(records: &mut Vec<u8>, key: &[u8], name: &[u8]) {
    if std::str::from_utf8(name).is_err() {
        pax::push(records, b"hdrcharset", b"BINARY");
    }
    pax::push(records, key, name);
}

/// Splits a name over the two fields that a header has for it, at a slash.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME_BYTES {
        return Some((b"", name));
    }
    let first = name.len().checked_sub(NAME_BYTES + 1)?;
    let inner = name.get(first..name.len() - 1)?;
    let slash = first + inner.iter().position(|&byte| byte == b'/')?;
    (1..=PREFIX_BYTES)
        .contains(&slash)
        .then(|| (&name[..slash], &name[slash + 1..]))
}

fn fill_name(header: &mut Header, name: &[u8], prefix: &[u8]) {
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.name[..name.len()].copy_from_slice(name);
        ustar.prefix[..prefix.len()].copy_from_slice(prefix);
    }
}

fn tail(name: &[u8], length: usize) -> &[u8] {
    &name[name.len().saturating_sub(length)..]
}

fn set_link(header: &mut Header, records: &mut Vec<u8>, kind: &Kind) {
    let target = match kind {
        Kind::Symlink(target) => target.as_slice(),
        Kind::HardLink(target) => target.as_bytes(),
        Kind::Directory | Kind::File(_) => return,
    };
    if target.len() > NAME_BYTES {
        push_name(records, b"linkpath", target);
    }
    if let Some(ustar) = header.as_ustar_mut() {
        let target = tail(target, NAME_BYTES);
        ustar.linkname[..target.len()].copy_from_slice(target);
    }
}

fn set_metadata(header: &mut Header, records: &mut Vec<u8>, entry: &Entry) {
    let metadata = &entry.metadata;
    header.set_mode(metadata.mode & 0o7777);
    let mut fit = |key: &[u8], id: u64| {
        if id > MAX_ID {
            pax::push(records, key, id.to_string().as_bytes());
            return 0;
        }
        id
    };
    header.set_uid(fit(b"uid", metadata.uid));
    header.set_gid(fit(b"gid", metadata.gid));
    let time = metadata.modified;
    let seconds = u64::try_from(time.seconds).ok();
    let seconds = seconds.filter(|&seconds| seconds <= MAX_SIZE);
    header.set_mtime(seconds.unwrap_or(0));
    if seconds.is_none() || time.nanoseconds != 0 {
        let text = number::format_time(time);
        pax::push(records, b"mtime", text.as_bytes());
    }
    for (name, value) in &metadata.attributes {
        push_attribute(records, name, value);
    }
}

fn push_attribute(records: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let list = acl::LISTS.iter().find(|(attribute, _)| *attribute == name);
    if let Some((_, key)) = list
        && let Some(text) = acl::to_text(value)
    {
        pax::push(records, key, text.as_bytes());
        return;
    }
    let key = [&b"SCHILY.xattr."[..], &pax::escape_attribute(name)].concat();
    pax::push(records, &key, value);
}

/// Sets the stored size, and returns the map that precedes the content of a file with holes.
fn set_size(header: &mut Header, records: &mut Vec<u8>, kind: &Kind) -> Vec<u8> {
    let (size, map) = match kind {
        Kind::File(FileSize::Dense(size)) => (*size, Vec::new()),
        Kind::File(FileSize::Sparse(map)) => {
            let encoded = map.encode();
            (map.stored() + encoded.len() as u64, encoded)
        }
        Kind::Directory | Kind::Symlink(_) | Kind::HardLink(_) => (0, Vec::new()),
    };
    if size > MAX_SIZE {
        pax::push(records, b"size", size.to_string().as_bytes());
        header.set_size(0);
    } else {
        header.set_size(size);
    }
    map
}

fn push_extended_header(encoded: &mut Vec<u8>, path: &ArchivePath, records: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    let name = [b"PaxHeaders/", tail(path.name(), 80)].concat();
    fill_name(&mut header, &name, b"");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(records.len() as u64);
    header.set_cksum();
    encoded.extend_from_slice(header.as_bytes());
    encoded.extend_from_slice(records);
    encoded.resize(encoded.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_at_a_slash_that_fits_both_fields() {
        assert_eq!(split_name(b"a/b"), Some((&b""[..], &b"a/b"[..])));
        let long = [vec![b'd'; 120], vec![b'f'; 90]].join(&b'/');
        let (prefix, rest) = split_name(&long).unwrap();
        assert_eq!((prefix.len(), rest.len()), (120, 90));
        assert_eq!(split_name(&[b'x'; 101]), None);
        assert_eq!(
            split_name(&[vec![b'd'; 156], vec![b'f'; 90]].join(&b'/')),
            None
        );
        // A directory's own slash at the end is no place to split.
        let folder = [&[b'd'; 150][..], b"/"].concat();
        assert_eq!(split_name(&folder), None);
    }
}
