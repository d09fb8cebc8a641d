import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from security.passwords import MAX_BYTES, HashingPool, PasswordHasher, PasswordUnusable
from security.secrets import Keyring, SecretError
from specs.problems import Problem

KEYRING = Keyring.generate()
HASHER = PasswordHasher(KEYRING.ring("edge"), rounds=1000)


@settings(max_examples=40)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_password_is_verified_and_one_more_character_is_not(password):
    stored = HASHER.hash(password)
    assert HASHER.verify(password, stored)
    assert not HASHER.verify(password + "x", stored)


def test_the_rounds_are_those_of_the_specification_and_the_scheme_is_pbkdf2_sha512():
    hasher = PasswordHasher(KEYRING.ring("edge"))
    inside = KEYRING.ring("edge").decrypt(hasher.hash("a"), "password")
    assert inside.startswith("$pbkdf2-sha512$220000$")


def test_the_stored_form_shows_nothing_and_differs_each_time():
    first, second = HASHER.hash("p"), HASHER.hash("p")
    assert first != second
    assert "pbkdf2" not in first


def test_another_keyring_cannot_read_a_hash():
    with pytest.raises(SecretError):
        PasswordHasher(Keyring.generate().ring("edge"), rounds=1000).verify("p", HASHER.hash("p"))


def test_A32_a_megabyte_is_refused_before_it_is_hashed():
    stored = HASHER.hash("a" * MAX_BYTES)
    assert HASHER.verify("a" * MAX_BYTES, stored)
    # Nothing is cut off: 72 bytes in common, as bcrypt would have it, are not enough.
    assert not HASHER.verify("a" * (MAX_BYTES - 1), stored)
    for password in ("a" * (MAX_BYTES + 1), "é" * (MAX_BYTES // 2 + 1), "a" * 1_000_000, "", "\ud800"):
        assert not HASHER.verify(password, stored)
        with pytest.raises(PasswordUnusable):
            HASHER.hash(password)


def test_A32_nul_bytes_and_case_count():
    stored = HASHER.hash("a\0b")
    assert HASHER.verify("a\0b", stored)
    assert [HASHER.verify(other, stored) for other in ("a", "a\0c", "A\0b", "a\0b ")] == [False] * 4


def test_a_password_typed_in_either_unicode_form_is_the_same():
    assert HASHER.verify("e\u0301", HASHER.hash("\u00e9"))
    assert not HASHER.verify("e", HASHER.hash("\u00e9"))


def test_A26_the_dummy_costs_the_same_and_matches_nothing():
    inside = KEYRING.ring("edge").decrypt(HASHER.dummy(), "password").split("$")
    real = KEYRING.ring("edge").decrypt(HASHER.hash("p"), "password").split("$")
    assert inside[1:3] == real[1:3] == ["pbkdf2-sha512", "1000"]
    assert [len(part) for part in inside] == [len(part) for part in real]
    assert not HASHER.verify("p", HASHER.dummy())


def test_a_hash_with_other_rounds_or_an_old_key_is_made_anew():
    keyring = Keyring.generate()
    hasher = PasswordHasher(keyring.ring("edge"), rounds=1000)
    stored = hasher.hash("p")
    assert not hasher.needs_rehash(stored)
    assert PasswordHasher(keyring.ring("edge"), rounds=2000).needs_rehash(stored)
    keyring.activate("edge", keyring.add_key("edge"))
    later = PasswordHasher(keyring.ring("edge"), rounds=1000)
    assert later.verify("p", stored)
    assert later.needs_rehash(stored)


def test_without_gevent_the_pool_works_in_place():
    assert HashingPool(1).run(threading.get_ident) == threading.get_ident()


GEVENT = """
import gevent.monkey; gevent.monkey.patch_all()
import gevent, json, time
from security.passwords import HashingPool, PasswordHasher
from security.credentials import CredentialCache, Verifier
from security.secrets import Keyring
from specs.problems import Problem
hasher = PasswordHasher(Keyring.generate().ring("edge"), rounds=60_000)
stored = hasher.hash("p")
pool = HashingPool(1, waiting=2)
gaps, answers, stop = [], [], []
def tick():
    last = time.monotonic()
    while not stop:
        gevent.sleep(0.002)
        now = time.monotonic(); gaps.append(now - last); last = now
def check():
    try:
        answers.append(pool.run(lambda: hasher.verify("p", stored)))
    except Problem as problem:
        answers.append((problem.status, dict(problem.headers)["Retry-After"]))
ticker = gevent.spawn(tick)
gevent.joinall([gevent.spawn(check) for _ in range(5)])
calls = []
verify = hasher.verify
hasher.verify = lambda *a: calls.append(1) or verify(*a)
verifier = Verifier(hasher, pool, CredentialCache())
crowd = [gevent.spawn(verifier.verify, "d", "u", "p", stored) for _ in range(20)]
crowd += [gevent.spawn(verifier.verify, "d", "nobody", "p", None) for _ in range(20)]
gevent.joinall(crowd)
stop.append(1); ticker.join(); pool.close()
print(json.dumps({"answers": sorted(map(str, answers)), "gap": max(gaps), "ticks": len(gaps), "calls": len(calls),
                  "crowd": [bool(g.value) for g in crowd]}))
"""


def test_A26_hashing_leaves_the_hub_free_its_queue_is_bounded_and_a_crowd_costs_one_hash():
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", GEVENT], capture_output=True, text=True, timeout=60, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    got = json.loads(ran.stdout)
    assert got["answers"] == ["(503, '2')"] * 2 + ["True"] * 3
    assert got["calls"] == 2
    assert got["crowd"] == [True] * 20 + [False] * 20
    assert got["ticks"] > 10
    assert got["gap"] < 0.15


def test_a_full_queue_is_a_problem_with_its_word():
    pool = HashingPool(1, waiting=0)
    pool._threads._asked = 1
    with pytest.raises(Problem) as caught:
        pool.run(lambda: None)
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
