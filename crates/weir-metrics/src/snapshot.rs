//! What a view shows, and its walk from family to family.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::cell::Summary;
use crate::histogram::Histogram;
use crate::meters::{command_labels, upload_labels};
use crate::page::{Labels, Page, component_labels, write_label};
use crate::source::Figures;
use crate::window::Epoch;
use crate::{AmqpType, Component, Format, Kind, Name, Scope, TenantMeters};

/// A selection of the families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// What Eclipse Hono exposes, under its names.
    Hono,
    /// Everything else.
    Native,
}

/// Everything one view shows, as it is at one moment.
///
/// It holds handles of the series, so writing it takes no lock that recording needs.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) view: View,
    pub(crate) now: Instant,
    pub(crate) host: String,
    pub(crate) tenants: Vec<Arc<TenantMeters>>,
    pub(crate) unauthenticated: Vec<(Component, i64)>,
    pub(crate) figures: Figures,
}

impl Snapshot {
    /// What the sources told.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Writes it as a page. `wall_clock` is what the clock on the wall showed when the snapshot was taken;
    /// examples get their time from it.
    ///
    /// That is work: tens of megabytes for ten thousand tenants, so not for a thread that carries
    /// messages.
    pub fn write(&self, format: Format, wall_clock: SystemTime) -> String {
        let mut page = Page::new(format, self.now, wall_clock);
        let walk = Walk {
            snapshot: self,
            uploads: upload_labels(),
            commands: command_labels(),
        };
        for name in Name::ALL.iter().filter(|name| name.view() == self.view) {
            walk.family(*name, &mut page);
        }
        page.finish()
    }
}

struct Walk<'a> {
    snapshot: &'a Snapshot,
    uploads: Vec<String>,
    commands: Vec<String>,
}

impl Walk<'_> {
    fn family(&self, name: Name, page: &mut Page) {
        if name.is_collected() {
            return self.collected(name, page);
        }
        page.head(name);
        match name.kind() {
            Kind::Histogram => {
                self.histograms(name, |labels, it, _| page.histogram(name, labels, it));
                page.head_of_maximum(name);
                self.histograms(name, |labels, it, epoch| {
                    page.maximum(name, labels, it.max(epoch));
                });
            }
            Kind::Summary => {
                self.summaries(name, |labels, it, _| page.summary(name, labels, it));
                page.head_of_maximum(name);
                self.summaries(name, |labels, it, epoch| {
                    page.maximum(name, labels, it.max(epoch));
                });
            }
            Kind::Counter => self.counters(name, |labels, value| page.count(name, labels, value)),
            Kind::Gauge => self.gauges(name, |labels, value| page.number(name, labels, value)),
            Kind::Info => {}
        }
    }

    /// Families without figures are left out: their source is not there.
    fn collected(&self, name: Name, page: &mut Page) {
        let mut series = self.snapshot.figures.of(name).peekable();
        if series.peek().is_none() {
            return;
        }
        let common = match name.scope() {
            Scope::Service(component) => component_labels(component, &self.snapshot.host, None),
            Scope::Component | Scope::Process => String::new(),
        };
        page.head(name);
        for (values, value) in series {
            let own = own_labels(name, values);
            page.number(name, Labels(&common, &own), value);
        }
    }

    fn histograms(&self, name: Name, mut visit: impl FnMut(Labels<'_>, &Histogram, Epoch)) {
        for (meters, epoch) in self.meters() {
            let common = meters.labels();
            let amqp = meters.amqp_if_any();
            match name {
                Name::TelemetryProcessingDuration => meters.uploads().for_each(|(at, it)| {
                    visit(Labels(common, &self.uploads[at]), &it.duration, epoch);
                }),
                Name::TelemetryPayload => meters.uploads().for_each(|(at, it)| {
                    visit(Labels(common, &self.uploads[at]), &it.payload, epoch);
                }),
                Name::CommandProcessingDuration => meters.commands().for_each(|(at, it)| {
                    visit(Labels(common, &self.commands[at]), &it.duration, epoch);
                }),
                Name::CommandPayload => meters.commands().for_each(|(at, it)| {
                    visit(Labels(common, &self.commands[at]), &it.payload, epoch);
                }),
                Name::AmqpDeliveryDuration => {
                    for (kind, outcome, it) in amqp.iter().flat_map(|amqp| amqp.deliveries()) {
                        let (kind, outcome) = (kind.as_str(), outcome.as_str());
                        let own = format!(",type=\"{kind}\",outcome=\"{outcome}\"");
                        visit(Labels(common, &own), &it.duration, epoch);
                    }
                }
                Name::ConsumerWait => {
                    for (kind, it) in amqp.iter().flat_map(|amqp| amqp.waits()) {
                        visit(Labels(common, &of_type(kind)), &it.duration, epoch);
                    }
                }
                _ => debug_assert!(false, "{name:?} has no histograms"),
            }
        }
    }

    fn summaries(&self, name: Name, mut visit: impl FnMut(Labels<'_>, &Summary, Epoch)) {
        debug_assert_eq!(name, Name::ConnectionsAuthenticatedDuration);
        for (meters, epoch) in self.meters() {
            if let Some(connected) = meters.connected_if_any() {
                visit(Labels(meters.labels(), ""), &connected.duration, epoch);
            }
        }
    }

    fn counters(&self, name: Name, mut visit: impl FnMut(Labels<'_>, u64)) {
        for (meters, _) in self.meters() {
            let common = meters.labels();
            let amqp = meters.amqp_if_any();
            match name {
                Name::AmqpNoCredit => {
                    for (kind, count) in amqp.iter().flat_map(|amqp| amqp.without_credit()) {
                        visit(Labels(common, &of_type(kind)), count);
                    }
                }
                Name::AmqpTimeout => {
                    for (kind, count) in amqp.iter().flat_map(|amqp| amqp.timed_out()) {
                        visit(Labels(common, &of_type(kind)), count);
                    }
                }
                Name::ConnectionsAttempts => {
                    for (outcome, cipher, count) in meters.attempts() {
                        let outcome = outcome.as_str();
                        let own = format!(",outcome=\"{outcome}\",cipher_suite=\"{cipher}\"");
                        visit(Labels(common, &own), count);
                    }
                }
                Name::UplinksAbandoned => {
                    for (status, count) in meters.abandonments() {
                        let own = format!(",status=\"{}\"", status.as_str());
                        visit(Labels(common, &own), count);
                    }
                }
                _ => debug_assert!(false, "{name:?} has no counters"),
            }
        }
    }

    fn gauges(&self, name: Name, mut visit: impl FnMut(Labels<'_>, f64)) {
        if name == Name::ConnectionsUnauthenticated {
            for (component, value) in &self.snapshot.unauthenticated {
                let common = component_labels(*component, &self.snapshot.host, None);
                visit(Labels(&common, ""), *value as f64);
            }
            return;
        }
        debug_assert_eq!(name, Name::ConnectionsAuthenticated);
        for (meters, _) in self.meters() {
            if let Some(connected) = meters.connected_if_any() {
                visit(Labels(meters.labels(), ""), connected.open() as f64);
            }
        }
    }

    fn meters(&self) -> impl Iterator<Item = (&TenantMeters, Epoch)> {
        let now = self.snapshot.now;
        let meters = self.snapshot.tenants.iter();
        meters.map(move |meters| (&**meters, meters.clock().epoch(now)))
    }
}

fn of_type(kind: AmqpType) -> String {
    format!(",type=\"{}\"", kind.as_str())
}

/// The labels of a figure, each with a comma before it.
fn own_labels(name: Name, values: &[Box<str>]) -> String {
    let mut text = String::new();
    for (label, value) in name.labels().iter().zip(values) {
        text.push(',');
        write_label(&mut text, label, value);
    }
    text
}
