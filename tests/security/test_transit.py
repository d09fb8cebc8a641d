"""Keys that Vault wraps: the file alone opens nothing."""

import json

import pytest
from transit_double import transit_double

from security.secrets import KeyMissing, Keyring
from security.transit import Transit
from specs.problems import ConfigurationError


@pytest.fixture
def vault(monkeypatch):
    with transit_double() as double:
        monkeypatch.setenv("GATEWRIGHT_VAULT_TOKEN", double.token)
        yield double


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


def wrapped(vault, path):
    keyring = Keyring.open(path, create=True)
    keyring.wrap(Transit(vault.url, "gatewright"))
    return keyring


def test_the_file_alone_opens_nothing_and_with_vault_everything(vault, path):
    keyring = Keyring.open(path, create=True)
    plain = [key.hex() for key in keyring.ring("edge").keys.values()]
    texts = list(json.loads(path.read_text())["edge"]["keys"].values())
    box = keyring.ring("edge").encrypt("s", "p")
    assert not keyring.wrapped
    keyring.wrap(Transit(vault.url, "gatewright"))
    content = path.read_text()
    assert not any(text in content for text in texts + plain)
    assert (path.stat().st_mode & 0o777, keyring.wrapped) == (0o600, True)
    vault.asked.clear()
    again = Keyring.open(path)
    assert again.ring("edge").decrypt(box, "p") == "s"
    assert [again.ring("edge").encrypt(str(n), "p") is not None for n in range(20)]
    assert vault.asked == ["/v1/transit/decrypt/gatewright"]


def test_keys_are_added_activated_and_retired_in_a_wrapped_file(vault, path):
    keyring = wrapped(vault, path)
    other = Keyring.open(path)
    old, box = keyring.ring("edge").active, keyring.ring("edge").encrypt("s", "p")
    keyring.activate("edge", new := keyring.add_key("edge"))
    assert other.ring("edge").encrypt("s", "p").startswith(f"v1.{new}.")
    keyring.retire("edge", old)
    with pytest.raises(KeyMissing):
        Keyring.open(path).ring("edge").decrypt(box, "p")


def test_another_version_of_vaults_key_wraps_the_same_keys(vault, path):
    keyring = wrapped(vault, path)
    box = keyring.ring("connections").encrypt("s", "p")
    vault.rotate("gatewright")
    keyring.rewrap()
    assert "vault:v1:" not in path.read_text()
    vault.keys["gatewright"][0] = b"\0" * 32  # the first version is gone for good
    assert Keyring.open(path).ring("connections").decrypt(box, "p") == "s"


def test_wrapping_is_undone(vault, path):
    keyring = wrapped(vault, path)
    box = keyring.ring("edge").encrypt("s", "p")
    keyring.wrap(None)
    vault.token = "none"
    assert Keyring.open(path).ring("edge").decrypt(box, "p") == "s"


def test_nothing_opens_without_vault_and_what_runs_goes_on(vault, path, monkeypatch, caplog):
    keyring = wrapped(vault, path)
    box = keyring.ring("edge").encrypt("s", "p")
    there = Keyring.open(path)
    token, vault.token = vault.token, "another"
    with pytest.raises(ConfigurationError, match=r"permission denied.*GATEWRIGHT_VAULT_TOKEN"):
        Keyring.open(path)
    path.touch()
    assert keyring.ring("edge").decrypt(keyring.ring("edge").encrypt("s", "p"), "p") == "s"
    assert "cannot be used" not in caplog.text  # the keys in it are those that it has
    vault.token = token
    there.activate("edge", new := there.add_key("edge"))
    vault.token = "another"
    assert keyring.ring("edge").decrypt(box, "p") == "s"
    assert not keyring.ring("edge").encrypt("s", "p").startswith(f"v1.{new}.")
    assert "cannot be used" in caplog.text
    vault.token, keyring._again = token, 0.0
    assert keyring.ring("edge").encrypt("s", "p").startswith(f"v1.{new}.")


def test_a_vault_that_does_not_answer_is_said_with_its_address(vault, path, monkeypatch):
    wrapped(vault, path)
    content = json.loads(path.read_text())
    content["vault"]["url"] = "http://127.0.0.1:1"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=r"Vault at http://127\.0\.0\.1:1 does not answer"):
        Keyring.open(path)
    monkeypatch.delenv("GATEWRIGHT_VAULT_TOKEN")
    with pytest.raises(ConfigurationError, match="there is no token for it"):
        Keyring.open(path)


def test_the_token_may_be_in_a_file_that_an_agent_keeps(vault, path, monkeypatch, tmp_path):
    wrapped(vault, path)
    monkeypatch.setenv("GATEWRIGHT_VAULT_TOKEN", "old")
    monkeypatch.setenv("GATEWRIGHT_VAULT_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(ConfigurationError, match=r"cannot read .*token"):
        Keyring.open(path)
    (tmp_path / "token").write_text(vault.token + "\n")
    assert Keyring.open(path).wrapped


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file["vault"].pop("key"), "does not say which key of Vault's"),
        (lambda file: file["vault"].update(other="x"), "does not say which key of Vault's"),
        (lambda file: file["vault"].update(key=7), "is damaged"),
        (lambda file: file["vault"].update(key="unknown"), "encryption key not found"),
        (lambda file: file["edge"]["keys"].update({file["edge"]["active"]: "c2hvcnQ="}), "not one that Vault has wrapped"),
        (lambda file: file["edge"]["keys"].update({file["edge"]["active"]: "vault:v1:AAAA"}), "authentication failed"),
    ],
)  # fmt: skip
def test_a_wrapped_file_that_was_changed_is_refused(vault, path, change, said):
    wrapped(vault, path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=said):
        Keyring.open(path)


def test_a_key_that_cannot_be_wrapped_leaves_the_file_as_it_is(vault, path):
    keyring = Keyring.open(path, create=True)
    content = path.read_bytes()
    with pytest.raises(ConfigurationError):
        keyring.wrap(Transit(vault.url, "unknown"))
    with pytest.raises(ConfigurationError, match="not wrapped"):
        keyring.rewrap()
    assert path.read_bytes() == content
