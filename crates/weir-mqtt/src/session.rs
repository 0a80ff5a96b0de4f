//! One connection. How it ends is in `end`.

mod end;

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rmqtt_codec::v5::DisconnectReasonCode;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use weir_core::command::CommandDelivery;
use weir_core::{Pipeline, Reason, Refusal};
use weir_listener::TlsPeer;
use weir_metrics::{MqttCount, MqttTraffic};

use crate::MqttConfig;
use crate::codec::{Codec, Message, Packet};
use crate::command::Downlinks;
use crate::count;
use crate::error::{Notice, Refused};
use crate::handshake::{self, Accepted};
use crate::latch::Latch;
use crate::outcome::{Consequence, consequence};
use crate::timers::{KeepAlive, StallWatch};
use crate::uplinks::{Reply, Uplinks};
use crate::wire::Wire;
use end::{End, Ending};

/// Answers that may wait to be written before no more packets are handled.
pub(crate) const OUTPUT_LIMIT: usize = 4 * 1024;

/// Packets handled at a time, and how many times before other connections get their turn: one that
/// floods must not make the others wait.
const PACKETS: usize = 64;
const TURNS: usize = 2;

/// What all connections of the adapter share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: MqttConfig,
    pub(crate) pipeline: Pipeline,
}

/// How a client arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Whether it has a place in the process's budget; without one it is refused.
    pub(crate) has_place: bool,
    /// Who it is by TLS.
    pub(crate) tls: Option<Box<TlsPeer>>,
}

/// Serves one connection to its end.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    arrival: Arrival,
    stop: CancellationToken,
    shared: &Shared,
) {
    let mut wire = Wire::new(stream);
    // Boxed, so that its memory is given back: a connection is idle for most of its life.
    let handshake = Box::pin(handshake::connect(&mut wire, arrival, &stop, shared));
    let Some(mut accepted) = handshake.await else {
        let traffic = shared.pipeline.metrics().mqtt();
        traffic.add(MqttCount::BytesSent, wire.outbox.len() as u64);
        return Box::pin(wire.close(|| ())).await;
    };
    let client = accepted.client.clone();
    let client_id = std::mem::take(&mut accepted.client_id);
    let closed = client.clone();
    let halt = async move {
        tokio::select! {
            () = closed.closed() => Halt::Closed,
            () = stop.cancelled() => Halt::Stop,
        }
    };
    let is_registered = Connected::new(wire, accepted, halt, shared).run().await;
    if is_registered {
        Box::pin(client.disconnected(&client_id)).await;
    }
}

/// A connection whose client was accepted.
struct Connected<S, F> {
    wire: Wire<S>,
    codec: Codec,
    uplinks: Uplinks,
    /// From the first SUBSCRIBE on.
    downlinks: Option<Box<Downlinks>>,
    keep_alive: KeepAlive,
    stall: StallWatch,
    /// When what is in the inbox was read.
    arrived: Instant,
    halt: Latch<F>,
    is_stopping: bool,
    /// Milliseconds; as small as it can be, because every idle connection holds it.
    command_timeout: u16,
    traffic: Arc<MqttTraffic>,
}

/// What is asked of a connection from outside.
#[derive(Debug)]
enum Halt {
    /// To end when everything is answered: the process stops.
    Stop,
    /// To end at once: the device's registration has ended.
    Closed,
}

type Flow = ControlFlow<End>;

impl<S: AsyncRead + AsyncWrite + Unpin, F: Future<Output = Halt>> Connected<S, F> {
    fn new(wire: Wire<S>, accepted: Accepted, halt: F, shared: &Shared) -> Self {
        let now = Instant::now();
        Self {
            wire,
            codec: accepted.codec,
            uplinks: Uplinks::new(accepted.client, shared.config.max_in_flight),
            downlinks: None,
            keep_alive: KeepAlive::new(accepted.keep_alive, now),
            stall: StallWatch::default(),
            arrived: now,
            halt: Latch::new(halt),
            is_stopping: false,
            command_timeout: shared.config.command_timeout(),
            traffic: shared.pipeline.metrics().mqtt().clone(),
        }
    }

    /// Serves the connection to its end. Says whether its device is still registered then.
    async fn run(mut self) -> bool {
        let end = poll_fn(|cx| self.poll(cx)).await;
        self.traffic.count(end.counted());
        let client = self.uplinks.client();
        let is_registered = !end.is_unregistered() && !client.is_closed();
        // Outcomes and the goodbye may take their time; who comes next must not wait for them.
        client.end();
        if let Some(close) = self.finish(end, is_registered) {
            close.await;
        }
        is_registered
    }

    /// Gives up everything that is open. What is returned says goodbye, if there is somebody to say
    /// it to.
    fn finish(self, end: End, is_registered: bool) -> Option<Pin<Box<impl Future<Output = ()>>>> {
        let Self {
            mut wire,
            mut codec,
            uplinks,
            downlinks,
            traffic,
            ..
        } = self;
        let mut begun = Vec::new();
        if let Some(mut downlinks) = downlinks {
            if !is_registered {
                downlinks.leave();
            }
            begun = downlinks.finish(&mut wire.outbox);
        }
        let told = match end {
            // The answers to what came right before its DISCONNECT.
            End::Left if !wire.outbox.is_empty() => None,
            End::Gone | End::Left => return None,
            End::Close(code, ending) => Some((code, ending)),
        };
        if let Some((code, ending)) = &told {
            ending.log(*code, uplinks.client().own());
        }
        // What has no outcome yet gets one without a listener, and applications are told that the
        // device takes no more commands; core sees to that.
        drop(uplinks);
        if let Some((code, ending)) = told
            && codec.disconnect(code, ending.text(), &mut wire.outbox)
        {
            traffic.count(MqttCount::DisconnectSent);
        }
        traffic.add(MqttCount::BytesSent, wire.outbox.len() as u64);
        let written = || begun.into_iter().for_each(CommandDelivery::accept);
        Some(Box::pin(wire.close(written)))
    }

    /// Everything that happens on a connection, in this order, until nothing is left to be done:
    /// the stop, outcomes, commands, packets that were read, writing, reading, and when all of it has
    /// to wait, the clocks. Answers are so written once for all outcomes and packets that are at hand.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if !self.is_stopping
            && let Poll::Ready(halt) = self.halt.poll(cx)
        {
            if let Halt::Closed = halt {
                let code = DisconnectReasonCode::AdministrativeAction;
                let ending = Ending::RegistrationEnded(Reason::DeviceUnknown);
                return Poll::Ready(End::Close(code, ending));
            }
            self.is_stopping = true;
            if let Some(downlinks) = &mut self.downlinks {
                downlinks.leave();
            }
        }
        match self.work(cx) {
            ControlFlow::Break(end) => Poll::Ready(end),
            ControlFlow::Continue(()) => self.poll_clocks(cx),
        }
    }

    fn work(&mut self, cx: &mut Context<'_>) -> Flow {
        let mut turns = 0;
        loop {
            self.answer_outcomes(cx)?;
            if let Some(downlinks) = &mut self.downlinks {
                let output = (&mut self.wire.outbox, OUTPUT_LIMIT);
                downlinks.poll(cx, &mut self.codec, output);
            }
            if self.handle_packets(cx)? {
                turns += 1;
                if turns == TURNS {
                    // Others on this thread have packets too.
                    cx.waker().wake_by_ref();
                    return Flow::Continue(());
                }
                // They may have had their outcome at once.
                continue;
            }
            let had_output = self.wire.has_output();
            match self.poll_write(cx) {
                Poll::Ready(Err(_)) => return Flow::Break(End::Gone),
                Poll::Ready(Ok(())) => {
                    self.stall.drained();
                    if had_output {
                        // There is room for more answers now.
                        continue;
                    }
                }
                Poll::Pending => return Flow::Continue(()),
            }
            if self.is_stopping && self.uplinks.is_empty() && !self.waits_for_acks() {
                let code = DisconnectReasonCode::ServerShuttingDown;
                return Flow::Break(End::Close(code, Ending::Shutdown));
            }
            if !self.reads() {
                return Flow::Continue(());
            }
            match self.wire.poll_read(cx) {
                Poll::Ready(Ok(bytes @ 1..)) => {
                    self.arrived = Instant::now();
                    self.traffic.add(MqttCount::BytesReceived, bytes as u64);
                }
                Poll::Ready(Ok(0) | Err(_)) => return Flow::Break(End::Gone),
                Poll::Pending => return Flow::Continue(()),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let before = self.wire.outbox.len();
        let poll = self.wire.poll_write(cx);
        let bytes = before - self.wire.outbox.len();
        if bytes > 0 {
            self.traffic.add(MqttCount::BytesSent, bytes as u64);
        }
        if let Some(downlinks) = &mut self.downlinks {
            downlinks.written(bytes, self.wire.unflushed());
        }
        poll
    }

    /// Whether anything is read from the peer. Back pressure is reading less.
    fn reads(&self) -> bool {
        if self.is_stopping {
            return self.waits_for_acks();
        }
        let answers_subscribe = self.downlinks.as_ref().is_none_or(|all| all.has_room());
        self.uplinks.has_room() && answers_subscribe
    }

    /// Whether the device has commands that it has not acknowledged, and time for it.
    fn waits_for_acks(&self) -> bool {
        self.downlinks.as_ref().is_some_and(|all| all.has_open())
    }

    /// Answers the messages whose turn has come, as far as there is room: errors are longer than
    /// acknowledgements. When one of them ends the connection, those behind it that are ready are
    /// answered still.
    fn answer_outcomes(&mut self, cx: &mut Context<'_>) -> Flow {
        let mut end = None;
        while self.wire.outbox.len() < OUTPUT_LIMIT
            && let Poll::Ready((reply, result)) = self.uplinks.poll_next(cx)
        {
            let closes = match result {
                Ok(()) => {
                    if let Some(packet_id) = reply.packet_id {
                        self.traffic.count(MqttCount::PubackSent);
                        self.codec.puback(packet_id, &mut self.wire.outbox);
                    }
                    None
                }
                Err(refusal) => self.answer_refusal(reply, refusal),
            };
            end = end.or(closes);
        }
        end.map_or(Flow::Continue(()), Flow::Break)
    }

    fn answer_refusal(&mut self, reply: Reply, refusal: Refusal) -> Option<End> {
        count::refused(&self.traffic, &refusal.reason);
        let is_told = self.tell_error(&reply, &refusal.reason);
        match consequence(&refusal, reply.on_error, reply.packet_id, is_told) {
            Consequence::Close(code) => Some(End::Close(code, refusal.into())),
            Consequence::Acknowledge(packet_id) => {
                let out = &mut self.wire.outbox;
                let text = refusal.reason.text();
                self.traffic.count(MqttCount::PubackSent);
                self.codec.puback_refused(packet_id, text, out);
                None
            }
            Consequence::Nothing => None,
        }
    }

    /// Tells the device of a refused message, if it has subscribed to that; says whether it has. An
    /// error that the client takes no packet for is left out.
    fn tell_error(&mut self, reply: &Reply, reason: &Reason) -> bool {
        let Some(downlinks) = &self.downlinks else {
            return false;
        };
        let own = self.uplinks.client().own();
        let refused = Refused {
            topic: &reply.topic,
            packet_id: reply.packet_id,
            reason,
        };
        let now = OffsetDateTime::now_utc();
        let notice = downlinks.errors().notice(own, refused, now);
        if let Some(Notice { topic, payload }) = &notice {
            let out = &mut self.wire.outbox;
            let message = Message {
                topic,
                payload,
                ..Message::default()
            };
            if self.codec.publish(message, None, out) {
                self.traffic.count(MqttCount::PublishQos0Sent);
            }
        }
        notice.is_some()
    }

    /// Handles the packets that are there in full, as far as there is room. Says whether there were
    /// any.
    fn handle_packets(&mut self, cx: &mut Context<'_>) -> ControlFlow<End, bool> {
        let mut handled = 0;
        while handled < PACKETS && self.reads() && self.wire.outbox.len() < OUTPUT_LIMIT {
            match self.codec.decode(&mut self.wire.inbox) {
                Ok(Some(packet)) => self.handle(cx, packet)?,
                Ok(None) => break,
                Err(violation) => {
                    // Whatever came before it may be answered; how it ends is settled.
                    let _ = self.answer_outcomes(cx);
                    return ControlFlow::Break(violation.into());
                }
            }
            handled += 1;
        }
        if handled > 0 {
            self.keep_alive.packet(self.arrived);
            self.wire.release_input();
        }
        ControlFlow::Continue(handled > 0)
    }

    fn handle(&mut self, cx: &mut Context<'_>, packet: Packet) -> Flow {
        self.traffic.count(count::received(&packet));
        let is_awaited = matches!(packet, Packet::PublishAck(..) | Packet::Disconnect);
        if self.is_stopping && !is_awaited {
            return Flow::Continue(());
        }
        // A message has an outcome of its own (device contract §1.6.3).
        let ends = matches!(
            packet,
            Packet::Subscribe(..) | Packet::Unsubscribe(..) | Packet::PublishAck(..)
        );
        if ends && self.uplinks.client().has_expired() {
            let _ = self.answer_outcomes(cx);
            let ending = Ending::Refused(Reason::CredentialExpired);
            return Flow::Break(End::Close(DisconnectReasonCode::NotAuthorized, ending));
        }
        let out = &mut self.wire.outbox;
        match packet {
            Packet::Publish(publish) => self.uplinks.start(cx, *publish, self.arrived),
            Packet::Ping => {
                self.traffic.count(MqttCount::PingrespSent);
                self.codec.pingresp(out);
            }
            Packet::Subscribe(packet_id, filters) => {
                self.downlinks().subscribe(packet_id, &filters);
            }
            Packet::Unsubscribe(packet_id, filters) => {
                let ended = match &mut self.downlinks {
                    Some(downlinks) => downlinks.unsubscribe(&filters),
                    None => vec![false; filters.len()],
                };
                self.traffic.count(MqttCount::UnsubackSent);
                if ended.contains(&false) {
                    self.traffic.count(MqttCount::UnsubscribeError);
                }
                self.codec.unsuback(packet_id, &ended, out);
            }
            Packet::PublishAck(packet_id, said) => {
                let all = self.downlinks.as_mut();
                if !all.is_some_and(|all| all.acknowledged(packet_id, said)) {
                    self.traffic.count(MqttCount::PubackMissed);
                }
            }
            Packet::PublishRelease(packet_id) => {
                self.traffic.count(MqttCount::PubcompSent);
                self.codec.pubcomp(packet_id, out);
            }
            Packet::Unasked => {}
            Packet::Disconnect => return Flow::Break(End::Left),
        }
        Flow::Continue(())
    }

    /// Most connections never have any.
    fn downlinks(&mut self) -> &mut Downlinks {
        let new = || {
            let client = self.uplinks.client().clone();
            let receive_maximum = self.codec.receive_maximum();
            let timeout = Duration::from_millis(self.command_timeout.into());
            let traffic = self.traffic.clone();
            Box::new(Downlinks::new(client, timeout, receive_maximum, traffic))
        };
        self.downlinks.get_or_insert_with(new)
    }

    fn poll_clocks(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let is_blocked = self.wire.has_output();
        if is_blocked && self.stall.poll_blocked(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        let paused = is_blocked || !self.reads();
        self.keep_alive.poll(cx, paused).map(|()| {
            let code = DisconnectReasonCode::KeepAliveTimeout;
            End::Close(code, Ending::Silence)
        })
    }
}
