"""Lists of addresses in files: at the gateway, a channel and a consumer, however an address is written, read anew while it runs."""

import random

import pytest
from running import eventually, gateway
from wires import read_answer

SERVICES = {
    "ping.py": """
        from gatewright import Service

        class Ping(Service):
            name = "ping"

            def handle(self):
                self.response.payload = {"pong": True}
    """
}
CONFIGURATION = """
format: 1
gateway: {trusted_proxies: [127.0.0.1, "file:FOLDER/proxies.txt"], deny: ["file:FOLDER/everywhere.txt", "203.0.113.66"]}
security:
  keys: {type: apikey, groups: ["*"]}
consumers:
  acme:  {apikey: {key: "acme-key-0123456789abcdef"}, deny: ["file:FOLDER/acme.txt"]}
  other: {apikey: {key: "others-key-0123456789abcd"}, allow: ["198.51.100.0/24", "2001:db8:5::/48"]}
limits:
  partners: {rules: [{from: 198.51.100.0/24, rate: unlimited}, {from: "*", rate: deny}]}
channels:
  told:  {type: rest, path: /told, service: ping, limit: partners}
  open:  {type: rest, path: /open, service: ping}
  few:   {type: rest, path: /few, service: ping, allow: ["file:FOLDER/few.txt"]}
  bound: {type: rest, path: /bound, service: ping, security: [keys]}
"""
ACME, OTHER = {"X-API-Key": "acme-key-0123456789abcdef"}, {"X-API-Key": "others-key-0123456789abcd"}


class Lists:
    def __init__(self, folder):
        self.folder = folder

    def write(self, name, lines):
        """Another file is renamed over it, so that nobody reads half of it."""
        new = self.folder / "new"
        new.write_text("\n".join(lines) + "\n")
        new.rename(self.folder / name)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    lists = Lists(folder)
    lists.write("everywhere.txt", ["192.0.2.0/24", "2001:db8:bad::/48  # since May"])
    lists.write("proxies.txt", ["127.0.0.3"])
    lists.write("few.txt", ["198.51.100.0/24", "2001:db8:5::/48"])
    lists.write("acme.txt", ["198.51.100.7"])
    with gateway(folder, CONFIGURATION.replace("FOLDER", str(folder)), SERVICES, workers=2) as running:
        running.lists = lists
        yield running


def statuses(served, path, address, times=6, **headers):
    return {served.get(path, headers={**headers, "X-Forwarded-For": address}).status_code for _ in range(times)}


@pytest.mark.parametrize(
    ("address", "open_", "few"),
    [
        ("192.0.2.9", 403, 403),
        ("::ffff:192.0.2.9", 403, 403),
        ("[::ffff:c000:209]:4711", 403, 403),
        ("2001:db8:bad:7::1", 403, 403),
        ("203.0.113.66", 403, 403),
        ("198.51.100.1", 200, 200),
        ("::ffff:198.51.100.1", 200, 200),
        ("2001:0DB8:0005::1", 200, 200),
        ("203.0.113.1", 200, 403),
        ("2001:db8:6::1", 200, 403),
    ],
)
def test_A22_the_gateways_list_keeps_out_of_every_channel_and_a_channels_of_that_one(served, address, open_, few):
    assert statuses(served, "/open", address, 2) == {open_}
    assert statuses(served, "/few", address, 2) == {few}


def test_a_consumer_has_lists_of_its_own(served):
    assert statuses(served, "/bound", "198.51.100.7", **ACME) == {403}
    assert statuses(served, "/bound", "198.51.100.7", **OTHER) == {200}
    assert statuses(served, "/bound", "203.0.113.1", **ACME) == {200}
    assert statuses(served, "/bound", "203.0.113.1", **OTHER) == {403}
    assert statuses(served, "/bound", "2001:db8:5:9::1", **OTHER) == {200}
    # Whoever is not known is asked who they are, and not told of anybody's list.
    assert statuses(served, "/bound", "198.51.100.7") == {401}
    assert statuses(served, "/bound", "192.0.2.9", **OTHER) == {403}


def test_each_list_is_read_anew_while_it_runs(served):
    served.lists.write("few.txt", ["203.0.113.0/24"])
    assert eventually(lambda: statuses(served, "/few", "203.0.113.1") == {200})
    assert eventually(lambda: statuses(served, "/few", "198.51.100.1") == {403})
    served.lists.write("acme.txt", ["203.0.113.1"])
    assert eventually(lambda: statuses(served, "/bound", "203.0.113.1", **ACME) == {403})
    assert eventually(lambda: statuses(served, "/bound", "198.51.100.7", **ACME) == {200})
    # Half a file, or one with a mistake in it, is not taken.
    served.lists.write("acme.txt", ["198.51.100.7", "203.0.113.300"])
    assert eventually(lambda: served.log().count("acme.txt is not taken: line 2") >= 2)
    assert statuses(served, "/bound", "203.0.113.1", **ACME) == {403}
    served.lists.write("few.txt", ["198.51.100.0/24", "2001:db8:5::/48"])
    served.lists.write("acme.txt", ["198.51.100.7"])
    assert eventually(lambda: statuses(served, "/few", "198.51.100.1") == {200})
    assert eventually(lambda: statuses(served, "/bound", "203.0.113.1", **ACME) == {200})


def test_callers_are_answered_by_the_old_list_until_a_long_one_is_read(served):
    chance = random.Random(7)
    long = [".".join(map(str, (10 << 24 | chance.getrandbits(24)).to_bytes(4))) for _ in range(200_000)]
    served.lists.write("everywhere.txt", ["192.0.2.0/24", "2001:db8:bad::/48", *long, "203.0.113.200"])
    kept_out, let_in = set(), set()

    def taken():
        kept_out.update(statuses(served, "/open", "192.0.2.9", 2))
        let_in.update(statuses(served, "/open", "203.0.113.1", 2))
        return statuses(served, "/open", "203.0.113.200") == {403}

    assert eventually(taken, 60, 0)
    assert (kept_out, let_in) == ({403}, {200})
    assert statuses(served, "/open", long[chance.randrange(len(long))]) == {403}


def test_A20_a_proxy_that_is_no_longer_trusted_is_not_heard_on_connections_that_it_has(served):
    with served.connect(source="127.0.0.3") as sock:

        def ask():
            sock.sendall(b"GET /told HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n")
            return read_answer(sock).status

        assert [ask() for _ in range(3)] == [200] * 3
        served.lists.write("proxies.txt", ["# nobody"])
        assert eventually(lambda: ask() == 403)
