//! What the message path costs: `cargo test --release -p weir-amqp-engine figures -- --ignored --nocapture`.

use super::*;
use crate::{MessageWriter, Properties};

#[test]
#[ignore = "prints figures, proves nothing"]
#[allow(clippy::print_stdout)]
fn figures() {
    const ROUNDS: u32 = 2000;
    const BATCH: u32 = 250;
    let mut pair = Pair::open().chunks(Chunks::Whole, 1);
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", BATCH);
    let body = [7; 256];
    let mut spent = [Duration::ZERO; 4];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for token in 0..BATCH {
            let options = SendOptions {
                settled: false,
                give_up_at: Some(pair.now + Duration::from_secs(1)),
            };
            let sent = pair
                .server
                .conn
                .send(pair.now, sender, token, options, |out| {
                    MessageWriter::new(out)
                        .header(false, None)
                        .annotations(|map| {
                            map.string("device_id", "4711")
                                .string("tenant_id", "DEFAULT_TENANT");
                        })
                        .properties(&Properties {
                            to: Some("telemetry/DEFAULT_TENANT"),
                            content_type: Some("application/octet-stream"),
                            creation_time: Some(1_700_000_000_000),
                            ..Properties::default()
                        })
                        .application_properties(|map| {
                            map.string("device_id", "4711")
                                .int("qos", 1)
                                .string("orig_adapter", "hono-http");
                            map.string("orig_address", "/telemetry").int("ttd", 0);
                        })
                        .data(&body);
                });
            assert!(sent.is_ok());
        }
        spent[0] += start.elapsed();
        let mut wire = pair.server.conn.output().split();
        let start = Instant::now();
        pair.client.conn.handle_input(pair.now, &mut wire);
        let mut deliveries = Vec::with_capacity(BATCH as usize);
        while let Some(event) = pair.client.conn.poll_event() {
            if let Event::Message { delivery, .. } = event {
                deliveries.push(delivery);
            }
        }
        spent[1] += start.elapsed();
        let start = Instant::now();
        for (index, delivery) in deliveries.into_iter().enumerate() {
            // Outcomes that change each time: one frame each.
            let outcome = if index % 2 == 0 {
                Outcome::Accepted
            } else {
                Outcome::Released
            };
            pair.client.conn.settle(receiver, delivery, &outcome);
        }
        pair.client.conn.grant_credit(receiver, BATCH);
        spent[2] += start.elapsed();
        let mut wire = pair.client.conn.output().split();
        let start = Instant::now();
        let mut settled = 0;
        while !wire.is_empty() {
            pair.server.conn.handle_input(pair.now, &mut wire);
            while let Some(event) = pair.server.conn.poll_event() {
                settled += u32::from(matches!(event, Event::Settled { .. }));
            }
        }
        spent[3] += start.elapsed();
        assert_eq!(settled, BATCH);
    }
    for (what, spent) in ["send", "receive", "settle", "disposition in"]
        .iter()
        .zip(spent)
    {
        println!(
            "{what}: {} ns a message",
            spent.as_nanos() / u128::from(ROUNDS * BATCH)
        );
    }
}
