"""The guides: every command in them is run, in the order in which it stands there."""

import codecs
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from harness.gateway import BINARY, ROOT
from harness.postgres import Postgres
from harness.wait import until

PART = re.compile(
    r"^##+ (?P<heading>.*)$|^```(?P<language>\w+)\n(?P<text>(?s:.*?))^```$", re.MULTILINE
)
# The ports in the guides are the defaults; here every gateway has its own.
PORTS = {
    8080: "http",
    8443: "http-tls",
    1883: "mqtt",
    8883: "mqtt-tls",
    15672: "northbound.amqp",
    28080: "management",
    28443: "management-tls",
    8088: "health",
}
TLS_PORTS = {f"{listener}.tls_port": 0 for listener in ("http", "mqtt", "northbound.amqp", "management")}


class Guide:
    """The blocks of a guide by the heading that they stand under."""

    def __init__(self, name):
        self.languages, self.blocks, heading = {}, {}, None
        for part in PART.finditer((ROOT / "docs" / name).read_text()):
            heading = part["heading"] or heading
            if part["language"]:
                self.languages.setdefault(heading, []).append(part["language"])
                self.blocks.setdefault(heading, []).append(part["text"])

    def __getitem__(self, heading):
        return self.blocks[heading]


USERS, OPERATORS = Guide("user-guide.md"), Guide("operator-guide.md")


class Reader:
    """Somebody who follows a guide: a folder, a shell that stays open, and gateways of their own."""

    def __init__(self, folder, start_gateway):
        self.folder, self.start_gateway = folder / "reader", start_gateway
        programs = self.folder / "bin"
        programs.mkdir(parents=True)
        (programs / "weir").symlink_to(BINARY)
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("WEIR")}
        # Proton is in the Python of these stories.
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.shell = subprocess.Popen(
            ["bash", "-euo", "pipefail"],
            env={**inherited, "PATH": path},
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.gateway, self.said, self.blocks = None, "", 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        # Not by lines: what a program says last may have no end of line.
        decoder = codecs.getincrementaldecoder("utf-8")()
        while some := self.shell.stdout.read1():
            self.said += decoder.decode(some)

    def start(self, **settings):
        """Starts the gateway, or starts it again, with the data folder of the guides."""
        self.stop()
        self.gateway = self.start_gateway(data_dir=self.folder / "weir-data", **settings)
        host, port = self.gateway.addresses["northbound.amqp"]
        self.run(f"export WEIR_URL={self.gateway.url('management', '')} WEIR_AMQP_URL=amqp://{host}:{port}")

    def stop(self):
        """Stops the gateway, if there is one."""
        if self.gateway:
            self.gateway.terminate()
            self.gateway.stopped()

    def write(self, name, text):
        """Writes a file of the guide."""
        (self.folder / name).write_text(self._with_ports(text))

    def run(self, block):
        """Runs a block, which has to succeed; what was said meanwhile."""
        self.blocks += 1
        begin, mark = len(self.said), f"--- the end of block {self.blocks}\n"
        order = f"{{\n{self._with_ports(block)}\n}} </dev/null; printf '\\n%s' '{mark}'\n"
        self.shell.stdin.write(order.encode())
        self.shell.stdin.flush()
        until(block, lambda: mark in self.said or self.shell.poll() is not None)
        said = self.said[begin:]
        assert mark in said, f"{block}\n{said}"
        return said

    def has_heard(self, line, times=1):
        """Waits until something, perhaps in the background, has said the line so many times."""
        until(line, lambda: len(re.findall(line, self.said)) >= times)

    def _with_ports(self, text):
        addresses = self.gateway.addresses if self.gateway else {}
        for port, listener in PORTS.items():
            if listener in addresses:
                text = re.sub(rf"\b{port}\b", str(addresses[listener][1]), text)
        return text

    def close(self):
        self.run("kill $(jobs -p) || true")
        self.shell.stdin.close()
        self.shell.wait()


@pytest.fixture
def reader(start_gateway, tmp_path):
    reader = Reader(tmp_path, start_gateway)
    yield reader
    if reader.shell.poll() is None:
        reader.close()


def accepted(reader, block):
    """Runs a block with an upload again and again: without a receiver, the device is told so."""
    until(block, lambda: re.search(r"^HTTP/\S+ 202", reader.run(block), re.MULTILINE))


def test_every_command_of_the_user_guide_works(reader):
    reader.start()
    [provision] = USERS["A tenant, a device, a password"]
    assert re.search(r"importance\W+high", reader.run(provision))
    script, receive = USERS["An application"]
    [post], [publish] = USERS["HTTP"], USERS["MQTT"]
    reader.write("receive.py", script)
    reader.run(receive)
    accepted(reader, post)
    reader.run(publish)
    reader.has_heard(r'sensor1 \S+ \{"temperature": 21.5\}\n', 2)
    [with_properties] = USERS["MQTT 5"]
    reader.run(with_properties)
    reader.has_heard(r"sensor1 text/plain 21.5 in the hall\n")

    device, tell = USERS["Errors over MQTT"]
    reader.write("errors.py", device)
    told = reader.run(tell)
    [error] = re.findall(r"^error///event/door-7/400 (.*)$", told, re.MULTILINE)
    assert json.loads(error)["message"] == "Only QoS 1 supported for event messages", told

    [event] = USERS["Events"]
    said = reader.run(event)
    assert "HTTP/1.1 202" in said and "door opened" in said, said
    wait, command = USERS["Commands"]
    reader.run(wait)
    # The device may not be waiting yet.
    is_delivered = re.compile(r"(?<!not )delivered\n")
    until(command, lambda: is_delivered.search(reader.run(f"{command.rstrip()} || true")))
    reader.has_heard(r"hono-command: setBrightness\r?\n")
    reader.has_heard(r'\{"brightness": 70\}')

    via, authorise, send = USERS["Gateways"]
    reader.run(via)
    reader.run(authorise)
    accepted(reader, send)
    reader.has_heard(r"meter-8 application/vnd.eclipse-hono-device-provisioning-notification \n")
    reader.has_heard(r'meter-8 application/json \{"volume": 3\}\n')

    own, restart, issue, trust, use, register = USERS["Certificates"]
    reader.run(own)
    variables = dict(re.findall(r"WEIR__TLS__(\w+)=(\S+)", restart))
    settings = {f"tls.{name.lower()}": reader.folder / path for name, path in variables.items()}
    reader.start(**settings, **TLS_PORTS)
    reader.write("receive.py", script)
    reader.run(receive)
    reader.run(authorise)
    accepted(reader, post)
    reader.run(issue)
    reader.run(trust)
    reader.run(use)
    reader.has_heard(r'sensor2 \S+ \{"temperature": 21.5\}\n', 2)
    accepted(reader, register)
    reader.has_heard(r"sensor3 application/vnd.eclipse-hono-device-provisioning-notification \n")
    reader.has_heard(r'sensor3 application/json \{"temperature": 21.5\}\n')

    [change] = USERS["Changes in the registry"]
    assert json.loads(change)["type"] == "device-change-v1"


def test_every_command_of_the_operator_guide_works(reader):
    # What the configuration names has to be there.
    own, *_ = USERS["Certificates"]
    reader.run(own)
    configuration, check = OPERATORS["Running it"]
    reader.write("weir.toml", configuration.replace("/etc/weir", str(reader.folder)))
    reader.run(check)
    several, permissions = OPERATORS["Who may consume"]
    reader.write("permissions.json", permissions)
    reader.write("weir.toml", several.replace("/etc/weir", str(reader.folder)))
    reader.run(check)
    emqx, aws_iot = OPERATORS["Probes and metrics"]
    reader.write("weir.toml", emqx)
    reader.run(f"WEIR__METRICS__EMQX__SECRET=secret {check}")
    reader.write("weir.toml", aws_iot)
    reader.run(check)
    traces, _ = OPERATORS["Traces"]
    reader.write("weir.toml", traces)
    reader.run(check)

    certificate, key = reader.folder / "gateway.pem", reader.folder / "gateway.key"
    reader.start(**{"tls.certificate": certificate, "tls.key": key}, **TLS_PORTS)
    provision, from_elsewhere = OPERATORS["Provisioning"]
    assert "plant-7" in reader.run(provision)
    assert "acme" in reader.run(from_elsewhere)
    fleet, apply = OPERATORS["Many at once"]
    reader.write("fleet.yaml", fleet)
    reader.run(apply)
    assert "meter-1" in (reader.folder / "all.yaml").read_text()
    [by_http] = OPERATORS["Over HTTP"]
    assert '"openapi":"3.1' in reader.run(by_http)
    by_command, search = OPERATORS["Searching"]
    assert "meter-1" in reader.run(by_command)
    found = reader.run(search)
    assert '"total":3' in found and '"id":"meter-1"' in found, found

    [log] = OPERATORS["Logs"]
    seen = re.findall(r"^filter +(\S+)$", reader.run(log), re.MULTILINE)
    assert seen == ["info,weir_mqtt=debug", "info,weir_mqtt=debug", "info"]

    [_, follow] = OPERATORS["Traces"]
    reader.run(follow)
    tenant = reader.gateway.read("/tenants/acme")
    assert tenant["tracing"]["sampling-mode-per-auth-id"] == {"sensor1": "all"}

    back_up, restore, _, _ = OPERATORS["Backup and restore"]
    reader.run(back_up)
    reader.run("weir tenant delete acme")
    reader.stop()
    reader.run(restore)
    reader.start()
    assert "plant-7" in reader.run("weir device get acme sensor1")
    assert reader.gateway.read("/tenants/acme")["registration-limits"] == {"max-devices": 1000}


def test_what_the_operator_guide_says_of_postgresql_works(reader):
    create, configuration = OPERATORS["PostgreSQL"]
    _, _, back_up, restore = OPERATORS["Backup and restore"]
    server = Postgres()
    try:
        psql = ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", server.url()]
        subprocess.run(psql, input=create, text=True, check=True)
        url, _, _ = tomllib.loads(configuration)["registry"]["url"].partition("?")
        url = url.replace("db.example.com", f"127.0.0.1:{server.port}")

        reader.start(**{"registry.url": url})
        reader.run("weir tenant create acme")
        reader.run(f"DATABASE={url}")
        reader.run(back_up)
        reader.run("weir tenant delete acme")
        reader.stop()
        reader.run(restore)
        reader.start(**{"registry.url": url})
        reader.run("weir tenant get acme")
        reader.stop()
    finally:
        server.close()


def test_they_show_nothing_that_is_not_tried():
    assert USERS.languages == {
        "Start": ["console"],
        "A tenant, a device, a password": ["sh"],
        "An application": ["python", "sh"],
        "Events": ["sh"],
        "Commands": ["sh", "sh"],
        "HTTP": ["sh"],
        "MQTT": ["sh"],
        "Errors over MQTT": ["python", "sh"],
        "MQTT 5": ["sh"],
        "Gateways": ["sh", "sh", "sh"],
        "Certificates": ["sh", "console", "sh", "sh", "sh", "sh"],
        "Changes in the registry": ["json"],
    }
    assert OPERATORS.languages == {
        "Running it": ["toml", "sh"],
        "Who may consume": ["toml", "json"],
        "Provisioning": ["sh", "sh"],
        "Many at once": ["yaml", "sh"],
        "Over HTTP": ["sh"],
        "Searching": ["sh", "sh"],
        "PostgreSQL": ["sql", "toml"],
        "Probes and metrics": ["toml", "toml"],
        "Logs": ["sh"],
        "Traces": ["toml", "sh"],
        "Backup and restore": ["sh", "sh", "sh", "sh"],
    }
    assert re.findall(r"^\$ (.*)$", USERS["Start"][0], re.MULTILINE) == [
        "cargo build --release",
        'export PATH="$PWD/target/release:$PATH"',
        "weir serve",
    ]
