"""Each level that a limit can stand at, what it spares another and what not, and what users of another platform met there (Z).

Limits by the hour: nothing here depends on how fast a machine is.
"""

import json
import subprocess
import sys

import pytest
from running import ROOT, gateway

SERVICES = {
    "echo.py": """
        from gatewright import Service

        class Echo(Service):
            name = "echo"
            input = "-size"
            output = "text"

            def handle(self):
                self.response.payload.text = "x" * int(self.request.input.size or 1)

        class Dear(Echo):
            name = "dear"

        class Shared(Echo):
            name = "shared"

        class Raw(Service):
            name = "raw"

            def handle(self):
                self.response.payload = {"read": len(self.request.raw_request)}
    """
}
PEOPLE = ("one", "two", "alone", "free", "near", "barred", "silver-1", "silver-2", "twice")
CONFIGURATION = """
format: 1
gateway: {trusted_proxies: [127.0.0.1], limit: whole}
limits:
  whole:  {rules: [{from: "*", rate: 100000/hour}], show: false}
  three:  {rules: [{from: "*", rate: 3/hour}]}
  four:   {rules: [{from: "*", rate: 4/hour}]}
  six:    {rules: [{from: "*", rate: 6/hour}]}
  ten:    {rules: [{from: "*", rate: 10/hour}]}
  open:   {rules: [{from: "*", rate: unlimited}]}
  spared: {rules: [{from: "*", rate: unlimited, replaces: [channel]}]}
  near:   {rules: [{from: 10.0.0.0/8, rate: unlimited, replaces: [channel]}, {from: "*", rate: 50/hour}]}
  barred: {rules: [{from: 10.0.0.0/8, rate: deny}, {from: "*", rate: 50/hour}]}
  bytes:  {rules: [{from: "*", rate: 10KiB/hour}]}
  alone:  {rules: "198.51.100.7 = 3/h"}
  first:  {rules: "* = 5/h\\n198.51.100.7 = 1/h"}
  narrow: {rules: "* = 5/h\\n198.51.100.7 = 1/h", match: longest-prefix}
groups:
  silver: {limit: four}
security:
  counted: {type: apikey, groups: ["*"], limit: six}
  keys:    {type: apikey, groups: ["*"]}
services:
  dear:   {cost: 3}
  shared: {limit: six}
consumers:
CONSUMERS
channels:
  counted-1: {type: rest, path: /counted/1, service: echo, security: [counted]}
  counted-2: {type: rest, path: /counted/2, service: echo, security: [counted]}
  group:     {type: rest, path: /group, service: echo, security: [keys]}
  each-1:    {type: rest, path: /each/1, service: echo, security: [keys]}
  each-2:    {type: rest, path: /each/2, service: echo, security: [keys]}
  shared-1:  {type: rest, path: /shared/1, service: shared}
  shared-2:  {type: xml, path: /shared/2, service: shared}
  spare-1:   {type: rest, path: /spare/1, service: echo, security: [keys], limit: three}
  spare-2:   {type: rest, path: /spare/2, service: echo, security: [keys], limit: three}
  spare-3:   {type: rest, path: /spare/3, service: echo, security: [keys], limit: three}
  barred:    {type: rest, path: /barred, service: echo, security: [keys]}
  bytes:     {type: rest, path: /bytes, service: raw, limit: bytes}
  soap:      {type: soap, path: /soap, services: [echo, dear], namespace: "urn:x", limit: ten}
  by-name:   {type: soap, path: /by-name, services: [echo, dear], namespace: "urn:x", operation_limits: {Dear: six}}
  alone:     {type: rest, path: /alone, service: echo, limit: alone}
  first:     {type: rest, path: /first, service: echo, limit: first}
  narrow:    {type: rest, path: /narrow, service: echo, limit: narrow}
"""
LIMITS = {"alone": "three", "free": "open", "one": "spared", "near": "near", "barred": "barred"}


def key_of(name):
    return f"{name}-key-0123456789abcdef"


def consumers():
    for name in PEOPLE:
        limit = f", limit: {LIMITS[name]}" if name in LIMITS else ""
        groups = ", groups: [silver]" if name.startswith("silver") else ""
        yield f"  {name}: {{apikey: {{key: {key_of(name)}}}{limit}{groups}}}"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    text = CONFIGURATION.replace("CONSUMERS", "\n".join(consumers()))
    with gateway(tmp_path_factory.mktemp("levels"), text, SERVICES, workers=2) as running:
        yield running


def ask(served, path, name="", times=1, address="198.51.100.1"):
    headers = {"X-Forwarded-For": address, **({"X-API-Key": key_of(name)} if name else {})}
    return [served.get(path, headers=headers).status_code for _ in range(times)]


def test_a_security_definition_has_one_limit_for_all_who_come_by_it(served):
    assert ask(served, "/counted/1", "one", 3) + ask(served, "/counted/2", "two", 3) == [200] * 6
    assert ask(served, "/counted/1", "two") + ask(served, "/counted/2", "one") == [429] * 2
    assert ask(served, "/group", "two") == [200]


def test_a_group_has_one_limit_for_all_of_it(served):
    assert ask(served, "/group", "silver-1", 2) + ask(served, "/each/1", "silver-2", 2) == [200] * 4
    assert ask(served, "/group", "silver-2") + ask(served, "/each/2", "silver-1") == [429] * 2


def test_a_consumer_has_one_limit_for_all_that_it_calls(served):
    assert ask(served, "/each/1", "alone", 2) + ask(served, "/each/2", "alone", 2) == [200, 200, 200, 429]
    # Refused before the limit is looked at, and not counted.
    assert ask(served, "/each/2", "nobody", 4) == [401] * 4
    assert ask(served, "/each/2", "alone") == [429]


def test_a_service_has_one_limit_for_all_its_channels(served):
    assert ask(served, "/shared/1", times=3) + ask(served, "/shared/2", times=3) == [200] * 6
    assert ask(served, "/shared/1") + ask(served, "/shared/2") == [429] * 2


def test_no_level_spares_another_unless_a_rule_says_so(served):
    # Who is unlimited as a consumer is still limited by the channel; a rule that replaces the channel's limit spares it.
    assert ask(served, "/spare/1", "free", 4) == [200, 200, 200, 429]
    assert ask(served, "/spare/1", "one", 8) == [200] * 8
    assert ask(served, "/spare/1", "free") == [429]
    # And spares it for the addresses of that rule alone.
    assert ask(served, "/spare/2", "near", 8, address="10.1.2.3") == [200] * 8
    assert ask(served, "/spare/2", "near", 4) == [200, 200, 200, 429]
    assert ask(served, "/spare/3", "twice", 4) == [200, 200, 200, 429]


def test_a_rule_that_denies_is_a_403_at_any_level(served):
    assert ask(served, "/barred", "barred") + ask(served, "/barred", "barred", address="10.0.0.9") == [200, 403]


def envelope(operation):
    body = f'<x:{operation} xmlns:x="urn:x"/>'
    return f'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>{body}</e:Body></e:Envelope>'


def call(served, path, operation, times):
    headers = {"Content-Type": "text/xml", "SOAPAction": '""'}
    return [served.post(path, data=envelope(operation), headers=headers).status_code for _ in range(times)]


def test_operations_of_one_endpoint_cost_what_their_services_cost(served):
    # 10 in all: three dear ones are 9, and then there is room for one of the others.
    assert call(served, "/soap", "Dear", 4) == [200, 200, 200, 429]
    assert call(served, "/soap", "Echo", 2) == [200, 429]


def test_an_operation_has_a_limit_of_its_own_and_the_others_none(served):
    assert call(served, "/by-name", "Dear", 3) == [200, 200, 429]
    assert call(served, "/by-name", "Echo", 8) == [200] * 8
    refused = served.post("/by-name", data=envelope("Dear"), headers={"Content-Type": "text/xml", "SOAPAction": '""'})
    assert "quota-exceeded" in refused.text
    assert int(refused.headers["Retry-After"]) > 0


def test_a_byte_quota_counts_what_is_sent_too(served):
    def send(size):
        return served.post("/bytes", json={"text": "x" * size}).status_code

    # 10,240 in all: the second is let in, the third would be too much, a small one is not.
    assert [send(4000), send(4000), send(4000), send(500)] == [200, 200, 429, 200]


def test_explain_names_every_level_that_counts(served):
    told = json.loads(served.command("limits", "explain", "--channel", "spare-1", "--consumer", "free", "--json"))
    assert [(one["level"], one["policy"]) for one in told["levels"]] == [("gateway", "whole"), ("channel", "three")]
    told = json.loads(served.command("limits", "explain", "--channel", "counted-2", "--consumer", "two", "--json"))
    assert [(one["level"], one["policy"]) for one in told["levels"]] == [("gateway", "whole"), ("security", "six")]
    told = json.loads(served.command("limits", "explain", "--channel", "spare-1", "--consumer", "one", "--json"))
    assert (told["allowed"], [one["level"] for one in told["levels"]]) == (True, ["gateway"])


def test_Z21_headers_that_no_trusted_proxy_writes_name_nobody(served):
    headers = {"X-Zato-Forwarded-For": "198.51.100.7", "X-Real-IP": "198.51.100.7", "X-Forwarded-For": "198.51.100.8"}
    assert served.get("/alone", headers=headers).status_code == 403


def test_Z22_a_definition_whose_first_line_is_an_address_is_no_500(served):
    assert ask(served, "/alone", times=4, address="198.51.100.7") == [200, 200, 200, 429]
    assert ask(served, "/alone", times=2) == [403, 403]


def test_Z23_a_line_that_is_never_reached_is_told_of_and_longest_prefix_reaches_it(served, tmp_path):
    assert ask(served, "/first", times=6, address="198.51.100.7") == [200] * 5 + [429]
    assert ask(served, "/narrow", times=2, address="198.51.100.7") == [200, 429]
    assert ask(served, "/narrow", times=6) == [200] * 5 + [429]
    path = tmp_path / "gateway.yaml"
    path.write_text('format: 1\nlimits:\n  first: {rules: "* = 5/h\\n198.51.100.7 = 1/h"}\n')
    words = [sys.executable, "-m", "gateway.cli", "config", "validate", str(path), "--data", str(served.data)]
    done = subprocess.run(words, cwd=ROOT, env=served.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "never reached" in done.stdout + done.stderr


def test_Z50_who_is_refused_is_told_when_to_come_back(served):
    ask(served, "/shared/1", times=7)
    refused = served.get("/shared/1")
    assert refused.status_code == 429
    assert {"Retry-After", "RateLimit", "RateLimit-Policy"} <= set(refused.headers)
    assert refused.json()["violated-policies"] == ["six"]
