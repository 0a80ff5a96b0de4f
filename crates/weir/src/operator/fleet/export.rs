//! `weir export`

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use futures_util::stream::{self, StreamExt as _};
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::Members;
use super::write::{Form, Writer};
use crate::operator::api::{Api, ApiError};
use crate::operator::connect::ConnectArgs;
use crate::operator::query::Search;
use crate::operator::resource::{Resource, id};

/// Requests under way at a time.
const JOBS: usize = 16;
/// What is written of a secret, of whatever type.
const PUBLIC: [&str; 5] = ["id", "enabled", "not-before", "not-after", "comment"];

const EXAMPLES: &str = "\
Secrets are never in it, only their ids, by which `weir apply` keeps those that the gateway has. \
Applied to the gateway it is from, an export changes nothing. It is read page by page: what others \
change meanwhile may be in it or not.

Examples:
  weir export > fleet.yaml                    everything
  weir export acme -f acme.yaml               one tenant
  weir export --format ndjson | gzip > fleet.ndjson.gz";

/// Options of `weir export`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Which tenants; all if none is given.
    #[arg(value_name = "TENANT", value_parser = id)]
    tenants: Vec<String>,
    /// The form of the file.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: Form,
    /// Where to write it; standard output if left out. It takes the place of what is there when it is
    /// whole.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) async fn run(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let api = args.connect.api()?;
    match &args.file {
        None => {
            let writer = Writer::new(BufWriter::new(io::stdout()), args.format);
            export(&api, &args.tenants, writer).await?;
        }
        Some(path) => {
            let named = || path.display().to_string();
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            let draft = NamedTempFile::new_in(folder.unwrap_or_else(|| Path::new(".")));
            let out = BufWriter::new(draft.with_context(named)?);
            let written = export(&api, &args.tenants, Writer::new(out, args.format)).await?;
            let draft = written.into_inner().with_context(named)?;
            draft.persist(path).with_context(named)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn export<W: Write>(
    api: &Api,
    tenants: &[String],
    mut writer: Writer<W>,
) -> anyhow::Result<W> {
    for id in tenants {
        let resource = Resource::Tenant(id);
        let found = api.get::<Members>(resource).await;
        let found = found.with_context(|| resource.to_string())?;
        tenant(api, id, found.object, &mut writer).await?;
    }
    if tenants.is_empty() {
        let mut search = Search::everything();
        let context = || Resource::Tenants.to_string();
        while let Some(page) = search
            .next(api, Resource::Tenants)
            .await
            .with_context(context)?
        {
            for mut found in page.result {
                let id = take_id(&mut found);
                tenant(api, &id, found, &mut writer).await?;
            }
        }
    }
    Ok(writer.finish()?)
}

async fn tenant<W: Write>(
    api: &Api,
    id: &str,
    mut tenant: Members,
    writer: &mut Writer<W>,
) -> anyhow::Result<()> {
    say_enabled(&mut tenant);
    writer.tenant(id, &tenant)?;
    let devices = Resource::Devices(id);
    let mut search = Search::everything();
    while let Some(page) = search
        .next(api, devices)
        .await
        .with_context(|| devices.to_string())?
    {
        let found = stream::iter(page.result.into_iter().map(|mut device| async move {
            let name = take_id(&mut device);
            let credentials = credentials(api, id, &name).await;
            (name, device, credentials)
        }));
        let mut found = found.buffered(JOBS);
        while let Some((name, mut device, credentials)) = found.next().await {
            let resource = Resource::Credentials(id, &name);
            let credentials = credentials.with_context(|| resource.to_string())?;
            device.remove("status");
            say_enabled(&mut device);
            // It may have been deleted since it was found.
            if let Some(credentials) = credentials {
                writer.device(&name, &device, &credentials)?;
            }
        }
    }
    Ok(())
}

/// The credentials of a device without what is secret; none if the device is gone.
async fn credentials(
    api: &Api,
    tenant: &str,
    device: &str,
) -> Result<Option<Vec<Members>>, ApiError> {
    let resource = Resource::Credentials(tenant, device);
    match api.get::<Vec<Members>>(resource).await {
        Ok(found) => Ok(Some(found.object.into_iter().map(public).collect())),
        Err(error) if error.is(StatusCode::NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

fn public(mut credential: Members) -> Members {
    // The key of a raw public key has to be said again when the set is written.
    let is_public_key = credential.get("type").is_some_and(|kind| kind == "rpk");
    let is_public = |name: &str| {
        PUBLIC.contains(&name) || (is_public_key && matches!(name, "key" | "algorithm"))
    };
    let secrets = credential.get_mut("secrets").and_then(Value::as_array_mut);
    for secret in secrets
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        secret.retain(|name, _| is_public(name));
    }
    credential
}

fn take_id(found: &mut Members) -> String {
    match found.remove("id") {
        Some(Value::String(id)) => id,
        _ => String::new(),
    }
}

/// What a file says only the id of is left alone when it is applied; this is the whole.
fn say_enabled(object: &mut Members) {
    object.entry("enabled").or_insert(Value::Bool(true));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_secret_is_written_of_any_type() {
        let secret = json!({
            "id": "1", "enabled": true, "not-before": "n", "not-after": "n", "comment": "c",
            "pwd-hash": "s3cret", "key": "K", "algorithm": "EC", "token": "s3cret",
        });
        for (kind, has_key) in [("rpk", true), ("psk", false), ("custom", false)] {
            let credential = json!({"type": kind, "auth-id": "a", "ext": {}, "secrets": [secret]});
            let written = json!(public(credential.as_object().unwrap().clone()));
            assert!(!written.to_string().contains("s3cret"), "{written}");
            assert_eq!(
                written["secrets"][0].get("key").is_some(),
                has_key,
                "{kind}"
            );
            assert_eq!(written["secrets"][0]["comment"], "c");
            assert_eq!(written["auth-id"], "a");
        }
    }
}
