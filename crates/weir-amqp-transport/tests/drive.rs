//! The loop of a connection, where its peer does not play along.

use std::task::Context;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{ClientSasl, CloseReason, Config, Connection, Event};
use weir_amqp_transport::{Peer, drive};

/// Remembers how its connection ended.
#[derive(Default)]
struct Witness(Option<CloseReason>);

impl Peer for Witness {
    type Token = ();

    fn handle_event(&mut self, _: Instant, _: &mut Connection<()>, event: Event<()>) {
        if let Event::Closed { reason, .. } = event {
            self.0 = Some(reason);
        }
    }

    fn poll_progress(&mut self, _: &mut Context<'_>, _: Instant, _: &mut Connection<()>) {}
}

fn client() -> Connection<()> {
    Connection::client(Config::default(), ClientSasl::Anonymous, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_does_not_hold_up_the_end() {
    // Room for one byte: even the first header cannot be written.
    let (ours, _theirs) = tokio::io::duplex(1);
    let stop = CancellationToken::new();
    stop.cancel();
    let witness = drive(ours, client(), Witness::default(), stop).await;
    assert_eq!(witness.0, Some(CloseReason::Local));
}

#[tokio::test]
async fn a_peer_that_goes_away_ends_the_connection() {
    let (ours, theirs) = tokio::io::duplex(1024);
    drop(theirs);
    let witness = drive(ours, client(), Witness::default(), CancellationToken::new()).await;
    assert_eq!(witness.0, Some(CloseReason::TransportLost));
}
