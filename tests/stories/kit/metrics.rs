//! The metrics page, read.

/// All series of one scrape.
#[derive(Debug)]
pub(crate) struct Series(Vec<(String, f64)>);

impl Series {
    pub(crate) fn parse(page: &str) -> Self {
        let samples = page
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        };
        Self(samples.map(sample).collect())
    }

    /// The sum of all series of that name that have all of these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &str| {
            labels
                .iter()
                .all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")))
        };
        let named = |series: &str| series.split('{').next() == Some(name);
        let wanted = self
            .0
            .iter()
            .filter(|(series, _)| named(series) && has(series));
        wanted.map(|(_, value)| value).sum()
    }

    /// Uploads of a tenant by status.
    pub(crate) fn uploads(&self, tenant: &str, status: &str) -> usize {
        let name = "hono_telemetry_processing_duration_seconds_count";
        self.sum(name, &[("tenant", tenant), ("status", status)]) as usize
    }

    /// Attempts to connect that ended so.
    pub(crate) fn attempts(&self, outcome: &str) -> usize {
        let name = "hono_connections_attempts_total";
        self.sum(name, &[("outcome", outcome)]) as usize
    }

    /// Devices of a tenant that are connected now.
    pub(crate) fn connected(&self, tenant: &str) -> usize {
        let name = "hono_connections_authenticated";
        self.sum(name, &[("tenant", tenant)]) as usize
    }

    /// Commands, or responses to them, of a tenant by direction and status.
    pub(crate) fn commands(&self, tenant: &str, direction: &str, status: &str) -> usize {
        let name = "hono_command_processing_duration_seconds_count";
        let labels = [
            ("tenant", tenant),
            ("direction", direction),
            ("status", status),
        ];
        self.sum(name, &labels) as usize
    }
}
