"""Limits as callers and operators meet them: levels, costs, bytes, requests at once, explain, reset, top, replay, what is shown."""

import json
import subprocess
import sys
import threading
import time

import pytest
import requests
from lxml import etree
from running import ROOT, gateway

SERVICES = {
    "echo.py": """
        import time
        from gatewright import Service

        class Echo(Service):
            name = "echo"
            input = "-size", "-wait"
            output = "text"

            def handle(self):
                time.sleep(float(self.request.input.wait or 0))
                self.response.payload.text = "x" * int(self.request.input.size or 1)
    """
}
CONFIGURATION = """
format: 1
gateway:
  trusted_proxies: [127.0.0.1]
  legacy_headers: true
  limit: whole
security:
  keys: {type: apikey, groups: ["*"]}
limits:
  whole:   {rules: [{from: "*", rate: 10000/hour}], show: false}
  three:   {rules: [{from: "*", rate: 3/hour}]}
  log:     {rules: [{from: "*", rate: 3/hour}], algorithm: sliding-log}
  month:   {rules: [{from: "*", rate: 5/month}], algorithm: fixed-window, timezone: Europe/Paris}
  durable: {rules: [{from: "*", rate: 4/month}], algorithm: fixed-window, durable: true}
  quiet:   {rules: [{from: "*", rate: 1/hour}], mode: shadow}
  ten:     {rules: [{from: "*", rate: 10/hour}]}
  bytes:   {rules: [{from: "*", rate: 10KiB/hour}]}
  two-run: {rules: [{from: "*", rate: 2 at once}]}
  hidden:  {rules: [{from: "*", rate: 1/hour}], show: false}
  vip:     {rules: [{from: "*", rate: 7/hour, replaces: [group, channel]}]}
groups:
  gold: {limit: three}
consumers:
  acme: {groups: [gold], limit: ten, apikey: {key: "acme-key-0123456789abcdef"}, deny: [192.0.2.0/24]}
  vip:  {groups: [gold], limit: vip, apikey: {key: "vips-key-0123456789abcdef"}}
services:
  echo: {limit: whole}
channels:
  three:   {type: rest, path: /three, service: echo, limit: three}
  xml:     {type: xml, path: /xml, service: echo, limit: three}
  log:     {type: rest, path: /log, service: echo, limit: log}
  month:   {type: rest, path: /month, service: echo, limit: month}
  durable: {type: rest, path: /durable, service: echo, limit: durable}
  quiet:   {type: rest, path: /quiet, service: echo, limit: quiet}
  dear:    {type: rest, path: /dear, service: echo, limit: ten, cost: 4}
  bytes:   {type: rest, path: /bytes, service: echo, limit: bytes}
  two-run: {type: rest, path: /two-run, service: echo, limit: two-run}
  hidden:  {type: rest, path: /hidden, service: echo, limit: hidden}
  levels:  {type: rest, path: /levels, service: echo, limit: ten, security: [keys]}
  top:     {type: rest, path: /top, service: echo, limit: three}
  blocked: {type: rest, path: /blocked, service: echo, deny: ["file:BLOCKED"]}
  soap:    {type: soap, path: /soap, services: [echo], namespace: "urn:x", operation_limits: {Echo: three}}
  bound:   {type: rest, path: /bound, service: echo, security: [keys]}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    text = CONFIGURATION.replace("BLOCKED", str(folder / "blocked.txt"))
    with gateway(folder, text, SERVICES, workers=2, options=["--access-log", str(folder / "access.log")]) as running:
        running.folder = folder
        yield running


def statuses(served, path, times, **more):
    return [served.get(path, **more).status_code for _ in range(times)]


def test_a_caller_over_the_limit_is_told_what_and_when(served):
    assert statuses(served, "/three", 3) == [200] * 3
    refused = served.get("/three")
    assert refused.status_code == 429
    assert refused.json()["violated-policies"] == ["three"]
    assert refused.json()["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert 1 <= int(refused.headers["Retry-After"]) <= 1200
    assert refused.headers["RateLimit-Policy"] == '"three";q=3;w=3600'
    assert refused.headers["RateLimit"].startswith('"three";r=0;t=')
    legacy = [refused.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")]
    assert (legacy[:2], int(legacy[2]) <= 1200) == (["3", "0"], True)


def test_xml_says_the_same(served):
    assert statuses(served, "/xml", 3) == [200] * 3
    refused = served.get("/xml")
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+xml")
    root = etree.fromstring(refused.content)
    assert root.findtext("{*}code") == "quota-exceeded"
    assert "three" in [text.strip() for text in root.find("{*}violated-policies").itertext()]
    assert refused.headers["RateLimit"].startswith('"three";r=0')


def test_soap_says_the_same_and_an_operation_has_a_limit_of_its_own(served):
    body = '<x:Echo xmlns:x="urn:x"/>'
    message = f'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>{body}</e:Body></e:Envelope>'
    more = {"data": message, "headers": {"Content-Type": "text/xml", "SOAPAction": '""'}}
    answers = [served.post("/soap", **more) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3, answers[0].text
    refused = served.post("/soap", **more)
    texts = [text.strip() for text in etree.fromstring(refused.content).itertext()]
    assert {"quota-exceeded", "three", "429"} <= set(texts)
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["RateLimit"].startswith('"three";r=0')


def test_a_sliding_log_and_a_month_of_the_calendar_over_two_workers(served):
    assert statuses(served, "/log", 5) == [200] * 3 + [429] * 2
    assert statuses(served, "/month", 7) == [200] * 5 + [429] * 2
    assert int(served.get("/month").headers["Retry-After"]) <= 31 * 86_400 + 3600


def test_a_durable_quota_is_in_the_database(served):
    assert statuses(served, "/durable", 6) == [200] * 4 + [429] * 2
    (served.data / "limits.table").stat()
    told = json.loads(served.command("limits", "explain", "--channel", "durable", "--json"))
    level = next(one for one in told["levels"] if one["level"] == "channel")
    assert (level["storage"], level["remaining"], level["algorithm"]) == ("sql", 0, "fixed-window")
    # Z49: what the database refused was not taken from the shared memory.
    whole = {one["level"]: one["remaining"] for one in told["levels"] if one["level"] != "channel"}
    assert set(whole) == {"gateway", "service"}


def test_shadow_refuses_nothing_and_is_counted(served):
    assert statuses(served, "/quiet", 3) == [200] * 3
    wanted = 'gatewright_limit_refusals_total{level="channel",policy="quiet",verdict="shadow"}'
    assert wait_for(lambda: f"{wanted} 2.0" in metrics(served))


def metrics(served):
    return requests.get(served.admin_url + "/metrics", timeout=10).text.splitlines()


def wait_for(look, seconds=8):
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def test_a_dear_operation_costs_more(served):
    assert statuses(served, "/dear", 4) == [200, 200, 429, 429]
    assert served.get("/dear").headers["RateLimit"].startswith('"ten";r=2')


def test_a_byte_quota_counts_what_is_answered(served):
    first = served.get("/bytes?size=8000")
    assert first.headers["RateLimit-Policy"] == '"bytes";q=10240;qu="content-bytes";w=3600'
    assert [first.status_code, *statuses(served, "/bytes?size=8000", 2)] == [200, 200, 429]


def test_no_more_run_at_once_than_may(served):
    got = []

    def call():
        got.append(served.get("/two-run?wait=1").status_code)

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [200, 200, 429, 429, 429, 429]
    assert statuses(served, "/two-run", 4) == [200] * 4
    assert served.get("/two-run").headers["RateLimit-Policy"] == '"two-run";q=2;qu="concurrent-requests"'


def test_what_is_not_shown_is_not_told(served):
    assert "RateLimit" not in served.get("/hidden").headers
    refused = served.get("/hidden")
    assert refused.status_code == 429
    assert "Retry-After" in refused.headers
    assert "RateLimit" not in refused.headers
    assert "violated-policies" not in refused.json()


def test_levels_are_debited_together_and_replaced_where_a_rule_says_so(served):
    acme, vip = {"X-API-Key": "acme-key-0123456789abcdef"}, {"X-API-Key": "vips-key-0123456789abcdef"}
    assert statuses(served, "/levels", 5, headers=acme) == [200] * 3 + [429] * 2
    told = json.loads(served.command("limits", "explain", "--channel", "levels", "--consumer", "acme", "--json"))
    assert [(one["level"], one["policy"]) for one in told["levels"]] == [
        ("gateway", "whole"), ("channel", "ten"), ("service", "whole"), ("group", "three"), ("consumer", "ten"),
    ]  # fmt: skip
    assert (told["allowed"], told["binds"]) == (False, "group three")
    # Z49: what the group refused was taken from nobody else.
    assert {one["level"]: one["remaining"] for one in told["levels"]}["consumer"] == 7
    assert statuses(served, "/levels", 9, headers=vip) == [200] * 7 + [429] * 2


def test_explain_reset_and_top_on_the_command_line_and_on_the_admin_listener(served):
    assert statuses(served, "/top", 8) == [200] * 3 + [429] * 5
    words = ("--channel", "top", "--address", "127.0.0.1")
    assert "refused by channel three" in served.command("limits", "explain", *words)
    asked = {"channel": "top", "address": "127.0.0.1"}
    url = served.admin_url + "/limits"
    assert requests.get(url + "/explain", params=asked, timeout=10).status_code == 401
    told = requests.get(url + "/explain", params=asked, auth=served.administrator(), timeout=10).json()
    assert (told["allowed"], told["binds"], told["retry_after"] > 0) == (False, "channel three", True)
    assert served.command("limits", "reset", *words, "--level", "channel") == "emptied: channel three\n"
    assert statuses(served, "/top", 4) == [200] * 3 + [429]
    done = requests.post(url + "/reset", json={**asked, "level": "channel"}, auth=served.administrator(), timeout=10)
    assert done.json() == {"emptied": [{"level": "channel", "policy": "three"}]}
    assert statuses(served, "/top", 1) == [200]
    rows = wait_for(lambda: [r for r in json.loads(served.command("limits", "top", "--json")) if r["refused"] >= 6])
    assert rows[0]["who"] == "127.0.0.1"
    callers = requests.get(url + "/top", auth=served.administrator(), timeout=10).json()["callers"]
    assert callers[0]["refused"] >= 6
    missing = requests.get(url + "/explain", params={"channel": "topp"}, auth=served.administrator(), timeout=10)
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    assert "did you mean 'top'" in served_error(served, "limits", "explain", "--channel", "topp")


def served_error(served, *words):
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *words, "--data", str(served.data)],
        cwd=ROOT, env=served.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    return done.stderr


def test_a_list_in_a_file_keeps_out_who_it_names_and_is_read_anew(served):
    blocked = served.folder / "blocked.txt"
    # SECURITY: a list that cannot be read lets nobody in.
    assert statuses(served, "/blocked", 4) == [403] * 4
    blocked.write_text("192.0.2.0/24\n")
    assert wait_for(lambda: statuses(served, "/blocked", 6) == [200] * 6)
    other = {"X-Forwarded-For": "192.0.2.77"}
    assert wait_for(lambda: statuses(served, "/blocked", 6, headers=other) == [403] * 6)
    blocked.write_text("198.51.100.0/24\n")
    assert wait_for(lambda: statuses(served, "/blocked", 6, headers=other) == [200] * 6)


def test_A22_a_consumer_may_be_kept_from_addresses_however_they_are_written(served):
    key = {"X-API-Key": "acme-key-0123456789abcdef"}
    for address in ("192.0.2.7", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:4711"):
        assert served.get("/bound", headers={**key, "X-Forwarded-For": address}).status_code == 403
    # A20: what stands left of what the proxy wrote is a stranger's word.
    assert served.get("/bound", headers={**key, "X-Forwarded-For": "198.51.100.1, 192.0.2.7"}).status_code == 403


def test_yesterdays_log_goes_through_tomorrows_limits(served, tmp_path):
    line = {"address": "192.0.2.1", "channel": "log", "identity": "", "status": 200}
    lines = [json.dumps({"time": f"2026-03-01T10:00:{second:02}.000Z", **line}) for second in range(10)]
    lines += ['2026-03-01T10:00:11.000Z 192.0.2.2 - "GET /log" 429 5 1.000ms log quota-exceeded cid "curl"', "nonsense"]
    log = tmp_path / "access.log"
    log.write_text("\n".join(lines) + "\n")
    config = served.folder / "gateway.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "limits", "replay", str(log), "--config", str(config), "--json"],
        cwd=ROOT, env=served.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["requests"], answer["skipped"], answer["refused"], answer["refused_then"]) == (11, 1, 8, 1)
    assert answer["policies"] == [["channel", "log", "refused", 8]]
