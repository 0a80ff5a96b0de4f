//! A device's message on its way: five states, each a type.
//!
//! | state | holds | next step |
//! |---|---|---|
//! | [`Received`] | what the peer sent, parsed but not believed | [`Received::authenticate`] |
//! | [`Authenticated`] | + who sends it and for which device | [`Authenticated::admit`] |
//! | [`Admitted`] | + asserted registration, defaults, limits | [`Admitted::publish`] |
//! | [`Published`] | the message is on its way | `.await` |
//! | [`Outcome`] | taken, or refused for one [`Reason`](crate::Reason) | the adapter's answer |
//!
//! Every step that may refuse returns the [`Outcome`] of the refusal. From `Authenticated` on, a
//! record travels along, which writes metrics and the log line once, when the outcome is known. A
//! message that is dropped on the way is itself an outcome: counted and logged.

mod admitted;
mod authenticated;
mod outcome;
mod published;
mod received;
mod record;
#[cfg(test)]
mod tests;
mod waiting;

pub use admitted::Admitted;
pub(crate) use authenticated::time_to_live;
pub use authenticated::{Admission, Authenticated};
pub use outcome::{Outcome, Refusal};
pub use published::Published;
pub use received::{Endpoint, Received, ResponseHead, Target};
pub use waiting::Waited;
