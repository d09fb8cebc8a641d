"""Access lines: what stands in them, what never does, and what happens when nobody takes them."""

import itertools
import json
import os

import gevent
import pytest

from gateway.journal import Journal, printable
from security.threads import give_way
from specs.exchange import Exchange, Identity
from specs.problems import Problem


def exchange(path="/a", query="", **headers):
    made = Exchange(
        "c1d", "GET", path, query, headers, started_ns=0, host="a.example", peer="10.0.0.1", target=f"{path}?{query}"
    )
    made.response_status = 200
    made.response_body = b"abc"
    return made


def lines(journal, place):
    journal.flush()
    return place.read_text().splitlines()


def test_a_line_tells_what_happened(tmp_path):
    journal = Journal(str(tmp_path / "log"), clock=lambda: 1_700_000_000.123)
    one = exchange(**{"user-agent": "curl/8"})
    one.identity = Identity("acme", "consumer")
    one.problem = Problem.of("quota-exceeded")
    one.response_status = 429
    journal.access(one, 1_234_567)
    assert json.loads(lines(journal, tmp_path / "log")[0]) == {
        "time": "2023-11-14T22:13:20.123Z", "cid": "c1d", "address": "10.0.0.1", "method": "GET", "path": "/a", "host": "a.example",
        "status": 429, "bytes": 3, "ms": 1.235, "channel": "", "identity": "acme", "code": "quota-exceeded", "agent": "curl/8",
    }  # fmt: skip


def test_text_lines(tmp_path):
    journal = Journal(str(tmp_path / "log"), "text", clock=lambda: 1_700_000_000.0)
    journal.access(exchange(**{"user-agent": 'a "b"'}), 1_000_000)
    assert lines(journal, tmp_path / "log") == [
        '2023-11-14T22:13:20.000Z 10.0.0.1 - "GET /a" 200 3 1.000ms - - c1d "a \'b\'"'
    ]


def test_A25_credentials_are_never_written(tmp_path):
    for style in ("json", "text"):
        journal = Journal(str(tmp_path / style), style)
        journal.access(exchange("/a", "token=SECRET", authorization="Basic SECRET", cookie="s=SECRET"), 1)
        refused = exchange("", "")
        refused.target = "GET /a?token=SECRET HTTP/1.1"
        journal.access(refused, 1)
        assert len(lines(journal, tmp_path / style)) == 2
        assert "SECRET" not in (tmp_path / style).read_text()


@pytest.mark.parametrize("style", ["json", "text"])
def test_A48_nothing_that_a_terminal_obeys_is_written(tmp_path, style):
    journal = Journal(str(tmp_path / "log"), style)
    evil = "\x1b[31m\r\n\x00\x7f\x9b2J\u202e\u2028"
    one = exchange(f"/{evil}", **{"user-agent": evil.encode().decode("latin-1")})
    one.identity = Identity(evil, "consumer")
    journal.access(one, 1)
    assert len(lines(journal, tmp_path / "log")) == 1
    assert (tmp_path / "log").read_text()[:-1].isprintable()


def test_long_words_are_cut():
    assert len(printable("a" * 100_000)) < 600


def test_lines_are_dropped_and_counted_when_nobody_takes_them(tmp_path):
    journal = Journal(str(tmp_path / "log"), most=10)
    for _ in range(25):
        journal.access(exchange(), 1)
    assert journal.dropped == 15
    assert len(lines(journal, tmp_path / "log")) == 10


def test_a_full_disk_costs_lines_and_nothing_else():
    journal = Journal("/dev/full")
    journal.access(exchange(), 1)
    journal.flush()
    assert journal.dropped == 1


def test_lines_are_written_soon_and_at_the_end(tmp_path):
    journal = Journal(str(tmp_path / "log"), interval=0.01)
    journal.start()
    journal.access(exchange("/soon"), 1)
    for _ in range(200):
        if (tmp_path / "log").stat().st_size:
            break
        gevent.sleep(0.01)
    assert '"/soon"' in (tmp_path / "log").read_text()
    journal.access(exchange("/last"), 1)
    journal.stop()
    assert '"/last"' in (tmp_path / "log").read_text()
    journal.access(exchange("/after"), 1)


def test_a_rotated_file_is_opened_again(tmp_path):
    journal = Journal(str(tmp_path / "log"))
    journal.access(exchange("/1"), 1)
    journal.flush()
    os.rename(tmp_path / "log", tmp_path / "log.1")
    journal.reopen()
    journal.access(exchange("/2"), 1)
    assert '"/2"' in lines(journal, tmp_path / "log")[0]
    assert len((tmp_path / "log.1").read_text().splitlines()) == 1


def test_no_place_is_no_log():
    journal = Journal("")
    journal.start()
    journal.access(exchange(), 1)
    journal.stop()
    assert journal.dropped == 0


def test_many_lines_are_all_there_and_whole(tmp_path):
    journal = Journal(str(tmp_path / "log"))
    for number in range(2000):
        journal.access(exchange(f"/{number}"), 1)
    assert [json.loads(line)["path"] for line in lines(journal, tmp_path / "log")] == [f"/{n}" for n in range(2000)]


def test_many_lines_do_not_hold_requests_up_and_keep_their_order(tmp_path):
    journal = Journal(str(tmp_path / "log"), interval=0.01)
    for number in range(2000):
        journal.access(exchange(f"/{number}"), 1)
    left = []

    def watch():
        while not left or left[-1]:
            left.append(len(journal._queue))
            give_way()  # as a socket that is ready comes to its turn

    journal.start()
    gevent.spawn(watch).join(30)
    journal.stop()
    steps = [before - after for before, after in itertools.pairwise(left)]
    assert 0 < max(steps) <= 200
    paths = [json.loads(line)["path"] for line in (tmp_path / "log").read_text().splitlines()]
    assert paths == [f"/{number}" for number in range(2000)]
