//! The loop of a connection, where its peer does not play along.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf,
};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{
    AcceptLink, AttachRequest, ClientSasl, CloseReason, Config, Connection, Event, LinkId, Outcome,
    SendOptions,
};
use weir_amqp_transport::{Peer, Transport, drive};

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

/// Passes on what was written when it is flushed and not before, as TLS does while its socket is full.
struct HoldsBack {
    stream: DuplexStream,
    held: Vec<u8>,
}

impl Transport for HoldsBack {}

impl AsyncRead for HoldsBack {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for HoldsBack {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.held.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.held.is_empty() {
            match Pin::new(&mut this.stream).poll_write(cx, &this.held)? {
                Poll::Ready(written) => drop(this.held.drain(..written)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_stream_holds_back_is_flushed() {
    // Each flush takes several turns.
    let (stream, mut theirs) = tokio::io::duplex(3);
    let held = Vec::new();
    let ours = HoldsBack { stream, held };
    tokio::spawn(drive(
        ours,
        client(),
        Witness::default(),
        CancellationToken::new(),
    ));
    let mut header = [0; 8];
    let read = timeout(Duration::from_secs(1), theirs.read_exact(&mut header));
    read.await.expect("something was held back").unwrap();
    assert_eq!(&header[..4], b"AMQP");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_for_good_does_not_hold_up_the_end() {
    let (stream, _theirs) = tokio::io::duplex(1);
    let held = Vec::new();
    let stop = CancellationToken::new();
    stop.cancel();
    let ours = HoldsBack { stream, held };
    let witness = drive(ours, client(), Witness::default(), stop).await;
    assert_eq!(witness.0, Some(CloseReason::Local));
}

#[tokio::test]
async fn a_stop_before_the_connection_is_open_is_told() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let stop = CancellationToken::new();
    let driven = tokio::spawn(drive(ours, client(), Witness::default(), stop.clone()));
    // Nothing is left to be written when the stop comes.
    theirs.read_exact(&mut [0; 8]).await.unwrap();
    stop.cancel();
    assert_eq!(driven.await.unwrap().0, Some(CloseReason::Local));
}

/// Sends what it is given, one message at a time.
struct OneByOne {
    link: Option<LinkId>,
    is_waiting: bool,
    orders: mpsc::UnboundedReceiver<Vec<u8>>,
    has_credit: mpsc::UnboundedSender<()>,
    outcomes: Vec<Outcome>,
    closed: Option<CloseReason>,
}

impl Peer for OneByOne {
    type Token = ();

    fn handle_event(&mut self, now: Instant, connection: &mut Connection<()>, event: Event<()>) {
        match event {
            Event::Opened(_) => connection.open(now),
            Event::Attach { link, .. } => {
                connection.accept_link(link, AcceptLink::default());
                self.link = Some(link);
            }
            Event::Credit { .. } => drop(self.has_credit.send(())),
            Event::Settled { outcome, .. } => {
                self.outcomes.push(outcome);
                self.is_waiting = false;
            }
            Event::Closed { reason, .. } => self.closed = Some(reason),
            _ => {}
        }
    }

    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        connection: &mut Connection<()>,
    ) {
        let Some(link) = self.link else { return };
        while !self.is_waiting {
            let Poll::Ready(Some(message)) = self.orders.poll_recv(cx) else {
                return;
            };
            self.is_waiting = true;
            let options = SendOptions::default();
            let encode = |out: &mut BytesMut| out.extend_from_slice(&message);
            connection.send(now, link, (), options, encode).unwrap();
        }
    }
}

/// A server that sends over one end of a stream, and a client with credit that the test itself plays.
struct Sending {
    server: tokio::task::JoinHandle<OneByOne>,
    orders: mpsc::UnboundedSender<Vec<u8>>,
    client: Connection<()>,
    theirs: DuplexStream,
}

impl Sending {
    async fn start(
        ours: impl Transport + 'static,
        mut theirs: DuplexStream,
        idle_timeout: Option<Duration>,
    ) -> Self {
        let config = || Config {
            idle_timeout,
            max_message_size: 100,
            ..Config::default()
        };
        let now = Instant::now();
        let (orders, taken) = mpsc::unbounded_channel();
        let (has_credit, mut credit) = mpsc::unbounded_channel();
        let peer = OneByOne {
            link: None,
            is_waiting: false,
            orders: taken,
            has_credit,
            outcomes: Vec::new(),
            closed: None,
        };
        let server = Connection::server(config(), now);
        let server = tokio::spawn(drive(ours, server, peer, CancellationToken::new()));
        let mut client = Connection::client(config(), ClientSasl::None, now);
        turn(&mut client, &mut theirs, |event| {
            matches!(event, Event::Opened(_))
        })
        .await;
        let session = client.begin(now);
        client.attach(session, AttachRequest::receiver("t", "telemetry/acme", 5));
        turn(&mut client, &mut theirs, |event| {
            matches!(event, Event::Attached { .. })
        })
        .await;
        theirs.write_all(&client.output().split()).await.unwrap();
        credit.recv().await.unwrap();
        Self {
            server,
            orders,
            client,
            theirs,
        }
    }
}

/// Plays a client until something happens.
async fn turn(
    client: &mut Connection<()>,
    stream: &mut DuplexStream,
    happened: impl Fn(&Event<()>) -> bool,
) {
    let mut input = BytesMut::new();
    loop {
        client.handle_input(Instant::now(), &mut input);
        while let Some(event) = client.poll_event() {
            if happened(&event) {
                return;
            }
        }
        let output = client.output().split();
        stream.write_all(&output).await.unwrap();
        assert!(stream.read_buf(&mut input).await.unwrap() > 0);
    }
}

/// Nothing here takes as long, unless it never comes.
const DEADLINE: Duration = Duration::from_secs(24 * 3600);
const IDLE: Duration = Duration::from_secs(60);
const HEARTBEAT: &[u8] = b"\0\0\0\x08\x02\0\0\0";

// Paused, and without an idle time-out: nothing but the message itself leads on.
#[tokio::test(start_paused = true)]
async fn what_the_engine_answers_at_once_is_acted_upon() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let mut sending = Sending::start(ours, theirs, None).await;
    // More than the client takes: it comes back without anything having been written.
    sending.orders.send(vec![0; 1000]).unwrap();
    sending.orders.send(b"small".to_vec()).unwrap();
    let small = |event: &Event<()>| matches!(event, Event::Message { message, .. } if &message[..] == b"small");
    let arrives = turn(&mut sending.client, &mut sending.theirs, small);
    timeout(DEADLINE, arrives).await.expect("nothing was sent");
    drop(sending.theirs);
    let peer = sending.server.await.unwrap();
    assert!(matches!(
        peer.outcomes[..],
        [Outcome::Rejected { .. }, Outcome::LinkLost]
    ));
}

/// The client takes nothing any more, but it is not silent.
async fn end_of_a_peer_that_takes_nothing(ours: impl Transport + 'static, theirs: DuplexStream) {
    let mut sending = Sending::start(ours, theirs, Some(IDLE)).await;
    sending.orders.send(vec![0; 90]).unwrap();
    let beats = async {
        while sending.theirs.write_all(HEARTBEAT).await.is_ok() {
            sleep(IDLE / 6).await;
        }
    };
    timeout(DEADLINE, beats).await.expect("is not left");
    let peer = sending.server.await.unwrap();
    assert_eq!(peer.outcomes, [Outcome::LinkLost]);
    assert_eq!(peer.closed, Some(CloseReason::TransportLost));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_and_takes_nothing_is_left_in_time() {
    let (ours, theirs) = tokio::io::duplex(64);
    end_of_a_peer_that_takes_nothing(ours, theirs).await;
}

// Our heartbeats are taken all the time.
#[tokio::test(start_paused = true)]
async fn what_a_stream_takes_and_holds_back_does_not_keep_a_peer() {
    let (stream, theirs) = tokio::io::duplex(64);
    let held = Vec::new();
    end_of_a_peer_that_takes_nothing(HoldsBack { stream, held }, theirs).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_little_at_a_time_is_kept() {
    let (ours, theirs) = tokio::io::duplex(1);
    let mut sending = Sending::start(ours, theirs, Some(IDLE)).await;
    sending.orders.send(vec![0; 90]).unwrap();
    for _ in 0..80 {
        sending.theirs.read_u8().await.unwrap();
        sending.theirs.write_all(HEARTBEAT).await.unwrap();
        sleep(IDLE / 2).await;
    }
    assert!(!sending.server.is_finished());
}
