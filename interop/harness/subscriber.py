"""A device that waits for commands: a `mosquitto_sub` that says what it hears."""

import re
import subprocess
import threading

from .wait import DEADLINE, until

# No line that mosquitto_sub prints by itself begins like this.
MARK = "heard"
ANSWER = re.compile(r"^Subscribed \(mid: \d+\): (.*)$")


class Command:
    """What arrived: the parts of its topic, its payload, its QoS."""

    def __init__(self, line):
        _, qos, self.topic, payload = line.rstrip("\n").split("\t")
        self.qos, self.payload = int(qos), bytes.fromhex(payload).decode()
        endpoint, self.tenant, self.device, request, self.request_id, self.name = self.topic.split("/")
        self.kind = f"{endpoint}/{request}"


class Subscriber:
    """Subscribed to some filters."""

    def __init__(self, device, *filters, version="mqttv311", qos=1):
        self.device = device
        host, port = device.gateway.address("mqtt")
        # Without stdbuf it would keep to itself what it hears until it ends.
        command = ["stdbuf", "-oL", "mosquitto_sub", "-d", "-h", host, "-p", str(port)]
        command += ["-u", device.user, "-P", device.password, "-V", version, "-q", str(qos)]
        command += ["-F", f"{MARK}\t%q\t%t\t%x"]
        for one in filters:
            command += ["-t", one]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, text=True, **pipes)
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def granted(self):
        """Waits for the answer to its subscription: what was granted, filter by filter."""
        answers = lambda: [found[1] for line in list(self.lines) if (found := ANSWER.match(line))]
        (answer,) = until(f"SUBACK in {self.lines}", answers)
        return [int(code) for code in answer.split(", ")]

    def subscribed(self):
        """Waits until all is granted."""
        assert all(code < 128 for code in self.granted())
        return self

    def commands(self, count):
        """Waits for so many commands and returns them; there must not be more."""
        found = until(f"{count} commands", lambda: len(lines := self.heard()) >= count and lines)
        assert len(found) == count
        return [Command(line) for line in found]

    def heard(self):
        """The lines of all commands so far."""
        return [line for line in list(self.lines) if line.startswith(f"{MARK}\t") and line[-1] == "\n"]

    def kill(self):
        """SIGKILL: its kernel closes the connection, nothing else is said."""
        self.process.kill()
        self.process.wait()
        self.reader.join()

    def close(self):
        """Ends it with DISCONNECT."""
        self.process.terminate()
        try:
            self.process.wait(timeout=DEADLINE)
        finally:
            self.kill()
