//! Access control lists: text in archives, as GNU tar and bsdtar have it; little-endian records in the kernel.

const VERSION: [u8; 4] = 2_u32.to_le_bytes();
const RECORD_BYTES: usize = 8;
const NO_ID: u32 = u32::MAX;

const USER_OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OWNER: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The attribute that holds a list, and the key of the pax record for it.
pub(super) const LISTS: [(&[u8], &[u8]); 2] = [
    (b"system.posix_acl_access", b"SCHILY.acl.access"),
    (b"system.posix_acl_default", b"SCHILY.acl.default"),
];

/// Writes a list of the kernel as text with numeric IDs; `None` when it is not one.
pub(super) fn to_text(list: &[u8]) -> Option<String> {
    let records = list.strip_prefix(&VERSION)?;
    let (records, rest) = records.as_chunks::<RECORD_BYTES>();
    if !rest.is_empty() {
        return None;
    }
    let lines = records
        .iter()
        .copied()
        .map(record_to_text)
        .collect::<Option<Vec<_>>>()?;
    Some(lines.join(","))
}

fn record_to_text(record: [u8; RECORD_BYTES]) -> Option<String> {
    let tag = u16::from_le_bytes([record[0], record[1]]);
    let bits = u16::from_le_bytes([record[2], record[3]]);
    let id = u32::from_le_bytes([record[4], record[5], record[6], record[7]]);
    let (name, has_id) = match tag {
        USER_OWNER => ("user", false),
        USER => ("user", true),
        GROUP_OWNER => ("group", false),
        GROUP => ("group", true),
        MASK => ("mask", false),
        OTHER => ("other", false),
        _ => return None,
    };
    let id = if has_id {
        id.to_string()
    } else {
        String::new()
    };
    let bit = |value: u16, letter| if bits & value != 0 { letter } else { '-' };
    let (r, w, x) = (bit(4, 'r'), bit(2, 'w'), bit(1, 'x'));
    Some(format!("{name}:{id}:{r}{w}{x}"))
}

/// Reads text as the kernel's form; `None` when it is not a list, or names people who have no numbers in it.
pub(super) fn from_text(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut records = text
        .split([',', '\n'])
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(record_from_text)
        .collect::<Option<Vec<_>>>()?;
    // The kernel wants them in the order of their tags, and of the IDs within one.
    records.sort_unstable();
    let mut list = VERSION.to_vec();
    for (tag, id, bits) in records {
        list.extend(tag.to_le_bytes());
        list.extend(bits.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    Some(list)
}

fn record_from_text(line: &str) -> Option<(u16, u32, u16)> {
    let mut fields = line.split(':').map(str::trim);
    let (name, who, permissions) = (fields.next()?, fields.next()?, fields.next()?);
    let numeric = fields.next();
    let (owner_tag, named_tag) = match name {
        "user" | "u" => (USER_OWNER, Some(USER)),
        "group" | "g" => (GROUP_OWNER, Some(GROUP)),
        "mask" | "m" => (MASK, None),
        "other" | "o" => (OTHER, None),
        _ => return None,
    };
    let (tag, id) = if who.is_empty() {
        (owner_tag, NO_ID)
    } else {
        // A name is followed by its number in a fourth field, where the writer knew it.
        (named_tag?, numeric.unwrap_or(who).parse().ok()?)
    };
    let bits = permissions.chars().try_fold(0, |bits, c| match c {
        'r' => Some(bits | 4),
        'w' => Some(bits | 2),
        'x' => Some(bits | 1),
        '-' => Some(bits),
        _ => None,
    })?;
    Some((tag, id, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "user::rw-,user:1000:r--,group::r-x,group:7:---,mask::r-x,other::---";

    #[test]
    fn a_list_survives_being_written_and_read() {
        let list = from_text(TEXT.as_bytes()).unwrap();
        assert_eq!(list.len(), 4 + 6 * RECORD_BYTES);
        assert_eq!(to_text(&list).unwrap(), TEXT);
    }

    #[test]
    fn names_need_their_numbers() {
        assert!(from_text(b"user::rw-,user:ann:r--").is_none());
        let list = from_text(b"user::rw-\nuser:ann:r--:1000\n").unwrap();
        assert_eq!(to_text(&list).unwrap(), "user::rw-,user:1000:r--");
    }

    #[test]
    fn what_is_no_list_is_left_out() {
        assert!(to_text(b"").is_none());
        assert!(to_text(b"\x02\0\0\0\x01").is_none());
        assert!(from_text(b"hello").is_none());
        assert!(from_text(b"\xff").is_none());
    }
}
