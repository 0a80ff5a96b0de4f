//! `weir tenant`

use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};

use super::api::Members;
use super::connect::ConnectArgs;
use super::input::ObjectArgs;
use super::objects::{self, Change, enabled, member, set_enabled};
use super::query::ListArgs;
use super::resource::{Resource, id};
use super::show;

const EXAMPLES: &str = "\
Examples:
  weir tenant create acme                          all adapters, no limits
  weir tenant create acme --json '{\"adapters\": [{\"type\": \"hono-mqtt\", \"enabled\": true}]}'
  weir tenant get acme -o json > acme.json         edit it, then
  weir tenant update acme -f acme.json             replace the whole configuration
  weir tenant update acme --disable                change one thing
  weir tenant list --filter /enabled=false --sort /id:desc
  weir tenant delete acme";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct TenantArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a tenant.
    Create(CreateArgs),
    /// Show a tenant and its version.
    Get {
        /// The tenant's id.
        #[arg(value_parser = id)]
        id: String,
    },
    /// Show some or all tenants.
    List(ListArgs),
    /// Replace a tenant's configuration, or change one thing in it.
    Update(UpdateArgs),
    /// Delete a tenant. Its devices cannot be reached then.
    Delete {
        /// The tenant's id.
        #[arg(value_parser = id)]
        id: String,
        /// Only if it has this version, as `get` shows it.
        #[arg(long, value_name = "VERSION")]
        if_match: Option<String>,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The tenant's id; the gateway makes one up if it is left out.
    #[arg(value_parser = id)]
    id: Option<String>,
    /// Another name for it.
    #[arg(long)]
    alias: Option<String>,
    /// Its devices may not send anything yet.
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    object: ObjectArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true)
    .args(["json", "file", "alias", "enable", "disable"]))]
struct UpdateArgs {
    /// The tenant's id.
    #[arg(value_parser = id)]
    id: String,
    /// Another name for it.
    #[arg(long)]
    alias: Option<String>,
    /// Let its devices send again.
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Refuse what its devices send.
    #[arg(long)]
    disable: bool,
    /// Only if it has this version, as `get` shows it.
    #[arg(long, value_name = "VERSION")]
    if_match: Option<String>,
    #[command(flatten)]
    object: ObjectArgs,
}

pub(crate) async fn run(args: TenantArgs) -> anyhow::Result<ExitCode> {
    let (api, format) = (args.connect.api()?, args.connect.output);
    match args.verb {
        Verb::Create(args) => {
            let mut tenant = args.object.members()?.unwrap_or_default();
            set_alias(&mut tenant, args.alias);
            set_enabled(&mut tenant, false, args.disabled);
            let id = args.id.as_deref();
            let resource = id.map_or(Resource::Tenants, Resource::Tenant);
            objects::create(&api, format, resource, &tenant).await
        }
        Verb::Get { id } => objects::get(&api, format, Resource::Tenant(&id), &id).await,
        Verb::List(args) => {
            let (search, heads) = (args.search(), ["ID", "ALIAS", "ENABLED", "ADAPTERS"]);
            objects::list(&api, format, Resource::Tenants, search, &heads, row).await
        }
        Verb::Update(args) => {
            let mut set = Members::new();
            set_alias(&mut set, args.alias);
            set_enabled(&mut set, args.enable, args.disable);
            let change = Change {
                replacement: args.object.members()?,
                set,
                expected: args.if_match,
            };
            objects::update(&api, format, Resource::Tenant(&args.id), change).await
        }
        Verb::Delete { id, if_match } => {
            objects::delete(&api, format, Resource::Tenant(&id), if_match.as_deref()).await
        }
    }
}

fn set_alias(tenant: &mut Members, alias: Option<String>) {
    if let Some(alias) = alias {
        tenant.insert("alias".to_owned(), alias.into());
    }
}

fn row(tenant: &Members) -> Vec<String> {
    let adapters = tenant.get("adapters").and_then(|listed| listed.as_array());
    let adapters = adapters.map_or_else(
        || "all".to_owned(),
        |listed| {
            let on = listed.iter().filter(|adapter| adapter["enabled"] == true);
            let on: Vec<String> = on.map(|adapter| show::cell(&adapter["type"])).collect();
            on.join(",")
        },
    );
    vec![
        member(tenant, "id"),
        member(tenant, "alias"),
        enabled(tenant),
        adapters,
    ]
}
