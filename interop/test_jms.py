"""An application made with Qpid JMS, which other people's back ends are made with too."""

import pytest

from harness.gateway import fixed_ports
from harness.jms import Jms, JmsApplication
from harness.wait import until

MIB = 1 << 20
PATIENT = {"northbound.amqp.outcome_timeout": 600_000}
QOS_1 = ["-H", "QoS-Level: 1"]


@pytest.fixture(scope="module")
def jms():
    """The compiled program."""
    jms = Jms()
    yield jms
    jms.close()


@pytest.fixture
def connect(jms):
    """Connects an application to a gateway."""
    started = []

    def start(gateway, **options):
        started.append(JmsApplication(jms, gateway, **options))
        return started[-1]

    yield start
    for application in started:
        application.close()


def test_telemetry_is_a_message_with_properties(gateway, device, connect):
    address = f"telemetry/{device.tenant}"
    application = connect(gateway).session().consume(address)
    running = device.start_curl("/telemetry", "20.5", *QOS_1)
    (message,) = application.receive(address)
    assert running.answer().status == 202
    assert (message.kind, message.body) == ("text", "20.5")
    assert not message.persistent and not message.redelivered
    expected = {"device_id": device.name, "qos": 1, "orig_adapter": "hono-http"}
    assert expected.items() <= message.properties.items()
    running = device.start_mosquitto("telemetry", "from MQTT")
    (message,) = application.receive(address)
    assert running.succeeded()
    assert (message.kind, message.body) == ("bytes", "from MQTT")


def test_a_wrong_password_is_refused(gateway, connect):
    application = connect(gateway, password="guessed")
    (event,) = application.wait("refused")
    assert event["kind"] == "JMSSecuritySaslException"
    application.wait("ended")


def test_an_unknown_address_is_refused(gateway, connect):
    application = connect(gateway).session()
    application.order("consume", "session", "nowhere/acme")
    (event,) = application.wait("failed")
    assert event["kind"] == "InvalidDestinationException"


def test_events_are_acknowledged_by_the_client(start_gateway, tenant, connect):
    gateway = start_gateway(**PATIENT)
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    gateway.create_edge_devices(tenant, [str(n) for n in range(3)], via=[device.name])
    # Of each device one event is under way at a time; these are of three.
    for number in range(3):
        device.mosquitto(f"event//{number}", str(number))
    address = f"event/{tenant}"
    application = connect(gateway).session(mode="client").consume(address)
    messages = application.receive(address, 3)
    assert sorted(message.body for message in messages) == ["0", "1", "2"]
    assert all(message.persistent and not message.redelivered for message in messages)
    assert {message.count for message in messages} == {1}
    application.acknowledge(address)
    device.mosquitto("event", "last")
    (last,) = application.receive(address)
    assert last.body == "last"
    application.recover()
    (again,) = application.receive(address)
    assert (again.body, again.redelivered, again.count) == ("last", True, 2)
    application.acknowledge(address)


def test_what_a_closed_consumer_had_comes_again(gateway, device, connect):
    device.mosquitto("event", "once more")
    address = f"event/{device.tenant}"
    leaving = connect(gateway).session(mode="client").consume(address)
    (message,) = leaving.receive(address)
    assert (message.body, message.redelivered) == ("once more", False)
    leaving.order("close")
    leaving.wait("ended")
    application = connect(gateway).session().consume(address)
    (message,) = application.receive(address)
    assert message.body == "once more"


def test_a_command_and_its_reply(gateway, device, connect, start_subscriber):
    subscriber = start_subscriber(device, "command///req/#").subscribed()
    replies = f"command_response/{device.tenant}/jms"
    application = connect(gateway).session().consume(replies)
    to = f"command/{device.tenant}/{device.name}"
    application.send(to, "get", "what?", reply_to=replies, correlation_id="c-1")
    (command,) = subscriber.commands(1)
    assert (command.name, command.payload) == ("get", "what?")
    running = device.start_mosquitto(f"command///res/{command.request_id}/200", "that")
    (message,) = application.receive(replies)
    assert running.succeeded()
    assert (message.body, message.correlation_id) == ("that", "c-1")
    assert message.properties["status"] == 200
    application.wait("accepted")


def test_a_command_for_nobody_fails(gateway, device, connect, start_subscriber):
    subscriber = start_subscriber(device, "command///req/#").subscribed()
    gateway.create_edge_devices(device.tenant, ["absent"])
    application = connect(gateway).session()
    application.send(f"command/{device.tenant}/absent", "set")
    application.wait("failed")
    application.send(f"command/{device.tenant}/nobody", "set")
    application.wait("failed", 2)
    application.send(f"command/{device.tenant}/{device.name}", "set")
    application.wait("accepted")
    assert len(subscriber.commands(1)) == 1


def test_a_large_message(start_gateway, tenant, tmp_path, connect):
    gateway = start_gateway(**PATIENT, **{"http.max_payload_size": MIB})
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    payload = "0123456789abcdef" * (MIB // 16)
    (tmp_path / "payload").write_text(payload)
    addresses = [f"{endpoint}/{tenant}" for endpoint in ("telemetry", "event")]
    # Smaller frames than the gateway would like to send.
    application = connect(gateway, amqp_maxFrameSize=4096).session().consume(*addresses)
    for path, address in zip(("/telemetry", "/event"), addresses):
        running = device.start_curl(path, f"@{tmp_path}/payload", *QOS_1)
        (message,) = application.receive(address)
        assert running.answer().status == 202
        assert message.body == payload


def test_a_hundred_links_on_a_connection(gateway, device, connect):
    tenants = [f"{device.tenant}-{number}" for number in range(50)]
    addresses = [f"{endpoint}/{name}" for name in tenants for endpoint in ("telemetry", "event")]
    application = connect(gateway).session().consume(*addresses)
    for name in (tenants[0], tenants[-1]):
        gateway.create_tenant(name)
        own = gateway.create_device(name, "4711")
        for endpoint in ("telemetry", "event"):
            running = own.start_curl(f"/{endpoint}", name, *QOS_1)
            (message,) = application.receive(f"{endpoint}/{name}")
            assert running.answer().status == 202 and message.body == name


def test_heartbeats_keep_a_silent_connection(start_gateway, tenant, connect):
    gateway = start_gateway(**{"northbound.amqp.idle_timeout": 2})
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    address = f"telemetry/{tenant}"
    silent = connect(gateway, amqp_idleTimeout=2000).session().consume(address)
    # Another one, which has connected later and then is as silent without heartbeats, is cut off.
    frozen = connect(gateway).session().consume(f"telemetry/{tenant}-other")
    gateway.create_tenant(f"{tenant}-other")
    other = gateway.create_device(f"{tenant}-other", "4711")
    frozen.freeze()
    until("the end of the frozen one", lambda: other.curl("/telemetry", "x").status == 503)
    running = device.start_curl("/telemetry", "still here", *QOS_1)
    (message,) = silent.receive(address)
    assert running.answer().status == 202 and message.body == "still here"
    assert not silent.all("disconnected")
    frozen.kill()


def test_it_comes_back_after_a_restart(start_gateway, tenant, connect):
    gateway = start_gateway(**PATIENT, **fixed_ports())
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    address = f"event/{tenant}"
    application = connect(gateway, failover=True).session().consume(address)
    device.mosquitto("event", "before")
    assert application.receive(address)[0].body == "before"
    for number in range(3):
        gateway.kill()
        gateway.start()
        application.wait("restored", number + 1)
        device.mosquitto("event", f"after {number}")
        until("it", lambda: application.receive(address)[0].body == f"after {number}")


def test_it_closes_when_the_gateway_stops(start_gateway, tenant, connect):
    gateway = start_gateway()
    gateway.create_tenant(tenant)
    application = connect(gateway).session().consume(f"telemetry/{tenant}")
    gateway.terminate()
    gateway.stopped()
    application.wait("disconnected")
