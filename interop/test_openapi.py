"""The management API keeps to the description of itself, whatever it is sent."""

import subprocess
import sys
from pathlib import Path

import pytest

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"

# Not checked is whether everything that fits the description is accepted: what is Base64 of a
# certificate, or that two times are in order, it says in words only. What breaks a rule may also be
# refused because of a version, or for its size. Query parameters of other names mean nothing.
CHECKS = """
color = false
warnings = false
[checks]
positive_data_acceptance.enabled = false
response_schema_conformance.validate-formats = true
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 409, 412, 413]
[generation]
database = "none"
allow-extra-parameters = false
[parameters]
"""

# Names that are given replace what is made up, also where that was to be wrong. The phase that follows links
# takes no note of it, and would call the request a bad one that was accepted.
NAMES_ARE_GIVEN = """
[phases.stateful]
generation.mode = "positive"
"""


@pytest.fixture
def schemathesis(gateway, tmp_path):
    """Has Schemathesis make up requests out of the description, good and bad, and judge the answers."""

    def run(*options, **parameters):
        config = tmp_path / "schemathesis.toml"
        given = "".join(f'"{name}" = "{value}"\n' for name, value in parameters.items())
        config.write_text(CHECKS + given + (NAMES_ARE_GIVEN if given else ""))
        command = [SCHEMATHESIS, "--config-file", config, "run", *options]
        command += ["--auth", ":".join(gateway.login("operator")), "--seed", "4711"]
        command += ["--continue-on-failure", gateway.url("management", "/v1/openapi.json")]
        done = subprocess.run(
            list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # Other stories have the same gateway, and look into its log.
        assert gateway.manage("PUT", "/log", {}) == 204

    return run


def test_with_objects_that_come_and_go(schemathesis):
    schemathesis("--max-examples", 40)


def test_with_objects_that_stay(schemathesis, gateway, tenant):
    gateway.create_tenant(tenant)
    gateway.create_device(tenant, "4711")
    names = {"path.tenant": tenant, "path.device": "4711"}
    schemathesis("--max-examples", 60, "--exclude-method", "DELETE", **names)
    assert gateway.manage("GET", f"/devices/{tenant}/4711") == 200
