//! Reading what a fanotify group queues: see fanotify(7).

use super::sys::Handle;

/// What is reported.
pub(super) const MASK: u64 = libc::FAN_CREATE
    | libc::FAN_MODIFY
    | libc::FAN_ATTRIB
    | libc::FAN_CLOSE_WRITE
    | libc::FAN_MOVED_FROM
    | libc::FAN_MOVED_TO
    | libc::FAN_MOVE_SELF
    | libc::FAN_DELETE
    | libc::FAN_DELETE_SELF
    | libc::FAN_ONDIR;

/// Lengths of `fanotify_event_metadata`, of an information header, and of a file system's ID.
const METADATA: usize = 24;
const HEADER: usize = 4;
const FSID: usize = 8;

const FILE: u8 = 1;
const WITH_NAME: u8 = 2;
const FOLDER_ALONE: u8 = 3;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event<'a> {
    pub(super) mask: u64,
    /// The folder that it happened in, and the name there: `.` for the folder itself.
    pub(super) place: Option<(&'a Handle, &'a [u8])>,
    /// The file that it happened to.
    pub(super) file: Option<&'a Handle>,
}

impl Event<'_> {
    pub(super) fn is(&self, any_of: u64) -> bool {
        self.mask & any_of != 0
    }

    pub(super) fn is_about_folder(&self) -> bool {
        self.is(libc::FAN_ONDIR)
    }
}

/// An event that this module does not understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The events in what was read from a group at once.
pub(super) fn events(mut bytes: &[u8]) -> impl Iterator<Item = Result<Event<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let taken = split_event(bytes);
        // What follows something malformed cannot be told apart any more.
        bytes = taken.map_or(&[], |(_, rest)| rest);
        Some(taken.and_then(|(event, _)| parse(event)).ok_or(Malformed))
    })
}

fn split_event(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(number(bytes, 0)?).ok()?;
    (length >= METADATA)
        .then(|| bytes.split_at_checked(length))
        .flatten()
}

fn parse(event: &[u8]) -> Option<Event<'_>> {
    let [version, _, low, high] = *event.get(4..8)?.first_chunk::<4>()?;
    if version != libc::FANOTIFY_METADATA_VERSION {
        return None;
    }
    let mask = u64::from_ne_bytes(*event.get(8..16)?.first_chunk::<8>()?);
    let mut records = event.get(usize::from(u16::from_ne_bytes([low, high]))..)?;
    let (mut place, mut file) = (None, None);
    while !records.is_empty() {
        let [kind, _, low, high] = *records.first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let record = records.get(HEADER..length)?;
        records = &records[length..];
        match kind {
            WITH_NAME | FOLDER_ALONE => place = Some(handle_and_name(record)?),
            FILE => file = Some(handle_and_name(record)?.0),
            _ => return None,
        }
    }
    Some(Event { mask, place, file })
}

fn handle_and_name(record: &[u8]) -> Option<(&Handle, &[u8])> {
    let handle = record.get(FSID..)?;
    let length = usize::try_from(number(handle, 0)?).ok()?;
    // The handle's own length goes before its type: what follows is what the calls take.
    let (handle, name) = handle.get(4..)?.split_at_checked(4 + length)?;
    let end = name
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(name.len());
    let name = &name[..end];
    Some((handle, if name.is_empty() { b"." } else { name }))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk::<4>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event as the kernel writes it.
    fn written(mask: u64, kind: u8, name: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0, 0, 0];
        record.extend([9; FSID]);
        record.extend(8_u32.to_ne_bytes());
        record.extend(1_i32.to_ne_bytes());
        record.extend([5; 8]);
        record.extend(name);
        record.resize(record.len().next_multiple_of(4) + 4, 0);
        let length = u16::try_from(record.len()).unwrap();
        record[2..4].copy_from_slice(&length.to_ne_bytes());
        metadata(mask, &record)
    }

    fn metadata(mask: u64, records: &[u8]) -> Vec<u8> {
        let length = u32::try_from(METADATA + records.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([libc::FANOTIFY_METADATA_VERSION, 0]);
        bytes.extend(24_u16.to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend((-1_i32).to_ne_bytes());
        bytes.extend(7_i32.to_ne_bytes());
        bytes.extend(records);
        bytes
    }

    #[test]
    fn events_are_read_one_after_the_other() {
        let mut bytes = written(libc::FAN_CREATE, WITH_NAME, b"a\nb\xff");
        bytes.extend(metadata(libc::FAN_Q_OVERFLOW, &[]));
        bytes.extend(written(
            libc::FAN_ATTRIB | libc::FAN_ONDIR,
            FOLDER_ALONE,
            b"",
        ));
        let read: Vec<_> = events(&bytes).map(Result::unwrap).collect();
        let handle: &[u8] = &[1_i32.to_ne_bytes().as_slice(), &[5; 8]].concat();
        assert_eq!(read[0].place, Some((handle, b"a\nb\xff".as_slice())));
        assert!(read[0].is(libc::FAN_CREATE) && !read[0].is_about_folder());
        assert_eq!(read[1].place, None);
        let nameless = written(libc::FAN_ATTRIB, FILE, b"");
        let nameless = events(&nameless).next().unwrap().unwrap();
        assert_eq!((nameless.place, nameless.file), (None, Some(handle)));
        assert_eq!(read[2].place, Some((handle, b".".as_slice())));
        assert_eq!(read.len(), 3);
    }

    #[test]
    fn whatever_is_cut_off_or_unknown_is_malformed() {
        let whole = written(libc::FAN_CREATE, WITH_NAME, b"name");
        for length in 1..whole.len() {
            let read: Vec<_> = events(&whole[..length]).collect();
            assert_eq!(read, [Err(Malformed)], "{length}");
        }
        let unknown = written(libc::FAN_CREATE, 77, b"name");
        assert_eq!(events(&unknown).collect::<Vec<_>>(), [Err(Malformed)]);
        let mut version = whole;
        version[4] += 1;
        assert_eq!(events(&version).collect::<Vec<_>>(), [Err(Malformed)]);
    }
}
