//! `weir apply`

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::one::{Applied, Applier, ApplyError};
use super::read;
use super::report::Report;
use super::secrets::Policy;
use super::{DeviceEntry, Entry, FORMAT, TenantEntry};
use crate::operator::connect::ConnectArgs;
use crate::operator::password::Hash;
use crate::operator::resource::Resource;

/// Entries that are read ahead.
const READ_AHEAD: usize = 64;
/// How often a request is sent while the gateway is away: the last time after three seconds.
const TRIES: u32 = 5;

const EXAMPLES: &str = "\
Examples:
  weir apply -f fleet.yaml
  weir apply -f fleet.yaml --dry-run                         what would change
  weir apply -f devices.ndjson --hash sha-256                many devices with long random passwords
  ssh old-gateway weir export --format ndjson | weir apply -f - --skip-missing-secrets";

/// Options of `weir apply`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{FORMAT}\n\n{EXAMPLES}"))]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The file; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Write nothing, and say what would change.
    #[arg(long)]
    dry_run: bool,
    /// A line for each tenant and device, also if there are many.
    #[arg(short, long)]
    verbose: bool,
    /// How plain passwords of the file are kept. The gateway takes a while for many of `bcrypt`.
    #[arg(long, value_enum, default_value_t, value_name = "FUNCTION")]
    hash: Hash,
    /// Write every secret of the file anew.
    ///
    /// The API never shows a secret, so it cannot be compared. A secret of the file is taken to be a
    /// stored one if both have the same id; or, where the file gives none, if both are of the same
    /// credential (type and auth-id) and agree in `enabled`, `not-before`, `not-after` and `comment`.
    /// What is stored is then kept. A password that was changed in the file alone is written only with
    /// this option.
    #[arg(long)]
    rotate_secrets: bool,
    /// Leave out credentials whose secret is neither in the file nor stored in the gateway.
    ///
    /// An export has the ids of secrets and not the secrets: applied to another gateway, its credentials
    /// are errors without this option, and its devices cannot log in with it.
    #[arg(long)]
    skip_missing_secrets: bool,
    /// Requests under way at a time, 1 to 64.
    #[arg(long, default_value_t = 16, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// Stop after so many errors; 0 never stops.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    max_errors: u64,
}

pub(crate) async fn run(args: ApplyArgs) -> anyhow::Result<ExitCode> {
    let api = args.connect.api()?.with_tries(TRIES);
    let policy = Policy {
        rotate: args.rotate_secrets,
        skip_missing: args.skip_missing_secrets,
        hash: args.hash,
    };
    let path = args.file.clone();
    let source = tokio::task::spawn_blocking(move || read::open(&path)).await??;
    let report = Report::new(
        args.connect.output,
        args.verbose,
        args.dry_run,
        source.total,
    );
    let (sender, entries) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        for entry in source.entries {
            // Nobody reads on after too many errors.
            if sender.blocking_send(entry).is_err() {
                break;
            }
        }
    });
    let run = Run {
        applier: Arc::new(Applier::new(api, policy, args.dry_run)),
        jobs: usize::from(args.jobs),
        max_errors: args.max_errors,
        report,
        under_way: JoinSet::new(),
        failed_tenants: HashSet::new(),
        hopeless: None,
    };
    run.run(entries).await
}

type Done = (DeviceEntry, Result<Applied, ApplyError>);

struct Run {
    applier: Arc<Applier>,
    jobs: usize,
    max_errors: u64,
    report: Report,
    under_way: JoinSet<Done>,
    /// Their devices are passed over.
    failed_tenants: HashSet<String>,
    /// Why going on is of no use.
    hopeless: Option<String>,
}

impl Run {
    async fn run(
        mut self,
        mut entries: mpsc::Receiver<Result<Entry, String>>,
    ) -> anyhow::Result<ExitCode> {
        while !self.is_over() {
            let Some(entry) = entries.recv().await else {
                break;
            };
            match entry {
                Ok(Entry::Tenant(tenant)) => self.tenant(&tenant).await?,
                Ok(Entry::Device(device)) => self.device(device).await?,
                Err(error) => self.report.failed("the file", &error)?,
            }
        }
        drop(entries);
        while let Some(done) = self.under_way.join_next().await {
            self.settle(done?)?;
        }
        let failures = self.report.failures();
        let stopped = self.max_errors > 0 && failures >= self.max_errors;
        self.report.finish()?;
        match (self.hopeless, stopped) {
            (Some(error), _) => bail!(error),
            (None, true) => bail!("stopped after {failures} errors (see --max-errors)"),
            (None, false) if failures > 0 => Ok(ExitCode::FAILURE),
            (None, false) => Ok(ExitCode::SUCCESS),
        }
    }

    fn is_over(&self) -> bool {
        let failures = self.report.failures();
        self.hopeless.is_some() || (self.max_errors > 0 && failures >= self.max_errors)
    }

    /// A tenant comes before its devices, so it is waited for.
    async fn tenant(&mut self, tenant: &TenantEntry) -> anyhow::Result<()> {
        match self.applier.tenant(tenant).await {
            Ok(outcome) => self.report.tenant(&tenant.id, outcome)?,
            Err(error) => {
                self.failed_tenants.insert(tenant.id.clone());
                self.fail(Resource::Tenant(&tenant.id), &error.into())?;
            }
        }
        Ok(())
    }

    async fn device(&mut self, device: DeviceEntry) -> anyhow::Result<()> {
        if self.failed_tenants.contains(&device.tenant) {
            self.report.passed_over()?;
            return Ok(());
        }
        if self.under_way.len() >= self.jobs
            && let Some(done) = self.under_way.join_next().await
        {
            self.settle(done?)?;
        }
        let applier = self.applier.clone();
        self.under_way.spawn(async move {
            let applied = applier.device(&device).await;
            (device, applied)
        });
        Ok(())
    }

    fn settle(&mut self, (device, applied): Done) -> anyhow::Result<()> {
        let DeviceEntry { tenant, id, .. } = device;
        match applied {
            Ok(applied) => self.report.device(&tenant, &id, &applied)?,
            Err(error) => self.fail(Resource::Device(&tenant, &id), &error)?,
        }
        Ok(())
    }

    fn fail(&mut self, what: Resource<'_>, error: &ApplyError) -> anyhow::Result<()> {
        // Told once, as the last word.
        if error.is_hopeless() {
            self.hopeless.get_or_insert_with(|| error.to_string());
            self.report.passed_over()?;
        } else {
            self.report.failed(&what.to_string(), &error.to_string())?;
        }
        Ok(())
    }
}
