//! How often devices were refused, and why.
//!
//! Hono's families tell whose fault it was, and leave out what never became a message. This one tells
//! every refusal by its reason, so that a rise of either has an explanation.

use weir_metrics::{Counter, Figures, Name, Source};

use crate::{Protocol, Reason};

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A connection.
    Connection,
    /// A message, or a response to a command.
    Message,
    /// What never became a message.
    Request,
}

impl Refused {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 3] = [Self::Connection, Self::Message, Self::Request];

    fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Message => "message",
            Self::Request => "request",
        }
    }
}

/// Counts refusals. Each has a counter from the start, so that nobody waits.
#[derive(Debug)]
pub(crate) struct Refusals {
    /// In their order.
    reasons: Vec<&'static str>,
    counters: Vec<Counter>,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        let mut reasons: Vec<_> = Reason::examples().map(|reason| reason.name()).collect();
        reasons.dedup();
        let series = Protocol::ALL.len() * Refused::ALL.len() * reasons.len();
        Self {
            counters: (0..series).map(|_| Counter::default()).collect(),
            reasons,
        }
    }

    pub(crate) fn count(&self, protocol: Protocol, what: Refused, reason: &Reason) {
        let known = self.reasons.binary_search(&reason.name());
        let row = protocol as usize * Refused::ALL.len() + what as usize;
        let counter = known.ok().and_then(|reason| {
            let index = row * self.reasons.len() + reason;
            self.counters.get(index)
        });
        if let Some(counter) = counter {
            counter.increment();
        }
    }
}

impl Source for Refusals {
    fn families(&self) -> &'static [Name] {
        &[Name::Refusals]
    }

    /// Most reasons never come up: those that have not are left out.
    fn collect(&self, figures: &mut Figures) {
        let mut counters = self.counters.iter();
        for protocol in Protocol::ALL {
            for what in Refused::ALL {
                for (reason, counter) in self.reasons.iter().zip(&mut counters) {
                    let count = counter.value();
                    if count > 0 {
                        let labels = [protocol.type_name(), what.as_str(), reason];
                        figures.tell(Name::Refusals, &labels, count as f64);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::world::{fixture, received, refused};
    use crate::{AuthenticationError, CredentialFault, Protocol, Reason};

    #[tokio::test]
    async fn every_refusal_is_counted_once_by_its_reason() {
        let fixture = fixture();
        let count = |protocol: &str, what: &str, reason: &str| {
            let labels =
                format!("component_name=\"{protocol}\",refused=\"{what}\",reason=\"{reason}\"");
            fixture.counted("weir_refusals_total", &labels)
        };
        let session = fixture.session(Protocol::Mqtt, "sensor").await;
        refused(received(("", "edge")), &session).await;
        assert_eq!(count("hono-mqtt", "message", "gateway-not-authorised"), 1);
        refused(received(("other", "4711")), &session).await;
        assert_eq!(count("hono-mqtt", "request", "foreign-tenant"), 1);

        // One that is not counted as a message.
        let session = fixture.session(Protocol::Http, "sensor").await;
        let mut empty = received(("", ""));
        empty.payload = bytes::Bytes::new();
        refused(empty, &session).await;
        assert_eq!(count("hono-http", "message", "bad-request"), 1);

        let pipeline = &fixture.pipeline;
        let _ = pipeline.refuse(Protocol::Http, None, Reason::NoSuchEndpoint);
        assert_eq!(count("hono-http", "request", "no-such-endpoint"), 1);
        let error = AuthenticationError {
            tenant: None,
            reason: Reason::Unauthorized(CredentialFault::Missing),
        };
        pipeline.connection_refused(Protocol::Mqtt, &error);
        assert_eq!(count("hono-mqtt", "connection", "unauthorized"), 1);
    }
}
