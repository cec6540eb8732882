//! The instant of a local time that was written down without its time zone.

use std::time::SystemTime;

use chrono::{DateTime, Local, MappedLocalTime, Offset, TimeZone};

const QUARTER: i64 = 15 * 60;
const HOUR: i64 = 60 * 60;
/// The time zones there are, in quarters of an hour east of Greenwich.
const ZONES: std::ops::RangeInclusive<i64> = -12 * 4..=14 * 4;
/// How long a backup of the shell scripts takes at most, from the time in its name to the end of writing.
const LONGEST: i64 = 24 * HOUR;
/// How long it takes where nothing else is known. A longer time is rather the distance between two time zones.
const USUAL: i64 = 4 * HOUR;
/// How far two clocks may be apart: the time of the last change may be that of a file server.
const CLOCKS: i64 = 2 * 60;

/// What speaks for one time zone or another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Evidence {
    /// When the archive was changed last: when it was finished, unless it was copied since.
    pub(super) written: Option<i64>,
    /// The last three digits of the seconds since the epoch.
    pub(super) ending: Option<u16>,
}

impl Evidence {
    pub(super) fn new(written: Option<SystemTime>, ending: Option<u16>) -> Self {
        let written = written.map(|time| DateTime::<chrono::Utc>::from(time).timestamp());
        Self { written, ending }
    }

    fn allows(self, instant: i64, longest: i64) -> bool {
        let took = self.written.map(|written| written - instant);
        let ending = self.ending.map(i64::from);
        took.is_none_or(|took| (-CLOCKS..=longest).contains(&took))
            && ending.is_none_or(|ending| instant.rem_euclid(1000) == ending)
    }
}

/// Returns the instant of `stamp`, a local time taken for UTC, in seconds since the epoch.
///
/// The time zone of this machine counts unless `evidence` speaks against it: then it is the zone in which the backup
/// has taken the least time. An archive that was copied without its times gives no evidence.
pub(super) fn instant(stamp: i64, evidence: Evidence) -> i64 {
    let here = instants_here(stamp);
    let best = |instants: &[i64], longest| {
        let allowed = |instant: &&i64| evidence.allows(**instant, longest);
        instants.iter().filter(allowed).max().copied()
    };
    let elsewhere = || {
        let zones: Vec<i64> = ZONES.map(|zone| stamp - zone * QUARTER).collect();
        best(&zones, LONGEST)
    };
    let without_times = || {
        let ending = Evidence {
            written: None,
            ..evidence
        };
        let allowed = |instant: &&i64| ending.allows(**instant, LONGEST);
        here.iter().find(allowed).copied()
    };
    best(&here, USUAL)
        .or_else(elsewhere)
        .or_else(without_times)
        .unwrap_or(here[0])
}

/// Returns the instants at which the clocks of this machine show `stamp`: one, and two in the night in which they are
/// put back. In the hour that they skip, it is the one that they would have shown it at.
fn instants_here(stamp: i64) -> Vec<i64> {
    let shown = DateTime::from_timestamp(stamp, 0)
        .unwrap_or_default()
        .naive_utc();
    match Local.from_local_datetime(&shown) {
        MappedLocalTime::Single(time) => vec![time.timestamp()],
        MappedLocalTime::Ambiguous(one, other) => vec![one.timestamp(), other.timestamp()],
        MappedLocalTime::None => {
            let offset = Local.offset_from_utc_datetime(&shown).fix();
            vec![stamp - i64::from(offset.local_minus_utc())]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31 12:00:00, wherever that was.
    const NOON: i64 = 1_769_860_800;

    fn written(written: i64) -> Evidence {
        Evidence {
            written: Some(written),
            ending: None,
        }
    }

    #[test]
    fn the_zone_of_this_machine_counts_where_nothing_speaks_against_it() {
        let here = instants_here(NOON)[0];
        for evidence in [
            Evidence::default(),
            written(here),
            written(here + 3 * HOUR),
            // Copied years later, or from a machine without a clock.
            written(here + 10_000 * HOUR),
            written(0),
        ] {
            assert_eq!(instant(NOON, evidence), here, "{evidence:?}");
        }
    }

    #[test]
    fn an_archive_that_ends_before_it_begins_or_long_after_was_made_elsewhere() {
        let here = instants_here(NOON)[0];
        for (earlier, took) in [
            (2 * HOUR, 0),
            (9 * HOUR, 60),
            (5 * HOUR + 1800, 600),
            (-5 * HOUR, 60),
            (-8 * HOUR, 600),
        ] {
            let begun = here - earlier;
            // Wherever this test runs, zones end 12 hours west and 14 hours east.
            if (-12 * HOUR..=14 * HOUR).contains(&(NOON - begun)) {
                assert_eq!(instant(NOON, written(begun + took)), begun);
            }
        }
    }

    #[test]
    fn the_end_of_the_epoch_decides_between_zones() {
        let elsewhere = instants_here(NOON)[0] - 3 * QUARTER;
        let ending = u16::try_from(elsewhere.rem_euclid(1000)).ok();
        let evidence = Evidence {
            ending,
            written: Some(elsewhere + 600),
        };
        assert_eq!(instant(NOON, evidence), elsewhere);
    }
}
