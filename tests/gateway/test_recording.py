"""Taking samples while serving: once in a while, bounded, and nothing at all where it is off."""

from types import SimpleNamespace

import pytest

from backends.catalogue import Catalogue, deploy
from backends.examples import LARGEST
from backends.executors.local import LocalExecutor
from backends.guard import Guard
from backends.platform import Platform
from backends.service import Service
from gateway.configuration.kinds import read_object
from gateway.configuration.objects import Configuration, Definition
from gateway.configuration.sampling import Sampling
from gateway.limit_stores import Stores
from gateway.quotas import Limits
from gateway.recording import MOST_WAITING, Recorder
from gateway.replay import Nonces
from gateway.snapshot import Compiler
from security.limits.memory import MemoryStore
from specs.contract import Contract, Field
from specs.exchange import Outcome
from specs.problems import BackendUnavailable, ConfigurationError

CONTRACT = Contract("s", class_name="Say", input=(Field("text"), Field("token", "secret", required=False)))


class Keeper:
    def __init__(self):
        self.kept = []

    def keep(self, taken, most):
        self.kept += [(one, most) for one in taken]
        return len(taken)


@pytest.fixture
def keeper():
    return Keeper()


@pytest.fixture
def clock():
    return [1]


@pytest.fixture
def recorder(keeper, clock):
    return Recorder(keeper, lambda: clock[0])


def step_of(recorder, **settings):
    channel = SimpleNamespace(name="say", called=lambda exchange: CONTRACT)
    return recorder.step(channel, {"s": Sampling.read(settings, "samples")})


def exchange(text="x", *, body=b"", answer=b"", headers=None, opened=None, files=(), outcome=None):
    return SimpleNamespace(
        input={"text": text, "token": "t-0123456789"}, payload=None, body=body, response_body=answer, headers=headers or {},
        opened=opened, files=files, method="GET", outcome=outcome or Outcome({"said": text}),
    )  # fmt: skip


def test_one_call_in_a_while_is_taken_without_its_secrets(recorder, keeper, clock):
    sample = step_of(recorder, every="1s", most=5)
    for _ in range(3):
        sample(exchange("first", headers={"authorization": "Bearer of-good-news"}))
    clock[0] += 10**9
    sample(exchange("told: of-good-news", headers={"authorization": "Bearer of-good-news"}, opened=object()))
    assert recorder.flush() == 2
    (first, most), (second, _) = keeper.kept
    assert (first.input["text"], first.output, first.method, most) == ("first", {"said": "first"}, "GET", 5)
    assert first.redacted == ("input/token",)
    assert (second.method, second.redacted) == ("SOAP", ("input/text", "input/token", "output/said"))
    assert "of-good-news" not in str(keeper.kept)
    assert "t-0123456789" not in str(keeper.kept)
    assert recorder.flush() == 0


@pytest.mark.parametrize(
    "odd",
    [
        {"outcome": Outcome({"said": "x"}, 404)},
        {"outcome": Outcome(None, 200, stream=iter([b"x"]))},
        {"outcome": Outcome(b"raw", content_type="image/png")},
        {"body": b"x" * (LARGEST + 1)},
        {"answer": b"x" * (LARGEST + 1)},
        {"files": ("a file",)},
        {"outcome": Outcome({"said": object()})},
    ],
    ids=["refusal", "stream", "bytes", "large call", "large answer", "file", "no JSON"],
)
def test_what_is_no_example_is_not_taken(recorder, keeper, odd):
    step_of(recorder, every="1ms")(exchange(**odd))
    assert (recorder.flush(), keeper.kept) == (0, [])


def test_what_waits_is_bounded_and_a_database_that_is_away_loses_samples_alone(recorder, keeper, clock):
    sample = step_of(recorder, every="1ms")
    for _ in range(2 * MOST_WAITING):
        clock[0] += 10**9
        sample(exchange())
    assert recorder.flush() == MOST_WAITING

    def away(taken, most):
        raise BackendUnavailable("gone")

    keeper.keep = away
    clock[0] += 10**9
    sample(exchange())
    turns = iter([None, None])
    with pytest.raises(StopIteration):
        recorder.run(lambda seconds: next(turns))


def steps(recorder, **more):
    """How many steps a channel has."""

    class Say(Service):
        def handle(self):
            pass

    store = MemoryStore()
    compiler = Compiler(
        None,
        Limits(Stores(store)),
        lambda: None,
        first_use=Nonces(store).first_use,
        listener="http://h",
        recorder=recorder,
    )
    body = {"type": "rest", "path": "/", "service": "s", **more}
    objects = {
        ("channels", "say"): Definition(
            "channels", "say", "rest", read_object("channels", body, "channels.say"), "1", 1
        )
    }
    catalogue = Catalogue([deploy(Say, CONTRACT)])
    executor = LocalExecutor(catalogue, Platform(), Guard(enforce=False))
    return len(compiler.compile(Configuration(1, objects), catalogue, 1, executor).channels["say"].steps)


def test_a_channel_has_a_step_more_where_it_samples_and_none_where_it_does_not(recorder):
    assert steps(recorder, samples={}) == steps(recorder) + 1


def test_samples_that_cannot_be_kept_are_refused():
    with pytest.raises(ConfigurationError, match=r"samples\.most: 0 samples cannot be kept"):
        Sampling.read({"most": 0}, "samples")
