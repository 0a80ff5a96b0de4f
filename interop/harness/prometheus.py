"""A Prometheus of one's own that scrapes a gateway every second, configured as it is shipped."""

import json
import math
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import yaml

from .gateway import ROOT
from .postgres import free_port
from .wait import until

SHIPPED = ROOT / "deploy" / "prometheus"


def promtool(*arguments):
    """Runs promtool in the folder of what is shipped; what it said, if all was well."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, cwd=SHIPPED, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def configuration(gateway, folder):
    """What is shipped, for this gateway and with as little to wait for as there can be."""
    shipped, emqx = (
        yaml.safe_load((SHIPPED / name).read_text()) for name in ("prometheus.yml", "emqx.yml")
    )
    shipped["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    shipped["rule_files"] = [str(SHIPPED / pattern) for pattern in shipped["rule_files"]]
    jobs = [(job, "health") for job in shipped["scrape_configs"]]
    if "metrics.emqx" in gateway.addresses:
        jobs += [(job, "metrics.emqx") for job in emqx["scrape_configs"]]
        (folder / "emqx").write_text(gateway.environment["WEIR__METRICS__EMQX__SECRET"])
    for job, listener in jobs:
        host, port = gateway.address(listener)
        (targets,) = job["static_configs"]
        targets["targets"] = [f"{host}:{port}"]
        if "basic_auth" in job:
            job["basic_auth"]["password_file"] = str(folder / "emqx")
    shipped["scrape_configs"] = [job for job, _ in jobs]
    return shipped


class Prometheus:
    """A running Prometheus, on loopback; its data is in the folder."""

    def __init__(self, folder, gateway):
        config, self.log, self.port = folder / "prometheus.yml", folder / "prometheus.log", free_port()
        made = configuration(gateway, folder)
        self.jobs = [job["job_name"] for job in made["scrape_configs"]]
        config.write_text(yaml.safe_dump(made))
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            until("Prometheus", self._is_ready)
        except BaseException:
            self.close()
            raise

    def _url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def _is_ready(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(self._url("/-/ready")) as answer:
                return answer.status == 200
        except urllib.error.URLError:
            return False

    def _ask(self, path, **parameters):
        body = urllib.parse.urlencode(parameters).encode()
        url = self._url(f"/api/v1/{path}")
        # Queries are posted; labels can only be got.
        request = (url, body) if path == "query" else (f"{url}?{body.decode()}",)
        try:
            with urllib.request.urlopen(*request) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        assert told["status"] == "success", told
        return told["data"]

    def query(self, expression):
        """The values of all series that there are now, without those that are not a number."""
        result = self._ask("query", query=expression)["result"]
        values = [float(sample["value"][1]) for sample in result]
        return [value for value in values if not math.isnan(value)]

    def label_values(self, metric, label):
        """The values of a label of a metric, or of all, as for a variable of a dashboard."""
        asked = {"match[]": metric} if metric else {}
        return self._ask(f"label/{label}/values", **asked)

    def rules(self):
        """All rules, and how Prometheus fares with them."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def close(self):
        """Ends it."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        finally:
            self.process.kill()
            self.process.wait()
