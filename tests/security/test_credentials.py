import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.credentials import ApiKeys, CredentialCache, Verifier, same_secret
from security.passwords import HashingPool, PasswordHasher
from security.secrets import Keyring


class CountingHasher(PasswordHasher):
    """Counts what is really hashed, and against what."""

    def __init__(self):
        super().__init__(Keyring.generate().ring("edge"), rounds=1000)
        self.checked = []

    def verify(self, password, stored):
        self.checked.append(stored)
        return super().verify(password, stored)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def verifier(clock):
    return Verifier(CountingHasher(), HashingPool(1), CredentialCache(ttl=60, clock=clock, size=3))


def test_a_right_password_is_hashed_once_in_its_time(verifier, clock):
    stored = verifier.hasher.hash("p")
    proofs = [verifier.verify("d", "u", "p", stored) for _ in range(3)]
    assert all(map(verifier.holds, proofs))
    assert len(verifier.hasher.checked) == 1
    clock.now += 61
    assert verifier.verify("d", "u", "p", stored)
    assert len(verifier.hasher.checked) == 2


def test_A27_a_changed_password_misses_at_once(verifier):
    old, new = verifier.hasher.hash("p"), verifier.hasher.hash("q")
    assert verifier.verify("d", "u", "p", old)
    assert not verifier.verify("d", "u", "p", new)


def test_A27_every_part_of_the_credential_counts(verifier):
    stored = verifier.hasher.hash("p")
    verifier.verify("d", "u", "p", stored)
    for definition, username, password in (("e", "u", "p"), ("d", "v", "p"), ("d", "u", "q")):
        before = len(verifier.hasher.checked)
        verifier.verify(definition, username, password, stored)
        assert len(verifier.hasher.checked) == before + 1


texts = st.text(max_size=8)
quadruples = st.tuples(texts, texts, texts, texts)


@given(quadruples, quadruples)
def test_A27_A54_different_credentials_have_different_keys(first, second):
    cache = CredentialCache()
    assert (cache.key(*first) == cache.key(*second)) == (first == second)


def test_A54_a_separator_inside_a_field_moves_nothing():
    cache = CredentialCache()
    assert cache.key("a:b", "c", "", "") != cache.key("a", "b:c", "", "")
    assert cache.key("1:a", "", "", "") != cache.key("", "1:a", "", "")


def test_a_wrong_password_is_hashed_each_time_and_never_remembered(verifier):
    stored = verifier.hasher.hash("p")
    assert [verifier.verify("d", "u", "x", stored) for _ in range(3)] == [b""] * 3
    assert len(verifier.hasher.checked) == 3


def test_A26_an_unknown_user_burns_the_same_rounds_each_time(verifier):
    assert [verifier.verify("d", "nobody", "p", None) for _ in range(3)] == [b""] * 3
    assert verifier.hasher.checked == [verifier.hasher.dummy()] * 3


def test_A43_the_cache_is_bounded_and_keeps_what_is_used(verifier):
    stored = verifier.hasher.hash("p")
    for user in ("a", "b", "c", "a", "d"):
        verifier.verify("d", user, "p", stored)
    hashed = len(verifier.hasher.checked)
    assert hashed == 4
    for user in ("a", "c", "d"):
        verifier.verify("d", user, "p", stored)
    assert len(verifier.hasher.checked) == hashed
    verifier.verify("d", "b", "p", stored)
    assert len(verifier.hasher.checked) == hashed + 1


def test_A27_a_crowd_with_the_same_credential_shares_one_verification():
    cache = CredentialCache()
    began, release, calls = threading.Event(), threading.Event(), []

    def work():
        calls.append(1)
        began.set()
        release.wait(5)
        return True

    answers = []
    threads = [threading.Thread(target=lambda: answers.append(cache.once(b"k", work))) for _ in range(8)]
    threads[0].start()
    assert began.wait(5)
    [t.start() for t in threads[1:]]
    while threading.active_count() < 9:
        time.sleep(0.001)
    release.set()
    [t.join(5) for t in threads]
    assert answers == [True] * 8
    # A thread that arrives after the landing verifies again: that is right, only slower.
    assert len(calls) <= 2


def test_those_who_wait_for_one_that_fails_try_for_themselves():
    cache = CredentialCache()
    began, release = threading.Event(), threading.Event()
    outcomes = []

    def fails():
        began.set()
        release.wait(5)
        raise LookupError

    def leader():
        try:
            cache.once(b"k", fails)
        except LookupError:
            outcomes.append("failed")

    threads = [
        threading.Thread(target=leader),
        threading.Thread(target=lambda: outcomes.append(cache.once(b"k", lambda: True))),
    ]
    threads[0].start()
    assert began.wait(5)
    threads[1].start()
    release.set()
    [t.join(5) for t in threads]
    assert sorted(map(str, outcomes)) == ["True", "failed"]


def test_an_api_key_is_found_by_its_digest():
    key, digest = ApiKeys.generate()
    assert key.startswith("gwk_")
    assert len(key) == 4 + 43
    keys = ApiKeys({digest: "acme"})
    assert (keys.find(key), keys.find(key[:-1]), keys.find(digest)) == ("acme", None, None)


def test_Z36_an_empty_key_lets_nobody_in():
    with pytest.raises(ValueError):
        ApiKeys.digest("")
    assert ApiKeys({}).find("") is None
    assert not same_secret("", "")
    assert not same_secret("x", "")


def test_A28_secrets_are_compared_whole():
    assert same_secret("é", "é")
    assert not same_secret("e", "é")
    assert not same_secret("s3cret ", "s3cret")
