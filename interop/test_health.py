"""What `/readiness` says of an event store that cannot be written, and when it can again."""

import json
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing

from harness.wait import until


def checks(gateway):
    """The state of each check; the whole is ready only if all are."""
    try:
        with urllib.request.urlopen(gateway.url("health", "/readiness")) as answer:
            status, verdict = answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        status, verdict = error.code, json.load(error)
    states = {check["name"]: check["status"] for check in verdict["checks"]}
    assert (status == 200) == (set(states.values()) == {"UP"}), verdict
    return states


def test_it_is_ready_again_when_events_can_be_written_though_nobody_sends_one(
    start_gateway, tenant, tmp_path
):
    data = tmp_path / "data"
    gateway = start_gateway(data_dir=data)
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    assert device.curl("/event", "x").status == 202
    assert checks(gateway) == {"serving": "UP", "registry": "UP", "event-store": "UP"}

    # What a broken disk does to every event.
    broken = "CREATE TRIGGER broken BEFORE INSERT ON body BEGIN SELECT RAISE(ABORT, 'broken'); END"
    with closing(sqlite3.connect(data / "events" / "events.db", timeout=60)) as database:
        database.execute(broken)
        assert device.curl("/event", "x").status == 503
        until("readiness to be false", lambda: checks(gateway)["event-store"] == "DOWN")
        assert checks(gateway)["registry"] == "UP"
        database.execute("DROP TRIGGER broken")
    until("readiness", gateway.is_ready)
    assert device.curl("/event", "x").status == 202
    for error in ("cannot write events", "a service is gone"):
        gateway.expect(error)
