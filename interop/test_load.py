"""Many requests at once, as a load generator makes them: wrk, over connections that it keeps."""

import base64
import re
import subprocess

import pytest

from harness.wait import DEADLINE, until

COUNT = "hono_telemetry_processing_duration_seconds_count"
SCRIPT = """
wrk.method = "POST"
wrk.body = "21.5"
wrk.headers["Content-Type"] = "text/plain"
wrk.headers["QoS-Level"] = "1"
wrk.headers["Authorization"] = "Basic {login}"

answers = {{}}
function response(status)
  answers[status] = (answers[status] or 0) + 1
end

local threads = {{}}
function setup(thread)
  table.insert(threads, thread)
end

function done()
  for _, thread in ipairs(threads) do
    for status, number in pairs(thread:get("answers")) do
      print("answers " .. status .. " " .. number)
    end
  end
end
"""
ANSWERS = re.compile(r"^answers (\d+) (\d+)$", re.MULTILINE)


@pytest.mark.parametrize("connections", [1, 50])
def test_every_request_is_answered_and_counted(
    gateway, device, tenant, start_application, tmp_path, connections
):
    start_application(gateway, "proton", f"telemetry/{tenant}").attached()
    login = base64.b64encode(f"{device.user}:{device.password}".encode()).decode()
    script = tmp_path / "post.lua"
    script.write_text(SCRIPT.format(login=login))
    host, port = gateway.address("http")
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", "2s", "--timeout", "10s"]
    command += ["-s", str(script), f"http://{host}:{port}/telemetry"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert run.returncode == 0, run.stderr
    assert "Socket errors" not in run.stdout, run.stdout
    answers = {int(status): int(number) for status, number in ANSWERS.findall(run.stdout)}
    assert answers.keys() == {202}, run.stdout
    # When its time is over wrk leaves, with up to one request of each connection under way.
    counted = lambda: gateway.total(COUNT, tenant=tenant, status="forwarded")
    until("all to be counted", lambda: 0 <= counted() - answers[202] <= connections)
