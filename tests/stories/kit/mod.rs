//! What the stories are told with.

mod application;
mod certificates;
mod commander;
mod device;
mod gateway;
mod metrics;
mod subscriber;
mod witness;

use std::future::Future;
use std::time::Duration;

pub(crate) use application::{
    Accepted, Application, Received, content_type, delivery_count, payload, property, string,
    symbol_annotation, text,
};
pub(crate) use certificates::{Authority, Identity, TlsGateway, Visitor, subject};
pub(crate) use commander::{Command, Commander, Fate};
pub(crate) use device::{
    Answer, End, MqttDevice, basic, connect_packet, mqtt_connect, mqtt_socket, refusal,
};
pub(crate) use gateway::{Device, Gateway};
pub(crate) use metrics::Series;
pub(crate) use witness::Witness;

/// How long a whole story may take; it is a deadline for what hangs, not a measure.
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs a story to its end or fails it at the deadline.
pub(crate) fn story(story: impl Future<Output = ()>) {
    long_story(DEADLINE, story);
}

/// The same with a deadline of its own.
pub(crate) fn long_story(deadline: Duration, story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(deadline, story)
            .await
            .expect("the story did not come to its end");
    });
}
