//! The table from a message's outcome to the answer: status, headers, body (contract §2.9, §8).

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use weir_core::{CredentialFault, Endpoint, Outcome, Reason, RejectCondition, Rule};

use crate::handover::AnswerBody;

/// Seconds after which a device may try a refused upload again.
const RETRY_SECONDS: u64 = 2;
const NOT_FOUND: &str = "<html><body><h1>Resource not found</h1></body></html>";
/// The text of an answer that has none.
const NO_TEXT: &str = "N/A";
/// The text for whatever is wrong on this side.
const UNAVAILABLE: &str = "temporarily unavailable";

/// When a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// While finding out who sends it; the status is told as it is.
    Authentication,
    /// A response to a command; the same (contract §2.8).
    Response,
    /// An upload; whatever is not the device's fault may be tried again soon.
    Upload,
}

impl Phase {
    /// That of a message, of whose sender nothing is in doubt.
    pub(crate) fn of(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::CommandResponse => Self::Response,
            Endpoint::Event | Endpoint::Telemetry => Self::Upload,
        }
    }
}

/// What an HTTP device is answered when an upload of its own is refused for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The error in the body; `None` if that is a page for people.
    pub text: Option<String>,
    /// Whether `Retry-After` says when to try again.
    pub retry: bool,
    /// Whether `WWW-Authenticate` names the ways to authenticate.
    pub challenges: bool,
}

/// How this adapter answers an upload that is refused for this reason, for those who document it.
pub fn answer_to(reason: &Reason) -> HttpAnswer {
    let answer = Answer::refusal(reason, Phase::Upload);
    HttpAnswer {
        status: answer.status.as_u16(),
        text: match answer.content {
            Content::Error(text) => Some(text.into_owned()),
            Content::Empty | Content::Page(_) => None,
        },
        retry: answer.retry.is_some(),
        challenges: answer.challenges,
    }
}

/// An answer before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content: Content,
    /// Whether the device is told how to authenticate.
    pub(crate) challenges: bool,
    /// After how many seconds the device may try again, if it is told that.
    pub(crate) retry: Option<u64>,
    /// The methods that the address knows, if that is what the answer is about.
    pub(crate) allow: Option<&'static str>,
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
}

/// An answer's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Empty,
    Error(Cow<'static, str>),
    Page(&'static str),
}

impl Answer {
    pub(crate) fn new(outcome: &Outcome, phase: Phase) -> Self {
        match outcome {
            Outcome::Accepted => Self::empty(StatusCode::ACCEPTED),
            Outcome::Refused(refusal) => Self::refusal(&refusal.reason, phase),
        }
    }

    pub(crate) fn refusal(reason: &Reason, phase: Phase) -> Self {
        use StatusCode as Code;
        let told = || reason.text().to_owned();
        let (status, text): (_, Cow<'static, str>) = match reason {
            Reason::NoSuchEndpoint => {
                return Self {
                    content: Content::Page(NOT_FOUND),
                    ..Self::empty(Code::NOT_FOUND)
                };
            }
            // A path that says too little names nothing; one that says nonsense is nonsense (§8.3).
            Reason::BadRequest(Rule::Address, text) => (Code::NOT_FOUND, text.clone()),
            Reason::BadRequest(Rule::ContentType | Rule::Encoding | Rule::Qos, text) => {
                (Code::BAD_REQUEST, text.clone())
            }
            Reason::Rejected(RejectCondition::Other, _) => (Code::BAD_REQUEST, told().into()),
            Reason::CredentialExpired | Reason::Unauthorized(_) => {
                (Code::UNAUTHORIZED, told().into())
            }
            Reason::ForeignTenant => {
                let text = "not authorized to upload data for device from other tenant";
                (Code::FORBIDDEN, text.into())
            }
            Reason::AdapterDisabled
            | Reason::ConnectionDurationExceeded
            | Reason::DeviceLimitReached
            | Reason::GatewayNotAuthorised
            | Reason::GatewayUnknown
            | Reason::Rejected(RejectCondition::UnauthorizedAccess, _)
            | Reason::TenantConnectionsExceeded
            | Reason::TenantDisabled => (Code::FORBIDDEN, told().into()),
            Reason::DeviceUnknown | Reason::TenantUnknown | Reason::UndeliverableHere => {
                (Code::NOT_FOUND, told().into())
            }
            Reason::DataVolumeExceeded | Reason::MessageRateExceeded(..) => {
                (Code::TOO_MANY_REQUESTS, told().into())
            }
            Reason::PayloadTooLarge => (Code::PAYLOAD_TOO_LARGE, NO_TEXT.into()),
            Reason::Modified
            | Reason::NoConsumer
            | Reason::NoCredit
            | Reason::OutcomeTimeout
            | Reason::Rejected(RejectCondition::ResourceLimitExceeded, _)
            | Reason::Released => (Code::SERVICE_UNAVAILABLE, told().into()),
            Reason::Internal
            | Reason::Rejected(RejectCondition::InternalError, _)
            | Reason::Unsettled
                if phase != Phase::Upload =>
            {
                (Code::INTERNAL_SERVER_ERROR, told().into())
            }
            Reason::DownstreamUnavailable
            | Reason::EventStoreFull
            | Reason::InstanceConnectionsExceeded
            | Reason::Internal
            | Reason::NotAnnounced
            | Reason::RegistryUnavailable
            | Reason::Rejected(RejectCondition::InternalError, _)
            | Reason::ShuttingDown
            | Reason::Unsettled => (Code::SERVICE_UNAVAILABLE, UNAVAILABLE.into()),
        };
        // Something that was verified and failed is not to be tried again (contract §2.4).
        let challenges = matches!(
            reason,
            Reason::Unauthorized(CredentialFault::Missing | CredentialFault::Malformed)
        );
        Self {
            challenges,
            retry: retry_after(reason, phase),
            ..Self::error(status, text)
        }
    }

    /// The address knows other methods only (RFC 9110 §15.5.6).
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        }
    }

    /// The request expects something other than a 100 (RFC 9110 §10.1.1).
    pub(crate) fn expectation_failed() -> Self {
        Self::error(StatusCode::EXPECTATION_FAILED, NO_TEXT)
    }

    /// The body comes in a transfer coding that is not known (RFC 9112 §6.1).
    pub(crate) fn unknown_coding() -> Self {
        Self::error(StatusCode::NOT_IMPLEMENTED, "unknown transfer coding")
    }

    /// The body did not arrive in time (RFC 9110 §15.5.9).
    pub(crate) fn request_timeout() -> Self {
        let answer = Self::error(StatusCode::REQUEST_TIMEOUT, "request body is incomplete");
        answer.closing()
    }

    pub(crate) fn no_content(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::empty(StatusCode::NO_CONTENT)
        }
    }

    /// The same answer as the connection's last.
    pub(crate) fn closing(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }

    /// The same answer, whatever becomes of the connection.
    pub(crate) fn staying(self) -> Self {
        Self {
            closes: false,
            ..self
        }
    }

    /// An answer that no reason of the pipeline leads to.
    pub(crate) fn error(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            content: Content::Error(text.into()),
            ..Self::empty(status)
        }
    }

    fn empty(status: StatusCode) -> Self {
        Self {
            status,
            content: Content::Empty,
            challenges: false,
            retry: None,
            allow: None,
            closes: false,
        }
    }

    /// Writes the answer; `challenges` are the values to send if it has them.
    pub(crate) fn into_response(self, challenges: &[HeaderValue]) -> Response<AnswerBody> {
        let (content_type, body) = match self.content {
            Content::Empty => (None, Bytes::new()),
            Content::Error(text) => {
                let body = serde_json::json!({ "error": text }).to_string();
                (Some("application/json; charset=utf-8"), body.into())
            }
            Content::Page(page) => (Some("text/html; charset=utf-8"), page.into()),
        };
        let mut response = Response::new(AnswerBody::new(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if self.challenges {
            for challenge in challenges {
                headers.append(WWW_AUTHENTICATE, challenge.clone());
            }
        }
        if let Some(seconds) = self.retry {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// After how many seconds what was refused for this reason may be tried again, if that may help
/// (RFC 9110 §10.2.3). Hono says so of uploads alone; of what came too fast, which Hono does not know, it is
/// said always.
fn retry_after(reason: &Reason, phase: Phase) -> Option<u64> {
    match reason {
        // In whole seconds, and not before there is room.
        Reason::MessageRateExceeded(_, wait) => {
            let is_more = wait.subsec_nanos() > 0;
            Some((wait.as_secs() + u64::from(is_more)).max(1))
        }
        _ => (phase == Phase::Upload && reason.may_retry()).then_some(RETRY_SECONDS),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_core::RateOf;

    use super::*;

    /// One row of the failure matrix (contract §8): status and text, the latter `None` for a page.
    type Row = (Reason, u16, Option<&'static str>);

    fn rejected(condition: RejectCondition) -> Reason {
        Reason::Rejected(condition, Some("no such thing".into()))
    }

    fn bad(rule: Rule) -> Reason {
        Reason::BadRequest(rule, "what is wrong".into())
    }

    /// §8.1 and §8.3, column HTTP.
    fn identity_and_content() -> Vec<Row> {
        let tenant = "tenant is disabled or not registered";
        let gateway = "gateway is disabled or not registered";
        let device = "device is disabled or not registered";
        let foreign = "not authorized to upload data for device from other tenant";
        vec![
            (
                Reason::Unauthorized(CredentialFault::Missing),
                401,
                Some("no credentials presented"),
            ),
            (
                Reason::Unauthorized(CredentialFault::Malformed),
                401,
                Some("malformed credentials"),
            ),
            (
                Reason::Unauthorized(CredentialFault::Wrong),
                401,
                Some("bad credentials"),
            ),
            (
                Reason::CredentialExpired,
                401,
                Some("credentials have expired"),
            ),
            (Reason::TenantUnknown, 404, Some(tenant)),
            (Reason::TenantDisabled, 403, Some(tenant)),
            (Reason::AdapterDisabled, 403, Some("adapter is disabled")),
            (Reason::DeviceUnknown, 404, Some(device)),
            (Reason::GatewayUnknown, 403, Some(gateway)),
            (Reason::GatewayNotAuthorised, 403, Some(gateway)),
            (Reason::ForeignTenant, 403, Some(foreign)),
            (Reason::RegistryUnavailable, 503, Some(UNAVAILABLE)),
            (Reason::PayloadTooLarge, 413, Some("N/A")),
            (Reason::NoSuchEndpoint, 404, None),
            (bad(Rule::Address), 404, Some("what is wrong")),
            (bad(Rule::Encoding), 400, Some("what is wrong")),
            (bad(Rule::Qos), 400, Some("what is wrong")),
            (bad(Rule::ContentType), 400, Some("what is wrong")),
        ]
    }

    /// §8.4, column HTTP, and what is in no row of it.
    fn downstream() -> Vec<Row> {
        let unprocessed = "consumer didn't process the message";
        let nobody = "no consumer available";
        let late = "consumer failed to indicate in time whether it has processed the message";
        let never = "consumer declared message as undeliverable, it should not be redelivered";
        let full = "consumer rejected the message because a resource limit was exceeded, \
                    possibly a (tenant-specific) queue size limit";
        let later = Some(UNAVAILABLE);
        vec![
            (Reason::NoConsumer, 503, Some(nobody)),
            (Reason::NoCredit, 503, Some(nobody)),
            (Reason::Released, 503, Some(unprocessed)),
            (Reason::Modified, 503, Some(unprocessed)),
            (Reason::UndeliverableHere, 404, Some(never)),
            (rejected(RejectCondition::Other), 400, Some("no such thing")),
            (
                rejected(RejectCondition::UnauthorizedAccess),
                403,
                Some("no such thing"),
            ),
            (rejected(RejectCondition::InternalError), 503, later),
            (
                rejected(RejectCondition::ResourceLimitExceeded),
                503,
                Some(full),
            ),
            (Reason::OutcomeTimeout, 503, Some(late)),
            (Reason::DownstreamUnavailable, 503, later),
            (Reason::EventStoreFull, 503, later),
            (Reason::Unsettled, 503, later),
            (Reason::InstanceConnectionsExceeded, 503, later),
            (Reason::Internal, 503, later),
            (Reason::ShuttingDown, 503, later),
        ]
    }

    fn matrix() -> impl Iterator<Item = Row> {
        identity_and_content().into_iter().chain(downstream())
    }

    #[test]
    fn each_reason_has_its_row() {
        for (reason, status, text) in matrix() {
            let answer = Answer::refusal(&reason, Phase::Upload);
            assert_eq!(answer.status.as_u16(), status, "{reason:?}");
            let content = match text {
                Some(text) => Content::Error(text.into()),
                None => Content::Page(NOT_FOUND),
            };
            assert_eq!(answer.content, content, "{reason:?}");
            let retry = (status == 503).then_some(RETRY_SECONDS);
            assert_eq!(answer.retry, retry, "{reason:?}");
        }
    }

    /// §8.2, column HTTP, and what Hono has no limit for: whose rate, how long until a message passes,
    /// and what the device is told of that.
    #[test]
    fn who_has_sent_too_much_is_told_how_long_to_wait_if_that_is_known() {
        let refusal = |reason: &Reason, phase| {
            let answer = Answer::refusal(reason, phase);
            assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(
                answer.content,
                Content::Error(reason.text().to_owned().into())
            );
            answer.retry
        };
        assert_eq!(refusal(&Reason::DataVolumeExceeded, Phase::Upload), None);
        let rows = [
            (RateOf::Device, Duration::from_nanos(1), 1),
            (RateOf::Device, Duration::from_secs(1), 1),
            (RateOf::Tenant, Duration::from_millis(1001), 2),
            (RateOf::Tenant, Duration::from_secs(100_000), 100_000),
            (RateOf::Tenant, Duration::ZERO, 1),
        ];
        for (rate_of, wait, seconds) in rows {
            let reason = Reason::MessageRateExceeded(rate_of, wait);
            assert_eq!(refusal(&reason, Phase::Upload), Some(seconds), "{wait:?}");
            assert_eq!(refusal(&reason, Phase::Response), Some(seconds), "{wait:?}");
        }
    }

    #[test]
    fn authentication_and_responses_tell_their_status_as_it_is() {
        for phase in [Phase::Authentication, Phase::Response] {
            for (reason, status, _) in matrix() {
                let answer = Answer::refusal(&reason, phase);
                let is_too_fast = matches!(reason, Reason::MessageRateExceeded(..));
                assert_eq!(answer.retry.is_some(), is_too_fast, "{reason:?}");
                let internal = reason.status() == 500;
                let expected = if internal { 500 } else { status };
                assert_eq!(answer.status.as_u16(), expected, "{reason:?}");
            }
        }
    }

    #[test]
    fn only_what_was_not_verified_is_challenged() {
        for (reason, _, text) in matrix() {
            let answer = Answer::refusal(&reason, Phase::Authentication);
            let expected = matches!(
                text,
                Some("no credentials presented" | "malformed credentials")
            );
            assert_eq!(answer.challenges, expected, "{reason:?}");
        }
    }

    #[test]
    fn a_text_cannot_break_out_of_the_body() {
        use http_body_util::BodyExt as _;
        let reason = Reason::Rejected(RejectCondition::Other, Some("a \"b\"\n\u{0}".into()));
        let response = Answer::refusal(&reason, Phase::Upload).into_response(&[]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let body = runtime.block_on(response.into_body().collect()).unwrap();
        assert_eq!(body.to_bytes(), r#"{"error":"a \"b\"\n\u0000"}"#);
    }
}
