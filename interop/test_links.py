"""Logging in, attaching, credit, and applications that compete."""

import collections

import pytest

from harness.wait import until

MIB = 1 << 20


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


# The wire: what the specification allows, and what back ends do.


@pytest.fixture
def generous(start_gateway, tenant):
    """A gateway that takes large payloads and gives up on nothing by itself, and a device on it."""
    sizes = {"http.max_payload_size": MIB, "northbound.amqp.queue_bytes": 4 * MIB}
    gateway = start_gateway(**{"northbound.amqp.outcome_timeout": 600_000}, **sizes)
    gateway.create_tenant(tenant)
    return gateway, gateway.create_device(tenant, "4711")


# rhea takes no more than 2,048 frames of a message.
@pytest.mark.parametrize("frame", [1024, 65_536])
def test_a_large_message_arrives_in_frames(generous, client, tmp_path, start_application, frame):
    gateway, device = generous
    payload = bytes(range(256)) * (MIB // 256)
    (tmp_path / "payload").write_bytes(payload)
    addresses = [f"telemetry/{device.tenant}", f"event/{device.tenant}"]
    application = start_application(gateway, client, *addresses, max_frame_size=frame).attached()
    for count, path in enumerate(("/telemetry", "/event"), start=1):
        answer = device.curl(path, f"@{tmp_path}/payload", "-H", "QoS-Level: 1")
        assert answer.status == 202
        assert application.messages(count)[-1].data == [("binary", payload.hex())]


def test_a_hundred_links_on_one_connection(gateway, client, tenant, start_application):
    tenants = [f"{tenant}-{number}" for number in range(50)]
    addresses = [f"{endpoint}/{name}" for name in tenants for endpoint in ("telemetry", "event")]
    application = start_application(gateway, client, *addresses).attached()
    devices = []
    for name in tenants[::7]:
        gateway.create_tenant(name)
        devices.append(gateway.create_device(name, "4711"))
    sent = [(device, path) for device in devices for path in ("telemetry", "event")]
    for device, path in sent:
        assert device.curl(f"/{path}", "x", "-H", "QoS-Level: 1").status == 202
    messages = application.messages(len(sent))
    assert [message.address for message in messages] == [f"{path}/{device.tenant}" for device, path in sent]


def test_heartbeats_keep_a_silent_connection_and_nothing_else(
    start_gateway, client, tenant, start_application
):
    gateway = start_gateway(**{"northbound.amqp.idle_timeout": 2})
    devices = []
    for name in (tenant, f"{tenant}-other"):
        gateway.create_tenant(name)
        devices.append(gateway.create_device(name, "4711"))
    device, other = devices
    # Each side of the silent one has to be heard by the other.
    silent = start_application(gateway, client, f"telemetry/{device.tenant}", heartbeat=2).attached()
    frozen = start_application(gateway, client, f"telemetry/{other.tenant}").attached()
    frozen.freeze()
    until("the end of the frozen one", lambda: other.curl("/telemetry", "x").status == 503)
    assert device.curl("/telemetry", "x", "-H", "QoS-Level: 1").status == 202
    assert silent.message().body == "x"
    assert not silent.all("disconnected")
    frozen.kill()


def test_credit_that_is_drained_is_used_or_gone(generous, client, start_application):
    gateway, device = generous
    telemetry = f"telemetry/{device.tenant}"
    application = start_application(gateway, client, telemetry, credit=0).attached()
    application.order("credit", telemetry, 5)
    for number in range(2):
        assert device.curl("/telemetry", str(number), "-H", "QoS-Level: 1").status == 202
    application.order("drain", telemetry)
    application.wait("drained")
    assert application.bodies() == ["0", "1"]
    # Without credit the next one waits.
    assert device.curl("/telemetry", "2").status == 202
    application.order("credit", telemetry, 1)
    application.wait("message", 3)
    assert application.messages(3)[2].had_credit


def test_a_consumer_that_is_slow_delays_no_other(generous, client, start_application):
    gateway, device = generous
    telemetry = f"telemetry/{device.tenant}"
    slow = start_application(gateway, client, telemetry, outcome="hold", credit=0).attached()
    slow.order("credit", telemetry, 1)
    fast = start_application(gateway, client, telemetry).attached()
    running = [device.start_curl("/telemetry", str(n), "-H", "QoS-Level: 1") for n in range(2)]
    slow.wait("message")
    lines = [f"line {number}" for number in range(100)]
    device.mosquitto_lines("telemetry", lines)
    assert fast.bodies()[-100:] == lines
    assert len(slow.all("message")) == 1
    slow.order("settle", "accepted", 1)
    assert [one.answer().status for one in running] == [202, 202]


def test_a_frozen_consumer_is_cut_off_and_the_other_goes_on(start_gateway, client, tenant, start_application):
    gateway = start_gateway(**{"northbound.amqp.idle_timeout": 2})
    gateway.create_tenant(tenant)
    device, telemetry = gateway.create_device(tenant, "4711"), f"telemetry/{tenant}"
    frozen, other = (start_application(gateway, client, telemetry).attached() for _ in range(2))
    frozen.freeze()
    answers = []

    def only_the_other():
        """Whether so many in a row have gone well."""
        answers.append(device.curl("/telemetry", str(len(answers)), "-H", "QoS-Level: 1").status)
        return answers[-10:] == [202] * 10

    until("the other one alone", only_the_other)
    assert set(answers) <= {202, 503}
    assert len(other.all("message")) == answers.count(202)
    frozen.kill()
