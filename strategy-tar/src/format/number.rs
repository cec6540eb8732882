//! Numbers in headers: octal text, GNU's base-256 for what does not fit, decimals in pax records.

use super::{ReadError, Timestamp};

/// Reads a numeric field of a header that must not be negative.
pub(super) fn parse_unsigned(field: &[u8], what: &str) -> Result<u64, ReadError> {
    let value = parse_signed(field, what)?;
    u64::try_from(value).map_err(|_| bad(what))
}

/// Reads a numeric field of a header.
pub(super) fn parse_signed(field: &[u8], what: &str) -> Result<i64, ReadError> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => parse_base_256(field).ok_or_else(|| bad(what)),
        _ => parse_octal(field).ok_or_else(|| bad(what)),
    }
}

fn parse_octal(field: &[u8]) -> Option<i64> {
    let end = field.iter().position(|&byte| byte == 0);
    let digits = field[..end.unwrap_or(field.len())].trim_ascii();
    digits.iter().try_fold(0_i64, |value, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit < 8)?;
        value.checked_mul(8)?.checked_add(i64::from(digit))
    })
}

fn parse_base_256(field: &[u8]) -> Option<i64> {
    // The highest bit marks the form; the next one is the sign of a two's complement number.
    let first = field[0] & 0x7f;
    let negative = first & 0x40 != 0;
    let start = i64::from(first) - if negative { 0x80 } else { 0 };
    field[1..].iter().try_fold(start, |value, &byte| {
        value.checked_mul(256)?.checked_add(i64::from(byte))
    })
}

/// Reads a whole number of a pax record.
pub(super) fn parse_decimal(text: &[u8], what: &str) -> Result<u64, ReadError> {
    let all_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| all_digits)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad(what))
}

/// Reads a time of a pax record: `1769903999.25`, `-0.5`.
pub(super) fn parse_time(text: &[u8]) -> Result<Timestamp, ReadError> {
    let wrong = || bad("time");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let seconds = parse_decimal(whole.as_bytes(), "time")?;
    let seconds = i64::try_from(seconds).map_err(|_| wrong())?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    Ok(match (negative, nanoseconds) {
        (false, _) => Timestamp {
            seconds,
            nanoseconds,
        },
        (true, 0) => Timestamp {
            seconds: -seconds,
            nanoseconds,
        },
        (true, _) => Timestamp {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

/// Writes a time as a pax record has it.
pub(super) fn format_time(time: Timestamp) -> String {
    let Timestamp {
        seconds,
        nanoseconds,
    } = time;
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    let (sign, whole, fraction) = if seconds < 0 {
        ("-", -(seconds + 1), 1_000_000_000 - nanoseconds)
    } else {
        ("", seconds, nanoseconds)
    };
    let text = format!("{sign}{whole}.{fraction:09}");
    text.trim_end_matches('0').to_owned()
}

fn bad(what: &str) -> ReadError {
    ReadError::malformed(format!("a header has a {what} that is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_and_base_256_fields_are_read() {
        for (field, value) in [
            (&b"0000644\0"[..], 0o644),
            (b"    644 ", 0o644),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"77777777777\0", 0o77_777_777_777),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", 0x2_0000_0000),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", -1),
        ] {
            assert_eq!(parse_signed(field, "size").unwrap(), value, "{field:?}");
        }
    }

    #[test]
    fn fields_that_are_no_numbers_are_refused() {
        for field in [
            &b"0000648\0"[..],
            b"-1\0\0\0\0\0\0",
            b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(parse_unsigned(field, "size").is_err(), "{field:?}");
        }
        assert!(parse_unsigned(b"\xff\xff\xff\xff\xff\xff\xff\xff", "size").is_err());
        for text in ["", "+1", "1x", "18446744073709551616"] {
            assert!(parse_decimal(text.as_bytes(), "size").is_err(), "{text}");
        }
    }

    #[test]
    fn times_survive_being_written_and_read() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "0"),
            (1_769_903_999, 250_000_000, "1769903999.25"),
            (5, 1, "5.000000001"),
            (-1, 500_000_000, "-0.5"),
            (-2, 999_999_999, "-1.000000001"),
            (-7, 0, "-7"),
        ] {
            let time = Timestamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(format_time(time), text);
            assert_eq!(parse_time(text.as_bytes()).unwrap(), time);
        }
    }
}
