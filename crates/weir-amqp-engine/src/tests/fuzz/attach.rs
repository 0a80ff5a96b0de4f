//! Attach frames, with everything in them that an attach can have.

use fe2o3_amqp_types::{
    definitions,
    messaging::{Accepted, DeliveryState, Source, Target, TargetArchetype},
    performatives::Attach,
    primitives::OrderedMap,
    transaction::Coordinator,
};

use super::{victim::Victim, *};
use crate::codec::cold;

const CASES: u64 = 3000;

fn attach(role: definitions::Role, target: TargetArchetype) -> Vec<u8> {
    let symbols = ["a".to_owned(), "b".to_owned()];
    let properties = [(
        "key".to_owned(),
        crate::Value::List(vec![crate::Value::Null]),
    )];
    let mut unsettled = OrderedMap::new();
    unsettled.insert(
        vec![1, 2].into(),
        Some(DeliveryState::Accepted(Accepted {})),
    );
    let attach = Attach {
        name: "link".to_owned(),
        handle: 5.into(),
        initial_delivery_count: Some(7),
        role,
        snd_settle_mode: definitions::SenderSettleMode::Unsettled,
        rcv_settle_mode: definitions::ReceiverSettleMode::Second,
        source: Some(Box::new(Source {
            address: Some("there".to_owned()),
            filter: cold::fields(&properties),
            dynamic_node_properties: cold::fields(&properties),
            capabilities: cold::symbols(&symbols),
            outcomes: cold::symbols(&symbols),
            ..Source::default()
        })),
        target: Some(Box::new(target)),
        unsettled: Some(unsettled),
        incomplete_unsettled: true,
        max_message_size: Some(1 << 40),
        offered_capabilities: cold::symbols(&symbols),
        desired_capabilities: cold::symbols(&symbols),
        properties: cold::fields(&properties),
    };
    let mut out = BytesMut::new();
    cold::put_frame(&mut out, 0, 0, u32::MAX, &attach).unwrap();
    out.to_vec()
}

#[test]
fn broken_attaches_are_answered_or_refused() {
    let target = || Target {
        address: Some("here".to_owned()),
        ..Target::default()
    };
    let good = [
        attach(definitions::Role::Sender, target().into()),
        attach(definitions::Role::Receiver, target().into()),
        attach(definitions::Role::Sender, Coordinator::new(None).into()),
    ];
    for client in [false, true] {
        let mut survived = 0;
        for case in 0..cases(CASES) {
            let _case = Case(case);
            let mut rng = Rng::new(case);
            let mut victim = Victim::running(client, &mut rng);
            for _ in 0..1 + rng.below(3) {
                let next = &good[rng.below(good.len())];
                victim.feed(&broken_frame(next, &mut rng), &mut rng);
            }
            survived += u64::from(!victim.closed);
            victim.finish(&mut rng);
        }
        assert!(survived > 0);
    }
}
