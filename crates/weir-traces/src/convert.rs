//! From Weir's spans to OpenTelemetry's.

use std::str::FromStr as _;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use weir_core::{Span, SpanValue};

pub(crate) fn span_data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let Span {
        trace_id,
        span_id,
        parent,
        tracestate,
        name,
        kind,
        started,
        ended,
        attributes,
        error,
    } = span;
    // What is not a list of vendors' entries is passed on, but not told of.
    let state = tracestate.and_then(|text| TraceState::from_str(&text).ok());
    let span_context = SpanContext::new(
        TraceId::from(trace_id),
        SpanId::from(span_id),
        TraceFlags::SAMPLED,
        false,
        state.unwrap_or_default(),
    );
    SpanData {
        span_context,
        parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.span_id)),
        parent_span_is_remote: parent.is_some_and(|parent| parent.is_remote),
        span_kind: match kind {
            weir_core::SpanKind::Consumer => SpanKind::Consumer,
            weir_core::SpanKind::Producer => SpanKind::Producer,
            weir_core::SpanKind::Server => SpanKind::Server,
        },
        name: name.into(),
        start_time: started,
        end_time: ended,
        attributes: attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

fn attribute((name, value): (&'static str, SpanValue)) -> KeyValue {
    let value = match value {
        SpanValue::Integer(number) => Value::I64(number),
        SpanValue::Text(text) => Value::String(text.into()),
    };
    KeyValue::new(name, value)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use weir_core::Parent;

    use super::*;

    fn span() -> Span {
        Span {
            trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span_id: 0xb7ad_6b71_6920_3331,
            parent: Some(Parent {
                span_id: 7,
                is_remote: true,
            }),
            tracestate: Some("a=1,b=2".into()),
            name: "upload telemetry",
            kind: weir_core::SpanKind::Server,
            started: UNIX_EPOCH + Duration::from_nanos(1_000_000_001),
            ended: UNIX_EPOCH + Duration::from_secs(2),
            attributes: vec![("tenant_id", "acme".into()), ("status", 503_u64.into())],
            error: Some("no consumer".to_owned()),
        }
    }

    #[test]
    fn all_that_is_known_of_a_span_is_told() {
        let data = span_data(span(), &InstrumentationScope::builder("weir").build());
        let context = &data.span_context;
        assert_eq!(
            context.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
        assert!(context.is_sampled() && !context.is_remote());
        assert_eq!(context.trace_state().header(), "a=1,b=2");
        assert_eq!(data.parent_span_id, SpanId::from(7));
        assert!(data.parent_span_is_remote);
        assert_eq!(data.name, "upload telemetry");
        assert_eq!(data.span_kind, SpanKind::Server);
        assert_eq!(data.start_time, span().started);
        assert_eq!(data.end_time, span().ended);
        let expected = [
            KeyValue::new("tenant_id", "acme"),
            KeyValue::new("status", 503),
        ];
        assert_eq!(data.attributes, expected);
        assert_eq!(data.status, Status::error("no consumer"));
        assert_eq!(data.instrumentation_scope.name(), "weir");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let span = Span {
            parent: None,
            tracestate: Some("not a list".into()),
            error: None,
            ..span()
        };
        let data = span_data(span, &InstrumentationScope::default());
        assert_eq!(data.parent_span_id, SpanId::INVALID);
        assert!(!data.parent_span_is_remote);
        assert_eq!(data.span_context.trace_state(), &TraceState::NONE);
        assert_eq!(data.status, Status::Unset);
    }

    #[test]
    fn each_role_is_opentelemetrys() {
        for (kind, expected) in [
            (weir_core::SpanKind::Consumer, SpanKind::Consumer),
            (weir_core::SpanKind::Producer, SpanKind::Producer),
            (weir_core::SpanKind::Server, SpanKind::Server),
        ] {
            let data = span_data(Span { kind, ..span() }, &InstrumentationScope::default());
            assert_eq!(data.span_kind, expected);
        }
    }
}
