"""A device that stays connected: a `mosquitto_pub` that takes lines and says what it hears."""

import subprocess
import threading

from .wait import DEADLINE, until


class Connected:
    """Its connection is there once `publish` has returned."""

    def __init__(self, device, version, topic="telemetry"):
        host, port = device.gateway.address("mqtt")
        # Without stdbuf it would keep to itself what it hears until it ends.
        command = ["stdbuf", "-oL", "mosquitto_pub", "-d", "-l", "-h", host, "-p", str(port)]
        command += ["-u", device.user, "-P", device.password]
        command += ["-V", version, "-q", "1", "-t", topic]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, text=True, **pipes)
        self.heard, self.acknowledged = [], 0
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.heard.append(line)

    def count(self, text):
        """How often it has heard something."""
        return sum(text in line for line in list(self.heard))

    def hears(self, text):
        """Waits until it has heard something."""
        until(f"{text!r} in {self.heard}", lambda: self.count(text))

    def publish(self, line):
        """Publishes a message, which has to be acknowledged over the first connection."""
        print(line, file=self.process.stdin, flush=True)
        self.acknowledged += 1
        until(f"PUBACK in {self.heard}", lambda: self.count("received PUBACK") == self.acknowledged)
        assert self.count("sending CONNECT") == 1, self.heard

    def close(self):
        """Ends it."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()
