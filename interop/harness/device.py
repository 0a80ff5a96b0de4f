"""Devices: curl and mosquitto_pub, as a person would type them."""

import json
import subprocess

from .wait import DEADLINE


class Answer:
    """What `curl -i` printed: status, headers, body."""

    def __init__(self, printed):
        # Python has made line feeds of CR LF.
        head, _, self.text = printed.partition("\n\n")
        first, *lines = head.split("\n")
        self.status = int(first.split(" ")[1])
        self.headers = {}
        for name, _, value in (line.partition(": ") for line in lines):
            self.headers.setdefault(name.lower(), []).append(value)

    @property
    def error(self):
        """The text of an error body; anything else in the body is a mistake."""
        assert self.headers["content-type"] == ["application/json; charset=utf-8"]
        body = json.loads(self.text)
        assert list(body) == ["error"], body
        return body["error"]


class Running:
    """A device's program that has been started."""

    def __init__(self, command, payload, read=lambda printed: printed):
        self.name, self.payload, self.read = command[0], payload, read
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, **pipes)

    def status(self, lines=None):
        """Waits for its end; `lines` are its input."""
        self.output, self.errors = self.process.communicate(lines, timeout=DEADLINE)
        return self.process.returncode

    def succeeded(self):
        """Waits for its end and says whether all went well."""
        return self.status() == 0

    def answer(self):
        """Waits for its end, which has to be good, and reads what it printed."""
        assert self.succeeded(), self.errors
        return self.read(self.output)


class Device:
    """A registered device and its password."""

    def __init__(self, gateway, tenant, name, password):
        self.gateway, self.tenant, self.name, self.password = gateway, tenant, name, password
        self.user = f"{name}@{tenant}"

    def start_curl(self, path, payload="", *options, method="POST", content_type="text/plain"):
        """Starts one request. `content_type` None sends none."""
        host, port = self.gateway.address("http")
        kind = f"Content-Type: {content_type}" if content_type else "Content-Type:"
        command = ["curl", "-sS", "-i", "-X", method, "-u", f"{self.user}:{self.password}"]
        command += ["-H", kind, "--data-binary", payload, *options, f"http://{host}:{port}{path}"]
        return Running(command, payload, Answer)

    def curl(self, *arguments, **options):
        """One request and its answer."""
        return self.start_curl(*arguments, **options).answer()

    def start_mosquitto(self, topic, payload, *options, version="mqttv311", qos=1):
        """Starts one `mosquitto_pub`; `payload` None reads lines, a message each."""
        host, port = self.gateway.address("mqtt")
        command = ["mosquitto_pub", "-h", host, "-p", str(port), "-u", self.user, "-P", self.password]
        command += ["-V", version, "-q", str(qos), "-t", topic, *options]
        command += ["-l"] if payload is None else ["-n"] if payload == "" else ["-m", payload]
        return Running(command, payload)

    def mosquitto(self, *arguments, **options):
        """Publishes one message; it must succeed."""
        self.start_mosquitto(*arguments, **options).answer()

    def mosquitto_lines(self, topic, lines, **options):
        """Publishes each line over one connection; all must succeed."""
        running = self.start_mosquitto(topic, None, **options)
        assert running.status("".join(f"{line}\n" for line in lines)) == 0, running.errors
