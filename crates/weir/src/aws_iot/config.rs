//! The section `[metrics.aws_iot]` of the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The same metrics under the names of AWS IoT's message broker, as lines in CloudWatch's embedded metric
/// format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsIotConfig {
    /// Whether they are written.
    pub enabled: bool,
    /// Seconds from one line to the next, at most a day.
    pub interval: u64,
    /// CloudWatch's namespace. It reserves those that begin with `AWS/` for its own services.
    pub namespace: String,
    /// Where the lines go: `stdout`, or the path of a file that they are appended to. The file may be
    /// moved away at any time.
    pub output: String,
}

impl Default for AwsIotConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: 60,
            namespace: "AWS/IoT".to_owned(),
            output: "stdout".to_owned(),
        }
    }
}

/// Seconds of a day. CloudWatch takes what is up to two weeks old.
const MOST: u64 = 86_400;

impl AwsIotConfig {
    /// What is wrong although each value by itself can be read: key and message.
    pub(crate) fn mistakes(&self) -> Vec<(String, String)> {
        let rows = [
            (
                "interval",
                (1..=MOST).contains(&self.interval),
                "must be from 1 to 86400",
            ),
            (
                "namespace",
                is_namespace(&self.namespace),
                "must be 1 to 255 letters, digits and . - _ / # :, and not begin with a colon",
            ),
            (
                "output",
                !self.output.is_empty(),
                "must be stdout or the path of a file",
            ),
        ];
        let wrong = rows.into_iter().filter(|(_, is_right, _)| !is_right);
        wrong
            .map(|(key, _, message)| (format!("metrics.aws_iot.{key}"), message.to_owned()))
            .collect()
    }
}

/// What `PutMetricData` takes.
fn is_namespace(text: &str) -> bool {
    let is_valid = |it: char| it.is_ascii_alphanumeric() || ".-_/#:".contains(it);
    (1..=255).contains(&text.len()) && !text.starts_with(':') && text.chars().all(is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cloudwatch_would_not_take_is_a_mistake() {
        let long = format!("namespace = \"{}\"", "a".repeat(256));
        let rows = [
            ("interval = 0", "interval"),
            ("interval = 86401", "interval"),
            ("namespace = \"\"", "namespace"),
            ("namespace = \":a\"", "namespace"),
            ("namespace = \"a b\"", "namespace"),
            ("namespace = \"ä\"", "namespace"),
            (&long, "namespace"),
            ("output = \"\"", "output"),
        ];
        for (text, key) in rows {
            let config: AwsIotConfig = toml::from_str(text).unwrap();
            let mistakes = config.mistakes();
            assert_eq!(mistakes.len(), 1, "{text}");
            assert_eq!(mistakes[0].0, format!("metrics.aws_iot.{key}"), "{text}");
        }
        for text in ["", "interval = 1\nnamespace = \"Weir/a-b_c.#:\""] {
            let config: AwsIotConfig = toml::from_str(text).unwrap();
            assert_eq!(config.mistakes(), [], "{text}");
        }
    }
}
