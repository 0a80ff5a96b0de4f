"""The user guide: every command in it is run, in the order in which it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.gateway import BINARY, ROOT
from harness.wait import DEADLINE, until

GUIDE = (ROOT / "docs" / "user-guide.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The ports in the guide are the defaults; here every gateway has its own.
PORTS = {8080: "http", 1883: "mqtt", 15672: "northbound.amqp", 28080: "management", 8088: "health"}


@pytest.fixture
def shell(start_gateway, tmp_path):
    """A shell beside a gateway, as a reader has it: `weir` and Proton's Python are on its path."""
    gateway = start_gateway()
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "weir").symlink_to(BINARY)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    def with_ports(text):
        for port, listener in PORTS.items():
            text = re.sub(rf"\b{port}\b", str(gateway.address(listener)[1]), text)
        return text

    def run(script):
        command = ["bash", "-euo", "pipefail", "-c", with_ports(script)]
        options = {"capture_output": True, "text": True, "timeout": DEADLINE, "cwd": tmp_path}
        return subprocess.run(command, env={**gateway.environment, "PATH": path}, **options)

    run.gateway, run.folder, run.with_ports, run.path = gateway, tmp_path, with_ports, path
    return run


def blocks(language):
    return [text for kind, text in BLOCK.findall(GUIDE) if kind == language]


def test_every_command_works(shell):
    provision, start_receiver, post, publish, via = blocks("sh")
    (script,) = blocks("python")
    helper = provision.splitlines()[0]
    (shell.folder / "receive.py").write_text(shell.with_ports(script))

    done = shell(provision)
    assert done.returncode == 0, done.stderr + done.stdout
    assert '"importance":"high"' in done.stdout.replace(" ", "")

    receiver = subprocess.Popen(
        ["bash", "-c", "exec " + start_receiver.rstrip().removesuffix("&")],
        env={**shell.gateway.environment, "PATH": shell.path},
        cwd=shell.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        # Until the receiver is there, the device is told that there is none.
        until("a receiver", lambda: "503" not in shell(post).stdout)
        done = shell(publish)
        assert (done.returncode, done.stderr) == (0, "")
        told = [receiver.stdout.readline() for _ in range(2)]
    finally:
        receiver.kill()
        receiver.wait()
    for line in told:
        assert line.startswith("sensor1 ") and line.endswith('{"temperature": 21.5}\n'), told

    done = shell(f"{helper}\n{via}")
    assert done.returncode == 0, done.stderr + done.stdout


def test_it_names_only_commands_that_are_tried():
    assert len(blocks("sh")) == 5 and len(blocks("python")) == 1
    started = re.findall(r"^\$ (.*)$", "\n".join(blocks("console")), re.MULTILINE)
    assert started == [
        "cargo build --release",
        'export PATH="$PWD/target/release:$PATH"',
        "weir serve",
    ]
