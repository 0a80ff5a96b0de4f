//! EMQX's metrics, as its Prometheus API and its cloud's have them.
//!
//! * `table` says what each of EMQX's names is here. `docs/emqx-metrics.md` is written from it
//!   ([`reference()`]). `dashboards` is what published dashboards find.
//! * `numbers` are what the table is made of: sums over what Weir has counted. [`Rates`] are what
//!   one look does not show.
//! * [`stats()`], [`auth()`], [`data_integration()`] and [`namespaced_stats()`] are the pages of the API,
//!   [`deployment_metrics()`] and [`deployment_data_integration()`] those of the cloud, which has the
//!   names of the first behind another prefix.
//!
//! All pages are text 0.0.4: in OpenMetrics, counters would end in `_total`, and no panel would find
//! them. All names are there from the first scrape.

mod authentication;
mod broker;
mod cloud;
mod dashboards;
mod integration;
mod namespaces;
mod numbers;
mod page;
mod rates;
mod reference;
mod table;

use std::time::SystemTime;

use weir_metrics::{Figures, Tally};

pub use authentication::auth;
pub use broker::stats;
pub use cloud::{Deployment, deployment_data_integration, deployment_metrics};
pub use integration::data_integration;
pub use namespaces::namespaced_stats;
pub use rates::Rates;
pub use reference::reference;
pub use table::Kind;

/// What EMQX's pages are served as, whatever the scraper accepts.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything the pages are made of.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// What has been counted.
    pub tally: &'a Tally,
    /// What the sources of the native view tell.
    pub figures: &'a Figures,
    /// Messages a second.
    pub rates: Rates,
    /// What the clock on the wall shows.
    pub now: SystemTime,
}

/// Which nodes a page is about, and whether it says so. There is one node, so the sums over all are its
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// This node; no label for it.
    Node,
    /// The sum over all nodes; only what is about a machine has the label `node`.
    Aggregated,
    /// Each node, with the label `node`.
    Unaggregated,
}

impl Mode {
    /// The mode that EMQX's parameter `mode` asks for; anything unknown is [`Mode::Node`].
    pub fn parse(text: &str) -> Self {
        match text {
            "all_nodes_aggregated" => Self::Aggregated,
            "all_nodes_unaggregated" => Self::Unaggregated,
            _ => Self::Node,
        }
    }
}

/// A [`Mode`] and the name of the node.
#[derive(Clone, Copy, Debug)]
pub struct Nodes<'a> {
    /// What was asked for.
    pub mode: Mode,
    /// What the label `node` says.
    pub node: &'a str,
}

impl Nodes<'_> {
    /// The label of a series, if it has one.
    fn label(&self, is_about_machine: bool) -> Option<(&str, &str)> {
        let has_one = match self.mode {
            Mode::Node => false,
            Mode::Aggregated => is_about_machine,
            Mode::Unaggregated => true,
        };
        has_one.then_some(("node", self.node))
    }
}
