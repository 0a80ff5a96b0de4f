"""A collector of traces: the OTLP service as OpenTelemetry generates it for Python, on grpc's own server."""

import threading
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from .wait import until


class Told:
    """A span as it was told."""

    def __init__(self, span, resource):
        self.trace, self.id, self.parent = (
            part.hex() for part in (span.trace_id, span.span_id, span.parent_span_id)
        )
        self.name, self.state, self.resource = span.name, span.trace_state, resource
        self.kind = trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower()
        self.attributes = texts(span.attributes)
        is_error = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
        self.error = span.status.message if is_error else None
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano


def texts(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans, on a port of its own unless told which."""

    def __init__(self, port=0):
        self.spans, self.lock = [], threading.Lock()
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.url = f"http://127.0.0.1:{port}"
        self.server.start()

    def Export(self, request, context):  # noqa: N802, the service's own name
        """What the gateway calls."""
        with self.lock:
            for of_resource in request.resource_spans:
                resource = texts(of_resource.resource.attributes)
                for scope in of_resource.scope_spans:
                    self.spans.extend(Told(span, resource) for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def find(self, **wanted):
        """All spans that are so."""
        with self.lock:
            spans = list(self.spans)
        return [one for one in spans if all(getattr(one, name) == it for name, it in wanted.items())]

    def span(self, **wanted):
        """The one span that is so, which may be yet to come."""
        until(f"a span with {wanted}", lambda: self.find(**wanted))
        [one] = self.find(**wanted)
        return one

    def close(self):
        self.server.stop(None).wait()
