"""Links that people make themselves: with proof of the credential, of definitions that are meant for it, and slowly."""

import pytest
from people import refused

from sso.throttle import FAILED_CODES

KNOWN = {
    ("partners", "acme", "secret"): "acme",
    ("partners", "other", "secret"): "other",
    ("shared", "key", ""): "shared",
}


def prove(definition, credential, caller):
    return KNOWN.get((definition, credential.get("username", "key"), credential.get("password", "")))


@pytest.fixture
def world(world):
    world.configure(own_links=["partners"])
    world.sso.links.prove = prove
    return world


def link(world, user, definition="partners", username="acme", password="secret"):
    credential = {"username": username, "password": password}
    return world.sso.links.add_proven(user.id, definition, credential, world.caller(actor=user.id))


def test_who_proves_a_credential_links_it_once(world):
    ann, bob = world.person(), world.person("bob")
    made = link(world, ann)
    assert (made.definition, made.principal, made.second_factor) == ("partners", "acme", "required")
    assert world.sso.links.identity_of("partners", "acme").user == ann.id
    with refused("already-linked"):
        link(world, bob)
    world.sso.links.remove(ann.id, made.id, world.caller())
    assert link(world, bob).principal == "acme"
    assert "link.add" in world.actions(target=bob.id)


def test_S35_a_link_of_ones_own_is_no_way_around_a_second_factor(world):
    ann = world.person()
    link(world, ann)
    world.enrol()
    with refused("mfa-required"):
        world.sso.links.identity_of("partners", "acme")


def test_what_is_not_proven_or_not_meant_for_it_is_not_linked(world):
    ann = world.person()
    with refused("invalid-credentials"):
        link(world, ann, password="wrong")
    with refused("not-linkable"):
        link(world, ann, "shared", "key", "")
    with refused("not-linkable"):
        link(world, ann, "nothing")
    world.configure(own_links=["partners"])
    with refused("not-implemented"):
        link(world, ann)
    assert world.sso.links.all(ann.id) == []


def test_it_is_no_place_to_guess_passwords_of_others(world):
    ann = world.person()
    for _ in range(FAILED_CODES.most):
        with refused("invalid-credentials"):
            link(world, ann, password="wrong")
    with refused("too-many-attempts"):
        link(world, ann)
    world.passes(minutes=16)
    assert link(world, ann).principal == "acme"
