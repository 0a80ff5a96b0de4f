//! Spans: what is told of a message's way to whoever collects traces.
//!
//! [`Tracer`] decides once for each message, command and connection whether it is told of. If nobody
//! collects traces, that is one comparison; messages then carry on the trace that came with them, or a
//! new one that nobody records, as they do when a trace is not to be recorded.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytestring::ByteString;
use weir_metrics::TraceId;

use crate::trace::new_span_id;
use crate::{SamplingMode, TraceContext};

/// Collects spans.
pub trait SpanSink: std::fmt::Debug + Send + Sync + 'static {
    /// Whether a new trace is recorded, of which nobody has said whether it is to be.
    fn samples(&self, trace_id: u128) -> bool;

    /// Takes a span that has ended. It does not wait: where there is no room, the span is lost.
    fn take(&self, span: Span);
}

/// A part of a trace: something that was done, and took time.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: u128,
    /// Its own id.
    pub span_id: u64,
    /// The span it is part of; none for the first of a trace.
    pub parent: Option<Parent>,
    /// The vendors' part of the trace, as it came (W3C trace context §3.3).
    pub tracestate: Option<ByteString>,
    /// What was done.
    pub name: &'static str,
    /// The role in which it was done.
    pub kind: SpanKind,
    /// When it began.
    pub started: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// What a span is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// That span's id.
    pub span_id: u64,
    /// Whether somebody else recorded it.
    pub is_remote: bool,
}

/// The role in which something was done, as OpenTelemetry has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A message was taken from an application.
    Consumer,
    /// A message was handed on.
    Producer,
    /// A device was served.
    Server,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpanValue {
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
}

impl From<&str> for SpanValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Decides what is told of, and to whom. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<dyn SpanSink>>);

/// Something that is under way and will be told of.
#[derive(Debug)]
pub(crate) struct OpenTrace {
    sink: Arc<dyn SpanSink>,
    /// As whoever is next is told of it.
    context: TraceContext,
    parent: Option<Parent>,
    own: u64,
    /// When it was handed on, and when it was taken, if that is known before the end. Its being handed on
    /// has a span, which is the next one's parent.
    handed: Option<(Instant, Option<Instant>)>,
}

/// What is known of something when it ends.
pub(crate) struct Ending {
    pub(crate) name: &'static str,
    pub(crate) kind: SpanKind,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    pub(crate) attributes: Vec<(&'static str, SpanValue)>,
    pub(crate) error: Option<String>,
}

impl Tracer {
    /// Hands spans to `sink`.
    pub fn new(sink: Arc<dyn SpanSink>) -> Self {
        Self(Some(sink))
    }

    /// Begins something that may belong to a trace. What comes next is told of the context.
    pub(crate) fn begin(
        &self,
        mode: impl FnOnce() -> SamplingMode,
        parent: Option<TraceContext>,
    ) -> (TraceContext, Option<Box<OpenTrace>>) {
        let Some(sink) = &self.0 else {
            return (parent.unwrap_or_else(TraceContext::unsampled), None);
        };
        let came_from = parent.as_ref().map(|parent| Parent {
            span_id: parent.span_id(),
            is_remote: true,
        });
        let is_wanted = parent.as_ref().map(TraceContext::is_sampled);
        let context = parent.unwrap_or_else(TraceContext::unsampled);
        let is_recorded = match mode() {
            SamplingMode::All => true,
            SamplingMode::None => false,
            SamplingMode::Default => is_wanted.unwrap_or_else(|| sink.samples(context.trace_id())),
        };
        if !is_recorded {
            return (context.unrecorded(), None);
        }
        let context = context.recorded_by(new_span_id());
        let open = OpenTrace {
            sink: sink.clone(),
            context: context.clone(),
            parent: came_from,
            own: new_span_id(),
            handed: None,
        };
        (context, Some(Box::new(open)))
    }
}

impl OpenTrace {
    pub(crate) fn id(&self) -> TraceId {
        TraceId(self.context.trace_id())
    }

    /// It is handed on.
    pub(crate) fn hand_on(&mut self, at: Instant) {
        self.handed = Some((at, None));
    }

    /// Whoever it was handed to has taken it. What goes wrong after that is not his fault.
    pub(crate) fn taken(&mut self, at: Instant) {
        if let Some((_, taken @ None)) = &mut self.handed {
            *taken = Some(at);
        }
    }

    /// It is over. `handed` is what its being handed on is called.
    pub(crate) fn end(self, ending: Ending, handed: &'static str) {
        let Self {
            sink,
            context,
            parent,
            own,
            handed: times,
        } = self;
        let (now, clock) = (Instant::now(), SystemTime::now());
        let time = |at: Instant| clock - now.saturating_duration_since(at);
        let inner = context.span_id();
        let span = Span {
            trace_id: context.trace_id(),
            // What was not handed on has one span alone.
            span_id: own,
            parent,
            tracestate: context.tracestate().map(Into::into),
            name: ending.name,
            kind: ending.kind,
            started: time(ending.started),
            ended: time(ending.ended),
            attributes: ending.attributes,
            error: ending.error,
        };
        if let Some((from, until)) = times {
            sink.take(Span {
                span_id: inner,
                parent: Some(Parent {
                    span_id: own,
                    is_remote: false,
                }),
                name: handed,
                kind: SpanKind::Producer,
                started: time(from),
                ended: time(until.unwrap_or(ending.ended)),
                attributes: Vec::new(),
                error: span.error.clone().filter(|_| until.is_none()),
                ..span.clone()
            });
        }
        sink.take(span);
    }
}

#[cfg(test)]
mod tests;
