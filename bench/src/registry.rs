//! What the registry costs.
//!
//! * A look-up, from memory and (cold) from SQLite: what a log-in and a first message ask, the
//!   tenant, a credential and an assertion. One after the other, in this process.
//! * Provisioning through the management API of a gateway: a device and its credentials, from 50
//!   clients at a time.
//! * An import of devices with credentials with `weir apply`.

use std::future::Future;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Method;
use serde_json::{Map, json};
use weir_core::{
    AuthId, CredentialType, Device, DeviceId, HashFunction, Registry as _, Tenant, TenantId,
};
use weir_registry::{NewCredential, NewSecret, PasswordHash, SecretData, SqlRegistry};

use crate::gateway::{Gateway, password_credential};
use crate::measure;

const TENANT: &str = "bench";

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Devices that are looked up.
    #[arg(long, default_value_t = 2_000)]
    lookups: usize,
    /// Devices that are provisioned through the management API.
    #[arg(long, default_value_t = 20_000)]
    provision: usize,
    /// Clients that provision at a time.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Devices that are imported.
    #[arg(long, default_value_t = 100_000)]
    import: usize,
}

pub(crate) async fn run_all(binary: &Path, options: &Options) -> anyhow::Result<()> {
    lookups(options.lookups).await?;
    provision(binary, options).await?;
    import(binary, options.import).await
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}

async fn lookups(devices: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}/registry.db?mode=rwc", folder.path().display());
    let registry = SqlRegistry::open(&url).await?;
    let tenant = TenantId::from(TENANT);
    registry
        .create_tenant(Some(tenant.clone()), Tenant::default())
        .await?;
    let ids: Vec<String> = (0..devices)
        .map(|number| format!("device-{number}"))
        .collect();
    for id in &ids {
        let device = DeviceId::from(id.as_str());
        registry
            .create_device(&tenant, Some(device.clone()), Device::default(), None)
            .await?;
        let set = vec![credential(id)];
        registry
            .set_credentials(&tenant, &device, set, None)
            .await?;
    }
    registry.close().await;
    let registry = SqlRegistry::open(&url).await?;
    let keys: Vec<_> = ids
        .iter()
        .map(|id| (DeviceId::from(id.as_str()), AuthId::from(id.as_str())))
        .collect();
    let kind = CredentialType::HashedPassword;
    let cold_credentials = each(&keys, async |(_, auth_id)| {
        registry.credentials(&tenant, kind, auth_id).await.is_ok()
    });
    let cold_credentials = cold_credentials.await?;
    let cold_assertions = each(&keys, async |(device, _)| {
        registry.assert(&tenant, device, None).await.is_ok()
    });
    let cold_assertions = cold_assertions.await?;
    println!("look-ups, SQLite, {devices} devices, one after the other");
    for (what, times) in [
        ("credential", cold_credentials),
        ("assertion", cold_assertions),
    ] {
        let micros = measure::spread(times.iter().map(|time| time.as_secs_f64() * 1e6));
        println!(
            "  {what:<12} cold   {:>8.1} us (median; {:.1}–{:.1}), target below 1000: {}",
            micros.median,
            micros.least,
            micros.most,
            verdict(micros.median < 1000.0)
        );
    }
    let rounds = 200_000 / keys.len().max(1);
    let all = keys.len() * rounds;
    let tenants = warm(rounds, &keys, async |_| {
        registry.tenant(&tenant).await.is_ok()
    })
    .await?;
    let credentials = warm(rounds, &keys, async |(_, auth_id)| {
        registry.credentials(&tenant, kind, auth_id).await.is_ok()
    });
    let credentials = credentials.await?;
    let assertions = warm(rounds, &keys, async |(device, _)| {
        registry.assert(&tenant, device, None).await.is_ok()
    });
    let assertions = assertions.await?;
    for (what, time) in [
        ("tenant", tenants),
        ("credential", credentials),
        ("assertion", assertions),
    ] {
        let micros = time.as_secs_f64() * 1e6 / all as f64;
        println!(
            "  {what:<12} cached {micros:>8.2} us (mean of {all}), target below 2: {}",
            verdict(micros < 2.0)
        );
    }
    registry.close().await;
    Ok(())
}

/// How long each look-up takes.
async fn each<K>(
    keys: &[K],
    mut look_up: impl AsyncFnMut(&K) -> bool,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(keys.len());
    for key in keys {
        let start = Instant::now();
        ensure!(look_up(key).await, "not found");
        times.push(start.elapsed());
    }
    Ok(times)
}

/// How long all look-ups take.
async fn warm<K>(
    rounds: usize,
    keys: &[K],
    mut look_up: impl AsyncFnMut(&K) -> bool,
) -> anyhow::Result<Duration> {
    each(keys, &mut look_up).await?;
    let start = Instant::now();
    for _ in 0..rounds {
        for key in keys {
            ensure!(look_up(key).await, "not found");
        }
    }
    Ok(start.elapsed())
}

fn credential(auth_id: &str) -> NewCredential {
    NewCredential {
        kind: CredentialType::HashedPassword.as_str().to_owned(),
        auth_id: auth_id.into(),
        enabled: true,
        ext: Map::new(),
        comment: None,
        secrets: vec![NewSecret {
            id: None,
            enabled: true,
            not_before: None,
            not_after: None,
            comment: None,
            data: SecretData::Password(PasswordHash {
                function: HashFunction::Sha256,
                hash: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned(),
                salt: Vec::new(),
            }),
        }],
    }
}

/// Seconds that `work` took, and the gateway's processor time meanwhile.
async fn timed(
    gateway: &Gateway,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<(f64, f64)> {
    let cpu = gateway.server.cpu()?;
    let start = Instant::now();
    work.await?;
    Ok((start.elapsed().as_secs_f64(), gateway.server.cpu()? - cpu))
}

async fn provision(binary: &Path, options: &Options) -> anyhow::Result<()> {
    let gateway = Gateway::start(binary, 1)?;
    let api = gateway.api()?;
    api.call(Method::POST, &format!("tenants/{TENANT}"), json!({}))
        .await?;
    let devices = options.provision;
    let work = stream::iter(0..devices)
        .map(|number| {
            let api = api.clone();
            async move { api.provision(TENANT, &format!("device-{number}")).await }
        })
        .buffer_unordered(options.clients)
        .try_collect::<()>();
    let (seconds, cpu) = timed(&gateway, work).await?;
    let rate = devices as f64 / seconds;
    println!(
        "provisioning, {} clients: {rate:.0} devices/s ({devices} devices and their credentials in \
         {seconds:.1} s, {:.2} CPU s per 1,000 in the gateway), target at least 2000: {}",
        options.clients,
        cpu * 1000.0 / devices as f64,
        verdict(rate >= 2000.0)
    );
    Ok(())
}

async fn import(binary: &Path, devices: usize) -> anyhow::Result<()> {
    let gateway = Gateway::start(binary, 1)?;
    let file = gateway.folder.path().join("fleet.ndjson");
    let mut lines = BufWriter::new(std::fs::File::create(&file)?);
    writeln!(lines, "{}", json!({"tenant": TENANT}))?;
    for number in 0..devices {
        let id = format!("device-{number}");
        let credentials = [password_credential(&id)];
        let line = json!({"tenant": TENANT, "device": id, "credentials": credentials});
        writeln!(lines, "{line}")?;
    }
    lines.flush()?;
    for what in ["import", "again"] {
        let (seconds, cpu) = timed(&gateway, gateway.apply(&file)).await?;
        let target = match what {
            "import" => format!(", target below 120: {}", verdict(seconds < 120.0)),
            _ => ", nothing changed".to_owned(),
        };
        println!(
            "{what:<7} {devices} devices with weir apply: {seconds:.1} s ({cpu:.1} CPU s in the gateway){target}"
        );
    }
    Ok(())
}
