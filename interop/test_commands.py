"""Commands: from an application to a device, the device's answer, and what each side is told."""

import itertools

import paho.mqtt.client as mqtt
import pytest

from harness.message import Message
from harness.wait import DEADLINE, until

NOTIFICATION = "application/vnd.eclipse-hono-empty-notification"
DURATION = "hono_command_processing_duration_seconds"
PAYLOAD = "hono_command_payload_bytes"
NOBODY = "no consumer available"
MALFORMED = "malformed command message"
ONE_WAY = {"subject": "setBrightness", "data": "20"}

identifiers = itertools.count(1)


@pytest.fixture
def address(tenant):
    """Where the device takes commands."""
    return f"command/{tenant}/4711"


@pytest.fixture
def sender(gateway, client, tenant, start_sender):
    """Starts an application that may send commands."""
    return lambda: start_sender(gateway, client, f"command/{tenant}").attached().ready()


@pytest.fixture
def listen(gateway, client, tenant, start_application):
    """Starts an application that waits for responses; the address for them, and the application."""

    def start(**options):
        address = f"command_response/{tenant}/replies/{next(identifiers)}"
        return address, start_application(gateway, client, address, **options).attached()

    return start


@pytest.fixture
def notifications(gateway, tenant, start_application):
    """An application that hears when devices come and go."""
    return start_application(gateway, "proton", f"event/{tenant}").attached()


def check_notification(message, device, ttd):
    """Everything that an application looks at."""
    assert message.properties["content-type"] == ("symbol", NOTIFICATION)
    assert message.properties["to"] == ("string", f"event/{device.tenant}")
    assert message.application_properties["device_id"] == ("string", device.name)
    assert message.application_properties["ttd"] == ("int", ttd)
    assert message.application_properties["qos"] == ("int", 1)
    assert message.header["durable"] == ("bool", True)
    assert message.data == []


def check_response(message, device, *, address, status, correlation_id, body, content_type=None):
    """All that a response has to say."""
    string = lambda text: ("string", text)
    assert message.properties["to"] == string(address)
    assert message.properties["correlation-id"] == string(correlation_id)
    assert "creation-time" in message.properties
    assert message.properties.get("content-type") == (content_type and ("symbol", content_type))
    expected = {"status": ("int", status), "device_id": string(device)}
    assert expected.items() <= message.application_properties.items()
    assert message.body == body


# Until a device listens.


def test_there_is_no_credit_before_a_device_subscribes(
    gateway, device, client, tenant, start_sender, start_subscriber
):
    other = f"{tenant}-other"
    gateway.create_tenant(other)
    start_subscriber(gateway.create_device(other, "4711"), "command///req/#").subscribed()
    mine, theirs = f"command/{tenant}", f"command/{other}"
    sender = start_sender(gateway, client, mine, theirs).attached()
    sender.wait("credit", address=theirs)
    assert not sender.all("credit", address=mine)
    start_subscriber(device, "command///req/#").subscribed()
    sender.wait("credit", address=mine)


def test_a_subscription_is_told_and_its_end_too(device, notifications, start_subscriber):
    leaving = start_subscriber(device, "command///req/#").subscribed()
    check_notification(notifications.message(), device, -1)
    leaving.close()
    check_notification(notifications.messages(2)[1], device, 0)
    lost = start_subscriber(device, "c///q/#", version="mqttv5").subscribed()
    check_notification(notifications.messages(3)[2], device, -1)
    lost.kill()
    check_notification(notifications.messages(4)[3], device, 0)


def test_a_command_for_nobody_is_released(gateway, device, sender, start_subscriber):
    start_subscriber(device, "command///req/#").subscribed()
    absent = gateway.create_device(device.tenant, "4712")
    outcome = sender().ask(to=f"command/{device.tenant}/{absent.name}", **ONE_WAY)
    assert outcome["state"] == "released"


# One-way, over MQTT.


@pytest.mark.parametrize(("version", "qos"), [("mqttv311", 0), ("mqttv5", 1)])
@pytest.mark.parametrize(
    ("pattern", "topic"),
    [
        ("command///req/#", "command///req//setBrightness"),
        ("c///q/#", "c///q//setBrightness"),
        ("command/{tenant}//q/#", "command/{tenant}//q//setBrightness"),
        ("c/{tenant}/4711/req/#", "c/{tenant}/4711/req//setBrightness"),
    ],
)
def test_a_one_way_command(device, address, sender, start_subscriber, pattern, topic, qos, version):
    pattern = pattern.format(tenant=device.tenant)
    subscriber = start_subscriber(device, pattern, qos=qos, version=version)
    assert subscriber.granted() == [qos]
    assert sender().ask(to=address, **ONE_WAY)["state"] == "accepted"
    (command,) = subscriber.commands(1)
    assert command.topic == topic.format(tenant=device.tenant)
    assert (command.payload, command.qos) == ("20", qos)


def test_a_body_may_be_text_or_nothing(device, address, sender, start_subscriber):
    subscriber = start_subscriber(device, "command///req/#").subscribed()
    application = sender()
    for body in ({"text": "höher"}, {}):
        assert application.ask(to=address, subject="set", **body)["state"] == "accepted"
    assert [command.payload for command in subscriber.commands(2)] == ["höher", ""]


def test_commands_arrive_in_order(device, address, sender, start_subscriber):
    subscriber = start_subscriber(device, "command///req/#").subscribed()
    application = sender()
    sent = [application.send(to=address, subject="set", data=str(n)) for n in range(50)]
    assert {application.outcome(number)["state"] for number in sent} == {"accepted"}
    assert [command.payload for command in subscriber.commands(50)] == [str(n) for n in range(50)]


def test_the_latest_subscription_counts(device, address, sender, start_subscriber):
    first = start_subscriber(device, "command///req/#").subscribed()
    application = sender()
    assert application.ask(to=address, **ONE_WAY)["state"] == "accepted"
    second = start_subscriber(device, "command///req/#").subscribed()
    assert application.ask(to=address, **ONE_WAY)["state"] == "accepted"
    assert len(first.commands(1)) == len(second.commands(1)) == 1
    # The end of the first one takes nothing from the second.
    first.close()
    assert application.ask(to=address, **ONE_WAY)["state"] == "accepted"
    assert len(second.commands(2)) == 2


def test_a_device_that_is_gone_takes_no_commands(device, address, sender, start_subscriber):
    subscriber = start_subscriber(device, "command///req/#").subscribed()
    application = sender()
    assert application.ask(to=address, **ONE_WAY)["state"] == "accepted"
    subscriber.kill()
    until("its end", lambda: application.ask(to=address, **ONE_WAY)["state"] == "released")


@pytest.mark.parametrize(
    "pattern",
    [
        "command/somebody-else//req/#",
        "command/+//req/#",
        "command//4712/req/#",
        "command///req",
        "command/#",
        "telemetry",
    ],
)
def test_no_other_subscription_is_granted(gateway, device, start_subscriber, pattern):
    gateway.create_device(device.tenant, "4712")
    assert start_subscriber(device, pattern).granted() == [128]


def test_qos_2_is_not_granted(device, start_subscriber):
    assert start_subscriber(device, "command///req/#", qos=2).granted() == [128]


class Silent:
    """A device that acknowledges a command when it is told to, and not before."""

    def __init__(self, device):
        self.heard = []
        version = mqtt.CallbackAPIVersion.VERSION2
        self.client = mqtt.Client(version, manual_ack=True, reconnect_on_failure=False)
        self.client.username_pw_set(device.user, device.password)
        granted = []
        self.client.on_message = lambda client, data, message: self.heard.append(message)
        self.client.on_subscribe = lambda *arguments: granted.append(arguments[3])
        self.client.on_connect = lambda *arguments: self.client.subscribe("command///req/#", 1)
        self.client.connect(*device.gateway.address("mqtt"))
        self.client.loop_start()
        until("SUBACK", lambda: granted)

    def acknowledge(self):
        """Acknowledges the one that it heard last."""
        self.client.ack(self.heard[-1].mid, self.heard[-1].qos)

    def close(self):
        """Ends it."""
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def silent(device):
    """Such a device, subscribed."""
    silent = Silent(device)
    yield silent
    silent.close()


def test_what_is_not_acknowledged_is_released(address, sender, silent):
    application = sender()
    number = application.send(to=address, **ONE_WAY)
    until("the command", lambda: len(silent.heard) == 1)
    # The gateway gives up before the application does.
    assert application.outcome(number)["state"] == "released"
    silent.acknowledge()
    number = application.send(to=address, subject="set", data="21")
    until("the command", lambda: len(silent.heard) == 2)
    silent.acknowledge()
    assert application.outcome(number)["state"] == "accepted"
    assert [message.payload for message in silent.heard] == [b"20", b"21"]


def test_a_connection_lost_before_the_acknowledgement_releases(address, sender, silent):
    application = sender()
    number = application.send(to=address, **ONE_WAY)
    until("the command", lambda: silent.heard)
    silent.close()
    assert application.outcome(number)["state"] == "released"


# What is wrong with a command.


@pytest.mark.parametrize(
    ("change", "condition", "text"),
    [
        ({"to": None}, "hono:bad-request", "command target address"),
        ({"to": "telemetry/{tenant}/4711"}, "hono:bad-request", "command target address"),
        ({"to": "command/{tenant}"}, "hono:bad-request", "command target address"),
        ({"to": "command/somebody-else/4711"}, "amqp:unauthorized-access", None),
        ({"subject": None}, "hono:bad-request", MALFORMED),
        ({"reply_to": "{replies}"}, "hono:bad-request", MALFORMED),
        ({"reply_to": "{replies}", "correlation_id": 7}, "hono:bad-request", MALFORMED),
        ({"reply_to": "nowhere/{tenant}/1", "correlation_id": "7"}, "hono:bad-request", MALFORMED),
        ({"reply_to": "command_response/other/1", "correlation_id": "7"}, "hono:bad-request", MALFORMED),
        ({"reply_to": "command_response/{tenant}/", "correlation_id": "7"}, "hono:bad-request", MALFORMED),
        ({"data": None, "map": {"a": 1}}, "hono:bad-request", MALFORMED),
        ({"to": "command/{tenant}/nobody"}, "hono:bad-request", "device"),
        ({"to": "command/{tenant}/disabled"}, "hono:bad-request", "device"),
    ],
)
def test_a_wrong_command_is_rejected(
    gateway, device, address, sender, start_subscriber, change, condition, text
):
    tenant = device.tenant
    gateway.create_device(tenant, "disabled", enabled=False)
    subscriber = start_subscriber(device, "command///req/#").subscribed()
    application = sender()
    fill = {"tenant": tenant, "replies": f"command_response/{tenant}/1"}
    command = {"to": address, **ONE_WAY} | change
    for name, field in list(command.items()):
        if field is None:
            del command[name]
        elif isinstance(field, str):
            command[name] = field.format(**fill)
    outcome = application.ask(**command)
    assert (outcome["state"], outcome["condition"]) == ("rejected", condition)
    assert not text or text in outcome["description"]
    # The link goes on, and of the wrong one the device has heard nothing.
    assert application.ask(to=address, subject="set", data="right")["state"] == "accepted"
    assert [command.payload for command in subscriber.commands(1)] == ["right"]


# Request and response.


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
@pytest.mark.parametrize("short", [False, True])
def test_a_request_and_its_response(device, address, sender, listen, start_subscriber, short, version):
    pattern, answer = ("c///q/#", "c///s") if short else ("command///req/#", "command///res")
    subscriber = start_subscriber(device, pattern, version=version).subscribed()
    replies, application = listen()
    asked = sender().ask(to=address, subject="get", data="?", reply_to=replies, correlation_id="c/1 ü")
    assert asked["state"] == "accepted"
    (command,) = subscriber.commands(1)
    assert (command.name, command.payload) == ("get", "?")
    assert command.request_id
    topic = f"{answer}/{command.request_id}/200"
    device.mosquitto(f"{topic}/?content-type=text%2Fplain", "42", version=version)
    expected = {"address": replies, "status": 200, "correlation_id": "c/1 ü", "body": "42"}
    check_response(application.message(), device.name, **expected, content_type="text/plain")


def test_the_message_id_will_do(device, address, sender, listen, start_subscriber):
    subscriber = start_subscriber(device, "command///req/#").subscribed()
    replies, application = listen()
    asked = sender().ask(to=address, subject="get", reply_to=replies, message_id="m-1")
    assert asked["state"] == "accepted"
    (command,) = subscriber.commands(1)
    device.mosquitto(f"command///res/{command.request_id}/204", "")
    expected = {"address": replies, "status": 204, "correlation_id": "m-1", "body": ""}
    check_response(application.message(), device.name, **expected)


@pytest.fixture
def request_id(device, address, sender, start_subscriber):
    """Makes a request of the device; what the device knows it by."""
    subscriber = start_subscriber(device, "command///req/#").subscribed()
    application, counts = sender(), itertools.count(1)

    def make(replies):
        count = next(counts)
        asked = application.ask(to=address, subject="get", reply_to=replies, correlation_id="c-1")
        assert asked["state"] == "accepted"
        return subscriber.commands(count)[-1].request_id

    return make


def test_each_status_that_may_be(device, listen, request_id):
    replies, application = listen()
    identifier, good = request_id(replies), [200, 202, 299, 400, 404, 503, 599]
    for status in good:
        device.mosquitto(f"command///res/{identifier}/{status}", "")
    messages = application.messages(len(good))
    assert [message.application_properties["status"] for message in messages] == [
        ("int", status) for status in good
    ]
    for status in (199, 300, 399, 600, "OK", ""):
        assert not device.start_mosquitto(f"command///res/{identifier}/{status}", "").succeeded()
        answer = device.curl(f"/command/res/{identifier}?hono-cmd-status={status}")
        assert answer.status == 400
    assert device.curl(f"/command/res/{identifier}").status == 400
    assert device.curl("/command/res/nonsense?hono-cmd-status=200").status == 400
    assert len(application.all("message")) == len(good)


@pytest.mark.parametrize(
    ("outcome", "status"), [("accepted", 202), ("rejected", 400), ("released", 503), ("modified", 503)]
)
def test_the_device_is_told_what_became_of_its_response(device, listen, request_id, outcome, status):
    replies, application = listen(outcome=outcome)
    path = f"/command/res/{request_id(replies)}"
    answer = device.curl(f"{path}?hono-cmd-status=200", "42")
    assert answer.status == status
    # Also as a header.
    assert device.curl(path, "42", "-H", "hono-cmd-status: 200").status == status
    application.messages(2)


def test_a_response_that_nobody_waits_for_is_refused(device, tenant, request_id):
    identifier = request_id(f"command_response/{tenant}/of-nobody")
    answer = device.curl(f"/command/res/{identifier}?hono-cmd-status=200", "42")
    assert (answer.status, answer.error) == (503, NOBODY)
    assert "retry-after" not in answer.headers
    for version in ("mqttv311", "mqttv5"):
        topic = f"command///res/{identifier}/200"
        assert not device.start_mosquitto(topic, "42", version=version).succeeded()


def test_a_response_is_for_the_application_that_asked(device, listen, request_id):
    mine, waiting = listen()
    theirs, other = listen()
    for replies in (theirs, mine, theirs):
        device.mosquitto(f"command///res/{request_id(replies)}/200", replies)
    assert [message.body for message in other.messages(2)] == [theirs] * 2
    assert waiting.message().body == mine


def test_no_device_answers_for_another(gateway, device, listen, request_id):
    replies, application = listen()
    stranger = gateway.create_device(device.tenant, "4712")
    identifier = request_id(replies)
    path = f"/command/res/{device.tenant}/{device.name}/{identifier}?hono-cmd-status=200"
    assert stranger.curl(path, "not mine", method="PUT").status == 403
    topic = f"command//{device.name}/res/{identifier}/200"
    assert not stranger.start_mosquitto(topic, "not mine").succeeded()
    assert device.curl(path, "mine", method="PUT").status == 202
    assert application.message().body == "mine"


# Over HTTP, in the answer to an upload.


@pytest.fixture
def wait_for(gateway, tenant, start_application):
    """An upload of a device that then waits for a command: started, and its message as it came."""
    address = f"telemetry/{tenant}"
    application = start_application(gateway, "proton", address).attached()
    counts = itertools.count(1)

    def start(device, path="/telemetry", *options, **more):
        running = device.start_curl(path, "20.5", *options, **more)
        count = next(counts)
        return running, Message(application.wait("message", count)[count - 1])

    return start


@pytest.mark.parametrize("way", ["header", "query"])
def test_a_one_way_command_in_an_answer(device, address, sender, wait_for, way):
    if way == "header":
        running, message = wait_for(device, "/telemetry", "-H", "hono-ttd: 50")
    else:
        running, message = wait_for(device, "/telemetry?hono-ttd=50")
    assert message.application_properties["ttd"] == ("int", 50)
    assert sender().ask(to=address, content_type="text/x", **ONE_WAY)["state"] == "accepted"
    answer = running.answer()
    assert (answer.status, answer.text) == (200, "20")
    assert answer.headers["hono-command"] == ["setBrightness"]
    assert answer.headers["content-type"] == ["text/x"]
    assert not {"hono-cmd-req-id", "hono-cmd-target-device"} & answer.headers.keys()


def test_a_request_in_an_answer(device, address, sender, listen, wait_for):
    replies, application = listen()
    running, _ = wait_for(device, "/telemetry?hono-ttd=50")
    command = {"subject": "get", "data": "?", "reply_to": replies, "correlation_id": "c-1"}
    assert sender().ask(to=address, **command)["state"] == "accepted"
    answer = running.answer()
    assert (answer.status, answer.text) == (200, "?")
    assert answer.headers["content-type"] == ["application/octet-stream"]
    (identifier,) = answer.headers["hono-cmd-req-id"]
    response = device.curl(f"/command/res/{identifier}?hono-cmd-status=200", "42")
    assert (response.status, response.text) == (202, "")
    expected = {"address": replies, "status": 200, "correlation_id": "c-1", "body": "42"}
    check_response(application.message(), device.name, **expected, content_type="text/plain")


def test_an_event_may_wait_for_a_command_too(
    device, address, sender, notifications, start_subscriber
):
    running = device.start_curl("/event?hono-ttd=50", "20.5")
    assert notifications.message().application_properties["ttd"] == ("int", 50)
    assert sender().ask(to=address, **ONE_WAY)["state"] == "accepted"
    assert running.answer().status == 200


def test_nothing_comes_while_the_device_waits(device, wait_for):
    running, message = wait_for(device, "/telemetry?hono-ttd=1")
    assert message.application_properties["ttd"] == ("int", 1)
    answer = running.answer()
    assert (answer.status, answer.text) == (202, "")
    assert not [name for name in answer.headers if name.startswith("hono-")]


def test_only_one_command_fits_in_an_answer(device, address, sender, wait_for):
    running, _ = wait_for(device, "/telemetry?hono-ttd=50")
    application = sender()
    numbers = [application.send(to=address, subject="set", data=str(n)) for n in range(3)]
    states = [application.outcome(number)["state"] for number in numbers]
    assert states == ["accepted", "released", "released"]
    assert running.answer().text == "0"


def test_a_device_that_hangs_up_takes_no_command(device, address, sender, wait_for):
    running, _ = wait_for(device, "/telemetry?hono-ttd=50")
    application = sender()
    running.process.kill()
    running.process.wait(timeout=DEADLINE)
    until("its end", lambda: application.ask(to=address, **ONE_WAY)["state"] == "released")
    running, _ = wait_for(device, "/telemetry?hono-ttd=50")
    assert application.ask(to=address, **ONE_WAY)["state"] == "accepted"
    assert running.answer().status == 200


def test_a_refused_upload_does_not_wait(device):
    # There is no consumer.
    answer = device.curl("/telemetry?hono-ttd=50", "20.5")
    assert (answer.status, answer.error) == (503, NOBODY)


# Gateways.


@pytest.fixture
def edge(gateway, device):
    """A device without login, for which the device of the story is a gateway."""
    gateway.create_edge_devices(device.tenant, ["edge"], via=[device.name])
    return f"command/{device.tenant}/edge"


@pytest.mark.parametrize("pattern", ["command//+/req/#", "c/{tenant}/+/q/#", "command//edge/req/#"])
def test_a_gateway_takes_commands_of_its_devices(
    device, edge, sender, listen, start_subscriber, pattern
):
    subscriber = start_subscriber(device, pattern.format(tenant=device.tenant)).subscribed()
    replies, application = listen()
    asked = sender().ask(to=edge, subject="get", reply_to=replies, correlation_id="c-1")
    assert asked["state"] == "accepted"
    (command,) = subscriber.commands(1)
    assert command.device == "edge"
    device.mosquitto(f"command//edge/res/{command.request_id}/200", "42")
    expected = {"address": replies, "status": 200, "correlation_id": "c-1", "body": "42"}
    message = application.message()
    content_type = message.properties.get("content-type", (None, None))[1]
    check_response(message, "edge", **expected, content_type=content_type)


def test_a_gateway_that_listens_for_itself_gets_nothing_else(
    device, address, edge, sender, start_subscriber
):
    subscriber = start_subscriber(device, "command///req/#").subscribed()
    application = sender()
    assert application.ask(to=edge, **ONE_WAY)["state"] == "released"
    assert application.ask(to=address, **ONE_WAY)["state"] == "accepted"
    assert len(subscriber.commands(1)) == 1


def test_a_gateway_listens_for_no_stranger(gateway, device, start_subscriber):
    gateway.create_edge_devices(device.tenant, ["stranger"])
    assert start_subscriber(device, "command//stranger/req/#").granted() == [128]


def test_a_gateway_takes_a_command_over_http(device, edge, sender, listen, wait_for):
    replies, application = listen()
    path = f"/telemetry/{device.tenant}/edge?hono-ttd=50"
    running, message = wait_for(device, path, method="PUT")
    assert message.application_properties["device_id"] == ("string", "edge")
    command = {"subject": "get", "reply_to": replies, "correlation_id": "c-1"}
    assert sender().ask(to=edge, **command)["state"] == "accepted"
    answer = running.answer()
    assert answer.status == 200
    assert answer.headers["hono-cmd-target-device"] == ["edge"]
    (identifier,) = answer.headers["hono-cmd-req-id"]
    response = f"/command/res//edge/{identifier}?hono-cmd-status=200"
    assert device.curl(response, "42", "--path-as-is", method="PUT").status == 202
    expected = {"address": replies, "status": 200, "correlation_id": "c-1", "body": "42"}
    check_response(application.message(), "edge", **expected, content_type="text/plain")


def test_of_several_gateways_the_last_one_used_gets_the_command(
    gateway, device, sender, start_subscriber
):
    tenant = device.tenant
    gateways = [device, gateway.create_device(tenant, "4712")]
    gateway.create_edge_devices(tenant, ["edge"], via=[one.name for one in gateways])
    subscribers = [start_subscriber(one, "command//+/req/#").subscribed() for one in gateways]
    application, heard = sender(), [0, 0]

    def goes_to(which):
        """Whether a command for the device is taken by one of the gateways."""
        assert application.ask(to=f"command/{tenant}/edge", **ONE_WAY)["state"] == "accepted"
        until("the command", lambda: sum(len(one.heard()) for one in subscribers) > sum(heard))
        counts = [len(one.heard()) for one in subscribers]
        taken = counts[which] > heard[which]
        heard[:] = counts
        return taken

    for which in (1, 0, 1):
        gateways[which].mosquitto("event//edge", "I am here")
        # Where a device was seen is noted after its message has been answered.
        until(f"gateway {which}", lambda: goes_to(which))
        assert goes_to(which)


def test_a_device_that_listens_itself_comes_before_its_gateway(
    gateway, device, sender, start_subscriber
):
    tenant = device.tenant
    own = gateway.create_device(tenant, "own", via=[device.name])
    address = f"command/{tenant}/{own.name}"
    of_gateway = start_subscriber(device, "command//+/req/#").subscribed()
    application = sender()
    assert application.ask(to=address, **ONE_WAY)["state"] == "accepted"
    of_device = start_subscriber(own, "command///req/#").subscribed()
    assert application.ask(to=address, **ONE_WAY)["state"] == "accepted"
    assert len(of_gateway.commands(1)) == len(of_device.commands(1)) == 1


def test_a_gateway_that_has_lost_its_right_takes_no_more_commands(
    gateway, device, edge, sender, start_subscriber
):
    start_subscriber(device, "command//edge/req/#").subscribed()
    application = sender()
    assert application.ask(to=edge, **ONE_WAY)["state"] == "accepted"
    assert gateway.manage("PUT", f"/devices/{device.tenant}/edge", {}) == 204
    assert application.ask(to=edge, **ONE_WAY)["state"] == "rejected"


# Other tenants, and what is counted.


def test_no_tenant_commands_the_devices_of_another(
    gateway, device, address, client, tenant, start_sender, start_subscriber
):
    other = f"{tenant}-other"
    gateway.create_tenant(other)
    start_subscriber(gateway.create_device(other, "4711"), "command///req/#").subscribed()
    subscriber = start_subscriber(device, "command///req/#").subscribed()
    mine, theirs = f"command/{tenant}", f"command/{other}"
    application = start_sender(gateway, client, mine, theirs).attached().ready()
    outcome = application.ask(theirs, to=address, **ONE_WAY)
    assert (outcome["state"], outcome["condition"]) == ("rejected", "amqp:unauthorized-access")
    assert application.ask(mine, to=address, subject="set", data="mine")["state"] == "accepted"
    assert [command.payload for command in subscriber.commands(1)] == ["mine"]


def test_each_command_is_counted_once(
    gateway, device, address, sender, listen, wait_for, silent, start_subscriber
):
    application, common = sender(), {"tenant": device.tenant}
    # Released, because there is no PUBACK.
    application.ask(to=address, **ONE_WAY)
    subscriber = start_subscriber(device, "command///req/#").subscribed()
    replies, _ = listen()
    for _ in range(3):
        application.ask(to=address, **ONE_WAY)
    request = {"subject": "get", "data": "what?", "reply_to": replies, "correlation_id": "1"}
    application.ask(to=address, **request)
    identifier = subscriber.commands(4)[-1].request_id
    device.mosquitto(f"command///res/{identifier}/200", "12345678")
    assert device.curl(f"/command/res/{identifier}?hono-cmd-status=200", "1234").status == 202
    nobody = f"command_response/{device.tenant}/of-nobody"
    application.ask(to=address, **{**request, "reply_to": nobody})
    identifier = subscriber.commands(5)[-1].request_id
    assert device.curl(f"/command/res/{identifier}?hono-cmd-status=200", "1234").status == 503
    subscriber.close()
    running, _ = wait_for(device, "/telemetry?hono-ttd=50")
    application.ask(to=address, **ONE_WAY)
    assert running.answer().status == 200
    # Nobody takes this one, and so it is not any adapter's.
    application.ask(to=address, **ONE_WAY)

    mqtt_, http = "hono-mqtt", "hono-http"
    expected = {
        (mqtt_, "one-way", "undeliverable"): (1, 2),
        (mqtt_, "one-way", "forwarded"): (3, 6),
        (mqtt_, "request", "forwarded"): (2, 10),
        (mqtt_, "response", "forwarded"): (1, 8),
        (http, "response", "forwarded"): (1, 4),
        (http, "response", "undeliverable"): (1, 4),
        (http, "one-way", "forwarded"): (1, 2),
        ("hono-command-router", "one-way", "undeliverable"): (1, 2),
    }

    def found(series):
        samples = gateway.metrics(series, **common)
        names = ("component_name", "direction", "status")
        return {tuple(labels[name] for name in names): value for labels, value in samples if value}

    counts = {labels: count for labels, (count, _) in expected.items()}
    total = sum(counts.values())
    until("all commands", lambda: sum(found(f"{DURATION}_count").values()) >= total)
    assert found(f"{DURATION}_count") == found(f"{PAYLOAD}_count") == counts
    assert found(f"{PAYLOAD}_sum") == {labels: size for labels, (_, size) in expected.items()}
    # What the upload was asked for is in its own series.
    telemetry = "hono_telemetry_processing_duration_seconds_count"
    assert gateway.total(telemetry, **common, ttd="command") == 1
