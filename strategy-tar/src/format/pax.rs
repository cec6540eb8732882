//! Records of extended headers: `<length> <key>=<value>\n`.

use super::ReadError;

/// Adds a record to an extended header.
pub(super) fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // Blank, equals sign and line feed.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    // The length counts its own digits.
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// A key and its value.
pub(super) type Record<'a> = (&'a [u8], &'a [u8]);

/// Splits an extended header into its records, in their order.
pub(super) fn parse(mut data: &[u8]) -> Result<Vec<Record<'_>>, ReadError> {
    let wrong = || ReadError::malformed("an extended header is not well-formed");
    let mut records = Vec::new();
    while !data.is_empty() {
        let blank = data.iter().take(8).position(|&byte| byte == b' ');
        let blank = blank.ok_or_else(wrong)?;
        let length = std::str::from_utf8(&data[..blank])
            .ok()
            .and_then(|text| text.parse::<usize>().ok())
            .filter(|&length| length > blank + 1 && length <= data.len())
            .ok_or_else(wrong)?;
        let (record, rest) = data.split_at(length);
        let content = record[blank + 1..].strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = content.iter().position(|&byte| byte == b'=');
        let equals = equals.filter(|&at| at > 0).ok_or_else(wrong)?;
        records.push((&content[..equals], &content[equals + 1..]));
        data = rest;
    }
    Ok(records)
}

/// Writes the name of an extended attribute as part of a key, where an equals sign would end it.
pub(super) fn escape_attribute(name: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'%' => escaped.extend_from_slice(b"%25"),
            b'=' => escaped.extend_from_slice(b"%3D"),
            _ => escaped.push(byte),
        }
    }
    escaped
}

/// Reads what [`escape_attribute`] has written.
pub(super) fn unescape_attribute(mut name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    while let Some((&byte, rest)) = name.split_first() {
        let (taken, after) = match name.get(..3) {
            Some(b"%25") => (b'%', &name[3..]),
            Some(b"%3D") => (b'=', &name[3..]),
            _ => (byte, rest),
        };
        plain.push(taken);
        name = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_their_own_length() {
        let mut records = Vec::new();
        push(&mut records, b"path", b"x");
        assert_eq!(records, b"9 path=x\n");
        for length in 0..200 {
            let value = vec![b'\n'; length];
            let mut records = Vec::new();
            push(&mut records, b"k", &value);
            push(&mut records, b"size", b"1");
            let parsed = parse(&records).unwrap();
            assert_eq!(parsed, [(&b"k"[..], &value[..]), (b"size", b"1")]);
        }
    }

    #[test]
    fn records_that_lie_about_their_length_are_refused() {
        for data in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"0 a=b\n",
            b"99999999999999999999 a=b\n",
            b"a=b\n",
            b"6 =ab\n",
            b"6 abc\n",
            b"3 \n",
            b"\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert!(parse(data).is_err(), "{data:?}");
        }
    }

    #[test]
    fn attribute_names_may_hold_anything() {
        for name in [&b"user.a=b"[..], b"user.%3D", b"user.100%", b"%2", b""] {
            assert_eq!(unescape_attribute(&escape_attribute(name)), name);
        }
    }
}
