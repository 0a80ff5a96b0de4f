//! `weir credentials`

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::api::{Api, Found, Members};
use super::connect::ConnectArgs;
use super::input::{self, ObjectArgs};
use super::objects::{enabled, member, require, set_enabled};
use super::password::Hash;
use super::resource::{Resource, id};
use super::show::{self, Format};

const PASSWORD: &str = "hashed-password";

const EXAMPLES: &str = "\
The API keeps the credentials of a device as one set. These commands read it, change one credential \
and write it back, if nobody else has changed it meanwhile. Secrets are never shown; the other \
credentials keep theirs.

Examples:
  openssl rand -hex 16 | tee password | weir credentials create acme sensor-1 --password-stdin
  weir credentials create acme gw-1 --auth-id gateway --password-stdin < password
  weir credentials get acme sensor-1
  weir credentials update acme sensor-1 --password-stdin < password    a new password
  weir credentials update acme sensor-1 --disable                      a lock
  weir credentials update acme sensor-1 -f set.json                    the whole set, an array
  weir credentials delete acme sensor-1 --auth-id sensor-1";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct CredentialsArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a credential to those of a device.
    Create(CreateArgs),
    /// Show the credentials of a device, without what is secret.
    #[command(visible_alias = "list")]
    Get(DeviceArgs),
    /// Change one credential, or replace the whole set with an array.
    Update(UpdateArgs),
    /// Delete one credential, or all of a device.
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
struct DeviceArgs {
    /// The tenant's id.
    #[arg(value_parser = id)]
    tenant: String,
    /// The device's id.
    #[arg(value_parser = id)]
    device: String,
}

#[derive(Debug, Args)]
struct PasswordArgs {
    /// Read the password from standard input.
    #[arg(long, conflicts_with_all = ["json", "file"])]
    password_stdin: bool,
    /// How the password is kept.
    #[arg(long, value_enum, default_value_t, requires = "password_stdin")]
    hash: Hash,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["json", "file", "password_stdin"]))]
struct CreateArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// The name that the device logs in with, as NAME@TENANT; the device's id if it is left out.
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    auth_id: Option<String>,
    /// A remark.
    #[arg(long, value_name = "TEXT", requires = "password_stdin")]
    comment: Option<String>,
    /// It may not be used yet.
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    object: ObjectArgs,
}

/// One credential of a device.
#[derive(Debug, Args)]
struct WhichArgs {
    /// The credential's name; may be left out where the device has only one.
    #[arg(long, value_name = "NAME")]
    auth_id: Option<String>,
    /// The credential's type; may be left out where only one has the name.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true)
    .args(["json", "file", "password_stdin", "enable", "disable"]))]
struct UpdateArgs {
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    which: WhichArgs,
    /// Let it be used again.
    #[arg(long, conflicts_with_all = ["disable", "json", "file"])]
    enable: bool,
    /// Let nobody log in with it.
    #[arg(long, conflicts_with_all = ["json", "file"])]
    disable: bool,
    /// Only if the set has this version.
    #[arg(long, value_name = "VERSION")]
    if_match: Option<String>,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    object: ObjectArgs,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    which: WhichArgs,
    /// Delete all credentials of the device.
    #[arg(long, conflicts_with_all = ["auth_id", "kind"])]
    all: bool,
    /// Only if the set has this version.
    #[arg(long, value_name = "VERSION")]
    if_match: Option<String>,
}

type Set = Vec<Members>;

pub(crate) async fn run(args: CredentialsArgs) -> anyhow::Result<ExitCode> {
    let (api, format) = (args.connect.api()?, args.connect.output);
    match args.verb {
        Verb::Create(args) => create(&api, format, args).await,
        Verb::Get(args) => get(&api, format, &args).await,
        Verb::Update(args) => update(&api, format, args).await,
        Verb::Delete(args) => delete(&api, format, args).await,
    }
}

impl DeviceArgs {
    fn resource(&self) -> Resource<'_> {
        Resource::Credentials(&self.tenant, &self.device)
    }

    async fn read(&self, api: &Api) -> anyhow::Result<Found<Set>> {
        let found = api.get::<Set>(self.resource()).await;
        found.with_context(|| self.resource().to_string())
    }

    /// Writes the set, and tells `done`, which is what that means.
    async fn write(
        &self,
        api: &Api,
        set: &[Value],
        expected: Option<&str>,
        format: Format,
        done: &str,
    ) -> anyhow::Result<ExitCode> {
        let replaced = api.replace(self.resource(), &set, expected).await;
        replaced.with_context(|| self.resource().to_string())?;
        show::done(format, done)?;
        Ok(ExitCode::SUCCESS)
    }

    /// One of the device's credentials, in words.
    fn one(&self, credential: &Members) -> String {
        let (kind, auth_id) = (member(credential, "type"), member(credential, "auth-id"));
        let Self { tenant, device } = self;
        format!("{kind} with auth-id {auth_id} of {tenant}/{device}")
    }
}

async fn create(api: &Api, format: Format, args: CreateArgs) -> anyhow::Result<ExitCode> {
    let mut new = match args.password.secret()? {
        None => require(args.object.members()?)?,
        Some(secret) => {
            let auth_id = args.auth_id.as_ref().unwrap_or(&args.device.device);
            let mut new = Members::new();
            new.insert("type".to_owned(), PASSWORD.into());
            new.insert("auth-id".to_owned(), auth_id.as_str().into());
            new.insert("secrets".to_owned(), json!([secret]));
            new
        }
    };
    set_enabled(&mut new, false, args.disabled);
    if let Some(comment) = args.comment {
        new.insert("comment".to_owned(), comment.into());
    }
    let Found { object, version } = args.device.read(api).await?;
    if object.iter().any(|known| is_same(known, &new)) {
        let resource = args.device.resource();
        let (kind, auth_id) = (member(&new, "type"), member(&new, "auth-id"));
        bail!("{resource}: there is a {kind} with auth-id {auth_id} already; see `update`");
    }
    let done = format!("{} created", args.device.one(&new));
    let set: Vec<Value> = object.into_iter().chain([new]).map(Value::from).collect();
    let device = &args.device;
    device.write(api, &set, Some(&version), format, &done).await
}

async fn get(api: &Api, format: Format, args: &DeviceArgs) -> anyhow::Result<ExitCode> {
    let set = args.read(api).await?.object;
    match format {
        Format::Json => show::json(&set)?,
        Format::Table => {
            let heads = [
                "TYPE",
                "AUTH-ID",
                "ENABLED",
                "SECRET",
                "ENABLED",
                "NOT BEFORE",
                "NOT AFTER",
                "COMMENT",
            ];
            let rows: Vec<_> = set.iter().flat_map(rows).collect();
            io::stdout().write_all(show::table(&heads, &rows).as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn update(api: &Api, format: Format, args: UpdateArgs) -> anyhow::Result<ExitCode> {
    let given = args.object.value()?;
    if let Some(Value::Array(set)) = given {
        let expected = args.if_match.as_deref();
        let done = format!("{} replaced", args.device.resource());
        let device = &args.device;
        return device.write(api, &set, expected, format, &done).await;
    }
    let Found { object, version } = args.device.read(api).await?;
    let mut set = object;
    let changed = match given {
        Some(Value::Object(new)) => {
            let at = set.iter().position(|known| is_same(known, &new));
            let at = at.with_context(|| {
                let (kind, auth_id) = (member(&new, "type"), member(&new, "auth-id"));
                format!("there is no {kind} with auth-id {auth_id}; see `create`")
            });
            at.inspect(|at| set[*at] = new)
        }
        Some(_) => bail!("an array of credentials is required, or one credential"),
        None => {
            let secret = args.password.secret()?;
            let kind = secret.as_ref().map(|_| PASSWORD);
            args.which.find(&set, kind).inspect(|at| {
                set_enabled(&mut set[*at], args.enable, args.disable);
                if let Some(secret) = secret {
                    set[*at].insert("secrets".to_owned(), json!([secret]));
                }
            })
        }
    };
    let at = changed.with_context(|| args.device.resource().to_string())?;
    let done = format!("{} updated", args.device.one(&set[at]));
    let set: Vec<Value> = set.into_iter().map(Value::from).collect();
    let (device, expected) = (&args.device, args.if_match.unwrap_or(version));
    device
        .write(api, &set, Some(&expected), format, &done)
        .await
}

async fn delete(api: &Api, format: Format, args: DeleteArgs) -> anyhow::Result<ExitCode> {
    if args.all {
        let expected = args.if_match.as_deref();
        let done = format!("{} deleted", args.device.resource());
        let device = &args.device;
        return device.write(api, &[], expected, format, &done).await;
    }
    let Found { object, version } = args.device.read(api).await?;
    let mut set = object;
    let at = args.which.find(&set, None);
    let deleted = set.remove(at.with_context(|| args.device.resource().to_string())?);
    let done = format!("{} deleted", args.device.one(&deleted));
    let set: Vec<Value> = set.into_iter().map(Value::from).collect();
    let (device, expected) = (&args.device, args.if_match.unwrap_or(version));
    device
        .write(api, &set, Some(&expected), format, &done)
        .await
}

impl PasswordArgs {
    fn secret(&self) -> anyhow::Result<Option<Members>> {
        if !self.password_stdin {
            return Ok(None);
        }
        let mut secret = Members::new();
        secret.insert("pwd-plain".to_owned(), input::password()?.into());
        self.hash.conceal(&mut secret);
        Ok(Some(secret))
    }
}

impl WhichArgs {
    /// The place of the one credential that is meant.
    fn find(&self, set: &[Members], kind: Option<&str>) -> anyhow::Result<usize> {
        let kind = self.kind.as_deref().or(kind);
        let fits = |known: &Members| {
            kind.is_none_or(|kind| known.get("type").is_some_and(|value| value == kind))
                && self.auth_id.as_deref().is_none_or(|auth_id| {
                    known.get("auth-id").is_some_and(|value| value == auth_id)
                })
        };
        let mut fitting = (0..set.len()).filter(|at| fits(&set[*at]));
        match (fitting.next(), fitting.next()) {
            (Some(at), None) => Ok(at),
            (None, _) => bail!("there is no such credential"),
            (Some(_), Some(_)) => bail!("there is more than one; say --auth-id and --type"),
        }
    }
}

/// Whether both have the same type and name, of which a device has no two.
fn is_same(one: &Members, other: &Members) -> bool {
    ["type", "auth-id"]
        .iter()
        .all(|name| one.get(*name) == other.get(*name))
}

/// A row per secret.
fn rows(credential: &Members) -> Vec<Vec<String>> {
    let secrets = credential.get("secrets").and_then(Value::as_array);
    let secrets = secrets.into_iter().flatten().filter_map(Value::as_object);
    let row = |secret: &Members| {
        vec![
            member(credential, "type"),
            member(credential, "auth-id"),
            enabled(credential),
            member(secret, "id"),
            enabled(secret),
            member(secret, "not-before"),
            member(secret, "not-after"),
            member(secret, "comment"),
        ]
    };
    secrets.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_by_as_much_as_is_needed() {
        let set = json!([
            {"type": "hashed-password", "auth-id": "a"},
            {"type": "psk", "auth-id": "a"},
            {"type": "hashed-password", "auth-id": "b"},
        ]);
        let set: Set = serde_json::from_value(set).unwrap();
        let rows = [
            (Some("b"), None, None, Some(2)),
            (Some("a"), None, None, None),
            (Some("a"), Some("psk"), None, Some(1)),
            (Some("a"), None, Some(PASSWORD), Some(0)),
            (None, Some("psk"), None, Some(1)),
            (None, None, None, None),
            (Some("c"), None, None, None),
        ];
        for (auth_id, kind, default, expected) in rows {
            let which = WhichArgs {
                auth_id: auth_id.map(str::to_owned),
                kind: kind.map(str::to_owned),
            };
            let found = which.find(&set, default).ok();
            assert_eq!(found, expected, "{auth_id:?} {kind:?}");
        }
    }
}
