"""What the registry knows of devices: certificates, devices that register by themselves, and whom it
tells of changes. The certificates are openssl's."""

import json
import re
import time

import pytest

from harness.certificates import Authority, Holder, server_certificate
from harness.connected import Connected
from harness.gateway import Gateway

VERSIONS = ["mqttv311", "mqttv5"]
PROVISIONED = "application/vnd.eclipse-hono-device-provisioning-notification"
SECOND = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
# What mosquitto_pub says of the CONNACK codes 0x04 and 0x86, 0x05 and 0x87.
BAD_LOGIN = {
    "mqttv311": "Connection Refused: bad user name or password",
    "mqttv5": "Bad User Name or Password",
}
FORBIDDEN = {
    "mqttv311": "Connection Refused: not authorised",
    "mqttv5": "Not authorized",
}


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A gateway with TLS, and its certificate."""
    folder = tmp_path_factory.mktemp("secured")
    certificate, key = server_certificate(folder)
    ports = {"http.tls_port": 0, "mqtt.tls_port": 0}
    ports |= {"management.tls_port": 0, "northbound.amqp.tls_port": 0}
    gateway = Gateway(folder, **{"tls.certificate": certificate, "tls.key": key}, **ports)
    yield gateway, certificate
    gateway.close()


@pytest.fixture
def gateway(secured):
    """All stories here are told of that one."""
    return secured[0]


@pytest.fixture
def holder(secured):
    """Makes a device out of a certificate."""

    def make(identity, **options):
        gateway, certificate = secured
        return Holder(gateway, certificate, identity, **options)

    return make


@pytest.fixture(params=["ec", "rsa"])
def authority(request, tmp_path, tenant):
    """An authority of each kind, which no other tenant trusts."""
    return Authority(tmp_path, f"Authority of {tenant}", request.param)


@pytest.fixture
def ec_authority(tmp_path, tenant):
    """One where the kind does not matter."""
    return Authority(tmp_path, f"Authority of {tenant}")


@pytest.fixture
def receive(gateway, start_application):
    """Starts an application that takes everything from some addresses."""

    def start(*addresses, client="proton"):
        return start_application(gateway, client, *addresses).attached()

    return start


@pytest.fixture
def take_all(receive, tenant):
    """An application of the tenant."""
    return lambda: receive(f"telemetry/{tenant}", f"event/{tenant}")


def register(gateway, tenant, name, auth_id, **more):
    """Registers a device that logs in with a certificate."""
    assert gateway.manage("POST", f"/devices/{tenant}/{name}", {}) == 201
    credentials = [{"type": "x509-cert", "auth-id": auth_id, "secrets": [{}], **more}]
    assert gateway.manage("PUT", f"/credentials/{tenant}/{name}", credentials) == 204


def check_heard(application, device, name, count=3):
    """Its messages arrive, however they are sent."""
    assert device.curl("/telemetry").status == 202
    for version in VERSIONS:
        device.mosquitto(version=version)
    for message in application.messages(count)[-3:]:
        assert message.application_properties["device_id"] == ("string", name)


def check_refused(device, status, error, connack):
    """It is told so in its own protocol."""
    answer = device.curl("/telemetry")
    assert (answer.status, answer.error) == (status, error)
    for version in VERSIONS:
        attempt = device.start_mosquitto(version=version)
        assert not attempt.succeeded()
        assert connack[version] in attempt.errors, version


def check_announced(message, tenant, name, by=None):
    """The notification of a device that was registered by itself, nothing less and nothing more."""
    string = lambda text: ("string", text)
    address = f"event/{tenant}"
    assert message.address == address
    assert message.header["durable"] == ("bool", True)
    assert message.data == []
    annotations = dict(message.annotations)
    assert annotations.pop("x-opt-trace-context")[0] == "map"
    resource = f"{address}/{name}"
    assert annotations == {
        "device_id": string(name),
        "tenant_id": string(tenant),
        "resource": string(resource),
    }
    properties = dict(message.properties)
    assert properties.pop("message-id")[0] == "string"
    assert properties.pop("creation-time")[0] == "timestamp"
    assert properties == {"to": string(address), "content-type": ("symbol", PROVISIONED)}
    expected = {
        "hono_registration_status": string("NEW"),
        "tenant_id": string(tenant),
        "device_id": string(name),
        "orig_adapter": string("hono-device-registry"),
        "orig_address": string("event"),
        "qos": ("int", 1),
    }
    assert message.application_properties == expected | ({"gateway_id": string(by)} if by else {})


def test_a_certificate_takes_the_place_of_a_password(gateway, tenant, holder, authority, take_all):
    gateway.create_tenant(tenant, **{"trusted-ca": [authority.anchor()]})
    register(gateway, tenant, "sensor", "CN=4711,O=Acme")
    application = take_all()
    device = holder(authority.issue("4711"))
    check_heard(application, device, "sensor")
    # A name outside of any tenant leads nowhere else.
    check_heard(application, holder(authority.issue("4711"), host="localhost"), "sensor", 6)


def test_who_is_not_vouched_for_is_told_so(gateway, tenant, holder, ec_authority, tmp_path):
    gateway.create_tenant(tenant, **{"trusted-ca": [ec_authority.anchor()]})
    register(gateway, tenant, "sensor", "CN=4711,O=Acme")
    register(gateway, tenant, "disabled", "CN=4712,O=Acme", enabled=False)
    unknown = (404, "tenant is disabled or not registered", BAD_LOGIN)
    bad = (401, "bad credentials", BAD_LOGIN)

    folder = lambda name: (tmp_path / name).mkdir() or tmp_path / name
    nobody = Authority(folder("nobody"), "Nobody")
    check_refused(holder(nobody.issue("4711")), *unknown)
    check_refused(holder((nobody.certificate, nobody.key)), *unknown)
    impostor = Authority(folder("impostor"), f"Authority of {tenant}")
    check_refused(holder(impostor.issue("4711")), *bad)
    check_refused(holder(ec_authority.issue("4712")), *bad)
    check_refused(holder(ec_authority.issue("4713")), *bad)

    assert gateway.manage("PUT", f"/devices/{tenant}/sensor", {"enabled": False}) == 204
    disabled = (404, "device is disabled or not registered", FORBIDDEN)
    check_refused(holder(ec_authority.issue("4711")), *disabled)


def test_an_expired_certificate_ends_the_handshake(gateway, tenant, holder, ec_authority):
    gateway.create_tenant(tenant, **{"trusted-ca": [ec_authority.anchor()]})
    register(gateway, tenant, "sensor", "CN=4711,O=Acme")
    device = holder(ec_authority.issue("4711", days=-1))
    upload = device.start_curl("/telemetry")
    assert not upload.succeeded()
    assert "certificate expired" in upload.errors
    for version in VERSIONS:
        attempt = device.start_mosquitto(version=version)
        assert not attempt.succeeded()
        assert "Refused" not in attempt.errors


def test_the_host_name_says_which_tenant(gateway, tenant, holder, ec_authority, receive):
    names = {tenant: {"alias": f"{tenant}-alias"}, f"{tenant}-too": {}}
    identity = ec_authority.issue("4711")
    for name, settings in names.items():
        anchor = {"trusted-ca": [ec_authority.anchor()], "trust-anchor-group": tenant}
        gateway.create_tenant(name, **anchor, **settings)
        register(gateway, name, f"sensor-of-{name}", "CN=4711,O=Acme")
    for label, name in [(name, name) for name in names] + [(f"{tenant}-alias", tenant)]:
        application = receive(f"telemetry/{name}")
        device = holder(identity, host=f"{label}.gateway.example")
        # mosquitto_pub would need a name server.
        assert device.curl("/telemetry").status == 202
        message = application.message()
        assert message.application_properties["device_id"] == ("string", f"sensor-of-{name}")
        application.close()
    answer = holder(identity, host="localhost").curl("/telemetry")
    expected = (400, "could not determine tenant ID from SNI extension")
    assert (answer.status, answer.error) == expected


def test_a_gateway_has_its_devices_registered(gateway, tenant, take_all, receive):
    gateway.create_tenant(tenant)
    sender = gateway.create_device(tenant, "gw", authorities=["auto-provisioning-enabled"])
    changes = receive("notification/registry-device")
    curl = lambda: sender.curl(f"/telemetry/{tenant}/by-curl", "x", "-H", "QoS-Level: 1", method="PUT")
    topic = f"telemetry/{tenant}/by-mosquitto"
    assert curl().status == 503
    assert not sender.start_mosquitto(topic, "x", version="mqttv5").succeeded()

    application = take_all()
    assert curl().status == 202
    sender.mosquitto(topic, "x")
    sender.mosquitto(f"telemetry/{tenant}/by-mosquitto-5", "x", version="mqttv5")
    # Of what was registered before, nothing more is told.
    assert curl().status == 202
    names = ["by-curl", "by-mosquitto", "by-mosquitto-5"]
    messages = application.messages(7)
    announced = [message for message in messages if message.address.startswith("event/")]
    for message, name in zip(announced, names, strict=True):
        check_announced(message, tenant, name, by="gw")
        device = gateway.read(f"/devices/{tenant}/{name}")
        assert device["via"] == ["gw"]
        assert device["status"]["auto-provisioned"] is True
        assert device["status"]["auto-provisioning-notification-sent"] is True
    made = [json.loads(message.body) for message in changes.messages(3)]
    made = [(change["change"], change["device-id"]) for change in made]
    assert made == [("CREATE", name) for name in names]


def test_who_may_not_bring_devices_is_told_so(gateway, tenant, take_all):
    gateway.create_tenant(tenant, **{"registration-limits": {"max-devices": 2}})
    plain = gateway.create_device(tenant, "plain")
    sender = gateway.create_device(tenant, "gw", authorities=["auto-provisioning-enabled"])
    application = take_all()
    for device, status, error in [
        (plain, 404, "device is disabled or not registered"),
        (sender, 403, "maximum number of devices reached for tenant"),
    ]:
        answer = device.curl(f"/telemetry/{tenant}/edge", "x", method="PUT")
        assert (answer.status, answer.error) == (status, error)
        for version in VERSIONS:
            attempt = device.start_mosquitto(f"telemetry/{tenant}/edge", "x", version=version)
            assert not attempt.succeeded()
    assert application.all("message") == []


def test_a_certificate_registers_a_gateway_and_that_its_devices(
    gateway, tenant, holder, authority, take_all
):
    anchor = authority.anchor(
        **{
            "auto-provisioning-enabled": True,
            "auto-provision-as-gateway": True,
            "auto-provisioning-device-id-template": "gw:{{subject-cn}}",
        }
    )
    gateway.create_tenant(tenant, **{"trusted-ca": [anchor]})
    device = holder(authority.issue("4711"))
    assert device.curl("/telemetry").status == 503
    application = take_all()
    device.mosquitto(version="mqttv5")
    assert device.curl(f"/telemetry/{tenant}/edge", method="PUT").status == 202
    messages = application.messages(4)
    announced = [message for message in messages if message.address.startswith("event/")]
    check_announced(announced[0], tenant, "gw:4711")
    check_announced(announced[1], tenant, "edge", by="gw:4711")
    (credential,) = gateway.read(f"/credentials/{tenant}/gw:4711")
    assert (credential["type"], credential["auth-id"]) == ("x509-cert", "CN=4711,O=Acme")


@pytest.fixture
def connect():
    """Connects devices until the story ends."""
    connected = []

    def start(device, version):
        connected.append(Connected(device, version))
        return connected[-1]

    yield start
    for one in connected:
        one.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ["method", "path", "body", "all_go", "status", "connack"],
    [
        ("DELETE", "/devices/{t}/4711", None, False, 401, 4),
        ("PUT", "/devices/{t}/4711", {"enabled": False}, False, 404, 5),
        ("DELETE", "/devices/{t}", None, True, 401, 4),
        ("PUT", "/tenants/{t}", {"enabled": False}, True, 403, 5),
        ("DELETE", "/tenants/{t}", None, True, 401, 4),
    ],
)
def test_connections_end_with_the_registration(
    gateway, tenant, take_all, connect, version, method, path, body, all_go, status, connack
):
    gateway.create_tenant(tenant)
    concerned, other = [gateway.create_device(tenant, name) for name in ("4711", "4712")]
    application = take_all()
    connected, sibling = connect(concerned, version), connect(other, version)
    for one in (connected, sibling):
        one.publish("x")
    assert gateway.manage(method, path.format(t=tenant), body) == 204
    # An old client is told nothing, and sees when it connects again.
    said = "Received DISCONNECT (152)" if version == "mqttv5" else f"received CONNACK ({connack})"
    connected.hears(said)
    if all_go:
        sibling.hears(said)
    else:
        sibling.publish("y")
        application.messages(3)
    assert concerned.curl("/telemetry", "x").status == status


@pytest.mark.parametrize("version", VERSIONS)
def test_a_changed_password_counts_at_the_next_log_in(gateway, tenant, take_all, connect, version):
    gateway.create_tenant(tenant)
    device = gateway.create_device(tenant, "4711")
    application = take_all()
    connected = connect(device, version)
    connected.publish("before")
    secrets = [{"pwd-plain": "another one"}]
    credentials = [{"type": "hashed-password", "auth-id": "4711", "secrets": secrets}]
    assert gateway.manage("PUT", f"/credentials/{tenant}/4711", credentials) == 204
    answer = device.curl("/telemetry", "x")
    assert (answer.status, answer.error) == (401, "bad credentials")
    attempt = device.start_mosquitto("telemetry", "x", version=version)
    assert not attempt.succeeded()
    assert BAD_LOGIN[version] in attempt.errors
    connected.publish("after")
    device.password = "another one"
    device.mosquitto("telemetry", "later", version=version)
    assert [message.body for message in application.messages(3)] == ["before", "after", "later"]


def test_all_applications_are_told_of_changes(gateway, tenant, client, receive):
    topics = ["notification/registry-tenant", "notification/registry-device"]
    applications = [receive(*topics, client=client), receive(*topics, client=client)]
    common = {"source": "device-registry", "tenant-id": tenant}
    of_tenant = lambda change, enabled, forget: common | {
        "type": "tenant-change-v1",
        "change": change,
        "enabled": enabled,
        "invalidate-cache-on-update": forget,
    }
    of_device = lambda kind, **more: common | {"type": kind, "device-id": "d"} | more
    device = lambda change, enabled: of_device("device-change-v1", change=change, enabled=enabled)
    disabled, forget = {"enabled": False}, {"ext": {"invalidate-cache-on-update": True}}
    password = {"type": "hashed-password", "auth-id": "d", "secrets": [{"pwd-plain": "secret"}]}
    all_devices = common | {"type": "all-devices-of-tenant-deleted-v1"}
    rows = [
        ("POST", f"/tenants/{tenant}", {}, of_tenant("CREATE", True, False)),
        ("PUT", f"/tenants/{tenant}", disabled, of_tenant("UPDATE", False, False)),
        ("PUT", f"/tenants/{tenant}", forget, of_tenant("UPDATE", True, True)),
        ("POST", f"/devices/{tenant}/d", {}, device("CREATE", True)),
        ("PUT", f"/credentials/{tenant}/d", [password], of_device("credentials-change-v1")),
        ("PUT", f"/devices/{tenant}/d", disabled, device("UPDATE", False)),
        ("DELETE", f"/devices/{tenant}/d", None, device("DELETE", False)),
        ("DELETE", f"/devices/{tenant}", None, all_devices),
        ("DELETE", f"/tenants/{tenant}", None, of_tenant("DELETE", False, True)),
    ]
    for count, (method, path, body, expected) in enumerate(rows, 1):
        assert gateway.manage(method, path, body) in (201, 204)
        for application in applications:
            message = application.messages(count)[-1]
            assert message.address == topics[not path.startswith("/tenants")]
            assert message.properties["content-type"] == ("symbol", "application/json")
            told = json.loads(message.body)
            made = told.pop("creation-time")
            assert SECOND.fullmatch(made) and made[:4] == time.strftime("%Y", time.gmtime())
            assert told == expected
