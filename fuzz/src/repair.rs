//! Checksums of tar headers made right, so that what is behind them is reached.

const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const SIZE: std::ops::Range<usize> = 124..136;

/// The same archive with the right checksum in every header, found by the sizes in the headers; the same bytes when
/// they are compressed.
pub(super) fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut archive = data.to_vec();
    let mut at = 0;
    while let Some(header) = archive.get_mut(at..at + BLOCK) {
        if header.iter().any(|&byte| byte != 0) {
            set_checksum(header);
        }
        let content = octal(&header[SIZE]).div_ceil(BLOCK).saturating_mul(BLOCK);
        at = at.saturating_add(BLOCK).saturating_add(content);
        if at > data.len() {
            break;
        }
    }
    archive
}

fn set_checksum(header: &mut [u8]) {
    header[CHECKSUM].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn octal(field: &[u8]) -> usize {
    let digits = field.iter().take_while(|byte| (b'0'..b'8').contains(byte));
    digits.fold(0, |value, digit| value * 8 + usize::from(digit - b'0'))
}
