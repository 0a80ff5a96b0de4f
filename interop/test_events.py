"""Events: what was acknowledged to a device waits until an application has accepted it."""

import collections
import shutil

import pytest

from harness import trace
from harness.connected import Connected
from harness.gateway import fixed_ports
from harness.publisher import Publisher
from harness.wait import until

DURATION = "hono_telemetry_processing_duration_seconds_count"
BUDGET = "northbound.events.max_events_per_tenant"
ATTEMPTS = "northbound.events.max_delivery_attempts"


def count_of(message):
    """How often a message was handed out before."""
    kind, count = message.header.get("delivery-count", ("uint", 0))
    assert kind == "uint"
    return count


@pytest.fixture
def gateway(start_gateway):
    """A gateway of the story's own, which is found again after a restart."""
    return start_gateway(**fixed_ports())


def publish(device, lines, way="mqttv311"):
    """Publishes events, each of which has to be acknowledged."""
    if way == "http":
        for line in lines:
            assert device.curl("/event", line).status == 202
    else:
        device.mosquitto_lines("event", lines, version=way)


def restart(gateway):
    """SIGKILL and a new start."""
    gateway.kill()
    gateway.start()


# Nobody is there.


@pytest.mark.parametrize("way", ["mqttv311", "mqttv5", "http"])
def test_what_was_acknowledged_survives_a_kill(gateway, device, client, start_application, way):
    lines = [f"line {number}" for number in range(20)]
    publish(device, lines, way)
    restart(gateway)
    application = start_application(gateway, client, f"event/{device.tenant}").attached()
    messages = application.messages(20)
    assert [message.body for message in messages] == lines
    adapter = "hono-http" if way == "http" else "hono-mqtt"
    for message in messages:
        assert message.header["durable"] == ("bool", True)
        assert count_of(message) == 0
        assert message.properties["to"] == ("string", f"event/{device.tenant}")
        assert message.application_properties["device_id"] == ("string", device.name)
        assert message.application_properties["qos"] == ("int", 1)
        assert message.application_properties["orig_adapter"] == ("string", adapter)
    # What was accepted does not come again.
    application.close()
    gateway.terminate()
    gateway.stopped()
    gateway.start()
    publish(device, ["later"])
    application = start_application(gateway, client, f"event/{device.tenant}").attached()
    assert application.message().body == "later"


def test_the_order_of_each_device_is_kept(gateway, device, client, start_application):
    tenant, names = device.tenant, [f"edge-{number}" for number in range(6)]
    gateway.create_edge_devices(tenant, names, via=[device.name])
    running = [device.start_mosquitto(f"event//{name}", None) for name in names]
    lines = [str(number) for number in range(50)]
    for one in running:
        one.process.stdin.write("\n".join(lines) + "\n")
    assert all(one.succeeded() for one in running)
    restart(gateway)
    application = start_application(gateway, client, f"event/{tenant}").attached()
    by_device = collections.defaultdict(list)
    for message in application.messages(len(names) * len(lines)):
        by_device[message.application_properties["device_id"][1]].append(message.body)
    assert by_device == {name: lines for name in names}


def test_an_event_that_expires_is_not_delivered(start_gateway, tenant, client, start_application):
    gateway = start_gateway(**{BUDGET: 4})
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    assert device.curl("/event?hono-ttl=1", "short").status == 202
    device.mosquitto("event/?hono-ttl=1", "short")
    assert device.curl("/event?hono-ttl=1000", "long").status == 202
    assert device.curl("/event", "for ever").status == 202
    # There is room again when the short ones have gone.
    until("room", lambda: device.curl("/event", "late").status == 202)
    application = start_application(gateway, client, f"event/{tenant}").attached()
    long, forever, late = application.messages(3)
    assert (long.body, forever.body, late.body) == ("long", "for ever", "late")
    kind, ttl = long.header["ttl"]
    # What is left of it.
    assert kind == "uint" and 0 < ttl <= 1_000_000
    assert "ttl" not in forever.header


# A consumer that does not accept.


@pytest.mark.parametrize("outcome", ["released", "failed"])
def test_what_is_given_back_comes_again_before_what_follows(
    gateway, device, client, start_application, outcome
):
    publish(device, ["first", "second"])
    event = f"event/{device.tenant}"
    application = start_application(gateway, client, event, outcome="hold", credit=0).attached()
    for count, settled in enumerate((outcome, "accepted", "accepted"), start=1):
        application.order("credit", event, 1)
        application.wait("message", count)
        application.order("settle", settled, 1)
    messages = application.messages(3)
    assert [message.body for message in messages] == ["first", "first", "second"]
    assert [count_of(message) for message in messages] == [0, 1, 0]


def test_what_is_given_back_untried_is_no_attempt(gateway, device, client, start_application):
    publish(device, ["first", "second"])
    event = f"event/{device.tenant}"
    application = start_application(gateway, client, event, outcome="hold").attached()
    application.wait("message", 2)
    # The first is modified, and the fault is not said to be the event's.
    application.order("settle", "modified", 1)
    application.wait("message", 3)
    application.order("settle", "accepted", 2)
    messages = application.messages(3)
    assert [message.body for message in messages] == ["first", "second", "first"]
    assert [count_of(message) for message in messages] == [0, 0, 0]


def test_what_a_killed_consumer_had_comes_again(gateway, device, client, start_application):
    publish(device, ["first", "second"])
    address = f"event/{device.tenant}"
    killed = start_application(gateway, client, address, outcome="hold").attached()
    assert [count_of(message) for message in killed.messages(2)] == [0, 0]
    killed.kill()
    publish(device, ["third"])
    application = start_application(gateway, client, address).attached()
    messages = application.messages(3)
    assert [message.body for message in messages] == ["first", "second", "third"]
    # Each may have been what killed it.
    assert [count_of(message) for message in messages] == [1, 1, 0]


def test_what_a_consumer_had_that_has_left_comes_again(gateway, device, client, start_application):
    publish(device, ["first", "second"])
    address = f"event/{device.tenant}"
    leaving = start_application(gateway, client, address, outcome="hold").attached()
    leaving.messages(2)
    leaving.close()
    application = start_application(gateway, client, address).attached()
    assert [message.body for message in application.messages(2)] == ["first", "second"]


@pytest.mark.parametrize("outcome", ["rejected", "undeliverable"])
def test_what_nobody_wants_is_a_dead_letter(gateway, device, client, start_application, outcome):
    tenant, lines = device.tenant, ["first", "second", "third"]
    refuser = start_application(gateway, client, f"event/{tenant}", outcome=outcome).attached()
    publish(device, lines)
    assert [message.body for message in refuser.messages(3)] == lines
    restart(gateway)
    letters = start_application(gateway, client, f"event-dlq/{tenant}").attached()
    messages = letters.messages(3)
    assert [message.body for message in messages] == lines
    assert all(message.header["durable"] == ("bool", True) for message in messages)


def test_after_so_many_attempts_it_is_a_dead_letter(start_gateway, tenant, client, start_application):
    gateway = start_gateway(**{ATTEMPTS: 3})
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    consumer = start_application(gateway, client, f"event/{tenant}", outcome="failed").attached()
    letters = start_application(gateway, client, f"event-dlq/{tenant}").attached()
    publish(device, ["poison"])
    assert letters.message().body == "poison"
    messages = consumer.messages(3)
    assert [message.body for message in messages] == ["poison"] * 3
    assert [count_of(message) for message in messages] == [0, 1, 2]


# Several consumers.


def test_a_device_has_one_consumer_at_a_time(gateway, device, client, start_application):
    tenant = device.tenant
    other = gateway.create_device(tenant, "4712")
    publish(device, ["first", "second"])
    address = f"event/{tenant}"
    busy = start_application(gateway, client, address, outcome="hold", credit=0).attached()
    busy.order("credit", address, 1)
    busy.wait("message")
    helper = start_application(gateway, client, address).attached()
    publish(other, ["of the other device"])
    helper.wait("message")
    assert (busy.bodies(), helper.bodies()) == (["first"], ["of the other device"])
    busy.order("settle", "accepted", 1)
    helper.wait("message", 2)
    assert helper.bodies() == ["of the other device", "second"]


def test_all_that_a_dead_consumer_had_goes_to_the_other(gateway, device, client, start_application):
    tenant, names = device.tenant, [f"edge-{number}" for number in range(500)]
    gateway.create_edge_devices(tenant, names, via=[device.name])
    address = f"event/{tenant}"
    killed = start_application(gateway, client, address, outcome="hold", credit=500).attached()
    publisher = Publisher(device)
    for name in names:
        publisher.publish(name, f"event//{name}")
    publisher.all_acknowledged()
    assert len(killed.messages(500)) == 500
    other = start_application(gateway, client, address).attached()
    assert not other.all("message")
    killed.kill()
    assert sorted(message.body for message in other.messages(500)) == sorted(names)


def test_two_consumers_share_the_events_of_many_devices(gateway, device, client, start_application):
    tenant, names = device.tenant, [f"edge-{number}" for number in range(40)]
    gateway.create_edge_devices(tenant, names, via=[device.name])
    address = f"event/{tenant}"
    consumers = [start_application(gateway, client, address).attached() for _ in range(2)]
    publisher = Publisher(device)
    for name in names * 3:
        publisher.publish(name, f"event//{name}")
    publisher.all_acknowledged()
    bodies = lambda: [body for consumer in consumers for body in consumer.bodies()]
    until("all events", lambda: len(bodies()) >= 120)
    assert collections.Counter(bodies()) == {name: 3 for name in names}


# Full.


def test_a_tenant_that_has_used_up_its_budget_is_refused(start_gateway, tenant, client, start_application):
    gateway = start_gateway(**{BUDGET: 5})
    devices = []
    for name in (tenant, f"{tenant}-other"):
        gateway.create_tenant(name)
        devices.append(gateway.create_device(name, "4711"))
    full, other = devices
    publish(full, [str(number) for number in range(5)])
    answer = full.curl("/event", "too much")
    assert answer.status == 503
    assert answer.headers["retry-after"] == ["2"]
    assert not full.start_mosquitto("event", "too much").succeeded()
    assert not full.start_mosquitto("event", "too much", version="mqttv5").succeeded()
    assert other.curl("/event", "room").status == 202

    def counts(device):
        found = collections.Counter()
        for labels, value in gateway.metrics(DURATION, tenant=device.tenant, type="event"):
            found[labels["component_name"], labels["status"]] += int(value)
        return +found

    http, mqtt = "hono-http", "hono-mqtt"
    expected = {(mqtt, "forwarded"): 5, (http, "undeliverable"): 1, (mqtt, "undeliverable"): 2}
    assert counts(full) == expected
    assert counts(other) == {(http, "forwarded"): 1}

    application = start_application(gateway, client, f"event/{full.tenant}").attached()
    assert [message.body for message in application.messages(5)] == [str(n) for n in range(5)]
    until("room", lambda: full.curl("/event", "now").status == 202)


# Not before it is on the disk.


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is missing; `just interop-install` installs it")
def test_no_acknowledgement_precedes_its_sync(start_gateway, tenant, tmp_path):
    calls = tmp_path / "calls"
    gateway = start_gateway(under=trace.strace(calls))
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    connected = Connected(device, "mqttv311", "event")
    over_mqtt = [f"over MQTT: {number}" for number in range(10)]
    over_http = [f"over HTTP: {number}" for number in range(5)]
    for line in over_mqtt:
        connected.publish(line)
    connected.close()
    publish(device, over_http, "http")
    gateway.terminate()
    gateway.stopped()

    found = trace.calls(calls)
    syncs = [call for call in found if call.name in trace.SYNCS and call.succeeded]
    syncs = [call for call in syncs if "/data/events/" in call.path]
    for lines, answer in [(over_mqtt, b"\x40\x02"), (over_http, b"HTTP/1.1 202")]:
        for line in lines:
            read = next(c for c in found if c.name in trace.READS and line.encode() in c.data)
            wrote = next(
                call
                for call in found
                if call.name in trace.WRITES and call.begun > read.ended and call.data.startswith(answer)
            )
            between = [s for s in syncs if read.ended < s.begun and s.ended < wrote.begun]
            assert between, f"{line!r} was acknowledged before it was on the disk"
