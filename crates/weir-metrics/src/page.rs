//! The text formats: Prometheus 0.0.4 and OpenMetrics 1.0.0.

use std::fmt::Write as _;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::cell::Summary;
use crate::histogram::{Exemplar, Histogram};
use crate::name::Unit;
use crate::{Component, Format, Kind, Name};

/// Labels as they are written: those of the component, then the series' own. Each of the second kind has
/// a comma before it.
#[derive(Clone, Copy)]
pub(crate) struct Labels<'a>(pub(crate) &'a str, pub(crate) &'a str);

/// A page that is being written. Writing to a String cannot fail.
pub(crate) struct Page {
    format: Format,
    now: Instant,
    wall_clock: SystemTime,
    text: String,
    /// What a histogram's buckets begin with; most of a page is made of it.
    bucket: String,
}

impl Page {
    pub(crate) fn new(format: Format, now: Instant, wall_clock: SystemTime) -> Self {
        Self {
            format,
            now,
            wall_clock,
            text: String::with_capacity(64 * 1024),
            bucket: String::new(),
        }
    }

    pub(crate) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// What stands before a family's samples.
    pub(crate) fn head(&mut self, name: Name) {
        let kind = match (name.kind(), self.format) {
            (Kind::Counter, _) => "counter",
            (Kind::Gauge, _) | (Kind::Info, Format::Text) => "gauge",
            (Kind::Histogram, _) => "histogram",
            (Kind::Info, Format::OpenMetrics) => "info",
            (Kind::Summary, _) => "summary",
        };
        let unit = match (self.format, name.unit()) {
            (Format::OpenMetrics, Unit::Bytes) => Some("bytes"),
            (Format::OpenMetrics, Unit::Seconds) => Some("seconds"),
            (_, Unit::None) | (Format::Text, _) => None,
        };
        self.head_of(self.family(name), name.help(), kind, unit);
    }

    /// The same for the gauge beside it.
    pub(crate) fn head_of_maximum(&mut self, name: Name) {
        let family = format!("{}_max", name.as_str());
        let help = format!("{}: the largest of the last minutes", name.help());
        self.head_of(&family, &help, "gauge", None);
    }

    fn head_of(&mut self, family: &str, help: &str, kind: &str, unit: Option<&str>) {
        let _ = writeln!(self.text, "# HELP {family} {help}");
        let _ = writeln!(self.text, "# TYPE {family} {kind}");
        if let Some(unit) = unit {
            let _ = writeln!(self.text, "# UNIT {family} {unit}");
        }
    }

    /// In OpenMetrics a family's name goes without the suffix of its samples.
    fn family(&self, name: Name) -> &'static str {
        let text = name.as_str();
        let suffix = match (self.format, name.kind()) {
            (Format::OpenMetrics, Kind::Counter) => "_total",
            (Format::OpenMetrics, Kind::Info) => "_info",
            _ => "",
        };
        text.strip_suffix(suffix).unwrap_or(text)
    }

    /// A sample of a counter or a gauge whose value is not counted here.
    pub(crate) fn number(&mut self, name: Name, labels: Labels<'_>, value: f64) {
        self.name(name, "", labels);
        self.decimal(value);
    }

    pub(crate) fn count(&mut self, name: Name, labels: Labels<'_>, value: u64) {
        self.name(name, "", labels);
        self.integer(value);
    }

    pub(crate) fn maximum(&mut self, name: Name, labels: Labels<'_>, value: u64) {
        self.name(name, "_max", labels);
        self.decimal(in_unit(name, value));
    }

    pub(crate) fn summary(&mut self, name: Name, labels: Labels<'_>, summary: &Summary) {
        self.count_and_sum(name, labels, summary.count(), summary.sum());
    }

    pub(crate) fn histogram(&mut self, name: Name, labels: Labels<'_>, histogram: &Histogram) {
        self.bucket.clear();
        for part in [name.as_str(), "_bucket{", labels.0, labels.1, ",le=\""] {
            self.bucket.push_str(part);
        }
        let sum = histogram.sum();
        let mut count = 0;
        for (bucket, (bound, here)) in histogram.buckets().enumerate() {
            count += here;
            self.text.push_str(&self.bucket);
            self.text.push_str(bound.unwrap_or("+Inf"));
            self.text.push_str("\"} ");
            write_integer(&mut self.text, count);
            if self.format == Format::OpenMetrics
                && let Some(exemplar) = histogram.exemplar(bucket)
            {
                self.exemplar(name, exemplar);
            }
            self.text.push('\n');
        }
        self.count_and_sum(name, labels, count, sum);
    }

    fn count_and_sum(&mut self, name: Name, labels: Labels<'_>, count: u64, sum: u64) {
        self.name(name, "_count", labels);
        self.integer(count);
        self.name(name, "_sum", labels);
        self.decimal(in_unit(name, sum));
    }

    fn exemplar(&mut self, name: Name, exemplar: Exemplar) {
        let Exemplar { trace, value, at } = exemplar;
        let value = in_unit(name, value);
        let _ = write!(self.text, " # {{trace_id=\"{trace}\"}} {value}");
        let age = self.now.saturating_duration_since(at);
        let at = self.wall_clock.checked_sub(age);
        if let Some(at) = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()) {
            let _ = write!(self.text, " {}.{:03}", at.as_secs(), at.subsec_millis());
        }
    }

    /// All of a sample but its value.
    fn name(&mut self, name: Name, suffix: &str, Labels(common, own): Labels<'_>) {
        self.text.push_str(name.as_str());
        self.text.push_str(suffix);
        let own = match common {
            "" => own.strip_prefix(',').unwrap_or(own),
            _ => own,
        };
        if common.is_empty() && own.is_empty() {
            self.text.push(' ');
            return;
        }
        self.text.push('{');
        self.text.push_str(common);
        self.text.push_str(own);
        self.text.push_str("} ");
    }

    fn integer(&mut self, value: u64) {
        write_integer(&mut self.text, value);
        self.text.push('\n');
    }

    fn decimal(&mut self, value: f64) {
        // Both formats spell infinity otherwise than Rust.
        let _ = match value {
            f64::INFINITY => writeln!(self.text, "+Inf"),
            f64::NEG_INFINITY => writeln!(self.text, "-Inf"),
            value => writeln!(self.text, "{value}"),
        };
    }
}

/// The labels of a component, and of a tenant at it.
pub(crate) fn component_labels(component: Component, host: &str, tenant: Option<&str>) -> String {
    let mut text = String::new();
    let (kind, name) = (component.kind.as_str(), component.name);
    for (label, value) in [
        ("component_name", name),
        ("component_type", kind),
        ("host", host),
    ] {
        write_label(&mut text, label, value);
        text.push(',');
    }
    match tenant {
        Some(tenant) => write_label(&mut text, "tenant", tenant),
        None => {
            text.pop();
        }
    }
    text
}

/// Writes a label. Its value has backslash, quote and line feed escaped, in both formats.
pub(crate) fn write_label(text: &mut String, label: &str, value: &str) {
    text.push_str(label);
    text.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push('"');
}

/// Most of a page are small numbers, and most of them are 0.
fn write_integer(text: &mut String, value: u64) {
    match u8::try_from(value) {
        Ok(digit @ 0..=9) => text.push(char::from(b'0' + digit)),
        _ => {
            let _ = write!(text, "{value}");
        }
    }
}

/// A recorded integer in the unit the family is exposed in.
fn in_unit(name: Name, value: u64) -> f64 {
    match name.unit() {
        Unit::Seconds => value as f64 / 1e9,
        Unit::Bytes | Unit::None => value as f64,
    }
}
