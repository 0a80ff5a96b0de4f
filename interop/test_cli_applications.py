"""`weir consume` and `weir command`, as somebody at a terminal uses them."""

import json
import os
import pty
import signal
import subprocess
import threading

import pytest

from harness.gateway import BINARY, fixed_ports
from harness.subscriber import Subscriber
from harness.wait import DEADLINE, until

QOS_1 = ["-H", "QoS-Level: 1"]


@pytest.fixture
def gateway(start_gateway):
    """A gateway where its configuration says, so that commands find it by themselves."""
    return start_gateway(**fixed_ports())


class Terminal:
    """A command that runs, and what it has printed so far."""

    def __init__(self, gateway, *arguments):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [str(BINARY), *arguments]
        self.process = subprocess.Popen(command, env=gateway.environment, text=True, **pipes)
        self.lines, self.complaints = [], []
        self.readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in [(self.process.stdout, self.lines), (self.process.stderr, self.complaints)]
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, stream, lines):
        for line in stream:
            lines.append(line)

    def shows(self, count):
        """Waits until so many lines have been printed, and returns them."""
        until(f"{count} lines", lambda: len(self.lines) >= count)
        return self.lines[:count]

    def interrupt(self):
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def status(self):
        """Waits for its end."""
        status = self.process.wait(timeout=DEADLINE)
        for reader in self.readers:
            reader.join()
        return status

    def close(self):
        """Ends it, if it has not ended."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def terminal(gateway):
    """Starts commands."""
    started = []

    def start(*arguments):
        started.append(Terminal(gateway, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


def taken(device):
    """Publishes telemetry as soon as somebody takes it."""
    until("a consumer", lambda: device.curl("/telemetry", "20.5", *QOS_1).status == 202)


# weir consume


def test_it_shows_what_devices_send_until_it_is_interrupted(device, terminal):
    consume = terminal("consume", "--tenant", device.tenant)
    taken(device)
    (line,) = consume.shows(1)
    assert "20.5" in line and device.name in line
    device.mosquitto("event", "fire")
    assert "fire" in consume.shows(2)[1]
    consume.interrupt()
    assert consume.status() == 0
    assert len(consume.lines) == 2


def test_it_ends_after_so_many(device, terminal):
    for number in range(5):
        device.mosquitto("event", f"number {number}")
    consume = ["consume", "-t", device.tenant, "--events", "-n", "3", "-o", "json"]
    first = terminal(*consume)
    assert first.status() == 0
    shown = [json.loads(line) for line in first.lines]
    assert [one["payload"] for one in shown] == [f"number {number}" for number in range(3)]
    # It has accepted three and no more.
    device.mosquitto("event", "number 5")
    second = terminal(*consume)
    assert second.status() == 0
    shown = [json.loads(line) for line in second.lines]
    assert [one["payload"] for one in shown] == [f"number {number}" for number in range(3, 6)]


def test_it_shows_dead_letters(gateway, device, terminal, start_application):
    refuser = start_application(gateway, "proton", f"event/{device.tenant}", outcome="rejected")
    refuser.attached()
    device.mosquitto("event", "unwanted")
    refuser.wait("message")
    consume = terminal("consume", "-t", device.tenant, "--dead-letters", "-n", "1")
    assert consume.status() == 0
    assert "unwanted" in consume.lines[0]


def test_a_closed_pipe_loses_no_event(gateway, device):
    for number in range(20):
        device.mosquitto("event", f"number {number}")
    # `head` has one line, and then nobody reads any more.
    shell = f"{BINARY} consume -t {device.tenant} --events | head -n 1"
    told = subprocess.run(
        ["bash", "-c", shell], env=gateway.environment, capture_output=True, text=True, timeout=DEADLINE
    )
    assert "number 0" in told.stdout
    rest = gateway.run("consume", "-t", device.tenant, "--events", "-n", "1")
    assert rest.returncode == 0
    # What was written into the pipe may have been lost with it.
    assert "number" in rest.stdout


def test_a_closed_pipe_is_noticed_without_another_message(gateway, device):
    device.mosquitto("event", "the only one")
    shell = f"set -o pipefail; {BINARY} consume -t {device.tenant} --events | head -n 1"
    told = subprocess.run(
        ["bash", "-c", shell], env=gateway.environment, capture_output=True, text=True, timeout=DEADLINE
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert "the only one" in told.stdout


def test_somebody_at_a_terminal_is_told_that_it_waits(gateway, device):
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        [str(BINARY), "consume", "-t", device.tenant],
        env=gateway.environment,
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    try:
        os.close(terminal)
        with open(ours, errors="replace") as shown:
            assert f"waiting for messages of tenant {device.tenant}" in shown.readline()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=DEADLINE)
        assert (process.returncode, said) == (0, b"")
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("command", [["consume", "-t", "acme"], ["command", "acme", "4711", "set"]])
def test_a_wrong_login_is_told(gateway, command):
    told = gateway.run(*command, "--user", "application:guessed")
    assert told.returncode == 1
    assert told.stdout == "" and told.stderr.startswith("weir: ")
    assert "guessed" not in told.stderr


@pytest.mark.parametrize("command", [["consume", "-t", "acme"], ["command", "acme", "4711", "set"]])
def test_nobody_at_the_other_end_is_told(gateway, command):
    told = gateway.run(*command, "--url", "amqp://127.0.0.1:1")
    assert told.returncode == 1
    assert told.stdout == "" and told.stderr.startswith("weir: ")
    assert "127.0.0.1:1" in told.stderr


def test_a_cause_is_told_once(gateway, tmp_path):
    missing = tmp_path / "missing.pem"
    told = gateway.run("consume", "-t", "acme", "--url", "amqps://127.0.0.1:1", "--cacert", str(missing))
    assert told.returncode == 1
    assert told.stderr.count("No such file") == 1


def test_certificates_are_not_ignored(gateway, tmp_path):
    told = gateway.run("consume", "-t", "acme", "--cacert", str(tmp_path / "ca.pem"))
    assert told.returncode == 1
    assert "without TLS" in told.stderr


def test_a_stopping_gateway_is_told(gateway, device, terminal):
    consume = terminal("consume", "-t", device.tenant)
    taken(device)
    consume.shows(1)
    gateway.terminate()
    gateway.stopped()
    assert consume.status() == 1
    assert consume.complaints


# weir command


@pytest.fixture
def subscriber(device):
    """The device, which takes commands."""
    subscriber = Subscriber(device, "command///req/#").subscribed()
    yield subscriber
    subscriber.close()


def test_a_command_that_arrives(gateway, device, subscriber):
    to = [device.tenant, device.name]
    told = gateway.run("command", *to, "set", "--payload", "30")
    assert (told.returncode, told.stderr) == (0, "")
    (command,) = subscriber.commands(1)
    assert (command.name, command.payload, command.request_id) == ("set", "30", "")
    told = gateway.run("command", *to, "set", "--payload-file", "-", input="from a pipe")
    assert told.returncode == 0
    assert subscriber.commands(2)[1].payload == "from a pipe"


def test_a_command_and_its_answer(gateway, device, subscriber, terminal):
    for count, (status, exit_status) in enumerate([(200, 0), (404, 1)], start=1):
        command = terminal("command", device.tenant, device.name, "get", "--wait", "50")
        identifier = subscriber.commands(count)[-1].request_id
        device.mosquitto(f"command///res/{identifier}/{status}", f"answer {count}")
        assert command.status() == exit_status
        assert f"answer {count}" in "".join(command.lines)
    command = terminal("command", device.tenant, device.name, "get", "--wait", "50", "-o", "json")
    identifier = subscriber.commands(3)[-1].request_id
    device.mosquitto(f"command///res/{identifier}/200", "in JSON")
    assert command.status() == 0
    assert json.loads("".join(command.lines))["response"]["payload"] == "in JSON"


def test_an_answer_of_another_device_is_not_taken_for_its_own(gateway, device, subscriber, terminal):
    other = gateway.create_device(device.tenant, "impostor")
    command = terminal("command", device.tenant, device.name, "get", "--wait", "50")
    identifier = subscriber.commands(1)[-1].request_id
    answer = other.start_mosquitto(f"command///res/{identifier}/200", "not mine to say")
    until("a complaint", lambda: command.complaints)
    assert not answer.succeeded()
    assert "impostor" in command.complaints[0]
    device.mosquitto(f"command///res/{identifier}/200", "mine")
    assert command.status() == 0
    shown = "".join(command.lines)
    assert f"{device.name}  status 200  application/octet-stream  mine\n" in shown
    assert "not mine" not in shown


def test_an_answer_that_does_not_come(gateway, device, subscriber):
    told = gateway.run("command", device.tenant, device.name, "get", "--wait", "1")
    assert told.returncode == 1
    assert len(subscriber.commands(1)) == 1


def test_a_device_that_is_not_there(gateway, device, subscriber):
    gateway.create_edge_devices(device.tenant, ["absent"])
    for name in ("absent", "nobody"):
        told = gateway.run("command", device.tenant, name, "set")
        assert told.returncode == 1
        assert told.stderr
    # Nor is there any device that takes commands here.
    told = gateway.run("command", "nowhere", device.name, "set")
    assert told.returncode == 1


def test_a_mistake_in_the_command_line_has_a_status_of_its_own(gateway):
    for command in (["consume"], ["command", "acme"], ["command", "acme", "4711", "set", "--wait", "soon"]):
        assert gateway.run(*command).returncode == 2
