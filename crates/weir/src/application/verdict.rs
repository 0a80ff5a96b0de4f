//! What became of a command (northbound contract §1.3 and §1.8).

use weir_amqp_engine::Outcome;
use weir_amqp_transport::SendError;

/// What the gateway said of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// For programs.
    pub(super) outcome: &'static str,
    /// Why it was not delivered; none if it was.
    pub(super) reason: Option<String>,
}

impl Verdict {
    pub(super) fn of(sent: Result<Outcome, SendError>, tenant: &str) -> Self {
        let (outcome, reason) = match sent {
            Ok(Outcome::Accepted) => {
                return Self {
                    outcome: "accepted",
                    reason: None,
                };
            }
            Ok(Outcome::Rejected {
                condition,
                description,
            }) => {
                let text = description.or(condition);
                ("rejected", text.unwrap_or_else(|| "rejected".to_owned()))
            }
            Ok(Outcome::Released) => {
                let text = "the device is not connected for commands, or did not take it in time; \
                            try again";
                ("released", text.to_owned())
            }
            Ok(Outcome::Modified {
                undeliverable_here: true,
                ..
            }) => ("modified", "the device cannot take it".to_owned()),
            Ok(Outcome::Modified { .. }) => (
                "modified",
                "the device did not take it; try again".to_owned(),
            ),
            Ok(Outcome::TimedOut) => {
                let text = "the gateway did not say in time; the device may have got it";
                ("unknown", text.to_owned())
            }
            Ok(Outcome::Unknown | Outcome::LinkLost) => {
                let text = "the gateway did not say; the device may have got it";
                ("unknown", text.to_owned())
            }
            Err(SendError::NoCredit(_)) => {
                let text = format!("no device of tenant {tenant} is connected for commands");
                ("no-credit", text)
            }
            Err(SendError::Ended(ended)) => {
                ("unknown", format!("{ended}; the device may have got it"))
            }
        };
        Self {
            outcome,
            reason: Some(reason),
        }
    }

    pub(super) fn is_delivered(&self) -> bool {
        self.reason.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_amqp_engine::CloseReason;
    use weir_amqp_transport::Ended;

    use super::*;

    #[test]
    fn each_outcome_has_its_words() {
        let rejected = |condition: Option<&str>, text: Option<&str>| {
            Ok(Outcome::Rejected {
                condition: condition.map(str::to_owned),
                description: text.map(str::to_owned),
            })
        };
        let modified = |undeliverable_here| {
            Ok(Outcome::Modified {
                delivery_failed: true,
                undeliverable_here,
            })
        };
        let lost = Ended::Closed {
            reason: CloseReason::TransportLost,
            error: None,
        };
        let rows = [
            (Ok(Outcome::Accepted), "accepted", None),
            (
                rejected(Some("hono:bad-request"), Some("no such device")),
                "rejected",
                Some("no such device"),
            ),
            (
                rejected(Some("hono:bad-request"), None),
                "rejected",
                Some("hono:bad-request"),
            ),
            (rejected(None, None), "rejected", Some("rejected")),
            (
                Ok(Outcome::Released),
                "released",
                Some("not connected for commands"),
            ),
            (modified(true), "modified", Some("cannot take it")),
            (modified(false), "modified", Some("try again")),
            (Ok(Outcome::TimedOut), "unknown", Some("may have got it")),
            (Ok(Outcome::Unknown), "unknown", Some("may have got it")),
            (
                Err(SendError::NoCredit(Duration::from_secs(2))),
                "no-credit",
                Some("no device of tenant acme"),
            ),
            (
                Err(SendError::Ended(lost)),
                "unknown",
                Some("the connection is over"),
            ),
        ];
        for (sent, outcome, words) in rows {
            let verdict = Verdict::of(sent.clone(), "acme");
            assert_eq!(verdict.outcome, outcome, "{sent:?}");
            assert_eq!(verdict.is_delivered(), words.is_none(), "{sent:?}");
            let reason = verdict.reason.unwrap_or_default();
            assert!(reason.contains(words.unwrap_or_default()), "{reason}");
        }
    }
}
