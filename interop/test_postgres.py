"""Two gateways on one PostgreSQL: what is changed at one is true at the other."""

import json
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import paho.mqtt.client as mqtt
import pytest

from harness.device import Device
from harness.postgres import Postgres
from harness.wait import until

# Seconds after which it would not be the change that was heard of, but something that has expired.
# The gateways promise one second, on a machine with time for them.
SOON = 15


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def gateways(postgres, start_gateway):
    """Two gateways on a database of their own."""
    url = postgres.create_database()
    return [start_gateway(**{"registry.url": url}) for _ in range(2)]


@pytest.fixture
def consume_at(start_application):
    """Starts an application that takes everything of a tenant from one of the gateways."""

    def start(gateway, tenant):
        addresses = [f"telemetry/{tenant}", f"event/{tenant}"]
        return start_application(gateway, "proton", *addresses).attached()

    return start


@pytest.fixture
def connect():
    """Connects a device over MQTT and keeps it connected."""
    started = []

    def start(device):
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        client.username_pw_set(device.user, device.password)
        client.connect(*device.gateway.address("mqtt"))
        client.loop_start()
        started.append(client)
        until("the connection", client.is_connected)
        publish(client)
        return client

    yield start
    for client in started:
        client.disconnect()
        client.loop_stop()


def publish(client):
    """Sends a message over the connection and waits until it is acknowledged."""
    message = client.publish("telemetry", "x", qos=1)
    until("the acknowledgement", lambda: message.is_published())


def is_closed(client):
    """Waits until the gateway has closed the connection."""
    until("the end of the connection", lambda: not client.is_connected(), SOON)


def elsewhere(device, gateway):
    """The same device at another gateway."""
    return Device(gateway, device.tenant, device.name, device.password)


def becomes(device, status):
    """Waits until that is the answer to the device's messages."""
    is_so = lambda: device.curl("/telemetry", "x").status == status
    until(f"{status} for {device.name}", is_so, SOON)


def replace_password(gateway, device, password):
    secrets = [{"pwd-plain": password}]
    credentials = [{"type": "hashed-password", "auth-id": device.name, "secrets": secrets}]
    path = f"/credentials/{device.tenant}/{device.name}"
    assert gateway.manage("PUT", path, credentials) == 204


def test_a_device_is_what_the_other_gateway_made_of_it(gateways, tenant, consume_at):
    here, there = gateways
    here.create_tenant(tenant)
    consume_at(there, tenant)
    # What is not there is remembered too.
    stranger = Device(there, tenant, "4711", "secret of 4711")
    assert stranger.curl("/telemetry", "x").status == 401
    device = elsewhere(here.create_device(tenant, "4711"), there)
    becomes(device, 202)

    path = f"/devices/{tenant}/4711"
    assert here.manage("PUT", path, {"enabled": False}) == 204
    becomes(device, 404)
    assert here.manage("PUT", path, {}) == 204
    becomes(device, 202)

    replace_password(here, device, "another secret")
    becomes(device, 401)
    device.password = "another secret"
    becomes(device, 202)

    assert here.manage("PUT", f"/tenants/{tenant}", {"enabled": False}) == 204
    becomes(device, 403)
    assert here.manage("PUT", f"/tenants/{tenant}", {}) == 204
    becomes(device, 202)

    assert here.manage("DELETE", path) == 204
    becomes(device, 401)
    assert there.manage("GET", path) == 404


CHANGES = {
    "device deleted": ("DELETE", "/devices/{tenant}/4711", None),
    "device disabled": ("PUT", "/devices/{tenant}/4711", {"enabled": False}),
    "all devices deleted": ("DELETE", "/devices/{tenant}", None),
    "tenant disabled": ("PUT", "/tenants/{tenant}", {"enabled": False}),
    "tenant deleted": ("DELETE", "/tenants/{tenant}", None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_connection_of_a_device_that_is_gone_is_closed(
    gateways, tenant, consume_at, connect, change
):
    here, there = gateways
    here.create_tenant(tenant)
    consume_at(there, tenant)
    device = elsewhere(here.create_device(tenant, "4711"), there)
    becomes(device, 202)
    connection = connect(device)
    method, path, body = CHANGES[change]
    assert here.manage(method, path.format(tenant=tenant), body) == 204
    is_closed(connection)


def test_applications_are_told_once_wherever_they_are(gateways, tenant, client, start_application):
    address = "notification/registry-device"
    applications = [start_application(gateway, client, address).attached() for gateway in gateways]
    here, there = gateways
    here.create_tenant(tenant)
    here.create_device(tenant, "4711")
    assert here.manage("PUT", f"/devices/{tenant}/4711", {"enabled": False}) == 204
    assert here.manage("DELETE", f"/devices/{tenant}/4711") == 204
    for application in applications:
        application.messages(4)
    # In order is what was changed at one gateway. This one shows that nothing comes twice.
    assert there.manage("POST", f"/devices/{tenant}/4712") == 201

    def changed(device, change, enabled):
        kind = {"type": "device-change-v1", "change": change, "enabled": enabled}
        return {**kind, "tenant-id": tenant, "device-id": device}

    for application in applications:
        told = [json.loads(message.body) for message in application.messages(5)]
        assert {entry.pop("source") for entry in told} == {"device-registry"}
        assert all(entry.pop("creation-time").endswith("Z") for entry in told)
        assert told == [
            changed("4711", "CREATE", True),
            {"type": "credentials-change-v1", "tenant-id": tenant, "device-id": "4711"},
            changed("4711", "UPDATE", False),
            changed("4711", "DELETE", False),
            changed("4712", "CREATE", True),
        ]


def probe(gateway):
    """What `/readiness` says: its status, and the state of each check."""
    try:
        with urllib.request.urlopen(gateway.url("health", "/readiness")) as answer:
            status, verdict = answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        status, verdict = error.code, json.load(error)
    assert verdict["status"] == ("UP" if status == 200 else "DOWN"), verdict
    return status, {check["name"]: check["status"] for check in verdict["checks"]}


def is_up(gateway, service):
    """What the metrics say of a service."""
    with urllib.request.urlopen(gateway.url("health", "/metrics")) as page:
        text = page.read().decode()
    return float(re.search(rf'^weir_service_up{{service="{service}"}} (\S+)$', text, re.MULTILINE)[1])


def test_a_gateway_is_not_ready_while_the_database_is_away(postgres, start_gateway):
    gateway = start_gateway(**{"registry.url": postgres.create_database()})
    all_up = {"serving": "UP", "registry": "UP", "event-store": "UP"}
    assert probe(gateway) == (200, all_up) and is_up(gateway, "registry") == 1
    postgres.stop()
    try:
        away = (503, all_up | {"registry": "DOWN"})
        until("readiness to be false", lambda: probe(gateway) == away)
        assert is_up(gateway, "registry") == 0 and is_up(gateway, "event-store") == 1
        with urllib.request.urlopen(gateway.url("health", "/liveness")) as answer:
            assert answer.status == 200
    finally:
        postgres.start()
    until("readiness", lambda: probe(gateway) == (200, all_up))
    assert is_up(gateway, "registry") == 1
    gateway.expect("a service is gone")
    until("the word of it", lambda: '"a service is there again"' in gateway.log.read_text())
    log = gateway.log.read_text()
    assert log.count('"a service is gone"') == log.count('"a service is there again"') == 1


def test_who_is_known_may_go_on_while_the_database_is_away(
    postgres, gateways, tenant, consume_at, connect
):
    here, there = gateways
    here.create_tenant(tenant)
    at_home = here.create_device(tenant, "4711")
    abroad = elsewhere(at_home, there)
    for device in (at_home, abroad):
        consume_at(device.gateway, tenant)
        becomes(device, 202)
    connection = connect(abroad)
    path = f"/devices/{tenant}/4711"

    def is_unavailable(device):
        gateway = device.gateway
        stranger = Device(gateway, tenant, "4712", "secret of 4712").start_curl("/telemetry", "x")
        changed = gateway.manage("PUT", path, {"enabled": False})
        return [stranger.answer().status, changed] == [503, 503]

    postgres.stop()
    try:
        # All at a time, because the gateways wait a while for the database to come back.
        with ThreadPoolExecutor() as pool:
            unavailable = pool.map(is_unavailable, [at_home, abroad])
            for device in (at_home, abroad):
                assert device.curl("/telemetry", "x").status == 202
            publish(connection)
            assert all(unavailable)
    finally:
        postgres.start()
    for gateway in gateways:
        until("the registry", lambda: gateway.manage("GET", path) == 200)
        gateway.expect("the registry did not answer an operator")
        gateway.expect("a service is gone")
    publish(connection)

    stranger = Device(here, tenant, "4712", "secret of 4712")
    there.create_device(tenant, "4712")
    becomes(stranger, 202)
    assert here.manage("DELETE", path) == 204
    becomes(abroad, 401)
    is_closed(connection)
