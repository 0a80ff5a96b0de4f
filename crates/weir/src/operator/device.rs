//! `weir device`

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
  weir device create acme sensor-1                      then give it a password:
  openssl rand -hex 16 | weir credentials create acme sensor-1 --password-stdin
  weir device create acme sensor-2 --via gw-1           gw-1 may send for it
  weir device create acme sensor-3 --json '{\"ext\": {\"site\": \"plant-7\"}}'
  weir device list acme --filter '/ext/site=plant-*' --all -o json
  weir device list acme --gateways
  weir device update acme sensor-1 --disable
  weir device delete acme sensor-1
  weir device delete acme --all --yes                   every device of the tenant";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct DeviceArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Register a device.
    Create(CreateArgs),
    /// Show a device and its version.
    Get {
        /// Its tenant's id.
        #[arg(value_parser = id)]
        tenant: String,
        /// The device's id.
        #[arg(value_parser = id)]
        id: String,
    },
    /// Show some or all devices of a tenant.
    List {
        /// The tenant's id.
        #[arg(value_parser = id)]
        tenant: String,
        /// Only gateways; `--gateways=false` only those that are none.
        #[arg(long, value_name = "BOOLEAN", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "true")]
        gateways: Option<bool>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Replace a device's registration, or change one thing in it.
    Update(UpdateArgs),
    /// Delete a device and its credentials, or all devices of a tenant.
    Delete(DeleteArgs),
}

/// What is often said of a device.
#[derive(Debug, Args)]
struct GatewayArgs {
    /// A gateway that may send for it; may be given several times.
    #[arg(long, value_name = "DEVICE")]
    via: Vec<String>,
    /// A group of gateways that it belongs to; may be given several times.
    #[arg(long, value_name = "GROUP")]
    member_of: Vec<String>,
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Its tenant's id.
    #[arg(value_parser = id)]
    tenant: String,
    /// The device's id; the gateway makes one up if it is left out.
    #[arg(value_parser = id)]
    id: Option<String>,
    #[command(flatten)]
    gateways: GatewayArgs,
    /// It may not send anything yet.
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    object: ObjectArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true)
    .args(["json", "file", "via", "member_of", "enable", "disable"]))]
struct UpdateArgs {
    /// Its tenant's id.
    #[arg(value_parser = id)]
    tenant: String,
    /// The device's id.
    #[arg(value_parser = id)]
    id: String,
    #[command(flatten)]
    gateways: GatewayArgs,
    /// Let it send again.
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Refuse what it sends.
    #[arg(long)]
    disable: bool,
    /// Only if it has this version, as `get` shows it.
    #[arg(long, value_name = "VERSION")]
    if_match: Option<String>,
    #[command(flatten)]
    object: ObjectArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "all"]))]
// By itself it would have the group before the tenant.
#[command(override_usage = "weir device delete [OPTIONS] <TENANT> <ID|--all --yes>")]
struct DeleteArgs {
    /// The tenant's id.
    #[arg(value_parser = id)]
    tenant: String,
    /// The device's id.
    #[arg(value_parser = id)]
    id: Option<String>,
    /// Delete every device of the tenant; there is no way back.
    #[arg(long, requires = "yes", conflicts_with = "if_match")]
    all: bool,
    /// Yes, every one.
    #[arg(long, requires = "all")]
    yes: bool,
    /// Only if it has this version, as `get` shows it.
    #[arg(long, value_name = "VERSION")]
    if_match: Option<String>,
}

pub(crate) async fn run(args: DeviceArgs) -> anyhow::Result<ExitCode> {
    let (api, format) = (args.connect.api()?, args.connect.output);
    match args.verb {
        Verb::Create(args) => {
            let mut device = args.object.members()?.unwrap_or_default();
            args.gateways.set(&mut device);
            set_enabled(&mut device, false, args.disabled);
            let resource = match &args.id {
                Some(id) => Resource::Device(&args.tenant, id),
                None => Resource::Devices(&args.tenant),
            };
            objects::create(&api, format, resource, &device).await
        }
        Verb::Get { tenant, id } => {
            objects::get(&api, format, Resource::Device(&tenant, &id), &id).await
        }
        Verb::List {
            tenant,
            gateways,
            list,
        } => {
            let search = match gateways {
                Some(gateways) => list.search().only("isGateway", gateways),
                None => list.search(),
            };
            let heads = ["ID", "ENABLED", "VIA", "MEMBER OF", "CREATED", "UPDATED"];
            let devices = Resource::Devices(&tenant);
            objects::list(&api, format, devices, search, &heads, row).await
        }
        Verb::Update(args) => {
            let mut set = Members::new();
            args.gateways.set(&mut set);
            set_enabled(&mut set, args.enable, args.disable);
            let change = Change {
                replacement: args.object.members()?,
                set,
                expected: args.if_match,
            };
            let resource = Resource::Device(&args.tenant, &args.id);
            objects::update(&api, format, resource, change).await
        }
        Verb::Delete(args) => {
            let resource = match &args.id {
                Some(id) => Resource::Device(&args.tenant, id),
                None => Resource::Devices(&args.tenant),
            };
            objects::delete(&api, format, resource, args.if_match.as_deref()).await
        }
    }
}

impl GatewayArgs {
    fn set(&self, device: &mut Members) {
        for (name, values) in [("via", &self.via), ("memberOf", &self.member_of)] {
            if !values.is_empty() {
                device.insert(name.to_owned(), values.clone().into());
            }
        }
    }
}

fn row(device: &Members) -> Vec<String> {
    let status = |name| {
        let value = device.get("status").map(|status| &status[name]);
        value.map(show::cell).unwrap_or_default()
    };
    vec![
        member(device, "id"),
        enabled(device),
        member(device, "via"),
        member(device, "memberOf"),
        status("created"),
        status("updated"),
    ]
}
