"""Every field of a message, as each application library finds it on the wire."""

import re
import time

import pytest

NOTIFICATION = "application/vnd.eclipse-hono-empty-notification"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
UNSAMPLED = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00")
HOUR = 3_600_000
DEFAULTS = {
    "importance": "high",
    "floor": 3,
    "serial": 5_000_000_000,
    "ratio": 0.5,
    "spare": False,
    "content-encoding": "gzip",
    "to": "dropped: the message has its own",
}


@pytest.fixture
def device(gateway, tenant):
    """A device whose tenant and whose own registration bring defaults."""
    gateway.create_tenant(tenant, defaults={**DEFAULTS, "floor": 1, "site": "Berlin"})
    return gateway.create_device(tenant, "4711", defaults={"floor": 3})


def check(message, device, endpoint, *, body, content_type, qos, adapter, address, ttl=None, retain=False):
    """All fields of northbound messages, nothing less and nothing more."""
    string = lambda text: ("string", text)
    to = f"{endpoint}/{device.tenant}"
    assert message.address == to
    assert not message.settled

    is_event = endpoint == "event"
    header = {"durable": ("bool", True), "first-acquirer": ("bool", True)} if is_event else {}
    sent = {name: field for name, field in message.header.items() if field != ("bool", False)}
    if is_event:
        assert sent.pop("delivery-count") == ("uint", 0)
    if ttl is not None:
        # What is left of it.
        kind, left = sent.pop("ttl")
        assert kind == "uint" and ttl - HOUR < left <= ttl
    assert sent == header

    annotations = dict(message.annotations)
    kind, trace = annotations.pop("x-opt-trace-context")
    ((key, traceparent),) = trace
    assert (kind, key) == ("map", {"type": "string", "value": "traceparent"})
    assert traceparent["type"] == "string"
    expected = {
        "device_id": string(device.name),
        "tenant_id": string(device.tenant),
        "resource": string(f"{to}/{device.name}"),
    }
    assert annotations == expected | ({"x-opt-retain": ("bool", True)} if retain else {})

    properties = dict(message.properties)
    kind, identifier = properties.pop("message-id")
    assert kind == "string" and identifier
    kind, created = properties.pop("creation-time")
    assert kind == "timestamp"
    # Set by this machine's clock, in milliseconds; wrong units are off by far more.
    assert abs(created - time.time() * 1000) < HOUR
    expected = {"to": string(to), "content-encoding": ("symbol", "gzip")}
    assert properties == expected | {"content-type": ("symbol", content_type)}

    assert message.application_properties == {
        "device_id": string(device.name),
        "qos": ("int", qos),
        "orig_adapter": string(adapter),
        "orig_address": string(address),
        "importance": string("high"),
        "site": string("Berlin"),
        "floor": ("int", 3),
        "serial": ("long", 5_000_000_000),
        "ratio": ("double", 0.5),
        "spare": ("bool", False),
    }

    assert message.data == ([("binary", body.encode().hex())] if body else [])
    sections = ["message annotations", "properties", "application properties"]
    assert message.order == (["header"] if message.header else []) + sections + (["data"] if body else [])
    return traceparent["value"]


@pytest.mark.parametrize("qos", [0, 1])
def test_telemetry_from_curl(device, consume, qos):
    application = consume()
    answer = device.curl("/telemetry?x=1", "20.5", "-H", f"QoS-Level: {qos}")
    assert answer.status == 202
    fields = {"body": "20.5", "content_type": "text/plain", "qos": qos}
    origin = {"adapter": "hono-http", "address": "/telemetry?x=1"}
    traceparent = check(application.message(), device, "telemetry", **fields, **origin)
    assert UNSAMPLED.fullmatch(traceparent)


def test_an_event_from_curl_with_a_time_to_live_and_a_trace(device, consume):
    application = consume()
    options = ["-H", "hono-ttl: 30", "-H", f"traceparent: 00-{TRACE_ID}-b7ad6b7169203331-01"]
    path = f"/event/{device.tenant}/{device.name}"
    assert device.curl(path, "fire", *options, method="PUT").status == 202
    fields = {"body": "fire", "content_type": "text/plain", "qos": 1, "ttl": 30_000}
    origin = {"adapter": "hono-http", "address": path}
    traceparent = check(application.message(), device, "event", **fields, **origin)
    assert traceparent.split("-")[1] == TRACE_ID


def test_an_event_from_curl_with_the_tenant_left_out(device, consume):
    application = consume()
    path = f"/event//{device.name}"
    assert device.curl(path, "fire", "--path-as-is", method="PUT").status == 202
    fields = {"body": "fire", "content_type": "text/plain", "qos": 1}
    check(application.message(), device, "event", **fields, adapter="hono-http", address=path)


def test_a_payload_without_a_content_type_is_bytes(device, consume):
    application = consume()
    assert device.curl("/telemetry", "20.5", content_type=None).status == 202
    fields = {"body": "20.5", "content_type": "application/octet-stream", "qos": 0}
    check(application.message(), device, "telemetry", **fields, adapter="hono-http", address="/telemetry")


@pytest.mark.parametrize("endpoint", ["telemetry", "event"])
def test_an_empty_notification_has_no_body(device, consume, endpoint):
    application = consume()
    answer = device.curl(f"/{endpoint}", content_type=NOTIFICATION)
    assert answer.status == 202
    qos = 1 if endpoint == "event" else 0
    fields = {"body": "", "content_type": NOTIFICATION, "qos": qos}
    check(application.message(), device, endpoint, **fields, adapter="hono-http", address=f"/{endpoint}")


def topics():
    """All forms of an upload topic, with the endpoint each stands for."""
    for short, endpoint in [("telemetry", "telemetry"), ("t", "telemetry"), ("event", "event"), ("e", "event")]:
        for form in ("{}", "{}//4711", "{}/TENANT/4711"):
            yield form.format(short), endpoint


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_each_topic_of_mosquitto(device, consume, version):
    application = consume()
    expected = []
    for topic, endpoint in topics():
        topic = topic.replace("TENANT", device.tenant)
        for qos in [1] if endpoint == "event" else [0, 1]:
            device.mosquitto(topic, topic, version=version, qos=qos)
            # Telemetry and events come over links of their own, in no order between them.
            expected.append((topic, endpoint, qos))
            application.wait("message", len(expected))
    for message, (topic, endpoint, qos) in zip(application.messages(len(expected)), expected):
        fields = {"body": topic, "content_type": "application/octet-stream", "qos": qos}
        origin = {"adapter": "hono-mqtt", "address": topic}
        traceparent = check(message, device, endpoint, **fields, **origin)
        assert UNSAMPLED.fullmatch(traceparent)


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_the_property_bag_and_retain_of_mosquitto(device, consume, version):
    application = consume()
    topic = "e/?content-type=text%2Fplain&hono-ttl=10"
    device.mosquitto(topic, "fire", "-r", version=version)
    fields = {"body": "fire", "content_type": "text/plain", "qos": 1, "ttl": 10_000, "retain": True}
    check(application.message(), device, "event", **fields, adapter="hono-mqtt", address=topic)


def test_the_content_type_property_of_mqtt_5(device, consume):
    application = consume()
    device.mosquitto("t", "", "-D", "publish", "content-type", NOTIFICATION, version="mqttv5")
    fields = {"body": "", "content_type": NOTIFICATION, "qos": 1}
    check(application.message(), device, "telemetry", **fields, adapter="hono-mqtt", address="t")


def test_a_payload_of_any_bytes_arrives_as_it_was(device, consume, tmp_path):
    application = consume()
    payload = bytes(range(256)) * 8
    (tmp_path / "payload").write_bytes(payload)
    assert device.curl("/telemetry", f"@{tmp_path}/payload").status == 202
    assert application.message().data == [("binary", payload.hex())]
    (tmp_path / "payload").write_bytes(payload + b"!")
    answer = device.curl("/telemetry", f"@{tmp_path}/payload")
    assert (answer.status, answer.error) == (413, "N/A")


def test_message_ids_are_unique_on_a_link(device, consume):
    application = consume()
    for number in range(20):
        assert device.curl("/telemetry", str(number), "-H", "QoS-Level: 1").status == 202
    messages = application.messages(20)
    assert len({message.properties["message-id"] for message in messages}) == 20
    assert [message.body for message in messages] == [str(number) for number in range(20)]
