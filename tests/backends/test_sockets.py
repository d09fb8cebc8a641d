"""A socket that waits on gevent's hub: what is said when nobody asks, waits that end, and those that are given up."""

import socket
import time

import gevent
import pytest
from gevent import get_hub

from backends.sockets import Cooperative


@pytest.fixture
def ends():
    """A cooperative socket, and the other end of it."""
    ours, theirs = socket.socketpair()
    link = Cooperative(ours)
    yield link, theirs
    link.close()
    theirs.close()


def said_later(theirs, octets, seconds=0.02):
    return gevent.spawn_later(seconds, theirs.sendall, octets)


def test_what_is_said_is_heard_again_and_again(ends):
    link, theirs = ends
    for octets in (b"one", b"two", b"six"):
        said_later(theirs, octets)
        assert link.receive(100, 5, at_once=False) == octets
        assert link.silent()
    theirs.sendall(b"now")
    assert link.receive(100, 5, at_once=False) == b"now"


def test_A6_what_is_said_when_nobody_asks_is_noticed_and_does_not_keep_the_loop_busy(ends):
    link, theirs = ends
    said_later(theirs, b"asked for")
    link.receive(100, 5, at_once=False)
    theirs.sendall(b"not asked for")
    assert not link.silent()  # at once, with no turn of the loop between
    assert link.talks()
    turns = []
    check = get_hub().loop.check()
    check.start(lambda: turns.append(1))
    gevent.sleep(0.1)
    check.stop()
    check.close()
    assert len(turns) < 50
    assert not link.silent()
    assert link.receive(100, 5, at_once=False) == b"not asked for"
    theirs.close()
    assert link.talks()
    assert not link.silent()
    assert link.receive(100, 5, at_once=False) == b""


def test_each_wait_has_its_own_end_however_long_others_were(ends):
    link, theirs = ends
    said_later(theirs, b"x")
    link.receive(100, 30, at_once=False)  # leaves an alarm behind that rings in half a minute
    for seconds in (0.05, 0.1, 0.02):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            link.receive(100, seconds, at_once=False)
        assert time.monotonic() - began > seconds - 0.01
    said_later(theirs, b"y", 0.05)
    assert link.receive(100, 5, at_once=False) == b"y"


def test_an_alarm_of_a_wait_that_is_over_ends_no_other(ends):
    link, theirs = ends
    said_later(theirs, b"x", 0.01)
    link.receive(100, 0.1, at_once=False)  # its alarm rings in the middle of the next wait
    said_later(theirs, b"y", 0.3)
    assert link.receive(100, 5, at_once=False) == b"y"


def test_A7_a_wait_that_was_given_up_takes_nothing_and_wakes_nobody(ends):
    link, theirs = ends
    heard = []
    waiting = gevent.spawn(lambda: heard.append(link.receive(100, 5, at_once=False)))
    gevent.sleep(0.01)
    waiting.kill()
    theirs.sendall(b"late")
    gevent.sleep(0.05)
    assert heard == []
    assert not link.silent()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        gevent.sleep(5)  # nothing that was left behind wakes this greenlet


def test_what_cannot_be_sent_is_waited_for_and_an_early_answer_keeps_the_loop_idle(ends):
    link, theirs = ends
    said_later(theirs, b"x")
    link.receive(100, 5, at_once=False)
    theirs.sendall(b"refused")  # before it has read
    began = time.process_time()
    with pytest.raises(TimeoutError):
        link.send(b"x" * (8 << 20), 0.3)
    assert time.process_time() - began < 0.25
    received = []

    def read():
        theirs.setblocking(False)
        while sum(map(len, received)) < 1 << 20:
            try:
                received.append(theirs.recv(1 << 16))
            except BlockingIOError:
                gevent.sleep(0.001)

    reading = gevent.spawn(read)
    link.send(b"y" * (1 << 18), 5)
    reading.kill()


def test_a_closed_one_says_so(ends):
    link, _ = ends
    link.close()
    with pytest.raises(OSError, match="closed"):
        link.receive(1, 1, at_once=False)
    link.close()
