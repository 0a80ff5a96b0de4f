"""Back-end applications: one of the consumer programs in a process of its own."""

import json
import subprocess
import sys
import threading
from pathlib import Path

from .message import Message
from .wait import Patience

HERE = Path(__file__).parent
PROGRAMS = {
    "proton": [sys.executable, str(HERE / "consumer.py")],
    "rhea": ["node", str(HERE / "consumer.mjs")],
}


class Application:
    """A consumer. What becomes of each message is `outcome`; with `hold` it stays open until told."""

    def __init__(self, gateway, client, *addresses, outcome="accepted", credit=100, password=None):
        host, port = gateway.address("northbound.amqp")
        user, own_password = gateway.login("application")
        login = [user, password or own_password]
        arguments = [host, str(port), *login, outcome, str(credit), *addresses]
        self.addresses = addresses
        self.events, self.changed = [], threading.Condition()
        self.process = subprocess.Popen(
            PROGRAMS[client] + arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            # A killed program may leave half a line behind.
            event = json.loads(line) if line.endswith("\n") else {"event": "cut off"}
            with self.changed:
                self.events.append(event)
                self.changed.notify_all()
        with self.changed:
            self.events.append({"event": "ended"})
            self.changed.notify_all()

    def all(self, kind):
        """What happened of one kind, so far."""
        with self.changed:
            return [event for event in self.events if event["event"] == kind]

    def wait(self, kind, count=1):
        """Waits until something has happened so many times, and returns all of it."""
        patience = Patience(f"{count} × {kind!r}")
        while True:
            with self.changed:
                found = [event for event in self.events if event["event"] == kind]
                ended = bool(self.events) and self.events[-1]["event"] == "ended"
                if len(found) >= count:
                    return found
                assert not ended, f"{patience.what} of an application that has ended"
                self.changed.wait(patience.left())

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

    def order(self, *words):
        """Tells it to do something."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def kill(self):
        """SIGKILL: its kernel resets or closes the connection, nothing else is said."""
        self.process.kill()
        self.process.wait()
        self.reader.join()

    def close(self):
        """Ends it; one that was killed or has ended stays as it is."""
        if self.process.poll() is None:
            self.order("close")
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.wait()
            self.reader.join()
