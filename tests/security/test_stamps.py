"""Stamps: what one process of a machine has changed, every other sees at once."""

import multiprocessing
import time

import pytest

from security.stamps import ALL, Stamps


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stamps"


def test_two_processes_share_a_file(path):
    here, there = Stamps(path), Stamps(path)
    place = here.place("ann")
    assert place == there.place("ann") != ALL
    began = here.clock()
    assert here.unchanged(place, began) == there.unchanged(place, began) is not None
    there.change("ann")
    assert here[place] == there[place] > 0
    assert here.unchanged(place, began) is None
    standing = here.unchanged(place, here.clock())
    assert standing == (place, here[place], here[ALL])
    assert (here.stands(standing), there.stands(standing)) == (True, True)
    there.change_all()
    assert here.unchanged(here.place("joe"), began) is None
    assert (here.stands(standing), there.stands(standing)) == (False, False)


def test_who_opens_later_finds_what_was_changed(path):
    first = Stamps(path)
    first.change("ann")
    stamp = first[first.place("ann")]
    first.close()
    assert Stamps(path)[Stamps(path).place("ann")] == stamp


def test_moments_of_before_the_machine_was_started_are_forgotten(path):
    before = Stamps(path, clock=lambda: time.monotonic_ns() + 10**18)
    before.change("ann")
    before.change_all()
    before.close()
    stamps = Stamps(path)
    place = stamps.place("ann")
    assert stamps.unchanged(place, stamps.clock()) == (place, 0, 0)


def test_each_has_its_own_where_there_is_no_file():
    one, other = Stamps(), Stamps()
    one.change("ann")
    assert other[other.place("ann")] == 0


def _change(path, times):
    stamps = Stamps(path)
    for _ in range(times):
        stamps.change("ann")


def test_a_stamp_never_goes_back_however_many_write(path):
    stamps = Stamps(path)
    place = stamps.place("ann")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_change, args=(path, 5000)) for _ in range(2)]
    for writer in writers:
        writer.start()
    seen = []
    while any(writer.is_alive() for writer in writers):
        seen.append(stamps[place])
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen == sorted(seen)
    assert stamps[place] >= seen[-1]
