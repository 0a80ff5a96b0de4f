"""MQTT over WebSocket, and what MQTT 5 has beyond Hono, with clients made for any broker: MQTT.js, which
also runs in browsers, and paho."""

import itertools

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from harness.certificates import server_certificate
from harness.device import Running
from harness.gateway import Gateway
from harness.mqttjs import MqttJs
from harness.wait import DEADLINE, until

SCHEMES = ["mqtt", "mqtts", "ws", "wss"]
VERSIONS = [4, 5]

identifiers = itertools.count(1)


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A gateway with TLS, and its certificate."""
    folder = tmp_path_factory.mktemp("websocket")
    certificate, key = server_certificate(folder)
    settings = {"tls.certificate": certificate, "tls.key": key}
    ports = {f"{listener}.tls_port": 0 for listener in ("http", "mqtt", "management", "northbound.amqp")}
    gateway = Gateway(folder, **settings, **ports)
    yield gateway, certificate
    gateway.close()


@pytest.fixture
def gateway(secured):
    """All stories here are told of that one."""
    return secured[0]


@pytest.fixture
def application(gateway, device, tenant, start_application):
    """Consumes everything of the tenant."""
    return start_application(gateway, "proton", f"telemetry/{tenant}", f"event/{tenant}").attached()


@pytest.fixture
def connect(secured, device):
    """Starts MQTT.js."""
    started = []

    def start(scheme, version, **options):
        ca = secured[1] if scheme in ("mqtts", "wss") else None
        started.append(MqttJs(device, scheme, version, ca, **options))
        return started[-1]

    yield start
    for program in started:
        program.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_message_arrives_by_every_way(connect, application, scheme, version):
    program = connect(scheme, version)
    assert program.connected()["code"] == 0
    assert program.publish("telemetry", "21.5") is None
    assert program.publish("event/?content-type=text%2Fplain", "alarm") is None
    telemetry, event = application.messages(2)
    assert (telemetry.body, event.body) == ("21.5", "alarm")
    assert event.properties["content-type"] == ("symbol", "text/plain")


@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
def test_a_large_message_and_many_small_ones_keep_their_order(connect, application, scheme):
    program = connect(scheme, 5)
    program.connected()
    payloads = ["x" * 2048] + [str(number) for number in range(50)]
    for payload in payloads:
        program.order("publish", "telemetry", payload, {})
    program.wait("published", count=len(payloads))
    assert [message.body for message in application.messages(len(payloads))] == payloads


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
def test_a_wrong_password_is_refused_in_the_protocols_own_way(connect, scheme):
    rows = {4: 4, 5: 0x86}
    for version, code in rows.items():
        (error,) = connect(scheme, version, password="wrong").wait("error")
        assert error["code"] == code


def test_user_properties_become_application_properties(connect, application):
    program = connect("ws", 5)
    program.connected()
    properties = {
        "userProperties": {"shift": "night", "device_id": "another"},
        "contentType": "text/plain",
        "messageExpiryInterval": 60,
    }
    assert program.publish("event", "alarm", properties=properties) is None
    message = application.message()
    assert message.application_properties["shift"] == ("string", "night")
    assert message.application_properties["device_id"] == ("string", "4711")
    assert message.properties["content-type"] == ("symbol", "text/plain")
    assert 0 < message.header["ttl"][1] <= 60_000


def test_the_server_says_what_it_does_not_do(connect):
    properties = connect("ws", 5).connected()["properties"]
    assert properties["maximumQoS"] == 1
    assert properties["sessionExpiryInterval"] == 0
    assert properties["receiveMaximum"] == 64
    assert properties["topicAliasMaximum"] == 16


def test_topic_aliases_stand_for_topics(connect, application):
    program = connect("mqtt", 5, autoUseTopicAlias=True, autoAssignTopicAlias=True)
    program.connected()
    for payload in "abc":
        assert program.publish("telemetry", payload) is None
    assert [message.body for message in application.messages(3)] == ["a", "b", "c"]


@pytest.mark.parametrize("scheme", ["mqtt", "wss"])
@pytest.mark.parametrize(("said", "status"), [(None, 200), ({"hono-cmd-status": "503"}, 503)])
def test_a_responder_made_for_any_broker_answers_commands(
    gateway, connect, tenant, start_application, start_sender, scheme, said, status
):
    program = connect(scheme, 5)
    program.connected()
    assert program.subscribe("command///req/#") == 1
    address = f"command_response/{tenant}/replies/{next(identifiers)}"
    listener = start_application(gateway, "proton", address).attached()
    sender = start_sender(gateway, "proton", f"command/{tenant}").attached().ready()
    command = {"subject": "get", "data": "{}", "content_type": "application/json"}
    ids = {"message_id": "m-1", "correlation_id": "c-1", "reply_to": address}
    sender.send(to=f"command/{tenant}/4711", **command, **ids)
    (message,) = program.wait("message")
    assert message["properties"]["contentType"] == "application/json"
    assert message["properties"]["correlationData"] in message["topic"]
    program.order("respond", "42", said)
    response = listener.message()
    assert response.body == "42"
    assert response.application_properties["status"] == ("int", status)
    assert response.properties["correlation-id"] == ("string", "c-1")


def test_refusals_come_with_a_reason(gateway, connect):
    # Nobody consumes.
    program = connect("ws", 5)
    program.connected()
    assert program.publish("telemetry/?on-error=ignore", "x") == 0x80
    assert program.publish("telemetry/?on-error=ignore", "y") == 0x80


@pytest.mark.parametrize("version", [mqtt.MQTTv311, mqtt.MQTTv5])
def test_paho_publishes_over_a_websocket(gateway, device, application, version):
    api = mqtt.CallbackAPIVersion.VERSION2
    client = mqtt.Client(api, protocol=version, transport="websockets", reconnect_on_failure=False)
    client.username_pw_set(device.user, device.password)
    host, port = gateway.address("http")
    client.connect(host, port)
    client.loop_start()
    try:
        until("the connection", client.is_connected)
        properties = None
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.PUBLISH)
            properties.UserProperty = ("shift", "day")
        client.publish("telemetry", "21.5", qos=1, properties=properties).wait_for_publish(DEADLINE)
    finally:
        client.disconnect()
        client.loop_stop()
    message = application.message()
    assert message.body == "21.5"
    assert ("shift" in message.application_properties) == (version == mqtt.MQTTv5)


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "mqtt",
}


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 101),
        ({"Sec-WebSocket-Protocol": "chat, mqtt"}, 101),
        ({"Sec-WebSocket-Protocol": "chat"}, 400),
        ({"Sec-WebSocket-Protocol": None}, 400),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": None}, 400),
    ],
)
def test_handshakes_that_are_none_are_refused(gateway, changed, status):
    host, port = gateway.address("http")
    command = ["curl", "-sS", "-i", "-N", "--max-time", "1", f"http://{host}:{port}/mqtt"]
    for name, value in (HANDSHAKE | changed).items():
        if value is not None:
            command += ["-H", f"{name}: {value}"]
    running = Running(command, "")
    # curl gives up waiting for more once it has been switched to the other protocol.
    running.status()
    assert running.output.startswith(f"HTTP/1.1 {status} ")
