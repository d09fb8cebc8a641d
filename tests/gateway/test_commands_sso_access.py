"""`gatewright sso`, how people get in and what belongs to them: sessions from the shell, who waits, links, attributes."""

import pytest
from people import OTHER, PASSWORD
from shell import Shell, memory

from specs.problems import Problem


@pytest.fixture(scope="module")
def shell():
    with memory() as folder:
        shell = Shell(folder, 1)
        for name in ("ann", "bob"):
            mail = ("--email", f"{name}@example.org", "--no-must-change", "--password-stdin")
            shell("create-user", name, *mail, stdin=PASSWORD)
        yield shell


def guess(shell, name, times):
    for _ in range(times):
        with pytest.raises(Problem):
            shell.log_in(name, OTHER)


def test_a_session_is_opened_from_the_shell_audited_and_of_level_one(shell):
    token = shell("login", "ann", "--app", "batch", "--reason", "ticket 7").strip()
    found = shell.people(lambda sso: sso.sessions.look_up(token))
    assert (found.username, found.app, found.level, found.methods) == ("ann", "batch", 1, ("command",))
    [record] = [one for one in shell.json("audit", "list") if one["action"] == "login.command"]
    assert (record["actor"], record["target"], record["app"]) == ("system", found.user_id, "batch")
    assert record["reason"].startswith("ticket 7 (command of ")
    assert token not in str(shell.json("audit", "list"))
    shell("lock", "bob")
    assert "locked" in shell("login", "bob", expected=1)
    shell("unlock", "bob")
    assert "nobody logs in through this application" in shell("login", "ann", "--app", "nowhere", expected=1)
    shell("sessions", "revoke", "ann")


def test_who_has_to_wait_is_listed_and_let_in_again(shell):
    assert shell.json("blocked") == []
    guess(shell, "ann", 5)
    [blocked] = shell.json("blocked")
    assert (blocked["who"], blocked["what"]) == ("", "wrong passwords from one address")
    assert 0 < blocked["seconds"] <= 300
    assert "an address  wrong passwords from one address" in shell("blocked")
    # Ten failures: the account itself has to wait, and is named.
    shell("unblock", "ann", "--address", "")
    shell.people(lambda sso: [count(sso, shell) for _ in range(10)])
    assert ("ann", "wrong passwords") in {(one["who"], one["what"]) for one in shell.json("blocked")}
    assert shell("unblock", "ann") == "ann need not wait\n"
    assert "ann" not in {one["who"] for one in shell.json("blocked")}
    assert shell("unblock", "--everybody", "--yes") == "nobody need wait\n"
    assert shell.json("blocked") == []
    assert shell.log_in("ann", PASSWORD).session.username == "ann"


def count(sso, shell):
    from sso.throttle import FAILED_AT_ACCOUNT

    row = sso.database.read(lambda connection: sso.users.by_identifier(connection, "ann"))
    sso.database.write(lambda connection: sso.throttle.count(connection, [(FAILED_AT_ACCOUNT, f"id {row.id}")]))


def test_an_address_is_let_in_again(shell):
    def fill(sso):
        from sso.throttle import FAILED_AT_ADDRESS, place_of

        charge = [(FAILED_AT_ADDRESS, place_of("192.0.2.7"))]
        for _ in range(10):
            sso.database.write(lambda connection: sso.throttle.count(connection, charge))

    shell.people(fill)
    assert [(one["who"], one["what"]) for one in shell.json("blocked")] == [("", "failed log-ins")]
    assert shell("unblock", "--address", "192.0.2.8") == "192.0.2.8 need not wait\n"
    assert len(shell.json("blocked")) == 1
    shell("unblock", "--address", "192.0.2.7")
    assert shell.json("blocked") == []
    assert "name somebody" in shell("unblock", expected=2)
    assert "name somebody" in shell("unblock", "ann", "--everybody", expected=2)
    assert "say --yes" in shell("unblock", "--everybody", expected=2)


def test_credentials_of_other_definitions_are_linked_and_taken_away(shell):
    link = shell("links", "add", "ann", "partners", "acme", "--second-factor", "service-account").strip()
    [listed] = shell.json("links", "list", "ann")
    assert (listed["id"], listed["definition"], listed["principal"]) == (link, "partners", "acme")
    assert listed["second_factor"] == "service-account"
    assert f"{link}  partners  acme  service-account" in shell("links", "list", "ann")
    assert "already" in shell("links", "add", "bob", "partners", "acme", expected=1)
    assert shell("links", "remove", "ann", link) == f"{link} is none of ann any more\n"
    assert shell.json("links", "list", "ann") == []
    assert "no" in shell("links", "remove", "ann", link, expected=1)


def test_what_applications_keep_is_set_listed_and_deleted(shell):
    shell("attributes", "set", "ann", "colour", "blue")
    shell("attributes", "set", "ann", "sizes", '{"shoe": 38}', "--encrypted", "--days", "3")
    shell("attributes", "set", "ann", "note", "-", stdin="long text")
    listed = {one["name"]: one for one in shell.json("attributes", "list", "ann")}
    assert {name: one["value"] for name, one in listed.items()} == {
        "colour": "blue", "sizes": {"shoe": 38}, "note": "long text",
    }  # fmt: skip
    assert (listed["sizes"]["encrypted"], listed["colour"]["expires_at"]) == (True, None)
    assert 'sizes   {"shoe":38}  encrypted  until 20' in shell("attributes", "list", "ann")
    assert shell("attributes", "delete", "ann", "colour") == "deleted: colour of ann\n"
    assert "no such attribute" in shell("attributes", "delete", "ann", "colour", expected=1)


def test_every_verb_that_changes_something_says_why(shell):
    shell("attributes", "set", "bob", "a", "1", "--reason", "ticket 9")
    shell("links", "add", "bob", "partners", "b", "--reason", "ticket 9")
    reasons = [one["reason"] for one in shell.json("audit", "list", "--limit", "1000")]
    assert len([one for one in reasons if one.startswith("ticket 9 (command of ")]) == 2
