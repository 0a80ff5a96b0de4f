//! Points in time as Hono's interfaces write them.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Iso8601;
use time::macros::{datetime, format_description};
use time::{OffsetDateTime, UtcOffset};

/// The first and the last one whose year has the four digits that ISO 8601 gives it without further
/// agreement.
const FIRST: OffsetDateTime = datetime!(0001-01-01 00:00:00 UTC);
const LAST: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// A point in time, to the second, in the years 1 to 9999. Written in UTC, read with any offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(OffsetDateTime);

/// A text that is not an ISO 8601 date and time with an offset, or of another year than 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 8601 date and time with an offset")]
pub struct NotATimestamp;

impl Timestamp {
    /// The present.
    pub fn now() -> Self {
        Self(OffsetDateTime::now_utc().truncate_to_second())
    }

    /// The time so many milliseconds after 1970 began, if it is in the years 1 to 9999.
    pub fn from_millis(millis: i64) -> Option<Self> {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
        Self::of(time.ok()?)
    }

    fn of(time: OffsetDateTime) -> Option<Self> {
        let utc = time.checked_to_offset(UtcOffset::UTC)?.truncate_to_second();
        (FIRST..=LAST).contains(&utc).then_some(Self(utc))
    }
}

/// What is before the year 1 becomes its first second, what is after 9999 its last.
impl From<OffsetDateTime> for Timestamp {
    fn from(time: OffsetDateTime) -> Self {
        let nearest = if time < FIRST { FIRST } else { LAST };
        Self::of(time).unwrap_or(Self(nearest))
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.0
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        // The parser takes a missing offset for UTC; a local time is no point in time.
        let (_, time) = text.split_once('T').ok_or(NotATimestamp)?;
        if !time.contains(['Z', '+', '-']) {
            return Err(NotATimestamp);
        }
        let parsed = OffsetDateTime::parse(text, &Iso8601::PARSING).map_err(|_| NotATimestamp)?;
        Self::of(parsed).ok_or(NotATimestamp)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        let text = self.0.format(format).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_offset_is_read_and_utc_is_written() {
        let rows = [
            ("2026-11-21T10:00:00Z", Some("2026-11-21T10:00:00Z")),
            ("2026-11-21T10:00:00.987Z", Some("2026-11-21T10:00:00Z")),
            ("2026-11-21T10:00:00+01:00", Some("2026-11-21T09:00:00Z")),
            ("2026-11-21T10:00:00+0100", Some("2026-11-21T09:00:00Z")),
            ("2026-11-21T10:00+01:00", Some("2026-11-21T09:00:00Z")),
            ("2026-01-01T00:30:00-01:00", Some("2026-01-01T01:30:00Z")),
            ("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00Z")),
            ("+002026-11-21T10:00:00Z", Some("2026-11-21T10:00:00Z")),
            ("9999-12-31T23:59:59.9Z", Some("9999-12-31T23:59:59Z")),
            ("9999-12-31T23:30:00-01:00", None),
            ("0001-01-01T00:30:00+01:00", None),
            ("0000-01-01T00:00:00Z", None),
            ("0000-12-31T23:30:00-01:00", Some("0001-01-01T00:30:00Z")),
            ("-000001-01-01T00:00:00Z", None),
            ("+010000-01-01T00:00:00Z", None),
            ("2026-11-21T10:00:00", None),
            ("2026-11-21", None),
            ("2026-13-21T10:00:00Z", None),
            ("soon", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let shown = text.parse::<Timestamp>().ok().map(|time| time.to_string());
            assert_eq!(shown.as_deref(), expected, "{text}");
            if let Some(shown) = shown {
                let again = shown.parse::<Timestamp>().map(|time| time.to_string());
                assert_eq!(again, Ok(shown), "{text}");
            }
        }
    }

    #[test]
    fn milliseconds_are_cut_to_seconds() {
        let time = Timestamp::from_millis(1_999).map(|time| time.to_string());
        assert_eq!(time.as_deref(), Some("1970-01-01T00:00:01Z"));
    }

    #[test]
    fn no_other_source_makes_a_time_that_cannot_be_read() {
        let rows = [
            (datetime!(-0001-01-01 00:00:00 UTC), "0001-01-01T00:00:00Z"),
            (datetime!(0001-01-01 00:30:00 +1), "0001-01-01T00:00:00Z"),
            (datetime!(9999-12-31 23:30:00 -1), "9999-12-31T23:59:59Z"),
            (datetime!(9999-12-31 23:59:59.9 UTC), "9999-12-31T23:59:59Z"),
            (datetime!(2026-11-21 10:00:00.9 +1), "2026-11-21T09:00:00Z"),
        ];
        for (time, expected) in rows {
            let shown = Timestamp::from(time).to_string();
            assert_eq!(shown, expected);
            assert_eq!(shown.parse(), Ok(Timestamp::from(time)));
        }
        for millis in [i64::MIN, -62_135_596_800_001, 253_402_300_800_000, i64::MAX] {
            assert_eq!(Timestamp::from_millis(millis), None, "{millis}");
        }
        for millis in [-62_135_596_800_000, 253_402_300_799_999] {
            let shown = Timestamp::from_millis(millis).unwrap().to_string();
            assert_eq!(shown.parse(), Ok(Timestamp::from_millis(millis).unwrap()));
        }
    }
}
