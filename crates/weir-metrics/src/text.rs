//! The Prometheus text format 0.0.4.

use std::fmt::Write as _;
use std::time::Instant;

use crate::store::Cell;
use crate::{Component, Kind, Metrics, Name};

/// Writes all series as Prometheus scrapes them (`text/plain; version=0.0.4`).
pub fn render(metrics: &Metrics, now: Instant) -> String {
    metrics.update_connected_time(now);
    let mut page = Page {
        host: metrics.host(),
        text: String::with_capacity(16 * 1024),
        now,
    };
    for name in Name::ALL {
        page.family(metrics, name);
    }
    page.text
}

struct Page<'a> {
    host: &'a str,
    text: String,
    now: Instant,
}

impl Page<'_> {
    fn family(&mut self, metrics: &Metrics, name: Name) {
        let kind = match name.kind() {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Bytes | Kind::Seconds => "summary",
        };
        self.head(name.as_str(), "", name.help(), kind);
        let mut maxima = Vec::new();
        metrics.visit(name, |component, labels, cell| match cell {
            Cell::Counter(counter) => {
                self.sample(name, "", component, labels, counter.value() as f64);
            }
            Cell::Gauge(gauge) => self.sample(name, "", component, labels, gauge.value() as f64),
            Cell::Summary(summary) => {
                self.sample(name, "_count", component, labels, summary.count() as f64);
                self.sample(
                    name,
                    "_sum",
                    component,
                    labels,
                    in_unit(name, summary.sum()),
                );
                maxima.push((component, labels.clone(), summary.max(self.now)));
            }
        });
        if maxima.is_empty() {
            return;
        }
        self.head(name.as_str(), "_max", name.help(), "gauge");
        for (component, labels, max) in maxima {
            self.sample(name, "_max", component, &labels, in_unit(name, max));
        }
    }

    fn head(&mut self, name: &str, suffix: &str, help: &str, kind: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name}{suffix} {help}");
        let _ = writeln!(self.text, "# TYPE {name}{suffix} {kind}");
    }

    fn sample(
        &mut self,
        name: Name,
        suffix: &str,
        component: Component,
        labels: &[Box<str>],
        value: f64,
    ) {
        let (kind, at) = (component.kind.as_str(), component.name);
        self.text.push_str(name.as_str());
        self.text.push_str(suffix);
        self.text.push_str("{component_name=\"");
        self.text.push_str(at);
        self.text.push_str("\",component_type=\"");
        self.text.push_str(kind);
        self.text.push_str("\",host=\"");
        escape(&mut self.text, self.host);
        self.text.push('"');
        for (label, text) in name.labels().iter().zip(labels) {
            self.text.push(',');
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(&mut self.text, text);
            self.text.push('"');
        }
        let _ = writeln!(self.text, "}} {value}");
    }
}

/// A recorded integer in the unit the family is exposed in.
fn in_unit(name: Name, value: u64) -> f64 {
    match name.kind() {
        Kind::Seconds => value as f64 / 1e9,
        Kind::Bytes | Kind::Counter | Kind::Gauge => value as f64,
    }
}

/// Label values escape backslash, quote and line feed (exposition format, "Comments, help text").
fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{AttemptOutcome, ComponentType, MessageType, Qos, Status, Ttd};

    const MQTT: Component = Component {
        kind: ComponentType::Adapter,
        name: "hono-mqtt",
    };

    #[test]
    fn an_upload_is_exposed_as_hono_exposes_it() {
        let start = Instant::now();
        let metrics = Metrics::new("edge-1", start);
        let meters = metrics.tenant(MQTT, "acme");
        meters
            .upload(
                MessageType::Event,
                Qos::AtLeastOnce,
                Status::Forwarded,
                Ttd::None,
            )
            .record(Duration::from_millis(1500), 100, start);
        let text = render(&metrics, start);
        let labels = "{component_name=\"hono-mqtt\",component_type=\"adapter\",host=\"edge-1\",\
                      tenant=\"acme\",type=\"event\",status=\"forwarded\",qos=\"1\",ttd=\"none\"}";
        for expected in [
            format!("hono_telemetry_processing_duration_seconds_count{labels} 1\n"),
            format!("hono_telemetry_processing_duration_seconds_sum{labels} 1.5\n"),
            format!("hono_telemetry_processing_duration_seconds_max{labels} 1.5\n"),
            format!("hono_telemetry_payload_bytes_count{labels} 1\n"),
            format!("hono_telemetry_payload_bytes_sum{labels} 100\n"),
            "# TYPE hono_telemetry_payload_bytes summary\n".to_owned(),
            "# TYPE hono_telemetry_payload_bytes_max gauge\n".to_owned(),
        ] {
            assert!(text.contains(&expected), "{expected} is missing in\n{text}");
        }
    }

    #[test]
    fn connected_time_is_device_seconds() {
        let start = Instant::now();
        let metrics = Metrics::new("h", start);
        let meters = metrics.tenant(MQTT, "acme");
        meters.connected().opened(start);
        meters.connected().opened(start + Duration::from_secs(10));
        meters.connected().closed(start + Duration::from_secs(20));
        let text = render(&metrics, start + Duration::from_secs(25));
        // 10 s with one, 10 s with two, 5 s with one.
        let sum = "hono_connections_authenticated_duration_seconds_sum{component_name=\"hono-mqtt\",\
                   component_type=\"adapter\",host=\"h\",tenant=\"acme\"} 35\n";
        assert!(text.contains(sum), "{text}");
        assert_eq!(meters.connected().open(), 1);
    }

    #[test]
    fn label_values_are_escaped() {
        let start = Instant::now();
        let metrics = Metrics::new("a\"b\\c\n", start);
        metrics.connection_attempt(MQTT, None, AttemptOutcome::Unauthorized, None);
        let text = render(&metrics, start);
        assert!(text.contains(r#"host="a\"b\\c\n""#), "{text}");
        assert!(
            text.contains(r#"tenant="UNKNOWN",outcome="unauthorized",cipher_suite="UNKNOWN"} 1"#)
        );
    }
}
