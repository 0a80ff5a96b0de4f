//! The third state: nothing speaks against the message.

use super::Published;
use super::record::Record;
use crate::Downstream;

/// A message that may go out.
#[derive(Debug)]
#[must_use = "a message that was received has to end in an outcome"]
pub struct Admitted {
    pub(super) message: Downstream,
    pub(super) record: Record,
}

impl Admitted {
    /// The message as the back end will get it.
    pub fn message(&self) -> &Downstream {
        &self.message
    }

    /// Hands the message to the northbound.
    pub fn publish(self) -> Published {
        let Self { message, record } = self;
        let delivery = record.session().outlet(message.endpoint).publish(message);
        Published::new(delivery, record)
    }
}
