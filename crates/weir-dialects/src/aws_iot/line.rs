//! Lines in CloudWatch's embedded metric format.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::table::ROWS;
use super::{Counts, Protocol};

/// The metrics of one protocol over the period that ends `now`, a JSON object and the end of its line.
///
/// A clock before 1970 shows 1970.
pub fn line(namespace: &str, protocol: Protocol, period: &Counts, now: SystemTime) -> String {
    let line = Line {
        namespace,
        protocol,
        period,
        timestamp: milliseconds(now),
    };
    // Text and numbers under names that are text: that cannot fail.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

fn milliseconds(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

struct Line<'a> {
    namespace: &'a str,
    protocol: Protocol,
    period: &'a Counts,
    timestamp: u64,
}

/// What the members of a line are.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Head<'a> {
    timestamp: u64,
    cloud_watch_metrics: [Directive<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive<'a> {
    namespace: &'a str,
    dimensions: [[&'static str; 1]; 1],
    metrics: Vec<Definition>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: &'static str,
    unit: &'static str,
}

const DIMENSION: &str = "Protocol";

impl Line<'_> {
    /// Names and values.
    fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let rows = ROWS.iter().zip(self.period.0);
        let rows = rows.filter(|(row, _)| row.source(self.protocol).is_some());
        rows.map(|(row, value)| (row.name, value))
    }

    fn head(&self) -> Head<'_> {
        let definition = |(name, _)| Definition {
            name,
            unit: "Count",
        };
        let directive = Directive {
            namespace: self.namespace,
            dimensions: [[DIMENSION]],
            metrics: self.values().map(definition).collect(),
        };
        Head {
            timestamp: self.timestamp,
            cloud_watch_metrics: [directive],
        }
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("_aws", &self.head())?;
        members.serialize_entry(DIMENSION, self.protocol.as_str())?;
        for (name, value) in self.values() {
            members.serialize_entry(name, &value)?;
        }
        members.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn clocks_are_shown_in_milliseconds() {
        let second = Duration::from_secs(1);
        let rows = [
            (UNIX_EPOCH + second, 1_000),
            (UNIX_EPOCH + Duration::from_micros(1_999), 1),
            (UNIX_EPOCH, 0),
            (UNIX_EPOCH - second, 0),
        ];
        for (clock, expected) in rows {
            assert_eq!(milliseconds(clock), expected);
        }
    }
}
