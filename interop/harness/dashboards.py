"""The queries of dashboards: Grafana's files, and what is known of those that others have made."""

import itertools
import json
import re
from pathlib import Path

from .gateway import ROOT

FACTS = Path(__file__).parents[1] / "dashboards"
SHIPPED = ROOT / "deploy" / "grafana"
LABEL_VALUES = re.compile(r"label_values\((\w+), *(\w+)\)")
# What Grafana would put in; Prometheus scrapes every second.
INTERVALS = {"__rate_interval": "5s", "__interval": "1s", "__range": "30s"}


def substituted(expression, variables=None):
    """An expression as Grafana sends it. No variable may be left."""
    values = INTERVALS | (variables or {})
    put = lambda found: values[found[1] or found[2]]
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", put, expression)


def regular(values):
    """What Grafana makes of a variable of which several values are chosen."""
    chosen = "|".join(map(re.escape, values))
    # Once more for the text that it is put into.
    return f"({chosen})".replace("\\", r"\\")


class Dashboard:
    """One of the dashboards that are shipped."""

    def __init__(self, path):
        self.name, self.json = path.stem, json.loads(path.read_text())
        self.panels = [panel for panel in self.json["panels"] if panel["type"] != "row"]
        self.variables = {it["name"]: it for it in self.json["templating"]["list"]}

    def label_values(self):
        """Metric and label by the name of the variable whose values they are."""
        asked = {name: it for name, it in self.variables.items() if it["type"] == "query"}
        return {
            name: LABEL_VALUES.fullmatch(it["query"]["query"]).groups() for name, it in asked.items()
        }

    def targets(self):
        """Panel and expression of each query."""
        return [(panel["title"], target["expr"]) for panel in self.panels for target in panel["targets"]]


def shipped():
    """All dashboards that are shipped."""
    return [Dashboard(path) for path in sorted(SHIPPED.glob("*.json"))]


def facts(name):
    """A file with what is known."""
    return json.loads((FACTS / f"{name}.json").read_text())


def _matcher(label, condition):
    operator, value = re.fullmatch(r"(=~|!=|=)(.*)", condition).groups()
    return f'{label}{operator}"{value}"'


def _selected(panel, matchers):
    selector = ",".join(matchers)
    return f"sum({panel['function']}({panel['metric']}{{{selector}}}[$__rate_interval]))"


def queries(panel):
    """The queries of a panel of which the facts are known."""
    if "by" in panel:
        return [f"sum({panel['metric']}) by ({panel['by']})"]
    choices = [[_matcher(label, it) for it in those] for label, those in panel["labels"].items()]
    made = []
    for matchers in itertools.product(*choices):
        whole = _selected(panel, matchers)
        if share := panel.get("share"):
            part = [_matcher(label, condition) for label, condition in share.items()]
            whole = f"100 * {_selected(panel, [*matchers, *part])} / {whole}"
        made.append(whole)
    return made
