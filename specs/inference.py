"""Types inferred from names: the one published table, and `infer`.

A bare name in a declaration (``input = "cust_id", "-segment"``) has the type that its name tells; an explicit element
(`specs.elements`) always wins. The first rule that fits decides.

>>> infer("cust_id")
('int', 'suffix _id')
>>> infer("is_active"), infer("segment")
(('bool', 'prefix is_'), ('text', 'any other name'))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Rule(NamedTuple):
    """Names that are (``exact``), begin with (``prefix``) or end in (``suffix``) one of *words* have the type *type*."""

    kind: str
    words: tuple[str, ...]
    type: str


RULES = (
    Rule(
        "exact",
        (
            "auth_data", "auth_token", "password", "password1", "password2", "secret", "secret_key",
            "tls_pem_passphrase", "token", "api_key", "apiKey", "xApiKey",
        ),
        "secret",
    ),
    Rule("exact", ("id",), "int"),
    Rule("prefix", ("by_", "has_", "is_", "may_", "needs_", "should_"), "bool"),
    Rule("suffix", ("_count", "_id", "_size", "_size_min", "_size_max", "_timeout"), "int"),
)  # fmt: skip

OTHERWISE = ("text", "any other name")


def infer(name: str) -> tuple[str, str]:
    """The type that *name* tells, and the rule that told it."""
    for rule in RULES:
        for word in rule.words:
            if rule.kind == "exact":
                fits = name == word
            elif rule.kind == "prefix":
                fits = name.startswith(word)
            else:
                fits = name.endswith(word)
            if fits:
                return rule.type, f"{rule.kind} {word}"
    return OTHERWISE


def table() -> Iterator[tuple[str, str, str]]:
    """The table as documents print it: kind of rule, its words, the type. In the order in which the rules are tried."""
    for rule in RULES:
        yield rule.kind, " ".join(rule.words), rule.type
    yield OTHERWISE[1], "", OTHERWISE[0]
