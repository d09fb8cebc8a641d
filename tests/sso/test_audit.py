"""The audit proves itself."""

import pytest
from sqlalchemy import delete, update

from sso import tables
from sso.audit import Caller, Verdict


def fill(world, count=6):
    for number in range(count):
        world.database.write(
            lambda c, n=number: world.sso.audit.record(c, "test", Caller(actor=f"usr_{n}", cid="x"), details={"n": n})
        )


def test_records_that_were_not_touched_are_good(world):
    fill(world)
    assert world.sso.audit.verify() == Verdict(6)
    assert world.sso.audit.verify(world.sso.audit.checkpoint()) == Verdict(6)


@pytest.mark.parametrize("damage", ["edit", "delete", "reorder", "truncate", "time", "head"])
def test_S46_whoever_edits_deletes_reorders_or_truncates_is_found_at_the_first_bad_record(world, damage):
    audit = tables.audit
    fill(world)
    statements = {
        "edit": [update(audit).where(audit.c.sequence == 3).values(reason="because")],
        "time": [update(audit).where(audit.c.sequence == 3).values(at=world.now.replace(hour=1))],
        "delete": [delete(audit).where(audit.c.sequence == 3)],
        "reorder": [
            update(audit).where(audit.c.sequence == 3).values(sequence=99),
            update(audit).where(audit.c.sequence == 4).values(sequence=3),
            update(audit).where(audit.c.sequence == 99).values(sequence=4),
        ],
        "truncate": [delete(audit).where(audit.c.sequence >= 3)],
        "head": [delete(audit).where(audit.c.sequence >= 3), delete(tables.audit_head)],
    }[damage]
    for statement in statements:
        world.database.write(lambda c, s=statement: c.execute(s))
    assert world.sso.audit.verify().bad == (3 if damage != "head" else 2)


def test_S46_a_checkpoint_kept_elsewhere_shows_that_the_end_and_the_head_were_turned_back(world):
    fill(world, 3)
    early = world.sso.audit.checkpoint()
    fill(world, 3)
    late = world.sso.audit.checkpoint()
    number, mac = early.split(".")
    world.database.write(lambda c: c.execute(delete(tables.audit).where(tables.audit.c.sequence > int(number))))
    world.database.write(lambda c: c.execute(update(tables.audit_head).values(sequence=int(number), mac=mac)))
    assert world.sso.audit.verify() == Verdict(3)
    assert world.sso.audit.verify(late).bad == 4


def test_a_checkpoint_from_before_the_first_record_holds_whatever_came_after(world):
    empty = world.sso.audit.checkpoint()
    assert world.sso.audit.verify(empty) == Verdict(0)
    fill(world, 2)
    assert world.sso.audit.verify(empty) == Verdict(2)
    assert world.sso.audit.holds(empty)


def test_a_checkpoint_holds_while_its_record_is_there_as_it_was(world):
    fill(world, 2)
    kept = world.sso.audit.checkpoint()
    fill(world, 2)
    assert world.sso.audit.holds(kept)
    world.database.write(lambda c: c.execute(delete(tables.audit).where(tables.audit.c.sequence == 2)))
    assert not world.sso.audit.holds(kept)


def test_S46_a_line_break_in_a_record_stays_in_one_record(world):
    caller = Caller(cid="a\r\nb", reason="for\nfun")
    world.database.write(lambda c: world.sso.audit.record(c, "test", caller, details={"x": "1\r\n2"}))
    assert [(r["cid"], r["details"]) for r in world.sso.audit.find()] == [("a\r\nb", {"x": "1\r\n2"})]
    assert world.sso.audit.verify() == Verdict(1)


def test_a_record_of_another_key_is_bad(world):
    fill(world, 2)
    world.database.write(
        lambda c: c.execute(update(tables.audit).where(tables.audit.c.sequence == 2).values(mac="0" * 64))
    )
    assert world.sso.audit.verify().bad == 2
