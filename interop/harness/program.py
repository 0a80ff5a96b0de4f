"""Programs that say what happens and take orders: a JSON text a line, both ways."""

import contextlib
import json
import signal
import subprocess
import threading

from .wait import Patience


class Program:
    """A process and what it has said so far."""

    def __init__(self, command):
        self.events, self.changed = [], threading.Condition()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, **pipes)
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

    def all(self, kind, **wanted):
        """What happened of one kind so far, with these details."""
        wanted = {"event": kind, **wanted}
        with self.changed:
            return [event for event in self.events if wanted.items() <= event.items()]

    def wait(self, kind, count=1, **wanted):
        """Waits until something has happened so many times, and returns all of it."""
        patience = Patience(f"{count} × {kind!r} {wanted or ''}")
        while True:
            with self.changed:
                found = self.all(kind, **wanted)
                if len(found) >= count:
                    return found
                ended = bool(self.events) and self.events[-1]["event"] == "ended"
                assert not ended, f"{patience.what} of a program that has ended: {self.events[-9:]}"
                self.changed.wait(patience.left())

    def order(self, *words):
        """Tells it to do something."""
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def freeze(self):
        """SIGSTOP: its connections stay open, and nothing comes from it any more."""
        self.process.send_signal(signal.SIGSTOP)

    def kill(self):
        """SIGKILL: its kernel resets or closes the connection, nothing else is said."""
        self.process.kill()
        self.process.wait()
        self.reader.join()

    def close(self):
        """Ends it; one that was killed or has ended stays as it is."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            with contextlib.suppress(BrokenPipeError):
                self.order("close")
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.wait()
            self.reader.join()
