//! Frames as a peer that does not follow our engine's habits would write them.

use bytes::{BufMut, BytesMut};
use fe2o3_amqp_types::{
    definitions,
    performatives::{Attach, Detach},
    transaction::Coordinator,
};

use crate::codec::{
    cold, frame,
    hot::{self, DispositionOut, Flow, LinkFlow, TransferOut},
};
use crate::{Outcome, serial::Serial};

/// Octets to be fed to one side.
#[derive(Default)]
pub(crate) struct Wire(pub(crate) BytesMut);

impl Wire {
    fn cold<V: serde::Serialize>(mut self, performative: &V) -> Self {
        cold::put_frame(&mut self.0, frame::AMQP, 0, u32::MAX, performative).unwrap();
        self
    }

    fn attach(self, attach: impl FnOnce(&mut Attach)) -> Self {
        let mut performative = Attach {
            name: "link".to_owned(),
            handle: 0.into(),
            role: definitions::Role::Receiver,
            snd_settle_mode: definitions::SenderSettleMode::Mixed,
            rcv_settle_mode: definitions::ReceiverSettleMode::First,
            source: cold::source(Some("there".to_owned()), false, &[]),
            target: cold::target(Some("here".to_owned()), &[]),
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: None,
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        attach(&mut performative);
        self.cold(&performative)
    }

    pub(crate) fn receiver(self, handle: u32) -> Self {
        self.attach(|attach| {
            attach.name = handle.to_string();
            attach.handle = handle.into();
        })
    }

    pub(crate) fn receiver_named(self, handle: u32, name: &str) -> Self {
        self.attach(|attach| {
            attach.name = name.to_owned();
            attach.handle = handle.into();
        })
    }

    /// Settles only after us.
    pub(crate) fn second(self) -> Self {
        self.attach(|attach| attach.rcv_settle_mode = definitions::ReceiverSettleMode::Second)
    }

    pub(crate) fn sender(self, handle: u32) -> Self {
        self.attach(|attach| {
            attach.name = handle.to_string();
            attach.handle = handle.into();
            attach.role = definitions::Role::Sender;
            attach.initial_delivery_count = Some(0);
        })
    }

    pub(crate) fn coordinator(self) -> Self {
        self.attach(|attach| {
            attach.role = definitions::Role::Sender;
            attach.initial_delivery_count = Some(0);
            attach.target = Some(Box::new(Coordinator::new(None).into()));
        })
    }

    pub(crate) fn detach(self, handle: u32, closed: bool) -> Self {
        self.cold(&Detach {
            handle: handle.into(),
            closed,
            error: None,
        })
    }

    pub(crate) fn flow(mut self, flow: Flow) -> Self {
        hot::put_flow(&mut self.0, 0, &flow);
        self
    }

    /// A flow that wants an answer, which [`hot::put_flow`] never asks for.
    pub(crate) fn echo(mut self, flow: Flow) -> Self {
        let start = self.0.len();
        hot::put_flow(&mut self.0, 0, &flow);
        // Size and count of the list stand behind frame header and descriptor.
        let nulls = 9 - self.0[start + 13];
        self.0.put_bytes(0x40, nulls.into());
        self.0.put_u8(0x41);
        self.0[start + 3] += nulls + 1;
        self.0[start + 12] += nulls + 1;
        self.0[start + 13] = 10;
        self
    }

    /// The flow of a sender about its link.
    pub(crate) fn sender_flow(self, handle: u32, count: u32, drain: bool) -> Self {
        let link = LinkFlow {
            handle,
            delivery_count: Some(count),
            link_credit: Some(0),
            available: Some(3),
            drain,
        };
        self.flow(Flow {
            incoming_window: 100,
            link: Some(link),
            ..Flow::default()
        })
    }

    /// Credit for a link of ours, as a peer says it that has not seen our attach.
    pub(crate) fn credit(self, handle: u32, credit: u32) -> Self {
        let link = LinkFlow {
            handle,
            link_credit: Some(credit),
            ..LinkFlow::default()
        };
        self.flow(Flow {
            incoming_window: 100,
            link: Some(link),
            ..Flow::default()
        })
    }

    pub(crate) fn transfer(self, handle: u32, id: u32, payload: &[u8]) -> Self {
        self.fragment(handle, id, payload, true, false)
    }

    pub(crate) fn fragment(
        mut self,
        handle: u32,
        id: u32,
        payload: &[u8],
        first: bool,
        more: bool,
    ) -> Self {
        let delivery_id = Serial(id);
        let transfer = TransferOut {
            channel: 0,
            handle,
            delivery_id,
            settled: false,
            more,
            first,
            aborted: false,
        };
        let start = hot::begin_transfer(&mut self.0, transfer);
        self.0.put_slice(payload);
        frame::end(&mut self.0, start);
        self
    }

    pub(crate) fn aborted(mut self, handle: u32, id: u32) -> Self {
        let delivery_id = Serial(id);
        let transfer = TransferOut {
            channel: 0,
            handle,
            delivery_id,
            settled: false,
            more: false,
            first: false,
            aborted: true,
        };
        let start = hot::begin_transfer(&mut self.0, transfer);
        frame::end(&mut self.0, start);
        self
    }

    /// As a receiver; `settled` is false where the receiver settles second.
    pub(crate) fn disposition(
        mut self,
        first: u32,
        last: u32,
        settled: bool,
        outcome: &Outcome,
    ) -> Self {
        let disposition = DispositionOut {
            as_receiver: true,
            settled,
            range: (Serial(first), Serial(last)),
        };
        hot::put_disposition(&mut self.0, 0, disposition, outcome);
        self
    }
}
