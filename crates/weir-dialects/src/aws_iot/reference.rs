//! The reference of this dialect, written from its table.

use std::fmt::Write as _;

use super::Protocol;
use super::table::{ROWS, Row, Source};

/// `docs/aws-iot-metrics.md` as it has to be.
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    for row in &ROWS {
        let [mqtt, http] = Protocol::ALL.map(|protocol| cell(row, protocol));
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {mqtt} | {http} | {} |",
            row.name, row.meaning
        );
    }
    page.push_str(ABSENT);
    page
}

fn cell(row: &Row, protocol: Protocol) -> &'static str {
    match row.source(protocol) {
        Some(Source::Of(_)) => "counted",
        Some(Source::Zero) => "0",
        None => "–",
    }
}

const INTRODUCTION: &str = "\
# Metrics under AWS IoT's names

Generated from the source; `UPDATE_DOCS=1 cargo test -p weir-dialects` writes it anew.

With `metrics.aws_iot.enabled = true` the gateway writes what it has counted also as AWS IoT's message broker metrics, in
CloudWatch's embedded metric format: every `metrics.aws_iot.interval` seconds a line of JSON for each protocol, to
standard output or to the end of a file (`metrics.aws_iot.output`). A CloudWatch agent, or whatever ships the log of a
container, brings them to CloudWatch Logs, which makes metrics of them.

```json
{\"_aws\":{\"Timestamp\":1700000000000,\"CloudWatchMetrics\":[{\"Namespace\":\"AWS/IoT\",\"Dimensions\":[[\"Protocol\"]],\"Metrics\":[{\"Name\":\"PublishIn.Success\",\"Unit\":\"Count\"}, …]}]},\"Protocol\":\"HTTP\",\"PublishIn.Success\":2, …}
```

* A value is what was counted since the line before; the first has what was counted since the start, and the last, when the
  gateway stops, the rest. So the statistic to look at is `Sum`, as with AWS IoT. `Timestamp` is the end of the period.
* The dimension `Protocol` is `MQTT` or `HTTP`; MQTT over WebSockets is `MQTT`. Tenants are not told apart.
* CloudWatch reserves namespaces that begin with `AWS/` for its own services. If an account refuses `AWS/IoT`, or has the real
  one, give another in `metrics.aws_iot.namespace`, and the same in the dashboards.
* What cannot be written is an error in the log, once. It is not lost: it is part of the next line that can be.
* The file is opened anew for each line, so it may be moved away at any time. Nothing needs to be told to the gateway.

| name | `MQTT` | `HTTP` | what it is here |
|---|---|---|---|
";

const ABSENT: &str = "
A name without a number of its own here is 0. What a protocol does not have (–) is left out of its line: HTTP has no
connections, subscriptions and pings in AWS IoT either.

Not in these metrics: clients that were closed without a CONNACK; requests over HTTP that were refused before it was known
whose they are; commands that no device got; errors that are published to devices. Hono's and Weir's own metrics have the
most of them ([metrics.md](metrics.md)). The other metrics of AWS IoT (rules, shadows, jobs, Device Defender, provisioning) are
about services that are not here.
";
