"""A gateway: the release binary in a process of its own, on free ports, with a folder of its own."""

import base64
import hashlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from .device import Device
from .wait import DEADLINE, until

ROOT = Path(__file__).parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = Path(os.environ.get("WEIR", TARGET / "release" / "weir"))

LISTENERS = ["http", "mqtt", "northbound.amqp", "management", "health"]
SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def environment(settings):
    """The environment of a `weir` with some settings, keys as in the file: `http.port`."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("WEIR")}
    # Every listener takes a free port of its own.
    settings = {f"{listener}.port": 0 for listener in LISTENERS} | settings
    changed = {f"WEIR__{key.upper().replace('.', '__')}": str(value) for key, value in settings.items()}
    return inherited | changed


def weir(*arguments, **settings):
    """Runs a command of the binary to its end."""
    command, options = [str(BINARY), *arguments], {"capture_output": True, "text": True}
    return subprocess.run(command, env=environment(settings), timeout=DEADLINE, **options)


def fixed_ports():
    """Settings of a gateway that is found at the same place when it has been started again."""
    # None of the ports that outgoing connections take: a client that waits for its gateway to come
    # back would in the end be connected to itself.
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = {}
    while len(ports) < len(LISTENERS):
        port = random.randrange(10_000, lowest)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        if port not in ports.values():
            ports[f"{LISTENERS[len(ports)]}.port"] = port
    return ports


class Gateway:
    """A running `weir serve`."""

    def __init__(self, folder, under=(), **settings):
        """With `under` the binary is started by another command."""
        settings = {"data_dir": folder / "data", "log.format": "json", **settings}
        ports = [key.removesuffix(".tls_port") for key in settings if key.endswith(".tls_port")]
        self.listeners = {*LISTENERS, *(f"{listener}-tls" for listener in ports)}
        self.environment, self.under = environment(settings), list(map(str, under))
        self.log, self.logins = folder / "weir.log", {}
        self.start()

    def start(self):
        """Starts it, also again."""
        with self.log.open("w") as log:
            command = [*self.under, str(BINARY), "serve"]
            self.process = subprocess.Popen(
                command, env=self.environment, stderr=log, stdin=subprocess.DEVNULL
            )
        self.addresses, self.expected = {}, []
        try:
            until("its listeners", self._listens)
            until("readiness", self.is_ready)
        except BaseException:
            self._kill()
            raise

    def _listens(self):
        assert self.process.poll() is None, self.log.read_text()
        # The last line may not be complete yet.
        for line in self.log.read_text().split("\n")[:-1]:
            entry = json.loads(line)
            if entry["message"] == "listening":
                host, _, port = entry["address"].rpartition(":")
                self.addresses[entry["listener"]] = (host, int(port))
        return self.addresses.keys() >= self.listeners

    def address(self, listener):
        """Host and port of a listener."""
        return self.addresses[listener]

    def url(self, listener, path):
        """The URL of a path on a listener."""
        host, port = self.address(listener)
        return f"http://{host}:{port}{path}"

    def is_ready(self):
        """What `/readiness` says; not ready also if nobody answers."""
        try:
            with urllib.request.urlopen(self.url("health", "/readiness")) as answer:
                return answer.status == 200
        except urllib.error.URLError:
            return False

    def login(self, account):
        """User and password, as the gateway's own command tells them."""
        if account not in self.logins:
            told = self.run("secret", account)
            assert told.returncode == 0, told.stderr
            user, _, password = told.stdout.strip().partition(":")
            self.logins[account] = user, password
        return self.logins[account]

    def run(self, *arguments, **options):
        """Runs a command of the binary to its end, with this gateway's settings."""
        options = {"capture_output": True, "text": True, "timeout": DEADLINE} | options
        return subprocess.run([str(BINARY), *arguments], env=self.environment, **options)

    def manage(self, method, path, body=None):
        """One request to the management API; its status."""
        headers = self._operator()
        if body is not None:
            headers["Content-Type"], body = "application/json", json.dumps(body).encode()
        url = self.url("management", f"/v1{path}")
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def read(self, path):
        """An object of the management API."""
        request = urllib.request.Request(self.url("management", f"/v1{path}"), headers=self._operator())
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def _operator(self):
        login = base64.b64encode(":".join(self.login("operator")).encode()).decode()
        return {"Authorization": f"Basic {login}"}

    def create_tenant(self, tenant, **settings):
        """Registers a tenant."""
        assert self.manage("POST", f"/tenants/{tenant}", settings) == 201

    def create_device(self, tenant, name, quick=False, **settings):
        """Registers a device and gives it a password, which with `quick` costs little to check."""
        assert self.manage("POST", f"/devices/{tenant}/{name}", settings) == 201
        password = f"secret of {name}"
        secrets = [{"pwd-plain": password}]
        if quick:
            digest = base64.b64encode(hashlib.sha256(password.encode()).digest()).decode()
            secrets = [{"hash-function": "sha-256", "pwd-hash": digest}]
        credentials = [{"type": "hashed-password", "auth-id": name, "secrets": secrets}]
        assert self.manage("PUT", f"/credentials/{tenant}/{name}", credentials) == 204
        return Device(self, tenant, name, password)

    def create_edge_devices(self, tenant, names, **settings):
        """Registers many devices that others send for, over one connection."""
        connection = http.client.HTTPConnection(*self.address("management"), timeout=DEADLINE)
        headers = {**self._operator(), "Content-Type": "application/json"}
        for name in names:
            path = f"/v1/devices/{tenant}/{name}"
            connection.request("POST", path, json.dumps(settings), headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 201
        connection.close()

    def metrics(self, name, **wanted):
        """The samples of a series that have the wanted labels: all labels and the value of each."""
        with urllib.request.urlopen(self.url("health", "/prometheus")) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            page = answer.read().decode()
        found = []
        for line in page.splitlines():
            if line.startswith("#"):
                continue
            series, labels, value = SAMPLE.match(line).groups()
            labels = dict(LABEL.findall(labels))
            if series == name and wanted.items() <= labels.items():
                found.append((labels, float(value)))
        return found

    def total(self, name, **wanted):
        """The sum of those samples."""
        return sum(value for _, value in self.metrics(name, **wanted))

    def expect(self, error):
        """Takes no offence at an error in its log, which has to be there."""
        until(f"{error!r} in its log", lambda: f'"message":"{error}"' in self.log.read_text())
        self.expected.append(error)

    def kill(self):
        """SIGKILL, and nothing may have gone wrong before."""
        self._kill()
        self._check_log()

    def terminate(self):
        """Tells it to stop."""
        self.process.send_signal(signal.SIGTERM)

    def stopped(self):
        """Waits until it has stopped; it has to say that all went well."""
        status = self.process.wait(timeout=DEADLINE)
        assert status == 0, f"exit status {status}\n{self.log.read_text()}"
        self._check_log()

    def _check_log(self):
        log = self.log.read_text()
        errors = [line for line in log.splitlines() if '"level":"ERROR"' in line]
        # A killed one may leave half a line behind.
        errors = [line for line in errors if line.endswith("}")]
        errors = [line for line in errors if json.loads(line)["message"] not in self.expected]
        assert "panicked" not in log and not errors, log

    def close(self):
        """Stops it, if a story has not done so."""
        if self.process.poll() is None:
            self.terminate()
            try:
                self.stopped()
            finally:
                self._kill()

    def _kill(self):
        self.process.kill()
        self.process.wait()
