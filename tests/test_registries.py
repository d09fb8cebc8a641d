"""Every entry of every registry says what it is, and a sentence on each of its settings."""

import importlib
import re

import pytest

from gateway.configuration.kinds import AUTHENTICATORS, CHANNELS, CONNECTORS, KINDS
from gateway.reference import FORMATS, described
from specs.registry import Registry
from specs.settings import Settings, setting

EXECUTORS = Registry("executor", "backends.executors", "LocalExecutor")
REGISTRIES = [AUTHENTICATORS, CHANNELS, CONNECTORS, FORMATS, EXECUTORS]
SHORTEST = 3  # words


def entries(registry):
    """Word, module and class of each entry of ours; an optional library that is missing leaves its entry out."""
    for word, name in registry._modules.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name.split(".")[0] in ("gateway", "sso", "backends", "security", "specs"):
                raise
            continue
        yield word, module, getattr(module, registry.attribute)


ENTRIES = [
    pytest.param(word, module, found, id=f"{registry.kind}-{word}")
    for registry in REGISTRIES
    for word, module, found in entries(registry)
]


def faults_of(name, declared, settings):
    """What is wrong with the sentences of a set of settings and of those within it."""
    for one in described(name, declared, settings):
        if not one.sentence.endswith("."):
            yield f"{one.name}: its docstring does not begin with a sentence"
        for key, _, _, sentence in one.rows:
            if len(sentence.split()) < SHORTEST:
                yield f"{one.name}.{key}: {sentence!r} says too little"
            if sentence.endswith((".", " ")) or sentence[:1].isspace():
                yield f"{one.name}.{key}: {sentence!r} is a phrase, and ends without a dot"
            if re.match(r"[A-Z][a-z]", sentence):
                yield f"{one.name}.{key}: {sentence!r} is a phrase, and begins in lower case"


@pytest.mark.parametrize(("word", "module", "found"), ENTRIES)
def test_an_entry_says_what_it_is(word, module, found):
    assert (module.__doc__ or "").strip(), "its file has no sign on the door"
    own = found.__dict__.get("__doc__") or ""
    assert re.match(r"\S[^\n]+[.:]", own.strip()), "its class has no docstring of its own that begins with a sentence"


@pytest.mark.parametrize(("word", "module", "found"), ENTRIES)
def test_a_word_is_the_name_of_its_file(word, module, found):
    file = module.__name__.rpartition(".")[2].removesuffix("_")
    assert (word, getattr(found, "word", file)) == (file, file)


@pytest.mark.parametrize(("word", "module", "found"), ENTRIES)
def test_every_setting_of_an_entry_has_a_sentence(word, module, found):
    if hasattr(found, "Settings"):
        assert list(faults_of(word, found, found.Settings)) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.settings is not None], ids=lambda k: k.word)
def test_every_setting_of_a_kind_has_a_sentence(kind):
    assert list(faults_of(kind.word, kind.settings, kind.settings)) == []


def test_there_are_entries_to_look_at():
    assert {entry.id for entry in ENTRIES} >= {
        "authenticator-basic", "channel-rest", "connector-sql", "connector-rest", "format-json", "format-xml", "executor-local",
    }  # fmt: skip


def test_what_is_wrong_is_found():
    class Inner(Settings):
        """No full stop"""

        a: str = setting("Too.")

    class Outer(Settings):
        """An outer one."""

        inner: Inner = setting("what lies within", default=None)

    assert list(faults_of("outer", Outer, Outer)) == [
        "outer, inner: its docstring does not begin with a sentence",
        "outer, inner.a: 'Too.' says too little",
        "outer, inner.a: 'Too.' is a phrase, and ends without a dot",
        "outer, inner.a: 'Too.' is a phrase, and begins in lower case",
    ]
