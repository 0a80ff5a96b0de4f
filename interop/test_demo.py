"""The demonstration, and the commands that it prints to be copied."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.device import Answer
from harness.gateway import BINARY, environment, weir
from harness.wait import DEADLINE, until


def test_it_ends_well():
    told = weir("demo", "--exit-after")
    assert told.returncode == 0, told.stderr
    assert told.stderr == ""
    # With those by which the MQTT device says that it takes commands, and that it does not any more.
    assert "\nAll 9 messages arrived, and 2 commands were answered.\n" in told.stdout
    for protocol in ("http", "mqtt"):
        for endpoint in ("telemetry/demo", "event/demo"):
            line = rf"^{endpoint} +device={protocol}-device qos=1 .* adapter=hono-{protocol} payload="
            assert re.search(line, told.stdout, re.MULTILINE), told.stdout
        answer = rf"^answer +{protocol}-device  status 200 .*seconds"
        assert re.search(answer, told.stdout, re.MULTILINE), told.stdout


def test_it_leaves_nothing_behind(tmp_path):
    process = subprocess.run(
        [str(BINARY), "demo", "--exit-after"],
        env={**environment({}), "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        timeout=DEADLINE,
    )
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


class Output:
    """What a program prints, as it comes."""

    def __init__(self, process):
        self.lines = []
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def _read(self, process):
        for line in process.stdout:
            self.lines.append(line)

    def text(self):
        """Everything so far."""
        return "".join(self.lines)


@pytest.fixture
def started():
    """Starts programs that run until the story is over."""
    processes = []

    def start(command, **options):
        options = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True, **options}
        process = subprocess.Popen(command, **options)
        processes.append(process)
        return process, Output(process)

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def demo(started):
    """A running demonstration that has said everything."""
    process, output = started([str(BINARY), "demo"], env=environment({}))
    until("the last command", lambda: "\nEOF\n" in output.text())
    return process, output


def command(text, pattern):
    """The command that is printed for something."""
    return re.search(rf"^  ({pattern}.*)$", text, re.MULTILINE)[1]


def run(line):
    """Runs a command as a shell does that it was copied to."""
    return subprocess.run(line, shell=True, capture_output=True, text=True, timeout=DEADLINE)


def test_what_it_prints_can_be_copied(demo, started):
    process, output = demo
    printed = output.text()
    arrived = lambda protocol: f"device={protocol}-device" in output.text()[len(printed) :]

    answer = Answer(run(command(printed, "curl -i")).stdout)
    assert (answer.status, answer.text) == (202, "")
    until("the message from curl", lambda: arrived("http"))

    done = run(command(printed, "mosquitto_pub"))
    assert (done.returncode, done.stderr) == (0, "")
    until("the message from mosquitto_pub", lambda: arrived("mqtt"))

    device = run(command(printed, "curl -u")).stdout
    assert '"enabled":true' in device.replace(" ", "")

    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=DEADLINE) == 0


def test_commands_that_it_prints_reach_devices_and_are_answered(demo, started):
    process, output = demo
    printed = output.text()
    says = lambda text: text in output.text()[len(printed) :]

    curl, told = started(command(printed, "curl -i .*hono-ttd"), shell=True)
    until("the HTTP device to wait", lambda: says("ttd=60 payload=awake"))
    sent = run(command(printed, "WEIR_AMQP_URL=.* http-device"))
    assert (sent.returncode, sent.stderr, sent.stdout) == (0, "", "delivered\n")
    assert curl.wait(timeout=DEADLINE) == 0
    until("the command", lambda: told.text().endswith("\n30"))
    assert "hono-command: set-interval" in told.text()

    device, _ = started(command(printed, "mosquitto_sub"), shell=True)
    until("the MQTT device to wait", lambda: says("ttd=-1"))
    sent = run(command(printed, "WEIR_AMQP_URL=.* mqtt-device"))
    assert (sent.returncode, sent.stderr) == (0, "")
    assert sent.stdout == "delivered\nmqtt-device  status 200  application/octet-stream  done\n"
    assert device.wait(timeout=DEADLINE) == 0
    process.terminate()
    assert process.wait(timeout=DEADLINE) == 0


def test_its_receiver_in_python_shares_the_messages(demo, started):
    process, output = demo
    printed = output.text()
    script = re.search(r"^  python3 - <<'EOF'\n.*?^EOF$", printed, re.MULTILINE | re.DOTALL)[0]
    # The Python of these stories has proton; its output is to be seen at once, as on a terminal.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    receiver_environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}
    _, received = started(["sh", "-c", script], env=receiver_environment)
    send = command(printed, "curl -i")

    def shared():
        assert Answer(run(send).stdout).status == 202
        return "b'hello'" in received.text()

    until("a message at the receiver", shared)
    assert "'device_id': 'http-device'" in received.text()
    process.terminate()
    assert process.wait(timeout=DEADLINE) == 0
