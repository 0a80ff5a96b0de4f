"""A gateway that is killed, or has no room left, while events flow: what it acknowledged is delivered."""

import collections
import os
import random
import subprocess
import threading

import pytest

from harness.application import Application
from harness.gateway import Gateway, fixed_ports
from harness.message import Message
from harness.publisher import Publisher
from harness.wait import until

ROUNDS = 200
DEVICES = 4
UNDER_WAY = 20
MIB = 1 << 20


class Delivered:
    """What an application has received of each device, in the order of the first deliveries."""

    def __init__(self, application):
        self.application, self.read = application, 0
        self.by_device, self.seen = collections.defaultdict(list), set()

    def update(self):
        """Takes up what has come since."""
        events = self.application.events
        # Only one who adds to the list knows its end, and it is never shortened.
        for event in events[self.read : (end := len(events))]:
            if event["event"] == "message":
                message = Message(event)
                device = message.application_properties["device_id"][1]
                if (device, message.body) not in self.seen:
                    self.seen.add((device, message.body))
                    self.by_device[device].append(int(message.body))
        self.read = end
        return self

    def has(self, acknowledged):
        """Whether all of it has come."""
        return acknowledged <= self.update().seen


class Load:
    """Devices that publish numbers, each as fast as it is answered, until the gateway is killed."""

    def __init__(self, devices):
        self.devices, self.acknowledged = devices, set()
        self.next = dict.fromkeys((device.name for device in devices), 0)

    def run(self, gateway, enough):
        """Lets them publish; kills the gateway after so many answers."""
        publishers = [Publisher(device) for device in self.devices]
        def drive(device, publisher):
            while not publisher.is_cut_off:
                if publisher.under_way() >= UNDER_WAY:
                    with publisher.changed:
                        publisher.changed.wait(0.01)
                    continue
                publisher.publish(str(self.next[device.name]))
                self.next[device.name] += 1

        threads = [
            threading.Thread(target=drive, args=pair, daemon=True)
            for pair in zip(self.devices, publishers)
        ]
        for thread in threads:
            thread.start()
        told = lambda: sum(len(publisher.answers) for publisher in publishers)
        until(f"{enough} acknowledgements", lambda: told() >= enough)
        gateway.kill()
        for thread in threads:
            thread.join()
        for device, publisher in zip(self.devices, publishers):
            publisher.close()
            self.acknowledged |= {(device.name, body) for body in publisher.acknowledged()}


def test_nothing_acknowledged_is_lost_in_two_hundred_kills(start_gateway, start_application):
    chance = random.Random(8)
    gateway = start_gateway(**fixed_ports())
    gateway.create_tenant("acme")
    devices = [gateway.create_device("acme", f"device-{n}", quick=True) for n in range(DEVICES)]
    application = start_application(gateway, "proton", "event/acme", again=True).attached()
    load, delivered = Load(devices), Delivered(application)
    for round_ in range(ROUNDS):
        load.run(gateway, chance.randrange(1, 200))
        gateway.start()
        delivered.update()
    assert len(load.acknowledged) > ROUNDS
    until("all that was acknowledged", lambda: delivered.has(load.acknowledged))
    for device, numbers in delivered.by_device.items():
        assert numbers == sorted(numbers), f"{device} was heard out of order"
    gateway.terminate()
    gateway.stopped()


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system with little room."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system of its own: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


ROOM = 400 * MIB


def fill(path, leave):
    """Takes all room of a file system but some."""
    status = os.statvfs(path.parent)
    free = status.f_bavail * status.f_frsize
    with path.open("ab") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, path.stat().st_size + free - leave)


@pytest.mark.parametrize("leave", [64 * MIB, 0])
def test_a_full_disk_loses_nothing_that_was_acknowledged(small_disk, tmp_path, leave):
    gateway = Gateway(tmp_path, data_dir=small_disk / "data", **fixed_ports())
    application = None
    try:
        gateway.create_tenant("acme")
        device = gateway.create_device("acme", "4711", quick=True)
        publisher, ballast, count = Publisher(device), small_disk / "ballast", 200
        for number in range(count):
            publisher.publish(str(number))
        publisher.answered(count)
        fill(ballast, leave)
        # Some may still fit, then the device is told that there is no room, and its connection ends.
        while not publisher.is_cut_off:
            publisher.publish(str(count))
            count += 1
            publisher.answered(count)
        acknowledged = set(publisher.acknowledged())
        publisher.close()
        assert len(acknowledged) >= 200
        assert device.curl("/event", "no room").status == 503
        # Applications get what there is, and the gateway goes on.
        application = Application(gateway, "proton", "event/acme").attached()
        until("what was acknowledged", lambda: set(application.bodies()) == acknowledged)
        assert device.curl("/event", "no room").status == 503
        ballast.unlink()
        until("room", lambda: device.curl("/event", "room").status == 202)
        later = Publisher(device)
        for number in range(50):
            later.publish(f"later {number}")
        later.all_acknowledged()
        acknowledged |= {"room", *later.acknowledged()}
        until("all", lambda: set(application.bodies()) == acknowledged)
        if leave == 0:
            gateway.expect("cannot write events")
        # A new start finds nothing to repair.
        gateway.kill()
        gateway.start()
        assert device.curl("/event", "after the restart").status == 202
    finally:
        if application:
            application.kill()
        gateway.process.kill()
        gateway.process.wait()
