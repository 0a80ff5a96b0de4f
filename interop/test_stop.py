"""Starting with a mistake, and stopping without one."""

import socket

import pytest

from harness.gateway import LISTENERS, weir
from harness.wait import until

QOS_1 = ["-H", "QoS-Level: 1"]


@pytest.fixture
def begin(start_gateway, tenant, client, start_application):
    """A gateway of the story's own, a device on it and an application."""

    def start(outcome, **settings):
        gateway = start_gateway(**settings)
        gateway.create_tenant(tenant)
        device = gateway.create_device(tenant, "4711")
        address = f"telemetry/{tenant}"
        application = start_application(gateway, client, address, outcome=outcome).attached()
        return gateway, device, application

    return start


def test_what_is_in_flight_is_answered_before_the_gateway_stops(begin):
    settings = {"northbound.amqp.outcome_timeout": 600_000, "drain_timeout": 600}
    gateway, device, application = begin("hold", **settings)
    over_http = [device.start_curl("/telemetry", f"http {n}", *QOS_1) for n in range(5)]
    over_mqtt = [device.start_mosquitto("telemetry", f"mqtt {n}") for n in range(5)]
    application.wait("message", 10)

    gateway.terminate()
    until("draining", lambda: not gateway.is_ready())
    # Nothing new is let in, and what is in flight may still come to a good end.
    assert device.start_curl("/telemetry", "late", *QOS_1).status() != 0
    application.order("settle", "accepted", 10)
    assert [running.answer().status for running in over_http] == [202] * 5
    assert [running.succeeded() for running in over_mqtt] == [True] * 5

    (event,) = application.wait("disconnected")
    assert event["condition"] == "amqp:connection:forced"
    gateway.stopped()
    assert len(application.all("message")) == 10


def test_a_consumer_that_never_settles_does_not_keep_the_gateway_from_stopping(begin):
    gateway, device, application = begin("hold")
    over_http = [device.start_curl("/telemetry", f"http {n}", *QOS_1) for n in range(5)]
    over_mqtt = [device.start_mosquitto("telemetry", f"mqtt {n}") for n in range(5)]
    application.wait("message", 10)
    gateway.terminate()
    assert [running.answer().status for running in over_http] == [503] * 5
    assert [running.succeeded() for running in over_mqtt] == [False] * 5
    gateway.stopped()


def test_stopping_in_mid_stream_breaks_no_promise(begin):
    gateway, device, application = begin("accepted")
    running = [device.start_curl("/telemetry", f"{n}", *QOS_1) for n in range(40)]
    application.wait("message", 5)
    gateway.terminate()
    # Those that came too late were not let in.
    answered = [one for one in running if one.succeeded()]
    accepted = {one.payload for one in answered if one.read(one.output).status == 202}
    gateway.stopped()
    application.wait("ended")
    assert accepted and accepted <= set(application.bodies("settling", "accepted"))


def test_an_idle_gateway_with_open_connections_stops(begin):
    gateway, device, application = begin("accepted")
    idle = device.start_mosquitto("telemetry", None)
    connections = "hono_connections_authenticated"
    until("the connection", lambda: gateway.total(connections, tenant=device.tenant) == 1)
    gateway.terminate()
    gateway.stopped()
    (event,) = application.wait("disconnected")
    assert event["condition"] == "amqp:connection:forced"
    idle.status()


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("command", [["serve"], ["demo", "--exit-after"]])
def test_a_taken_port_is_named(tmp_path, command, listener):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = weir(*command, **{f"{listener}.port": port, "data_dir": tmp_path})
    assert told.returncode == 1
    assert f"{listener}: cannot listen on port {port} of 127.0.0.1" in told.stderr
    assert told.stderr.count("Address already in use") == 1
