"""Logging in, attaching, credit, and applications that compete."""

import collections

import pytest

from harness.wait import until


def test_a_wrong_password_is_refused(gateway, client, start_application):
    application = start_application(gateway, client, "telemetry/acme", password="guessed")
    (event,) = application.wait("disconnected")
    assert event["condition"] == "amqp:unauthorized-access"
    application.wait("ended")
    assert not application.all("attached")


@pytest.mark.parametrize("address", ["nowhere/acme", "telemetry", "telemetry/acme/4711", "event/"])
def test_an_unknown_address_is_not_found(gateway, client, start_application, address):
    application = start_application(gateway, client, address)
    (event,) = application.wait("refused")
    assert event["condition"] == "amqp:not-found"
    assert not application.all("attached")


def test_no_more_messages_come_than_there_is_credit_for(
    start_gateway, client, tenant, start_application
):
    # Nothing is given up on while this story is told.
    gateway = start_gateway(**{"northbound.amqp.outcome_timeout": 600_000})
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    telemetry, event = f"telemetry/{tenant}", f"event/{tenant}"
    application = start_application(gateway, client, telemetry, event, credit=0).attached()
    application.order("credit", telemetry, 3)
    application.order("credit", event, 1)
    for number in range(5):
        assert device.curl("/telemetry", f"telemetry {number}").status == 202
    # When the event, which is sent last, has come and gone, all that may come before it has come.
    assert device.curl("/event", "event").status == 202
    of_telemetry = lambda: [body for body in application.bodies() if body != "event"]
    assert of_telemetry() == ["telemetry 0", "telemetry 1", "telemetry 2"]
    application.order("credit", telemetry, 2)
    messages = application.messages(6)
    assert of_telemetry() == [f"telemetry {number}" for number in range(5)]
    assert all(message.had_credit for message in messages)


def test_waiting_messages_go_to_a_consumer_that_comes_to_help(
    start_gateway, client, tenant, start_application
):
    gateway = start_gateway(**{"northbound.amqp.outcome_timeout": 600_000})
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    telemetry = f"telemetry/{tenant}"
    without_credit = start_application(gateway, client, telemetry, credit=0).attached()
    for number in range(3):
        assert device.curl("/telemetry", str(number)).status == 202
    helper = start_application(gateway, client, telemetry).attached()
    without_credit.close()
    assert [message.body for message in helper.messages(3)] == ["0", "1", "2"]
    assert not without_credit.all("message")


def test_two_consumers_share_all_messages(device, consume):
    first, second = consume(), consume()
    lines = [f"line {number}" for number in range(400)]
    device.mosquitto_lines("telemetry", lines)
    bodies = until(
        "all messages",
        lambda: len(both := first.bodies() + second.bodies()) >= len(lines) and both,
    )
    assert collections.Counter(bodies) == collections.Counter(lines)
    assert first.bodies() and second.bodies()


def test_one_consumer_gets_the_messages_of_a_connection_in_order(device, consume):
    application = consume()
    lines = [f"line {number}" for number in range(400)]
    device.mosquitto_lines("event", lines, version="mqttv5")
    assert [message.body for message in application.messages(len(lines))] == lines


def test_a_consumer_that_gives_back_leaves_the_others_alone(device, consume):
    taker, refuser = consume(outcome="accepted"), consume(outcome="released")
    answers = [device.curl("/telemetry", str(n), "-H", "QoS-Level: 1").status for n in range(20)]
    assert answers.count(202) == len(taker.all("message")) > 0
    assert answers.count(503) == len(refuser.all("message")) > 0
