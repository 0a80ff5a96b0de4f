"""Back-end applications: one of the programs of an AMQP library in a process of its own."""

import json
import sys
from pathlib import Path

from .message import Message
from .program import Program

HERE = Path(__file__).parent
# The program that consumes and the one that sends, by AMQP library.
PROGRAMS = {
    "proton": ([sys.executable, str(HERE / "consumer.py")], [sys.executable, str(HERE / "sender.py")]),
    "rhea": (["node", str(HERE / "consumer.mjs")], ["node", str(HERE / "sender.mjs")]),
}


def connection(gateway, password=None, login=None, again=False, **connection):
    """Where and how an application connects, by default with the gateway's own account; with `again`,
    it does so again whenever the connection is lost."""
    user, own_password = gateway.login("application")
    login = login or {"mechanism": "PLAIN", "user": user, "password": password or own_password}
    host, port = gateway.address("northbound.amqp-tls" if "trusted" in login else "northbound.amqp")
    connection = {"heartbeat": 8, **connection}
    return {"host": host, "port": port, "login": login, "again": again, "connection": connection}


class Application(Program):
    """A consumer. What becomes of each message is `outcome`; with `hold` it stays open until told."""

    def __init__(self, gateway, client, *addresses, outcome="accepted", credit=100, **options):
        self.addresses = addresses
        options = connection(gateway, **options)
        options |= {"outcome": outcome, "credit": credit, "addresses": addresses}
        consumer, _ = PROGRAMS[client]
        super().__init__([*consumer, json.dumps(options)])

    def attached(self):
        """Waits until it may receive from all its addresses."""
        self.wait("attached", len(self.addresses))
        return self

    def messages(self, count):
        """Waits for so many messages and returns them; there must not be more."""
        found = self.wait("message", count)
        assert len(found) == count
        return [Message(event) for event in found]

    def message(self):
        """Waits for the one message."""
        return self.messages(1)[0]

    def bodies(self, kind="message", outcome=None):
        """The bodies of all messages so far, or of those that were settled one way."""
        messages = {event["number"]: Message(event).body for event in self.all("message")}
        if kind == "message":
            return list(messages.values())
        return [messages[event["number"]] for event in self.all(kind) if event["outcome"] == outcome]


class Sender(Program):
    """Sends commands, to `command/TENANT` or other addresses."""

    def __init__(self, gateway, client, *addresses, **options):
        self.addresses, self.count = addresses, 0
        options = connection(gateway, **options) | {"addresses": addresses}
        _, sender = PROGRAMS[client]
        super().__init__([*sender, json.dumps(options)])

    def attached(self):
        """Waits until it has all its links, be there credit or not."""
        self.wait("attached", len(self.addresses))
        return self

    def ready(self):
        """Waits until it may send to all its addresses."""
        for address in self.addresses:
            self.wait("credit", address=address)
        return self

    def send(self, address=None, **message):
        """Sends one; the number that its outcome will have."""
        self.count += 1
        self.order("send", address or self.addresses[0], self.count, message)
        return self.count

    def outcome(self, number):
        """Waits for the outcome of one that was sent. It has to be settled with it."""
        (outcome,) = self.wait("outcome", number=number)
        assert outcome["settled"]
        return outcome

    def ask(self, address=None, **message):
        """Sends one and waits for its outcome."""
        return self.outcome(self.send(address, **message))
