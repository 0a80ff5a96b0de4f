"""A PostgreSQL server of one's own: on a free port, its data in a folder that goes with it.

    python -m harness.postgres COMMAND...

runs a command beside one, whose URL is in WEIR_TEST_POSTGRES_URL.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

USER, PASSWORD = "postgres", "of a server that lives for minutes"
# Each gateway may have 25 connections, and each registry in a test 24.
SETTINGS = {"listen_addresses": "127.0.0.1", "max_connections": "400", "fsync": "off"}


def programs():
    """The folder of the server's programs, those of the latest release; Debian has it on no path."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found = sorted(found, key=lambda initdb: int(initdb.parts[-3]))
    initdb = found[-1] if found else shutil.which("initdb")
    assert initdb, "PostgreSQL is missing; `just interop-install` installs it"
    return Path(initdb).parent


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Postgres:
    """A running server; it refuses to run as root, so then it runs as the user `postgres`."""

    def __init__(self):
        self.programs, self.port = programs(), free_port()
        # Not among pytest's folders, which that user may not enter.
        self.folder = Path(tempfile.mkdtemp(prefix="weir-postgres-"))
        self.data, self.databases = self.folder / "data", 0
        try:
            password = self.folder / "password"
            password.write_text(PASSWORD)
            if os.geteuid() == 0:
                for path in (self.folder, password):
                    shutil.chown(path, USER)
            options = ["-U", USER, "-A", "scram-sha-256", "--pwfile", str(password), "-N"]
            self._run("initdb", "-D", self.data, *options)
            self.start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def _run(self, program, *arguments):
        as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        command = [*as_user, str(self.programs / program), *map(str, arguments)]
        # Not into pipes: the server would keep them open.
        with tempfile.TemporaryFile("w+") as told:
            done = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=told, stderr=subprocess.STDOUT
            )
            told.seek(0)
            assert done.returncode == 0, f"{command}\n{told.read()}"

    def start(self):
        """Starts it and waits until it may be connected to."""
        settings = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.folder)}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = self.folder / "log"
        self._run("pg_ctl", "start", "-D", self.data, "-l", log, "-w", "-o", options)

    def stop(self):
        """Stops it, whoever is connected."""
        self._run("pg_ctl", "stop", "-D", self.data, "-m", "fast", "-w")

    def url(self, database=USER):
        """The URL of a database."""
        password = PASSWORD.replace(" ", "%20")
        return f"postgres://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def create_database(self):
        """Creates an empty database; its URL."""
        self.databases += 1
        name = f"story_{self.databases}"
        # What `createdb` asks on the way needs no password in a command line.
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        server = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER]
        subprocess.run([self.programs / "createdb", *server, name], env=environment, check=True)
        return self.url(name)

    def close(self):
        """Stops it and removes its data."""
        try:
            if (self.data / "postmaster.pid").exists():
                self.stop()
        finally:
            shutil.rmtree(self.folder)


if __name__ == "__main__":
    server = Postgres()
    try:
        environment = {**os.environ, "WEIR_TEST_POSTGRES_URL": server.url()}
        status = subprocess.run(sys.argv[1:], env=environment).returncode
    finally:
        server.close()
    sys.exit(status)
