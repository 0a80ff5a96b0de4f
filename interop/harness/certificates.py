"""Certificates as openssl makes them from its usual commands, and devices that present them."""

import base64
import subprocess

from .device import Answer, Running

KEYS = {
    "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-newkey", "rsa:2048"],
}


def openssl(*arguments):
    """Runs a command of openssl; what it wrote."""
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def request(path, name, kind, *options):
    """`openssl req` with a new key; its output is a certificate or a request for one."""
    subject = f"/O=Acme/CN={name}"
    key = path.with_suffix(".key")
    openssl("req", *KEYS[kind], "-nodes", "-keyout", key, "-out", path, "-subj", subject, *options)
    return path, key


def server_certificate(folder):
    """Certificate and key of a gateway on this host, also known by all names in gateway.example."""
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:*.gateway.example"
    return request(folder / "gateway.pem", "gateway", "ec", "-x509", "-days", "1", "-addext", names)


class Authority:
    """Whoever vouches for devices."""

    def __init__(self, folder, name, kind="ec"):
        self.folder, self.kind = folder, kind
        path = folder / "authority.pem"
        self.certificate, self.key = request(path, name, kind, "-x509", "-days", "1")

    def anchor(self, **more):
        """An entry of a tenant's `trusted-ca`."""
        der = openssl("x509", "-in", self.certificate, "-outform", "DER")
        return {"cert": base64.b64encode(der).decode(), **more}

    def issue(self, name, days=1, version=1):
        """A certificate and its key. Without extensions openssl makes it one of version 1."""
        asked, key = request(self.folder / f"{name}.csr", name, self.kind)
        certificate = self.folder / f"{name}.pem"
        issuer = ["-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial"]
        extensions = self.folder / "extensions"
        extensions.write_text("basicConstraints = CA:FALSE\n")
        extended = ["-extfile", extensions] if version == 3 else []
        openssl("x509", "-req", "-in", asked, *issuer, *extended, "-days", days, "-out", certificate)
        return certificate, key


class Holder:
    """A device that holds a certificate and knows the gateway by a host name or address."""

    def __init__(self, gateway, trusted, identity, host="127.0.0.1"):
        self.gateway, self.trusted, self.host = gateway, trusted, host
        self.certificate, self.key = identity

    def start_curl(self, path, payload="x", *options, method="POST"):
        """Starts one upload with QoS 1."""
        address, port = self.gateway.address("http-tls")
        command = ["curl", "-sS", "-i", "-X", method, "--cacert", self.trusted]
        command += ["--cert", self.certificate, "--key", self.key]
        command += ["--resolve", f"{self.host}:{port}:{address}", *options]
        command += ["-H", "Content-Type: text/plain", "-H", "QoS-Level: 1"]
        command += ["--data-binary", payload, f"https://{self.host}:{port}{path}"]
        return Running(command, payload, Answer)

    def curl(self, *arguments, **options):
        """One upload and its answer."""
        return self.start_curl(*arguments, **options).answer()

    def start_mosquitto(self, topic="telemetry", payload="x", *options, version="mqttv311"):
        """Starts one `mosquitto_pub`, without a user name."""
        _, port = self.gateway.address("mqtt-tls")
        command = ["mosquitto_pub", "-h", self.host, "-p", str(port), "--cafile", self.trusted]
        command += ["--cert", self.certificate, "--key", self.key]
        command += ["-V", version, "-q", "1", "-t", topic, "-m", payload, *options]
        return Running(command, payload)

    def mosquitto(self, *arguments, **options):
        """Publishes one message; it must succeed."""
        self.start_mosquitto(*arguments, **options).answer()
