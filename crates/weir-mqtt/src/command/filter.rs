//! The grammar of subscriptions, and of the topics that commands come by (device contract §3.9).
//!
//! ```text
//! filter   = endpoint "/" [ tenant ] "/" [ device | "+" ] "/" request "/#"
//! topic    = endpoint "/" [ tenant ] "/" [ device ] "/" request "/" [ request-id ] "/" name
//! answer   = endpoint "/" [ tenant ] "/" [ device ] "/" response "/" request-id "/200"
//! endpoint = "command" | "c"
//! request  = "req" | "q"
//! response = "res" | "s"
//! ```
//!
//! A topic has what its filter has, in the same spelling. A name with slashes makes more segments.

use std::borrow::Cow;

use weir_core::command::{CommandDelivery, CommandTarget};
use weir_core::{Reason, Rule};

use crate::client::{Key, Own, Whose};

/// The longest string the protocol has, bytes (MQTT 3.1.1 §1.5.3).
const LONGEST: usize = 65_535;

/// A filter by which commands can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// The device under which the claim is made. Of the filters with the same one only the latest is
    /// in force.
    pub(super) key: Key,
    /// Whose commands.
    pub(super) target: CommandTarget,
    pub(super) form: Form,
}

/// How a filter is spelt, and so the topics of its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    endpoint: &'static str,
    names_tenant: bool,
    names_device: bool,
    request: &'static str,
}

impl Filter {
    /// Reads a filter; `None` if the client can have no commands by it.
    pub(super) fn parse(text: &str, own: Own<'_>) -> Option<Self> {
        let mut segments = text.split('/');
        let endpoint = match segments.next()? {
            "command" => "command",
            "c" => "c",
            _ => return None,
        };
        let tenant = segments.next()?;
        let device = segments.next()?;
        let request = match segments.next()? {
            "req" => "req",
            "q" => "q",
            _ => return None,
        };
        let is_whole = segments.next() == Some("#") && segments.next().is_none();
        if !is_whole {
            return None;
        }
        let (key, whose) = Key::of_filter(own, tenant, device)?;
        let target = match whose {
            Whose::Own => CommandTarget::Own,
            Whose::All => CommandTarget::All,
            Whose::Other => CommandTarget::Device(key.device.clone()),
        };
        let form = Form {
            endpoint,
            names_tenant: !tenant.is_empty(),
            names_device: !matches!(device, "" | "+"),
            request,
        };
        Some(Self { key, target, form })
    }
}

impl Form {
    /// The topic of a command.
    ///
    /// # Errors
    /// If there is none: a name may hold what a topic may not [MQTT-3.3.2-2].
    pub(super) fn topic(self, delivery: &CommandDelivery) -> Result<String, Reason> {
        let command = delivery.command();
        let tenant = self.tenant(delivery);
        let device = if self.says_device(delivery) {
            command.device.as_str()
        } else {
            ""
        };
        let request_id = delivery.request_id().unwrap_or_default();
        let (endpoint, request) = (self.endpoint, self.request);
        let name = &command.name;
        let topic = format!("{endpoint}/{tenant}/{device}/{request}/{request_id}/{name}");
        if topic.len() > LONGEST || topic.contains(['+', '#', '\0']) {
            let text = Cow::Borrowed("the command's name cannot be part of a topic");
            return Err(Reason::BadRequest(Rule::Address, text));
        }
        Ok(topic)
    }

    /// Where the device answers a command with `request_id`, and that all went well.
    ///
    /// It is a topic that the device may publish to as it is: one that names the tenant has to name the
    /// device too (device contract §1.2), whether or not the command's does.
    pub(super) fn answer(self, delivery: &CommandDelivery, request_id: &str) -> String {
        let tenant = self.tenant(delivery);
        let device = if self.names_tenant || self.says_device(delivery) {
            delivery.command().device.as_str()
        } else {
            ""
        };
        let endpoint = self.endpoint;
        let response = if self.request == "q" { "s" } else { "res" };
        format!("{endpoint}/{tenant}/{device}/{response}/{request_id}/200")
    }

    fn tenant(self, delivery: &CommandDelivery) -> &str {
        if self.names_tenant {
            delivery.command().tenant.as_str()
        } else {
            ""
        }
    }

    /// A gateway is told whom a command is for.
    fn says_device(self, delivery: &CommandDelivery) -> bool {
        self.names_device || delivery.gateway().is_some()
    }
}

#[cfg(test)]
mod tests;
