//! What is done with tenants and devices alike.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::api::{Api, Members};
use super::query::Search;
use super::resource::Resource;
use super::show::{self, Format};
use crate::person::note;

/// What becomes of an object that is there.
pub(super) struct Change {
    /// What takes its place, if not the object itself.
    pub(super) replacement: Option<Members>,
    /// Members that are set in it then.
    pub(super) set: Members,
    /// The version it is expected to have.
    pub(super) expected: Option<String>,
}

/// A row of a table for an object.
pub(super) type Row = fn(&Members) -> Vec<String>;

pub(super) async fn create(
    api: &Api,
    format: Format,
    resource: Resource<'_>,
    object: &Members,
) -> anyhow::Result<ExitCode> {
    let created = api.create(resource, object).await;
    let created = created.with_context(|| resource.to_string())?;
    match format {
        Format::Json => show::json(&created)?,
        Format::Table => {
            let id = created.get("id").map(show::cell).unwrap_or_default();
            let what = match resource {
                Resource::Tenants | Resource::Tenant(_) => format!("tenant {id}"),
                Resource::Devices(tenant)
                | Resource::Device(tenant, _)
                | Resource::Credentials(tenant, _) => format!("device {tenant}/{id}"),
                Resource::Log => resource.to_string(),
            };
            show::done(format, &format!("{what} created"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn get(
    api: &Api,
    format: Format,
    resource: Resource<'_>,
    id: &str,
) -> anyhow::Result<ExitCode> {
    let found = api.get::<Members>(resource).await;
    let found = found.with_context(|| resource.to_string())?;
    match format {
        Format::Json => show::json(&found.object)?,
        Format::Table => show::object(id, &found)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn list(
    api: &Api,
    format: Format,
    collection: Resource<'_>,
    search: Search,
    heads: &[&str],
    row: Row,
) -> anyhow::Result<ExitCode> {
    let context = || collection.to_string();
    match format {
        Format::Json => list_json(api, collection, search).await,
        Format::Table => list_table(api, collection, search, heads, row).await,
    }
    .with_context(context)
}

async fn list_table(
    api: &Api,
    collection: Resource<'_>,
    mut search: Search,
    heads: &[&str],
    row: Row,
) -> anyhow::Result<ExitCode> {
    let (mut rows, mut total) = (Vec::new(), 0);
    while let Some(page) = search.next(api, collection).await? {
        total = page.total;
        rows.extend(page.result.iter().map(row));
    }
    io::stdout().write_all(show::table(heads, &rows).as_bytes())?;
    if (rows.len() as u64) < total {
        let shown = rows.len();
        note(&format!("{shown} of {total}; --page and --all show others"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One search result of the API's form, whatever number of pages it is from.
async fn list_json(
    api: &Api,
    collection: Resource<'_>,
    mut search: Search,
) -> anyhow::Result<ExitCode> {
    let mut out = io::BufWriter::new(io::stdout());
    let mut between = String::new();
    while let Some(page) = search.next(api, collection).await? {
        if between.is_empty() {
            between = format!("{{\"total\":{},\"result\":[\n", page.total);
        }
        for object in &page.result {
            write!(out, "{between}{}", serde_json::to_string(object)?)?;
            between = ",\n".to_owned();
        }
    }
    // Still the beginning if nothing was found.
    if between != ",\n" {
        write!(out, "{}", between.trim_end())?;
    } else {
        writeln!(out)?;
    }
    writeln!(out, "]}}")?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn update(
    api: &Api,
    format: Format,
    resource: Resource<'_>,
    change: Change,
) -> anyhow::Result<ExitCode> {
    let context = || resource.to_string();
    let (mut object, expected) = match change.replacement {
        Some(replacement) => (replacement, change.expected),
        None => {
            let found = api.get::<Members>(resource).await;
            let mut found = found.with_context(context)?;
            // Nobody may have changed it between reading and writing.
            let version = change.expected.unwrap_or(found.version);
            found.object.remove("status");
            (found.object, Some(version))
        }
    };
    object.extend(change.set);
    let replaced = api.replace(resource, &object, expected.as_deref()).await;
    replaced.with_context(context)?;
    show::done(format, &format!("{resource} updated"))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn delete(
    api: &Api,
    format: Format,
    resource: Resource<'_>,
    expected: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let deleted = api.delete(resource, expected).await;
    deleted.with_context(|| resource.to_string())?;
    show::done(format, &format!("{resource} deleted"))?;
    Ok(ExitCode::SUCCESS)
}

/// `enabled` as two switches say it, neither of which need be given.
pub(super) fn set_enabled(members: &mut Members, enable: bool, disable: bool) {
    if enable || disable {
        members.insert("enabled".to_owned(), Value::Bool(enable));
    }
}

/// Whether the object is enabled, which is what is not said where it is.
pub(super) fn enabled(object: &Members) -> String {
    object
        .get("enabled")
        .map_or_else(|| "true".to_owned(), show::cell)
}

/// A member in a table.
pub(super) fn member(object: &Members, name: &str) -> String {
    object.get(name).map(show::cell).unwrap_or_default()
}

/// An object that has to be given as a whole, or not at all.
pub(super) fn require(given: Option<Members>) -> anyhow::Result<Members> {
    match given {
        Some(members) => Ok(members),
        None => bail!("an object is required: --json or --file"),
    }
}
