//! Which format a scraper gets.

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0, the only one with examples.
    OpenMetrics,
}

impl Format {
    /// The value of the header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format for a request with this header `Accept` (RFC 9110 §12.5.1): OpenMetrics for whoever names
    /// it and does not prefer plain text. Somebody who names neither gets plain text.
    pub fn for_accept(accept: &str) -> Self {
        let (mut text, mut open_metrics) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let parameter = |name: &str| {
                let mut found = parameters.iter();
                let found = found.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.trim().trim_matches('"'))
            };
            let quality = parameter("q").map_or(Some(1.0), |q| q.parse::<f32>().ok());
            let quality = quality.unwrap_or_default();
            let is_known = matches!(parameter("version"), None | Some("1.0.0"));
            if kind.eq_ignore_ascii_case("application/openmetrics-text") && is_known {
                open_metrics = f32::max(open_metrics, quality);
            } else if kind.eq_ignore_ascii_case("text/plain") {
                text = f32::max(text, quality);
            }
        }
        match open_metrics > 0.0 && open_metrics >= text {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_prefers_open_metrics_gets_it() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,\
            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (prometheus_2, Format::OpenMetrics),
            (prometheus_3, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"",
                Format::OpenMetrics,
            ),
            (
                "text/plain, application/openmetrics-text",
                Format::OpenMetrics,
            ),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=high", Format::Text),
            (
                "text/plain;q=0.9,application/openmetrics-text;q=0.5",
                Format::Text,
            ),
        ] {
            assert_eq!(Format::for_accept(accept), expected, "{accept}");
        }
    }
}
