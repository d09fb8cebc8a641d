"""`gatewright keys`, verb by verb, on an installation that nobody serves."""

import json

import pytest
from program import invoke
from transit_double import transit_double


@pytest.fixture
def keys(tmp_path):
    """Runs a verb; what it printed, line by line."""

    def run(*words, expected=0):
        done = invoke(["keys", *words, "--data", str(tmp_path / "var")])
        assert done.exit_code == expected, done.output
        return (done.stdout if not expected else done.stderr).splitlines()

    return run


def listed(keys):
    return json.loads("".join(keys("list", "--json")))


def test_a_key_is_added_activated_and_the_old_one_retired(keys):
    old = {row["ring"]: row["key"] for row in listed(keys)}
    made = dict(line.split() for line in keys("add", "--reason", "spring"))
    assert [(row["ring"], row["key"], row["state"]) for row in listed(keys)] == [
        ("edge", old["edge"], "active"), ("edge", made["edge"], "kept"),
        ("connections", old["connections"], "active"), ("connections", made["connections"], "kept"),
    ]  # fmt: skip
    for ring, key in made.items():
        assert keys("activate", key) == [f"{ring} {key} encrypts from now on"]
    assert "still used by 4 keys of single sign-on" in keys("retire", old["edge"], expected=1)[0]
    assert keys("reencrypt", "--batch", "3") == ["4 encrypted again"]
    assert keys("reencrypt") == ["0 encrypted again"]
    for ring, key in old.items():
        assert keys("retire", key, "--settle", "0")[0].startswith(f"{ring} {key} is retired")
    assert [line.split()[:3] for line in keys("list")] == [[ring, key, "active"] for ring, key in made.items()]
    assert "4 keys of single sign-on" in keys("list")[0]


def test_one_ring_alone_gets_a_key(keys):
    assert [line.split()[0] for line in keys("add", "--ring", "edge")] == ["edge"]
    assert "no ring 'edges'" in keys("add", "--ring", "edges", expected=1)[0]


@pytest.mark.parametrize("verb", ["activate", "retire"])
def test_a_key_that_is_not_there_is_said(keys, verb):
    assert keys(verb, "nothing", expected=1) == [
        "gatewright: keys: there is no key 'nothing': see `gatewright keys list`"
    ]


def test_keys_are_wrapped_by_vault_and_that_is_undone(keys, tmp_path, monkeypatch):
    file = tmp_path / "var" / "keys.json"
    with transit_double() as vault:
        monkeypatch.setenv("GATEWRIGHT_VAULT_TOKEN", vault.token)
        before = listed(keys)
        assert "are not wrapped: give Vault's URL" in keys("wrap", expected=1)[0]
        assert keys("wrap", "--vault", vault.url) == [f"{file}: wrapped by Vault"]
        vault.rotate("gatewright")
        keys("wrap")
        assert "vault:v2:" in file.read_text()
        keys("wrap", "--vault", vault.url, "--undo", expected=2)
        assert keys("wrap", "--undo") == [f"{file}: as they are"]
    assert [row["key"] for row in listed(keys)] == [row["key"] for row in before]
