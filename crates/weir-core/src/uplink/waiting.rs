//! A message whose device waits for a command (device contract §2.7).

use std::time::Instant;

use super::{Admitted, Outcome, Published};
use crate::command::{Arrival, CommandDelivery, CommandTarget, Subscription};

/// What became of a message whose device waited for a command.
#[derive(Debug)]
#[must_use = "the peer has to be told, and a command that is dropped is released"]
pub struct Waited {
    /// What became of the message itself. It is refused too if the command was too much for its tenant's
    /// data volume, although it was forwarded (device contract §2.7).
    pub outcome: Outcome,
    /// The command that came in time; to be accepted when the device has it.
    pub command: Option<CommandDelivery>,
}

impl Admitted {
    /// Hands the message to the northbound, and then waits for a command as long as the device wants
    /// to, or until `stop`. If it does not want to, this is [`Admitted::publish`].
    ///
    /// The claim to commands is made before the message goes out and given up before the device is
    /// answered, so no command that follows the message is missed, and the device's next request finds
    /// nothing in its way.
    pub async fn publish_and_wait(self, stop: impl Future<Output = ()>) -> Waited {
        let without_command = |outcome| Waited {
            outcome,
            command: None,
        };
        let Some(wait) = self.wait() else {
            return without_command(self.publish().await);
        };
        let Self {
            message,
            mut record,
        } = self;
        let session = record.session().clone();
        let principal = session.principal();
        let is_own = principal.device == message.device;
        let target = match (is_own, principal.is_authenticated()) {
            (true, true) => CommandTarget::All,
            // Whoever has proved nothing is nobody's gateway.
            (true, false) => CommandTarget::Own,
            (false, _) => CommandTarget::Device(message.device.clone()),
        };
        let until = Instant::now() + wait;
        let mut subscription = match session.claim(target, 1, Some(wait)).await {
            Ok(subscription) => subscription,
            Err(reason) => return without_command(record.refuse(reason, false)),
        };
        record.waits();
        record.hand_on();
        let published = Published::new(session.publish(message), record);
        let mut record = match published.taken().await {
            Ok(record) => record,
            // A command that has come all the same is released with the subscription.
            Err(outcome) => return without_command(outcome),
        };
        let arrival = tokio::select! {
            arrival = next_until(&mut subscription, until) => arrival,
            () = stop => None,
        };
        let command = match (arrival, subscription.end().await) {
            (Some(Arrival::Refused(reason)), _) | (None, Some(Arrival::Refused(reason))) => {
                return without_command(record.refuse(reason, false));
            }
            (Some(Arrival::Command(command)), _) | (None, Some(Arrival::Command(command))) => {
                record.got_command();
                Some(command)
            }
            (None, None) => None,
        };
        let outcome = record.finish(Ok(()), Instant::now());
        Waited { outcome, command }
    }
}

/// The first that comes, if something comes in time. When another wait takes this one's place, its time is
/// waited for nevertheless: the device has asked for it.
async fn next_until(subscription: &mut Subscription, until: Instant) -> Option<Arrival> {
    let arrival = async {
        match subscription.arrival().await {
            Some(arrival) => arrival,
            None => std::future::pending().await,
        }
    };
    tokio::time::timeout_at(until.into(), arrival).await.ok()
}
