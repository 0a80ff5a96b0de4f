"""What was sent is what was counted, under Hono's names and labels."""

import socket

import pytest

from harness.wait import until

DURATION = "hono_telemetry_processing_duration_seconds"
PAYLOAD = "hono_telemetry_payload_bytes"


def uploads(gateway, device, series):
    """All samples of a tenant's uploads: value by protocol, type, status and QoS."""
    found = {}
    for labels, value in gateway.metrics(series, tenant=device.tenant):
        common = {"host": socket.gethostname(), "component_type": "adapter", "ttd": "none"}
        common["tenant"] = device.tenant
        assert common.items() <= labels.items(), labels
        rest = {name: text for name, text in labels.items() if name not in common}
        names = ("component_name", "type", "status", "qos")
        assert sorted(rest) == sorted(names), labels
        if value:
            found[tuple(rest[name] for name in names)] = value
    return found


@pytest.fixture
def send(device):
    """Sends with curl or mosquitto_pub, so many messages of 5 bytes."""

    def curl(count, path, status, *options):
        for _ in range(count):
            assert device.curl(path, "12345", *options).status == status

    def mosquitto(count, topic, succeeds, **options):
        for _ in range(count):
            assert device.start_mosquitto(topic, "12345", **options).succeeded() == succeeds

    return curl, mosquitto


def test_each_message_is_counted_once(gateway, device, start_application, send):
    curl, mosquitto = send
    telemetry, event = f"telemetry/{device.tenant}", f"event/{device.tenant}"
    # Telemetry is taken, then it is wrong, then given back; events are the gateway's affair.
    taker = start_application(gateway, "proton", telemetry).attached()
    start_application(gateway, "proton", event, outcome="rejected").attached()
    curl(3, "/telemetry", 202)
    curl(2, "/telemetry", 202, "-H", "QoS-Level: 1")
    curl(4, "/event", 202)
    mosquitto(5, "telemetry", True, qos=0)
    mosquitto(6, "t", True, version="mqttv5")
    mosquitto(2, "event", True)
    taker.close()
    rejecter = start_application(gateway, "rhea", telemetry, outcome="rejected").attached()
    curl(1, "/telemetry", 400, "-H", "QoS-Level: 1")
    rejecter.close()
    refuser = start_application(gateway, "rhea", telemetry, outcome="released").attached()
    curl(2, "/telemetry", 503, "-H", "QoS-Level: 1")
    refuser.close()

    expected = {
        ("hono-http", "telemetry", "forwarded", "0"): 3,
        ("hono-http", "telemetry", "forwarded", "1"): 2,
        ("hono-http", "telemetry", "unprocessable", "1"): 1,
        ("hono-http", "telemetry", "undeliverable", "1"): 2,
        ("hono-http", "event", "forwarded", "1"): 4,
        ("hono-mqtt", "telemetry", "forwarded", "0"): 5,
        ("hono-mqtt", "telemetry", "forwarded", "1"): 6,
        ("hono-mqtt", "event", "forwarded", "1"): 2,
    }
    # A QoS 0 publisher does not wait until it has been counted.
    until("QoS 0", lambda: gateway.total(f"{DURATION}_count", tenant=device.tenant) >= 25)
    assert uploads(gateway, device, f"{DURATION}_count") == expected
    assert uploads(gateway, device, f"{PAYLOAD}_count") == expected
    bytes_sent = {labels: 5 * count for labels, count in expected.items()}
    assert uploads(gateway, device, f"{PAYLOAD}_sum") == bytes_sent
    seconds = uploads(gateway, device, f"{DURATION}_sum")
    maxima = uploads(gateway, device, f"{DURATION}_max")
    assert seconds.keys() == maxima.keys() == expected.keys()
    for labels, count in expected.items():
        assert 0 < maxima[labels] <= seconds[labels] * 1.000001
        assert seconds[labels] <= count * maxima[labels] * 1.000001


def test_what_breaks_a_rule_of_http_is_not_counted(gateway, device, start_application):
    start_application(gateway, "proton", f"event/{device.tenant}").attached()
    assert device.curl("/event", "12345", "-H", "QoS-Level: 0").status == 400
    assert device.curl("/event", "", content_type=None).status == 400
    assert device.curl("/event", "12345").status == 202
    expected = {("hono-http", "event", "forwarded", "1"): 1}
    assert uploads(gateway, device, f"{DURATION}_count") == expected


def test_connections_are_counted(gateway, device):
    name, mine = "hono_connections_authenticated", {"tenant": device.tenant}
    lasting = device.start_mosquitto("telemetry", None)
    until("the connection", lambda: gateway.total(name, **mine) == 1)
    ((labels, _),) = gateway.metrics(name, **mine)
    common = {"component_name", "component_type", "host", "tenant"}
    assert labels.keys() == common
    assert lasting.succeeded()
    until("its end", lambda: gateway.total(name, **mine) == 0)
    device.password = "guessed"
    assert not device.start_mosquitto("telemetry", "20.5").succeeded()
    attempts = gateway.metrics("hono_connections_attempts_total", **mine)
    for labels, _ in attempts:
        assert labels.keys() == common | {"outcome", "cipher_suite"}
        assert labels["cipher_suite"] == "UNKNOWN" and labels["component_name"] == "hono-mqtt"
    found = {labels["outcome"]: value for labels, value in attempts if value}
    assert found == {"succeeded": 1, "unauthorized": 1}
