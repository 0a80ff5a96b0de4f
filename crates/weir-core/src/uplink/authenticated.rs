//! The second state: it is known who sends, and for which device.

use std::sync::Arc;

use bytestring::ByteString;

use super::record::Record;
use super::{Admitted, Endpoint, Outcome, Received};
use crate::command::Response;
use crate::northbound::milliseconds_since_epoch;
use crate::session::Origin;
use crate::{ContentRule, Defaults, Downstream, Qos, Reason, Rule, Tenant, TraceContext};

/// A message whose sender is known.
#[derive(Debug)]
#[must_use = "a message that was received has to end in an outcome"]
pub struct Authenticated {
    pub(super) received: Received,
    pub(super) record: Record,
}

/// What can be said of a message without asking the registry.
#[derive(Debug)]
#[must_use = "a message that was received has to end in an outcome"]
pub enum Admission {
    /// It may go out.
    Admitted(Admitted),
    /// It may not.
    Refused(Outcome),
    /// The registry has to be asked: see [`Authenticated::admit`].
    Undecided(Authenticated),
}

/// The content type that says "there is no payload on purpose".
const EMPTY_NOTIFICATION: &str = "application/vnd.eclipse-hono-empty-notification";
/// What a payload without a content type is.
const OCTET_STREAM: ByteString = ByteString::from_static("application/octet-stream");

impl Authenticated {
    /// Admits the message if what the session knows is enough to decide.
    pub fn try_admit(self) -> Admission {
        match self.record.session().known(self.record.device()) {
            Some(origin) => match self.decide(&origin) {
                Ok(admitted) => Admission::Admitted(admitted),
                Err(outcome) => Admission::Refused(outcome),
            },
            None => Admission::Undecided(self),
        }
    }

    /// Admits the message: the device is registered, its gateway may speak for it, its tenant may
    /// use the protocol, and the message keeps the rules.
    ///
    /// # Errors
    /// The outcome, for the first check that fails.
    pub async fn admit(self) -> Result<Admitted, Outcome> {
        let mut this = match self.try_admit() {
            Admission::Admitted(admitted) => return Ok(admitted),
            Admission::Refused(outcome) => return Err(outcome),
            Admission::Undecided(this) => this,
        };
        let session = this.record.session().clone();
        if let Err(reason) = this.check_content(ContentRule::BeforeAssertion) {
            this.begin_trace(&session.principal().snapshot.settings);
            return Err(this.record.refuse_uncounted(reason));
        }
        let after = || this.check_content(ContentRule::AfterAssertion);
        match session.resolve(this.record.device(), after).await {
            Ok(origin) => this.decide(&origin),
            Err(reason) => {
                this.measure(&reason).await;
                let terminal = session.is_terminal(&reason, this.record.device()).await;
                Err(this.record.refuse(reason, terminal))
            }
        }
    }

    /// Has a message that is refused count, and be traced, as its tenant says now; if that is not known, as
    /// it said when the device logged in.
    async fn measure(&mut self, reason: &Reason) {
        let session = self.record.session().clone();
        let present = match reason {
            Reason::RegistryUnavailable => None,
            _ => session.present_tenant().await.ok(),
        };
        if let Some(tenant) = &present {
            let size = self.received.payload.len();
            self.record.set_size(tenant.settings.accounting_size(size));
        }
        let tenant = match &present {
            Some(tenant) => tenant,
            None => &session.principal().snapshot,
        };
        self.begin_trace(&tenant.settings);
    }

    /// From here on it is known whether the message's way is told of.
    fn begin_trace(&mut self, tenant: &Tenant) {
        let parent = self.received.trace.take();
        self.received.trace = Some(self.record.begin_trace(tenant, parent));
    }

    /// Everything that needs no waiting once the origin is known.
    fn decide(mut self, origin: &Arc<Origin>) -> Result<Admitted, Outcome> {
        self.begin_trace(origin.tenant());
        self.record
            .set_size(origin.tenant().accounting_size(self.received.payload.len()));
        if let Err(reason) = self.check_content(ContentRule::BeforeAssertion) {
            return Err(self.record.refuse_uncounted(reason));
        }
        if let Err(reason) = self.check_content(ContentRule::AfterAssertion) {
            return Err(self.record.refuse(reason, false));
        }
        if let Err(reason) = origin.keep_limits(self.record.size()) {
            return Err(self.record.refuse(reason, false));
        }
        let Self { received, record } = self;
        // The outcome of a response is always waited for (northbound contract §1.10).
        let qos = match received.endpoint {
            Endpoint::CommandResponse => Qos::AtLeastOnce,
            Endpoint::Telemetry | Endpoint::Event => received.qos,
        };
        let kind = (received.endpoint, qos);
        let ttl = time_to_live(kind, received.ttl, &origin.defaults, origin.tenant());
        let response = received.response.map(|head| {
            let reply_to = head.request_id.reply_to(&origin.device);
            let status = head.status;
            Box::new(Response { reply_to, status })
        });
        let fallback = || (!received.payload.is_empty()).then_some(OCTET_STREAM);
        let content_type = received
            .content_type
            .or_else(|| origin.defaults.content_type.clone())
            .or_else(fallback);
        let session = record.session();
        origin.tell_where_seen(session);
        let protocol = session.protocol();
        let wait = received.ttd.filter(|_| response.is_none());
        let ttd = wait.and_then(|ttd| origin.tenant().wait_for_command(protocol, ttd));
        let message = Downstream {
            tenant: session.principal().tenant.clone(),
            device: origin.device.clone(),
            endpoint: received.endpoint,
            qos,
            adapter: protocol.type_name(),
            origin_address: received.origin_address,
            content_type,
            creation_time: milliseconds_since_epoch(),
            ttl,
            ttd,
            retain: received.retain,
            trace: received.trace.unwrap_or_else(TraceContext::unsampled),
            defaults: origin.defaults.clone(),
            properties: received.properties,
            response,
            payload: received.payload,
        };
        Ok(Admitted { message, record })
    }

    /// An empty payload needs a content type, and a payload must not claim to be none.
    fn check_content(&self, when: ContentRule) -> Result<(), Reason> {
        let is_response = self.received.endpoint == Endpoint::CommandResponse;
        if is_response || self.record.session().protocol().content_rule() != when {
            return Ok(());
        }
        let content_type = self.received.content_type.as_deref().unwrap_or_default();
        let fits = if self.received.payload.is_empty() {
            !content_type.is_empty()
        } else {
            content_type != EMPTY_NOTIFICATION
        };
        if fits {
            return Ok(());
        }
        let text = match when {
            ContentRule::BeforeAssertion => {
                format!("content type [{content_type}] does not match payload")
            }
            ContentRule::AfterAssertion => {
                format!("Content-Type {content_type} does not match payload")
            }
        };
        Err(Reason::BadRequest(Rule::ContentType, text.into()))
    }
}

/// Milliseconds for which the message is of use: what the device or the defaults say, under the
/// tenant's cap; the cap itself if nothing is said.
pub(crate) fn time_to_live(
    kind: (Endpoint, Qos),
    device_ttl: Option<u64>,
    defaults: &Defaults,
    tenant: &Tenant,
) -> Option<u32> {
    let limits = tenant.resource_limits.as_ref();
    let (wanted, cap) = match kind {
        (Endpoint::CommandResponse, _) => (
            defaults.ttl.or(defaults.ttl_command_response),
            limits.map(|limits| limits.max_ttl_command_response),
        ),
        (Endpoint::Event, _) => (
            device_ttl.or(defaults.ttl),
            limits.map(|limits| limits.max_ttl),
        ),
        (Endpoint::Telemetry, Qos::AtMostOnce) => (
            defaults.ttl.or(defaults.ttl_telemetry_qos0),
            limits.map(|limits| limits.max_ttl_telemetry_qos0),
        ),
        (Endpoint::Telemetry, Qos::AtLeastOnce) => (
            defaults.ttl.or(defaults.ttl_telemetry_qos1),
            limits.map(|limits| limits.max_ttl_telemetry_qos1),
        ),
    };
    // -1 (anything negative) means no cap.
    let cap = cap.and_then(|seconds| u64::try_from(seconds).ok());
    let seconds = match (wanted, cap) {
        (Some(wanted), Some(cap)) => wanted.min(cap),
        (wanted, cap) => wanted.or(cap)?,
    };
    Some(u32::try_from(seconds.saturating_mul(1000)).unwrap_or(u32::MAX))
}
