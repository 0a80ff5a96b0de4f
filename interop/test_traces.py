"""Traces: what a collector of OpenTelemetry is told, and what devices and applications hear of it."""

import re

import pytest

from harness.collector import Collector
from harness.mqttjs import MqttJs
from harness.wait import until

TRACE = "0af7651916cd43dd8448eb211c8031{:02x}"
PARENT = "b7ad6b7169203331"
SAMPLED = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01")


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def gateway(collector, start_gateway):
    """A gateway that tells of everything."""
    settings = {"enabled": "true", "endpoint": collector.url, "schedule_delay": 20}
    return start_gateway(**{f"traces.{key}": value for key, value in settings.items()})


@pytest.fixture
def application(gateway, device, tenant, start_application):
    """Consumes everything of the tenant."""
    return start_application(gateway, "proton", f"telemetry/{tenant}", f"event/{tenant}").attached()


def told(message):
    """The trace that an application is told of, and the span that the message is part of."""
    kind, entries = message.annotations["x-opt-trace-context"]
    assert kind == "map"
    fields = {key["value"]: value["value"] for key, value in entries}
    return SAMPLED.fullmatch(fields["traceparent"]).groups()


def test_a_trace_goes_on_from_a_device_to_its_application(collector, device, application):
    traces = [TRACE.format(number) for number in range(4)]
    parents = [f"00-{trace}-{PARENT}-01" for trace in traces]
    kinds = ["telemetry", "event", "telemetry", "event"]
    # QoS 1, so that they come in this order.
    qos = ["-H", "QoS-Level: 1"]
    assert device.curl("/telemetry", "a", "-H", f"traceparent: {parents[0]}", *qos).status == 202
    assert device.curl("/event", "b", "-H", f"traceparent: {parents[1]}").status == 202
    device.mosquitto(f"telemetry/?traceparent={parents[2]}", "c")
    user = ["-D", "publish", "user-property", "traceparent", parents[3]]
    device.mosquitto("event", "d", *user, version="mqttv5")

    messages = {message.body: message for message in application.messages(4)}
    for trace, kind, body in zip(traces, kinds, "abcd"):
        upload = collector.span(trace=trace, name=f"upload {kind}")
        send = collector.span(trace=trace, name=f"send {kind}")
        assert told(messages[body]) == (trace, send.id)
        assert (upload.kind, upload.parent, upload.error) == ("server", PARENT, None)
        assert (send.kind, send.parent, send.error) == ("producer", upload.id, None)
        adapter = "hono-http" if body in "ab" else "hono-mqtt"
        expected = {"component": adapter, "tenant_id": device.tenant, "device_id": "4711", "accounting_size": 1}
        assert expected.items() <= upload.attributes.items()
        assert upload.resource["service.name"] == "weir"
        assert upload.resource["service.namespace"] == "org.eclipse.hono"


def test_a_refused_message_is_told_with_its_reason(collector, device):
    trace = TRACE.format(0)
    parent = f"traceparent: 00-{trace}-{PARENT}-01"
    assert device.curl("/telemetry", "x", "-H", parent, "-H", "QoS-Level: 1").status == 503
    upload = collector.span(trace=trace, name="upload telemetry")
    assert upload.attributes["status"] == 503
    assert upload.attributes["reason"] and upload.error
    assert upload.parent == PARENT


def test_a_device_of_mqtt_5_is_told_which_trace_its_command_belongs_to(
    gateway, collector, device, tenant, start_sender
):
    program = MqttJs(device, "mqtt", 5)
    try:
        program.connected()
        assert program.subscribe("command///req/#") == 1
        sender = start_sender(gateway, "proton", f"command/{tenant}").attached().ready()
        command = {"to": f"command/{tenant}/4711", "subject": "setBrightness", "data": "20"}
        assert sender.ask(**command)["state"] == "accepted"
        (message,) = program.wait("message")
        parent = message["properties"]["userProperties"]["traceparent"]
        trace, span = SAMPLED.fullmatch(parent).groups()
    finally:
        program.close()
    receive = collector.span(trace=trace, name="receive command")
    send = collector.span(trace=trace, name="send command")
    assert (send.id, send.parent) == (span, receive.id)
    assert (receive.parent, receive.kind) == ("", "consumer")
    assert receive.attributes["command"] == "setBrightness"
    # It has connected, which is a trace of its own.
    connect = collector.span(name="connect")
    assert connect.attributes["device_id"] == "4711" and connect.trace != trace


def test_one_device_of_a_tenant_can_be_followed(gateway, collector, device, tenant, application):
    tracing = {"sampling-mode": "none", "sampling-mode-per-auth-id": {"other": "all"}}
    assert gateway.manage("PUT", f"/tenants/{tenant}", {"tracing": tracing}) == 204
    other = gateway.create_device(tenant, "other")
    for sender in (device, other):
        assert sender.curl("/telemetry", sender.name, "-H", "QoS-Level: 1").status == 202
    upload = collector.span(name="upload telemetry")
    assert upload.attributes["device_id"] == "other"
    assert not collector.find(name="connect")


def test_messages_go_on_when_the_collector_is_gone_and_spans_when_it_is_back(
    start_gateway, tenant, start_application
):
    collector = Collector()
    settings = {"enabled": "true", "endpoint": collector.url, "schedule_delay": 20}
    gateway = start_gateway(**{f"traces.{key}": value for key, value in settings.items()})
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    start_application(gateway, "proton", f"telemetry/{tenant}").attached()
    send = lambda: device.curl("/telemetry", "x", "-H", "QoS-Level: 1").status
    assert send() == 202
    collector.span(name="upload telemetry")
    collector.close()
    assert send() == 202
    until("word of lost spans", lambda: "spans are lost" in gateway.log.read_text())
    again = Collector(collector.url.rpartition(":")[2])
    try:

        def is_back():
            assert send() == 202
            return again.find(name="upload telemetry")

        until("the connection to the collector", is_back)
    finally:
        again.close()
