//! The grammar of subscriptions for errors, and of the topics that errors come by (device contract
//! §3.8).
//!
//! ```text
//! filter   = endpoint "/" [ tenant ] "/" [ device | "+" ] "/#"
//! topic    = endpoint "/" [ tenant ] "/" [ device ] "/" kind "/" correlation-id "/" status
//! endpoint = "error" | "e"
//! kind     = "telemetry" | "t" | "event" | "e" | "command-response" | "c-s" | "unknown"
//! ```
//!
//! A topic has what its filter has, in the same spelling. It always has six segments: what comes from
//! the refused message stands in one each.

use crate::client::{Key, Own};

/// The longest string the protocol has, bytes (MQTT 3.1.1 §1.5.3).
pub(super) const LONGEST: usize = 65_535;

/// A filter by which errors can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Whose errors. Of the filters with the same one only the latest is in force.
    pub(crate) key: Key,
    pub(super) form: Form,
}

/// How a filter is spelt, and so the topics of its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    endpoint: &'static str,
    names_tenant: bool,
    names_device: bool,
}

/// What the topic of an error says of the refused message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// Whose message it was.
    pub(super) device: &'a str,
    pub(super) kind: &'static str,
    pub(super) status: u16,
}

impl Filter {
    /// Reads a filter; `None` if the client can have no errors by it. A gateway's own are those of all
    /// its devices too.
    pub(crate) fn parse(text: &str, own: Own<'_>) -> Option<Self> {
        let mut segments = text.split('/');
        let endpoint = match segments.next()? {
            "error" => "error",
            "e" => "e",
            _ => return None,
        };
        let tenant = segments.next()?;
        let device = segments.next()?;
        let is_whole = segments.next() == Some("#") && segments.next().is_none();
        if !is_whole {
            return None;
        }
        let (key, _) = Key::of_filter(own, tenant, device)?;
        let names_device = !matches!(device, "" | "+");
        Some(Self {
            key,
            form: Form {
                endpoint,
                names_tenant: !tenant.is_empty(),
                names_device,
            },
        })
    }

    /// The topic of an error. The correlation id has to [fit](is_segment).
    pub(super) fn topic(&self, subject: Subject<'_>, correlation_id: &str) -> String {
        let Form {
            endpoint,
            names_tenant,
            names_device,
        } = self.form;
        let Key { tenant, device } = &self.key;
        let tenant = if names_tenant { tenant.as_str() } else { "" };
        // A gateway is told whose message it was.
        let device = if subject.device != device.as_str() {
            subject.device
        } else if names_device {
            device.as_str()
        } else {
            ""
        };
        let Subject { kind, status, .. } = subject;
        format!("{endpoint}/{tenant}/{device}/{kind}/{correlation_id}/{status}")
    }
}

/// Whether a text can be one segment of a topic. It may not make more of them, nor hold wildcards
/// [MQTT-3.3.2-2], nor what a client may end its connection over (MQTT 3.1.1 §1.5.3).
pub(super) fn is_segment(text: &str) -> bool {
    !text.contains(|c: char| matches!(c, '/' | '+' | '#') || c.is_control())
}

#[cfg(test)]
mod tests;
