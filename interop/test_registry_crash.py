"""A gateway that is killed while operators change its registry: what it acknowledged is there."""

import base64
import http.client
import json
import random
import sqlite3
import threading

from harness.gateway import Gateway

ROUNDS = 100
CLIENTS = 8
CREDENTIALS = {"type": "hashed-password", "secrets": [{"hash-function": "sha-256", "pwd-hash": "AAAA"}]}


class Books:
    """What the gateway has acknowledged: whether a device is there, and whether it has credentials."""

    def __init__(self):
        self.lock = threading.Lock()
        self.exists, self.secured = {}, {}
        self.enough = threading.Event()
        self.left = 0

    def note(self, book, device, state):
        """Keeps an acknowledgement."""
        with self.lock:
            book[device] = state
            self.left -= 1
            if self.left <= 0:
                self.enough.set()

    def doubt(self, device, *books):
        """A request is under way: until its answer nobody knows."""
        with self.lock:
            for book in books:
                book.pop(device, None)


def operate(gateway, login, books, prefix):
    """One operator: registers devices, gives them credentials, removes every third, until the end."""
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(*gateway.address("management"), timeout=30)

    def call(method, path, body=None):
        connection.request(method, f"/v1{path}", body and json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    try:
        for number in range(1_000_000):
            device = f"{prefix}-{number}"
            assert call("POST", f"/devices/acme/{device}") == 201
            books.note(books.exists, device, True)
            one = CREDENTIALS | {"auth-id": device}
            assert call("PUT", f"/credentials/acme/{device}", [one]) == 204
            books.note(books.secured, device, True)
            if number % 3 == 0:
                books.doubt(device, books.exists, books.secured)
                assert call("DELETE", f"/devices/acme/{device}") == 204
                books.note(books.exists, device, False)
                books.note(books.secured, device, False)
    except (OSError, http.client.HTTPException):
        # It was killed.
        pass


def check(path, books):
    """The database opens, is whole, and holds everything that was acknowledged."""
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    devices = {name for (name,) in database.execute("SELECT id FROM devices")}
    owners = {name for (name,) in database.execute("SELECT device FROM credentials")}
    database.close()
    for device, state in books.exists.items():
        assert (device in devices) == state, device
    for device, state in books.secured.items():
        assert (device in owners) == state, device


def test_nothing_acknowledged_is_lost_in_a_hundred_kills(tmp_path):
    books, chance = Books(), random.Random(4)
    for round_ in range(ROUNDS):
        gateway = Gateway(tmp_path)
        if round_ == 0:
            gateway.create_tenant("acme")
        login = base64.b64encode(":".join(gateway.login("operator")).encode()).decode()
        books.left = chance.randrange(1, 120)
        books.enough.clear()
        operators = [
            threading.Thread(target=operate, args=(gateway, login, books, f"{round_}-{number}"))
            for number in range(CLIENTS)
        ]
        for operator in operators:
            operator.start()
        assert books.enough.wait(60)
        gateway.process.kill()
        gateway.process.wait()
        for operator in operators:
            operator.join()
        check(tmp_path / "data" / "registry.db", books)
    # A gateway agrees.
    gateway = Gateway(tmp_path)
    there = [device for device, is_there in books.exists.items() if is_there]
    assert len(there) > ROUNDS
    for device in chance.sample(there, 50):
        assert gateway.manage("PUT", f"/devices/acme/{device}", {}) == 204
    gateway.terminate()
    gateway.stopped()
