"""Devices and applications that do all that is counted, over and over, until they are told to stop."""

import threading
from contextlib import closing, contextmanager

from .application import Application, Sender
from .certificates import server_certificate
from .gateway import Gateway
from .packets import PINGREQ, REFUSED, puback, publish, pubrel, send, suback, subscribe, unsubscribe
from .subscriber import Command, Subscriber

LISTENERS = ("http", "mqtt", "northbound.amqp", "management")
SETTINGS = {
    # So that its room for events can be used up.
    "northbound.events.max_events_per_tenant": 5,
    "compat.jvm_names": "true",
    # None is recorded, so nobody is sent any.
    "traces.enabled": "true",
    "traces.sampler": "always_off",
    "metrics.emqx.enabled": "true",
    "metrics.emqx.port": 0,
    "metrics.emqx.key": "prometheus",
    "metrics.emqx.secret": "for scrapers",
}
# Used up with the first message.
LIMITS = {"data-volume": {"effective-since": "2026-01-01T00:00:00Z", "max-bytes": 1}}
ONE_WAY = {"subject": "set", "data": "20"}
REQUEST = {"subject": "get", "data": "?", "correlation_id": "1"}


@contextmanager
def busy(folder):
    """A gateway of one's own with certificates and all its pages, and the load at it."""
    certificate, key = server_certificate(folder)
    settings = SETTINGS | {f"{listener}.tls_port": 0 for listener in LISTENERS}
    gateway = Gateway(folder, **{"tls.certificate": certificate, "tls.key": key}, **settings)
    with closing(gateway), closing(Load(gateway)) as load:
        yield load


class Load:
    """A device each of six tenants: `taken` has applications that take everything; `alone` has none,
    and no room for its events; the application of `rejected` takes nothing, that of `silent` says
    nothing; `limited` may not send any more. Of `taken` there are also a device that never comes, one
    that guesses passwords, and one that hears commands with QoS 0. That of `odd` does all that is wrong."""

    def __init__(self, gateway):
        names = ("taken", "alone", "rejected", "silent", "limited")
        for name in names:
            gateway.create_tenant(name)
        self.gateway, self.failure, self.programs = gateway, None, []
        devices = [gateway.create_device(name, "4711") for name in names]
        self.taken, self.alone, self.rejected, self.silent, self.limited = devices
        self.absent = gateway.create_device("taken", "absent", quick=True)
        self.stranger = gateway.create_device("taken", "stranger", quick=True)
        self.stranger.password = "guessed"
        self.plain = gateway.create_device("taken", "plain", quick=True)
        gateway.create_tenant("odd")
        self.odd = gateway.create_device("odd", "4711", quick=True)
        gateway.create_device("odd", "other", quick=True)

        # With so little credit messages have to wait for it.
        for tenant, outcome in (("taken", "accepted"), ("rejected", "rejected"), ("silent", "hold")):
            addresses = [f"telemetry/{tenant}", f"event/{tenant}"][: 1 if outcome == "hold" else 2]
            options = {"outcome": outcome, "credit": 1}
            self._start(Application(gateway, "proton", *addresses, **options)).attached()
        self.replies = "command_response/taken/replies"
        self._start(Application(gateway, "proton", self.replies)).attached()
        self.subscriber = self._start(Subscriber(self.taken, "command///req/#")).subscribed()
        self._start(Subscriber(self.limited, "command///req/#")).subscribed()
        self._start(Subscriber(self.plain, "command///req/#", qos=0)).subscribed()
        senders = [Sender(gateway, "proton", f"command/{tenant}") for tenant in ("taken", "limited")]
        self.sender, self.in_vain = (self._start(sender).attached().ready() for sender in senders)
        # A device that is connected stays so; a new one would not be let in.
        assert self.limited.curl("/event", "12345").status == 202
        assert gateway.manage("PUT", "/tenants/limited", {"resource-limits": LIMITS}) == 204

        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _start(self, program):
        self.programs.append(program)
        return program

    def _run(self):
        try:
            while not self.stopping.is_set():
                self._uploads()
                self._commands()
                self._oddities()
                # Other processes want to run too.
                self.stopping.wait(0.3)
        except BaseException as failure:
            self.failure = failure

    def _uploads(self):
        sent = []
        for device in (self.taken, self.alone, self.rejected):
            sent += [device.start_curl("/telemetry", "12345", "-H", f"QoS-Level: {q}") for q in (0, 1)]
            sent += [device.start_mosquitto("telemetry", "12345", qos=qos) for qos in (0, 1)]
            sent.append(device.start_curl("/event", "12345"))
            sent.append(device.start_mosquitto("event", "12345", version="mqttv5"))
        refused = [self.limited.start_curl(f"/{kind}", "12345") for kind in ("telemetry", "event")]
        stranger = self.stranger.start_mosquitto("telemetry", "12345")
        patient = self.silent.start_curl("/telemetry", "12345", "-H", "QoS-Level: 1")
        hasty = self.silent.start_curl("/telemetry", "12345", "-H", "QoS-Level: 1", "--max-time", "0.5")
        for one in sent:
            one.status()
        assert [one.answer().status for one in refused] == [429, 429]
        assert not stranger.succeeded() and not hasty.succeeded()
        assert patient.answer().status == 503

    def _commands(self):
        devices = (self.taken, self.plain, self.absent, self.limited)
        here, plain, nowhere, limited = (
            f"command/{device.tenant}/{device.name}" for device in devices
        )
        request = {**REQUEST, "reply_to": self.replies}
        heard = len(self.subscriber.heard())
        asked = [
            self.sender.send(to=here, **ONE_WAY),
            self.sender.send(to=plain, **ONE_WAY),
            self.sender.send(to=nowhere, **ONE_WAY),
            self.sender.send(to=nowhere, **request),
            self.sender.send(to=here, **request),
        ]
        states = [self.sender.outcome(number)["state"] for number in asked]
        assert states == ["accepted", "accepted", "released", "released", "accepted"], states
        assert self.in_vain.ask(to=limited, **ONE_WAY)["state"] == "rejected"
        for line in self.subscriber.heard()[heard:]:
            command = Command(line)
            if command.name == "get":
                answer = f"/command/res/{command.request_id}?hono-cmd-status=200"
                assert self.taken.curl(answer, "42").status == 202

    def _oddities(self):
        """What only MQTT has, or only some clients do."""
        commands, other = "command///req/#", "nothing/#"
        asked = [subscribe(commands, 1), PINGREQ, unsubscribe(commands, 2), unsubscribe(other, 3)]
        asked += [puback(4), pubrel(5), subscribe(other, 6)]
        send(self.odd, *asked, answer=suback(6, REFUSED))
        for refused in (publish("telemetry", 2), publish("telemetry//other", 1), publish(other, 1)):
            send(self.odd, refused)

    def close(self):
        """Ends it; it must not have failed."""
        self.stopping.set()
        self.thread.join()
        for program in reversed(self.programs):
            program.close()
        if self.failure:
            raise self.failure
