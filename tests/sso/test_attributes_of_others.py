"""What applications keep of people, as super-users see and change it by the API."""

import pytest

from backends.catalogue import Catalogue, deployed_from
from backends.executors.local import LocalExecutor
from backends.guard import Guard
from backends.platform import Platform
from specs.exchange import Call
from specs.problems import Problem
from sso import attributes_api


@pytest.fixture
def called(sqlite_world):
    """What calls a service as a user by name: status, and payload or code; people are made as they come."""
    world = sqlite_world
    world.ann = world.person("ann")
    world.person("boss", is_super_user=True)
    tokens = {name: world.log_in(name).token for name in ("ann", "boss")}
    executor = LocalExecutor(
        Catalogue(deployed_from(attributes_api)), Platform(sso=world.sso), Guard(enforce=False)
    )  # fmt: skip

    def call(who, name, /, **members):
        headers = {"authorization": f"Bearer {tokens[who]}"}
        given = {"id": world.ann.id, **members}
        try:
            outcome = executor.perform(
                Call(f"sso.users.attributes.{name}", payload=given, cid="c", headers=headers, address="192.0.2.1")
            )
        except Problem as problem:
            return problem.status, problem.code
        return outcome.status, outcome.payload

    call.world = world
    return call


def test_a_super_user_sets_lists_and_deletes_them(called):
    assert called("boss", "set", name="colour", value="blue")[0] == 204
    assert called("boss", "set", name="sizes", value={"shoe": 38}, encrypted=True)[0] == 204
    status, told = called("boss", "list")
    assert (status, [(one["name"], one["value"]) for one in told["items"]]) == (
        200, [("colour", "blue"), ("sizes", {"shoe": 38})],
    )  # fmt: skip
    assert called("boss", "delete", name="colour")[0] == 204
    assert called("boss", "delete", name="colour") == (404, "no-such-attribute")
    assert "user.read" in called.world.actions(target=called.world.ann.id)


def test_nobody_else_does(called):
    for name, members in (("list", {}), ("set", {"name": "a", "value": 1}), ("delete", {"name": "a"})):
        assert called("ann", name, **members) == (403, "super-user-required")


def test_what_cannot_be_is_refused(called):
    assert called("boss", "set", name="a", value=1, id="usr_nobody") == (404, "no-such-user")
    assert called("boss", "list", id="usr_nobody") == (404, "no-such-user")
    late = {"name": "a", "value": 1, "expires_at": "2027-01-01T00:00:00"}
    assert called("boss", "set", **late) == (422, "validation-failed")
