"""Passwords that were used before do not come again, as far back as the settings say."""

import pytest
from people import OTHER, PASSWORD, refused
from sqlalchemy import func, select

from specs.problems import ConfigurationError
from sso import tables
from sso.settings import Sso

THIRD = "seven grey umbrellas"
FOURTH = "an orchard by the sea"


def change(world, current, new):
    session = world.log_in(password=current).session
    world.sso.accounts.change_password(session, current, new, world.caller())
    world.passes(minutes=1)


def remembered(world):
    return world.database.read(lambda c: c.execute(select(func.count()).select_from(tables.old_passwords)).scalar())


def test_Z19_the_last_ones_do_not_come_again_whichever_way_they_are_set(world):
    world.configure(password={"history": 2})
    ann = world.person()
    change(world, PASSWORD, OTHER)
    change(world, OTHER, THIRD)
    for old in (PASSWORD, OTHER):
        with refused("validation-failed") as caught:
            change(world, THIRD, old)
        assert caught.value.errors[0].code == "reused"
    with refused("validation-failed"):
        world.log_in(password=THIRD, new_password=OTHER)
    world.sso.accounts.forgot("ann", world.caller())
    [letter] = world.letters("password-reset")
    key = world.sso.accounts.verify_reset(letter.values["token"], world.caller()).reset_key
    for old in (THIRD, OTHER):
        with refused("validation-failed"):
            world.sso.accounts.reset(key, old, world.caller())
    world.sso.accounts.reset(key, FOURTH, world.caller())
    world.passes(minutes=1)
    assert remembered(world) == 2
    change(world, FOURTH, PASSWORD)
    world.sso.users.erase(ann.id, world.caller(actor="system"))
    assert remembered(world) == 0


def test_nothing_is_remembered_unless_the_settings_say_so(sqlite_world):
    world = sqlite_world
    world.configure(password={"history": 1})
    world.person()
    change(world, PASSWORD, OTHER)
    assert remembered(world) == 1
    world.configure()
    change(world, OTHER, PASSWORD)
    assert remembered(world) == 0
    change(world, PASSWORD, OTHER)


def test_former_passwords_move_under_another_key_with_the_others(sqlite_world):
    world = sqlite_world
    world.configure(password={"history": 3})
    world.person()
    change(world, PASSWORD, OTHER)
    old = world.keyring.ring("edge").active
    world.keyring.activate("edge", world.keyring.add_key("edge"))
    while world.database.write(lambda c: world.sso.keys.rewrap(c)):
        pass
    assert world.database.read(lambda c: world.sso.keys.under(c, old)) == 0
    world.keyring.retire("edge", old)
    world.configure(password={"history": 3})
    with refused("validation-failed"):
        change(world, OTHER, PASSWORD)


@pytest.mark.parametrize("history", [-1, 13])
def test_a_history_that_cannot_be_is_refused(history):
    with pytest.raises(ConfigurationError, match="write 5"):
        Sso.read({"password": {"history": history}})
