//! The third state: nothing speaks against the message.

use std::time::Duration;

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

    /// For how long the device waits for a command, if it does. Such a message is to be sent with
    /// [`Admitted::publish_and_wait`].
    pub fn wait(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.message.ttd?).ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// Hands the message to the northbound.
    pub fn publish(self) -> Published {
        let Self {
            message,
            mut record,
        } = self;
        record.hand_on();
        let delivery = record.session().publish(message);
        Published::new(delivery, record)
    }
}
