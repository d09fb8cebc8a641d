"""Passwords that many would guess: repeated, walked along a keyboard, made of common words, or of the account's own.

Lists of whole passwords find next to nothing at 15 characters; what people do to make a short one long is found here.

>>> weakness("P4ssw0rd-P4ssw0rd!", ())
'it consists of words that everybody tries'
>>> weakness("qwertyuiopasdfgh", ()), weakness("abababababababab", ())
('it follows the keyboard or the alphabet', 'it repeats itself')
>>> weakness("tulips under a green moon", ()) is None
True
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_COMMON_TEXT = """
password passwort passwd pass secret geheim letmein welcome willkommen admin administrator root login user guest
default changeme change test testing temp demo master access hello hallo monkey dragon shadow sunshine princess
prinzessin football baseball soccer hockey basketball superman batman pokemon starwars matrix iloveyou love loveyou
lovely ichliebedich qwerty qwertz azerty asdf asdfgh zxcvbn qazwsx qwertyuiop trustno trust one two three abc abcd
abcdef abcdefg charlie michael jordan michelle jessica ashley daniel thomas robert andrew joshua jennifer hannah
anthony george william freedom whatever computer internet server network database system security private public
summer winter spring autumn sommer herbst monday friday january december flower cookie cheese banana orange purple
yellow silver golden killer hunter ranger tigger buster pepper ginger maggie bailey junior mustang corvette ferrari
mercedes porsche harley yamaha google facebook linkedin twitter microsoft windows apple samsung amazon company office
business my the is me you your and new this it in on at go mypassword nothing nobody everyone please enter open sesame
money dollar euro boss king queen angel baby daddy mommy family friend happy lucky forever blessed jesus god heaven
hell devil ninja pirate gateway gatewright
"""
_COMMON = frozenset(_COMMON_TEXT.split())
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz", "12345678901234567890", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p", "qazwsxedcrfvtgbyhnujmikolp",
)  # fmt: skip
_PAIRS = frozenset(row[i : i + 2] for row in (*_ROWS, *(row[::-1] for row in _ROWS)) for i in range(len(row) - 1))
_LEET = str.maketrans("04@3$5!1|7+8", "oaaessiiittb")
_SHORTEST_CONTEXT = 4


def weakness(password: str, own: Iterable[str], context: Iterable[str] = ()) -> str | None:
    """What is weak about *password*, as a phrase; None where nothing was found.

    A password must not hold one of the words in *own* (the user's name), nor consist of those in *context*.
    """
    folded = unicodedata.normalize("NFKC", password).casefold()
    own = [word.casefold() for word in own if len(word) >= _SHORTEST_CONTEXT]
    if any(word in folded for word in own):
        return "it holds a name of the account or of this site"
    unit = _unit(folded)
    if len(set(folded)) <= 2 or (len(unit) < len(folded) and len(unit) <= 6):
        return "it repeats itself"
    if _walked(folded):
        return "it follows the keyboard or the alphabet"
    words = _COMMON.union(word.casefold() for word in context if len(word) >= _SHORTEST_CONTEXT)
    letters = "".join(filter(str.isalpha, folded))
    spelled = "".join(filter(str.isalpha, folded.translate(_LEET)))
    stripped = "".join(filter(str.isalpha, folded.strip("0123456789!$+|@").translate(_LEET)))
    if any(_consists(text, words) for text in (letters, spelled, stripped)):
        return "it consists of words that everybody tries"
    return None


def _unit(text: str) -> str:
    """What *text* is a repetition of."""
    place = (text + text).find(text, 1)
    return text[:place]


def _walked(text: str) -> bool:
    pairs = [text[i : i + 2] for i in range(len(text) - 1)]
    walked = sum(pair in _PAIRS or pair[0] == pair[1] for pair in pairs)
    return walked >= 0.8 * len(pairs)


def _consists(text: str, words: frozenset[str]) -> bool:
    """Whether *text* can be cut into *words* and nothing else."""
    if not text:
        return False
    reached = {0}
    longest = max(map(len, words))
    for end in range(1, len(text) + 1):
        if any(start in reached and text[start:end] in words for start in range(max(0, end - longest), end)):
            reached.add(end)
    return len(text) in reached
