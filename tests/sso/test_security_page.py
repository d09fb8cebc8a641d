"""The page that says what holds, in numbers, says what the program does."""

import re
from pathlib import Path

from sso import attempts, throttle
from sso.settings import SessionRules

PAGE = (Path(__file__).parents[2] / "sso" / "security.md").read_text()


def rows(heading):
    part = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")
    ][2:]


def test_its_throttles_are_those_that_count():
    told = [(int(most), float(seconds.removesuffix(" s"))) for _, most, seconds, _ in rows("Throttles")]
    rules = (
        throttle.ATTEMPTS, throttle.FAILED_AT_ADDRESS, throttle.FAILED_AT_PAIR, throttle.FAILED_AT_ACCOUNT,
        throttle.FAILED_AT_DEVICE, throttle.FAILED_CODES, throttle.HASHES, throttle.SIGN_UPS, throttle.ASKED, throttle.LETTERS,
        throttle.SIGN_UP_LETTERS,
    )  # fmt: skip
    assert told == [(rule.most, rule.seconds) for rule in rules]
    assert f"a delay of {throttle.FIRST_DELAY:.0f} s that doubles up to {throttle.LONGEST_DELAY:.0f} s" in PAGE
    assert f"After {attempts.MOST_FAILURES} failures in a row" in PAGE


def test_its_lifetimes_are_the_defaults():
    rules = SessionRules()
    units = {"s": 1, "min": 60, "": 1}
    for _, setting, default in rows("Sessions"):
        number, unit = re.fullmatch(r"(\d+) ?(\w*)", default).groups()
        name = setting.strip("`").removeprefix("session.")
        assert (setting, float(getattr(rules, name))) == (setting, float(number) * units[unit])
