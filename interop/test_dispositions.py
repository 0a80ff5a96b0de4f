"""What an application says about a message is what its device is told."""

import pytest

from harness.wait import until

REJECTED = "not what was asked for"
UNPROCESSED = "consumer didn't process the message"
UNDELIVERABLE = "consumer declared message as undeliverable, it should not be redelivered"
LATE = "consumer failed to indicate in time whether it has processed the message"
NOBODY = "no consumer available"

REFUSALS = [
    ("rejected", 400, REJECTED),
    ("released", 503, UNPROCESSED),
    ("modified", 503, UNPROCESSED),
    ("undeliverable", 404, UNDELIVERABLE),
]


def test_accepted_is_202(device, consume):
    consume(outcome="accepted")
    for path in ("/telemetry", "/event"):
        answer = device.curl(path, "20.5", "-H", "QoS-Level: 1")
        assert (answer.status, answer.text) == (202, "")
        assert "retry-after" not in answer.headers


@pytest.mark.parametrize(("outcome", "status", "text"), REFUSALS)
def test_a_refusal_reaches_curl(device, consume, outcome, status, text):
    application = consume(outcome=outcome)
    answer = device.curl("/telemetry", "20.5", "-H", "QoS-Level: 1")
    assert (answer.status, answer.error) == (status, text)
    assert answer.headers.get("retry-after") == (["2"] if status == 503 else None)
    application.message()


@pytest.mark.parametrize("outcome", [outcome for outcome, _, _ in REFUSALS])
def test_the_outcome_of_an_event_is_no_matter_of_its_device(device, consume, outcome):
    application = consume(outcome=outcome)
    answer = device.curl("/event", "20.5", "-H", "QoS-Level: 1")
    assert (answer.status, answer.text) == (202, "")
    application.wait("message")


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
@pytest.mark.parametrize("outcome", [outcome for outcome, _, _ in REFUSALS])
def test_a_refusal_reaches_mosquitto(device, consume, outcome, version):
    application = consume(outcome=outcome)
    running = device.start_mosquitto("telemetry", "20.5", version=version)
    assert not running.succeeded()
    application.message()


@pytest.mark.parametrize("outcome", [outcome for outcome, _, _ in REFUSALS])
def test_nobody_waits_for_the_outcome_of_qos_0(device, consume, outcome):
    application = consume(outcome=outcome)
    assert device.curl("/telemetry", "20.5").status == 202
    device.mosquitto("telemetry", "20.5", qos=0)
    application.messages(2)


def test_a_consumer_that_never_settles_is_given_up_on(device, consume):
    application = consume(outcome="hold")
    answer = device.curl("/telemetry", "20.5", "-H", "QoS-Level: 1")
    assert (answer.status, answer.error) == (503, LATE)
    (settled,) = application.wait("settled by the gateway")
    assert settled["number"] == application.message().number
    assert settled["state"] == "released"


@pytest.mark.parametrize("qos", [0, 1])
def test_without_a_consumer_telemetry_is_refused(device, qos):
    answer = device.curl("/telemetry", "20.5", "-H", f"QoS-Level: {qos}")
    assert (answer.status, answer.error) == (503, NOBODY)
    assert answer.headers["retry-after"] == ["2"]
    assert not device.start_mosquitto("telemetry", "20.5").succeeded()


def test_a_consumer_that_has_gone_is_none(gateway, device, consume):
    application = consume()
    assert device.curl("/telemetry", "1", "-H", "QoS-Level: 1").status == 202
    application.close()

    def refused():
        answer = device.curl("/telemetry", "2", "-H", "QoS-Level: 1")
        return answer.status == 503 and answer.error == NOBODY

    until("the gateway to notice", refused)
    assert application.bodies() == ["1"]


def test_a_late_outcome_is_ignored(device, consume):
    application = consume(outcome="hold")
    assert device.curl("/telemetry", "late", "-H", "QoS-Level: 1").status == 503
    application.wait("settled by the gateway")
    application.order("settle", "accepted", 1)
    application.wait("settling")
    running = device.start_curl("/telemetry", "in time", "-H", "QoS-Level: 1")
    application.wait("message", 2)
    application.order("settle", "accepted", 1)
    assert running.answer().status == 202
