"""An application that is killed: nothing was promised that it did not do, and nobody is kept waiting."""

import collections

import pytest

from harness.wait import until

DURATION = "hono_telemetry_processing_duration_seconds_count"
PUBLISHERS = 40


@pytest.fixture
def gateway(start_gateway):
    """A gateway that gives up on nothing by itself: only the end of a link resolves a delivery."""
    return start_gateway(**{"northbound.amqp.outcome_timeout": 600_000})


@pytest.fixture
def device(gateway, tenant):
    """A device of that gateway."""
    gateway.create_tenant(tenant)
    return gateway.create_device(tenant, "4711")


def publish(device, count=PUBLISHERS):
    """Starts devices that want to know what became of their message, half of them over MQTT."""
    running = []
    for number in range(count):
        if number % 2:
            version = "mqttv5" if number % 4 == 1 else "mqttv311"
            running.append(device.start_mosquitto("telemetry", f"{number}", version=version))
        else:
            running.append(device.start_curl("/telemetry", f"{number}", "-H", "QoS-Level: 1"))
    return running


def results(running):
    """Waits for all of them: the payloads by what their devices were told."""
    told = collections.defaultdict(set)
    for one in running:
        if one.name == "curl":
            told[{202: "accepted", 503: "refused"}[one.answer().status]].add(one.payload)
        else:
            told["accepted" if one.succeeded() else "refused"].add(one.payload)
    return told["accepted"], told["refused"]


def counts(gateway, device):
    """All uploads of the tenant, by status."""
    found = collections.Counter()
    for labels, value in gateway.metrics(DURATION, tenant=device.tenant):
        found[labels["status"]] += value
    return +found


def test_open_deliveries_of_a_killed_consumer_are_resolved(gateway, device, client, start_application):
    telemetry = f"telemetry/{device.tenant}"
    application = start_application(gateway, client, telemetry, outcome="hold").attached()
    running = publish(device)
    # When all are open, some are accepted, and then there is no time to say anything more.
    application.wait("message", PUBLISHERS)
    application.order("settle", "accepted", PUBLISHERS // 4)
    forwarded = lambda: counts(gateway, device)["forwarded"] == PUBLISHERS // 4
    until("the accepted ones", forwarded)
    application.kill()

    accepted, refused = results(running)
    by_application = set(application.bodies("settling", "accepted"))
    assert accepted == by_application and len(accepted) == PUBLISHERS // 4
    assert refused == {one.payload for one in running} - by_application
    expected = {"forwarded": len(accepted), "undeliverable": len(refused)}
    assert counts(gateway, device) == expected


def test_what_waits_for_the_credit_of_a_killed_consumer_goes_to_another(
    gateway, device, client, start_application
):
    telemetry = f"telemetry/{device.tenant}"
    killed = start_application(gateway, client, telemetry, outcome="hold", credit=0).attached()
    killed.order("credit", telemetry, 1)
    running = publish(device, 8)
    killed.wait("message")
    other = start_application(gateway, client, telemetry).attached()
    killed.kill()
    accepted, refused = results(running)
    # The one that was open may have been processed, so it is not offered to anybody else.
    assert refused == set(killed.bodies())
    assert accepted == set(other.bodies())
    assert counts(gateway, device) == {"forwarded": 7, "undeliverable": 1}


def test_a_consumer_killed_in_mid_stream_has_accepted_all_that_was_promised(
    gateway, device, client, start_application
):
    telemetry = f"telemetry/{device.tenant}"
    application = start_application(gateway, client, telemetry).attached()
    running = publish(device)
    application.wait("settling", PUBLISHERS // 4)
    application.kill()
    accepted, refused = results(running)
    # It says what it accepts before it does, so what it said last may never have been sent.
    assert accepted <= set(application.bodies("settling", "accepted"))
    assert accepted | refused == {one.payload for one in running}
    expected = collections.Counter(forwarded=len(accepted), undeliverable=len(refused))
    assert counts(gateway, device) == +expected
