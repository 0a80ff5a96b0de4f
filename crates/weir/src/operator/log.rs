//! `weir log`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::api::Members;
use super::connect::ConnectArgs;
use super::resource::Resource;
use super::show::{self, Format};

const EXAMPLES: &str = "\
Examples:
  weir log                                     what is logged
  weir log info,weir_mqtt=debug --for 10m      more of one part for ten minutes
  weir log --reset                             what is configured

It holds at once, for this gateway alone, and until the gateway is started again.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogArgs {
    /// What is to be logged from now on: a level (off, error, warn, info, debug, trace), and levels of single
    /// parts as in info,weir_mqtt=debug. What is logged is shown if it is left out.
    filter: Option<String>,
    /// For how long, in seconds or as 30s, 10m, 2h, 1d, a week at most; then what is configured is logged
    /// again.
    #[arg(long = "for", value_name = "TIME", value_parser = time, requires = "filter")]
    time: Option<Duration>,
    /// Log what is configured again.
    #[arg(long, conflicts_with_all = ["filter", "time"])]
    reset: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(args: LogArgs) -> anyhow::Result<ExitCode> {
    let (api, format) = (args.connect.api()?, args.connect.output);
    if args.filter.is_some() || args.reset {
        let mut wanted = Members::new();
        if let Some(filter) = args.filter {
            wanted.insert("filter".to_owned(), filter.into());
        }
        if let Some(time) = args.time {
            wanted.insert("for".to_owned(), time.as_secs().into());
        }
        let changed = api.replace(Resource::Log, &wanted, None).await;
        changed.with_context(|| Resource::Log.to_string())?;
    }
    // Also after a change: that is what has become of it.
    let found = api.get::<Members>(Resource::Log).await;
    let found = found.with_context(|| Resource::Log.to_string())?;
    match format {
        Format::Json => show::json(&found.object)?,
        Format::Table => show::members(&found.object)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A number of seconds, or of what the letter behind it says.
fn time(text: &str) -> Result<Duration, &'static str> {
    const FORM: &str = "is no time like 600, 30s, 10m, 2h or 1d";
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(FORM),
    };
    let number: u32 = digits.parse().map_err(|_| FORM)?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_or_are_seconds() {
        for (text, seconds) in [
            ("600", 600),
            ("30s", 30),
            ("10m", 600),
            ("2h", 7200),
            ("1d", 86_400),
        ] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            "m",
            "10 m",
            "10min",
            "1.5h",
            "-1",
            "5000000000",
            "10\u{fc}",
        ] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
