import json
import multiprocessing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.secrets import KeyMissing, Keyring, SecretError, identity_of, key_id_of
from specs.problems import ConfigurationError

RING = Keyring.generate().ring("edge")
BOX = RING.encrypt("s3cret", "setting")


@given(st.text())
def test_what_is_encrypted_is_decrypted(text):
    assert RING.decrypt(RING.encrypt(text, "p"), "p") == text


def test_one_flipped_bit_anywhere_in_a_box_is_an_error():
    for position in range(len(BOX)):
        for bit in range(8):
            changed = BOX[:position] + chr(ord(BOX[position]) ^ (1 << bit)) + BOX[position + 1 :]
            with pytest.raises(SecretError):
                RING.decrypt(changed, "setting")


@given(st.text() | st.text().map(lambda t: "v1." + RING.active + "." + t))
def test_what_is_no_box_is_an_error(text):
    with pytest.raises(SecretError):
        RING.decrypt(text, "setting")


def test_a_box_opens_for_its_purpose_and_ring_alone():
    keyring = Keyring.generate()
    box = keyring.ring("edge").encrypt("s", "one")
    with pytest.raises(SecretError, match="not made for 'two'"):
        keyring.ring("edge").decrypt(box, "two")
    with pytest.raises(SecretError, match="no key"):
        keyring.ring("connections").decrypt(box, "one")


def test_a_digest_tells_the_same_secret_and_nothing_else():
    digest = RING.digest("s3cret", "a")
    assert "s3cret" not in digest
    assert RING.matches("s3cret", digest, "a")
    assert not RING.matches("s3cres", digest, "a")
    assert not RING.matches("s3cret", digest, "b")
    assert not RING.matches("s3cret", "gone." + digest.partition(".")[2], "a")


def test_derived_keys_differ_by_purpose_and_ring():
    keyring = Keyring.generate()
    keys = [keyring.ring(r).derive(p) for r in ("edge", "connections") for p in ("a", "b")]
    assert (len(set(keys)), {len(key) for key in keys}) == (4, {32})


def test_a_new_key_file_is_private_and_opens_again(tmp_path):
    path = tmp_path / "new" / "keys.json"
    box = Keyring.open(path, create=True).ring("edge").encrypt("s", "p")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["keys.json"]
    assert Keyring.open(path).ring("edge").decrypt(box, "p") == "s"


def test_a_missing_key_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot read the key file .*keys\.json"):
        Keyring.open(tmp_path / "keys.json")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o601])
def test_a_key_file_that_others_can_touch_is_refused_with_the_remedy(tmp_path, mode):
    path = tmp_path / "keys.json"
    Keyring.open(path, create=True)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        Keyring.open(path)


def test_one_flipped_bit_anywhere_in_a_key_file_is_an_error_or_changes_nothing(tmp_path):
    path = tmp_path / "keys.json"
    before = Keyring.open(path, create=True)
    content = path.read_bytes()
    known = {name: (before.ring(name).keys, before.ring(name).encrypt("s", "p")) for name in ("edge", "connections")}
    refused = 0
    for position in range(len(content)):
        for bit in (position % 8, (position + 5) % 8):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            path.write_bytes(changed)
            try:
                after = Keyring.open(path)
            except ConfigurationError:
                refused += 1
                continue
            # A flipped bit inside a key gives another key: its boxes do not open. Nothing else gets through.
            for name, (keys, box) in known.items():
                if after.ring(name).keys != keys:
                    with pytest.raises(SecretError):
                        after.ring(name).decrypt(box, "p")
    assert refused > len(content) / 2


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b'{"edge": {}}', b'{"edge": {"active": "a", "keys": {"a": "c2hvcnQ="}}}', b'{"x": 1}'],
)
def test_a_damaged_key_file_is_refused(tmp_path, content):
    path = tmp_path / "keys.json"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is damaged"):
        Keyring.open(path)


def test_an_edge_does_without_the_ring_of_connections(tmp_path):
    path = tmp_path / "keys.json"
    Keyring.open(path, create=True)
    path.write_text(json.dumps({"edge": json.loads(path.read_text())["edge"]}))
    keyring = Keyring.open(path)
    keyring.ring("edge")
    with pytest.raises(ConfigurationError, match="no ring 'connections'"):
        keyring.ring("connections")


def test_keys_are_added_activated_and_retired(tmp_path):
    path = tmp_path / "keys.json"
    keyring = Keyring.open(path, create=True)
    ring = keyring.ring("edge")
    old, box, digest = ring.active, ring.encrypt("s", "p"), ring.digest("s", "p")
    new = keyring.add_key("edge")
    assert keyring.ring("edge").active == old
    keyring.activate("edge", new)
    reopened = Keyring.open(path).ring("edge")
    assert reopened.active == new
    assert reopened.decrypt(box, "p") == "s"
    assert reopened.matches("s", digest, "p")
    assert reopened.encrypt("s", "p").startswith(f"v1.{new}.")
    with pytest.raises(ConfigurationError, match="is active"):
        keyring.retire("edge", new)
    keyring.retire("edge", old)
    with pytest.raises(SecretError, match="no key"):
        Keyring.open(path).ring("edge").decrypt(box, "p")
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_opened_keyring_follows_its_file_and_keeps_what_it_knew(tmp_path):
    here = Keyring.open(tmp_path / "keys.json", create=True)
    ring = here.ring("edge")
    old, box, digest = ring.active, ring.encrypt("s", "p"), ring.digest("s", "p")
    there = Keyring.open(tmp_path / "keys.json")
    new = there.add_key("edge")
    there.activate("edge", new)
    assert key_id_of(ring.encrypt("s", "p")) == new
    assert key_id_of(ring.digest("s", "p")) == new
    there.retire("edge", old)
    assert ring.decrypt(ring.encrypt("s", "p"), "p") == "s"
    assert (ring.decrypt(box, "p"), ring.matches("s", digest, "p")) == ("s", True)
    with pytest.raises(KeyMissing, match=f"no key '{old}'"):
        Keyring.open(tmp_path / "keys.json").ring("edge").decrypt(box, "p")


def test_a_key_that_is_not_known_yet_is_looked_for_in_the_file(tmp_path):
    here, there = (Keyring.open(tmp_path / "keys.json", create=True) for _ in range(2))
    there.activate("edge", there.add_key("edge"))
    box, digest = there.ring("edge").encrypt("s", "p"), there.ring("edge").digest("s", "p")
    assert here.ring("edge").decrypt(box, "p") == "s"
    there.activate("edge", there.add_key("edge"))
    assert here.ring("edge").matches("s", there.ring("edge").digest("s", "p"), "p")
    assert here.ring("edge").matches("s", digest, "p")


def test_a_file_that_becomes_unusable_changes_nothing_for_who_has_read_it(tmp_path, caplog):
    path = tmp_path / "keys.json"
    keyring = Keyring.open(path, create=True)
    content, active = path.read_bytes(), keyring.ring("edge").active
    path.write_bytes(b"{")
    assert key_id_of(keyring.ring("edge").encrypt("s", "p")) == active
    assert key_id_of(keyring.ring("edge").encrypt("s", "p")) == active
    assert caplog.text.count("cannot be used") == 1
    path.unlink()
    assert not keyring.follow()
    path.touch(0o600)
    path.write_bytes(content)
    assert keyring.follow()


def test_a_digest_is_carried_over_the_end_of_its_key():
    keyring = Keyring.generate()
    ring = keyring.ring("edge")
    first, old = ring.digest("s3cret", "place"), ring.active
    carried = first
    for _ in range(3):
        keyring.activate("edge", keyring.add_key("edge"))
        carried = ring.carry(carried, "place")
        assert ring.carry(carried, "place") == carried
        assert key_id_of(carried) == ring.active
        assert identity_of(carried) == first
    for key_id in set(ring.keys) - {ring.active}:
        keyring.retire("edge", key_id)
    assert old not in ring.keys
    assert ring.matches("s3cret", carried, "place")
    assert not ring.matches("s3cres", carried, "place")
    assert not ring.matches("s3cret", carried, "other")
    assert not ring.matches("s3cret", first, "place")


def test_a_key_that_was_retired_can_be_brought_back_by_who_retired_it(tmp_path):
    keyring = Keyring.open(tmp_path / "keys.json", create=True)
    ring = keyring.ring("edge")
    box, old = ring.encrypt("s", "p"), ring.active
    keyring.activate("edge", keyring.add_key("edge"))
    back = keyring.retire("edge", old)
    back()
    assert Keyring.open(tmp_path / "keys.json").ring("edge").decrypt(box, "p") == "s"


def _create(path, start, answers):
    start.wait(20)
    answers.put(sorted(Keyring.open(path, create=True).ring("edge").keys.values()))


def test_processes_that_create_it_at_once_end_up_with_the_same_one(tmp_path):
    fork = multiprocessing.get_context("fork")
    start, answers = fork.Event(), fork.Queue()
    processes = [fork.Process(target=_create, args=(tmp_path / "keys.json", start, answers)) for _ in range(6)]
    [p.start() for p in processes]
    start.set()
    got = [answers.get(timeout=20) for _ in processes]
    [p.join(20) for p in processes]
    assert got == [got[0]] * 6
