"""Who may log in as an application, and what each may do: Hono's `permissions.json`."""

import json

import pytest

from harness.certificates import Authority, server_certificate
from harness.gateway import weir
from harness.wait import until

STANDARD = [
    {"resource": "telemetry/*", "activities": ["READ"]},
    {"resource": "event/*", "activities": ["READ"]},
    {"resource": "command_response/*", "activities": ["READ"]},
    {"resource": "command/*", "activities": ["WRITE"]},
]
RESTRICTED = [
    {"resource": "telemetry/acme", "activities": ["READ"]},
    {"resource": "command_response/acme", "activities": ["READ"]},
    {"resource": "command/acme", "activities": ["WRITE"]},
    {"operation": "registration/acme:assert", "activities": ["EXECUTE"]},
]
REFUSED = "amqp:unauthorized-access"


def plain(user, password):
    """A login with SASL PLAIN."""
    return {"mechanism": "PLAIN", "user": user, "password": password}


CONSUMER, RESTRICTED_USER = plain("consumer@HONO", "verysecret"), plain("user1@HONO", "pw")


class File:
    """The permission file."""

    def __init__(self, path):
        self.path = path
        self.roles = {"application": STANDARD, "acme-only": RESTRICTED}
        self.users = {}
        self.put("consumer@HONO", "application", password="verysecret")
        self.put("user1@HONO", "acme-only", password="pw")
        self.put("analytics", "acme-only", mechanism="EXTERNAL")

    def put(self, user, *roles, mechanism="PLAIN", **login):
        """Makes a user be like this, from the next writing on."""
        self.users[user] = {"mechanism": mechanism, **login, "authorities": list(roles)}

    def write(self):
        """Puts it in its place at once, as an operator's tool would."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"roles": self.roles, "users": self.users}))
        new.rename(self.path)


@pytest.fixture
def file(tmp_path):
    """A file with three users."""
    file = File(tmp_path / "permissions.json")
    file.write()
    return file


@pytest.fixture
def gateway(file, start_gateway):
    """A gateway with that file."""
    gateway = start_gateway(**{"northbound.amqp.permissions": file.path})
    gateway.create_tenant("acme")
    gateway.create_tenant("other")
    return gateway


@pytest.fixture
def device(gateway):
    """A device of the tenant that all users may read."""
    return gateway.create_device("acme", "4711")


def refused(application):
    """How an application that may not do something is told."""
    (event,) = application.wait("refused")
    assert not application.all("attached")
    return event["condition"]


def shut_out(application):
    """How an application that may not log in is told."""
    (event, *_) = application.wait("disconnected")
    application.wait("ended")
    assert not application.all("attached")
    return event["condition"]


def test_a_user_with_the_standard_role_may_do_what_applications_do(
    gateway, device, client, start_application, start_sender, start_subscriber
):
    addresses = ["telemetry/acme", "event/acme", "command_response/acme/1", "telemetry/other"]
    start_application(gateway, client, *addresses, login=CONSUMER).attached()
    start_subscriber(device, "command///req/#").subscribed()
    sender = start_sender(gateway, client, "command/acme", login=CONSUMER).ready()
    assert sender.ask(to="command/acme/4711", subject="set")["state"] == "accepted"
    assert device.curl("/telemetry", "20.5", "-H", "QoS-Level: 1").status == 202


def test_a_restricted_user_may_do_no_more_than_the_file_says(
    gateway, device, client, start_application, start_sender
):
    allowed = ["telemetry/acme", "command_response/acme/any/thing"]
    start_application(gateway, client, *allowed, login=RESTRICTED_USER).attached()
    start_sender(gateway, client, "command/acme", login=RESTRICTED_USER).attached()
    for address in ("telemetry/other", "event/acme", "event-dlq/acme", "command_response/other/1"):
        assert refused(start_application(gateway, client, address, login=RESTRICTED_USER)) == REFUSED
    assert refused(start_sender(gateway, client, "command/other", login=RESTRICTED_USER)) == REFUSED


@pytest.mark.parametrize(
    "login",
    [
        plain("consumer@HONO", "guessed"),
        plain("nobody@HONO", "verysecret"),
        plain("consumer@HONO", ""),
        plain("analytics", "pw"),
    ],
)
def test_nobody_else_may_log_in(gateway, start_application, login):
    application = start_application(gateway, "proton", "telemetry/acme", login=login)
    assert shut_out(application) == REFUSED


def test_the_account_of_the_first_start_has_no_place_beside_the_file(gateway, client, start_application):
    assert shut_out(start_application(gateway, client, "telemetry/acme")) == REFUSED


def test_nobody_is_anonymous(gateway, client, start_application):
    login = {"mechanism": "ANONYMOUS"}
    application = start_application(gateway, client, "telemetry/acme", login=login)
    application.wait("ended")
    assert not application.all("attached")


# The file changes.


def test_a_new_user_and_a_new_password_hold_without_a_restart(gateway, file, client, start_application):
    stays = start_application(gateway, client, "telemetry/acme", login=RESTRICTED_USER).attached()
    goes = start_application(gateway, client, "telemetry/acme", login=CONSUMER).attached()
    file.put("consumer@HONO", "application", password="changed")
    file.put("new", "acme-only", password="fresh")
    file.write()
    goes.wait("ended")
    start_application(gateway, client, "telemetry/acme", login=plain("new", "fresh")).attached()
    changed = plain("consumer@HONO", "changed")
    start_application(gateway, client, "telemetry/acme", login=changed).attached()
    assert shut_out(start_application(gateway, client, "telemetry/acme", login=CONSUMER)) == REFUSED
    assert not stays.all("disconnected") and not stays.all("ended")


def test_a_right_that_is_taken_away_ends_its_link_alone(gateway, file, device, client, start_application):
    loses = start_application(gateway, client, "telemetry/acme", login=CONSUMER).attached()
    stays = start_application(gateway, client, "telemetry/acme", login=RESTRICTED_USER).attached()
    file.roles["application"] = STANDARD[1:]
    file.write()
    assert loses.wait("refused")[0]["condition"] == REFUSED
    for number in range(10):
        assert device.curl("/telemetry", str(number), "-H", "QoS-Level: 1").status == 202
    assert stays.bodies() == [str(number) for number in range(10)]


def test_a_file_with_a_mistake_changes_nothing(gateway, file, client, start_application):
    stays = start_application(gateway, client, "telemetry/acme", login=CONSUMER).attached()
    good = file.path.read_text()
    file.path.write_text(good[:-1])
    until("the complaint", lambda: str(file.path) in gateway.log.read_text())
    start_application(gateway, client, "telemetry/acme", login=CONSUMER).attached()
    assert not stays.all("disconnected")


def test_a_gateway_does_not_start_with_a_mistake(file, tmp_path):
    file.users["consumer@HONO"]["authorities"] = ["applicant"]
    file.write()
    settings = {"northbound.amqp.permissions": file.path, "data_dir": tmp_path / "data"}
    for command in ("check", "serve"):
        told = weir(command, **settings)
        assert told.returncode == 1
        assert "northbound.amqp.permissions" in told.stderr
        assert "users.consumer@HONO.authorities[0]" in told.stderr
        assert "verysecret" not in told.stderr


# Certificates.


@pytest.fixture
def certified(file, tmp_path, start_gateway):
    """A gateway with TLS that knows applications by certificate, and who issues them."""
    certificate, key = server_certificate(tmp_path)
    folder = tmp_path / "authority"
    folder.mkdir()
    authority = Authority(folder, "applications")
    settings = {"tls.certificate": certificate, "tls.key": key, "northbound.amqp.tls_port": 0}
    for listener in ("http", "mqtt", "management"):
        settings[f"{listener}.tls_port"] = 0
    settings["northbound.amqp.tls_client_ca"] = authority.certificate
    settings["northbound.amqp.permissions"] = file.path
    gateway = start_gateway(**settings)
    return gateway, authority, certificate


def external(trusted, issued):
    """A login with SASL EXTERNAL."""
    certificate, key = map(str, issued)
    return {"mechanism": "EXTERNAL", "trusted": str(trusted), "certificate": certificate, "key": key}


def test_a_certificate_is_a_login(certified, client, start_application):
    gateway, authority, trusted = certified
    login = external(trusted, authority.issue("analytics", version=3))
    start_application(gateway, client, "telemetry/acme", login=login).attached()
    assert refused(start_application(gateway, client, "event/acme", login=login)) == REFUSED


def test_over_tls_a_password_still_is_one(certified, client, start_application):
    gateway, _, trusted = certified
    login = {**CONSUMER, "trusted": str(trusted)}
    start_application(gateway, client, "telemetry/acme", login=login).attached()
    login["password"] = "guessed"
    assert shut_out(start_application(gateway, client, "telemetry/acme", login=login)) == REFUSED


def test_a_certificate_without_a_user_is_no_login(certified, start_application):
    gateway, authority, trusted = certified
    for name in ("nobody", "consumer@HONO"):
        login = external(trusted, authority.issue(name, version=3))
        application = start_application(gateway, "proton", "telemetry/acme", login=login)
        assert shut_out(application) == REFUSED


def test_a_certificate_of_somebody_else_is_no_login(certified, tmp_path, client, start_application):
    gateway, _, trusted = certified
    folder = tmp_path / "stranger"
    folder.mkdir()
    login = external(trusted, Authority(folder, "stranger").issue("analytics", version=3))
    application = start_application(gateway, client, "telemetry/acme", login=login)
    application.wait("ended")
    assert not application.all("attached")
