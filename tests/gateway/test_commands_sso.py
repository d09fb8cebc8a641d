"""`gatewright sso`, verb by verb, on an installation that nobody serves; secrets come from standard input alone."""

import json
import re

import pytest
from mail_sink import mail_sink
from people import OTHER, PASSWORD
from program import invoke
from shell import Shell, memory
from sqlalchemy import delete, update

from gateway.anchor import Anchor, read_anchor
from sso import tables
from sso.settings import Sso
from sso.system import Caller

HASH = "$pbkdf2-sha256$1000$c2FsdHNhbHQ$jQ..."


@pytest.fixture(scope="module")
def sink():
    with mail_sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def shell(sink):
    with memory() as folder:
        yield Shell(folder, sink.port)


@pytest.fixture(scope="module")
def ann(shell):
    options = ("--display-name", "Ann Example", "--role", "clerk", "--language", "de", "--no-must-change")
    made = shell(
        "create-user", "ann", "--email", "ann@example.org", *options, "--password-stdin", stdin=PASSWORD + "\n"
    )
    return made.strip()


def test_a_user_is_made_listed_found_and_shown(shell, ann):
    assert ann.startswith("usr_")
    for found in (
        shell.json("list"), shell.json("search", "--username", "AN", "--prefix"),
        shell.json("search", "--email", "Ann@Example.org"), shell.json("list", "--state", "active"),
        shell.json("search", "--username", "nobody", "--display-name", "ann example", "--either"),
    ):  # fmt: skip
        assert [user["id"] for user in found if user["username"] == "ann"] == [ann]
    assert shell.json("search", "--username", "nobody") == []
    for word in ("ann", "ANN@example.org", ann):
        shown = shell.json("show", word)
        assert (shown["display_name"], shown["roles"], shown["language"]) == ("Ann Example", ["clerk"], "de")
    assert re.search(r"^email +ann@example.org$", shell("show", "ann"), re.MULTILINE)
    assert "ann@example.org  active  clerk" in shell("list")
    assert shell.log_in("ann", PASSWORD).session.username == "ann"
    assert "there is no user 'nobody'" in shell("show", "nobody", expected=1)
    assert "say what to search for" in shell("search", expected=2)


def test_a_super_user_is_made_and_the_last_one_is_kept(shell):
    shell("create-super-user", "root-ann", "--email", "root@example.org", "--password-stdin", stdin=PASSWORD)
    assert shell.json("show", "root-ann")["is_super_user"] is True
    assert "there has to be a super-user" in shell("lock", "root-ann", expected=1)
    assert "there has to be a super-user" in shell("change", "root-ann", "--no-super-user", expected=1)


def test_a_password_is_never_a_word_of_the_command_line(shell):
    create = ("create-user", "eve", "--email", "eve@example.org")
    assert "give the password by --password-stdin" in shell(*create, expected=2)
    assert "No such option" in shell(*create, "--password", PASSWORD, expected=2)
    refused = shell(*create, "--password-stdin", stdin="short\n", expected=1)
    assert refused == "gatewright: password: a password has 15 characters at least\n"
    assert "taken" in shell(
        "create-user", "ann", "--email", "x@example.org", "--password-stdin", stdin=OTHER, expected=1
    )


def test_who_is_invited_gets_a_letter_and_sets_a_password(shell, sink):
    shell("create-user", "ina", "--email", "ina@example.org", "--invite")
    letters = shell.people(lambda sso: sso.database.read(lambda c: sso.outbox.due(c, 100)))
    [token] = [one.values["token"] for one in letters if one.address == "ina@example.org"]

    def accept(sso):
        key = sso.accounts.verify_reset(token, Caller(app="crm")).reset_key
        sso.accounts.reset(key, OTHER, Caller(app="crm"))

    shell.people(accept)
    assert shell.log_in("ina", OTHER).session.username == "ina"


def test_what_is_decided_is_done_at_once(shell):
    def sign_up(sso):
        row = sso.users.prepare(new("uma"), "unapproved", Caller())
        sso.database.write(lambda c: c.execute(tables.users.insert().values(row)))
        row = sso.users.prepare(new("rex"), "unapproved", Caller())
        sso.database.write(lambda c: c.execute(tables.users.insert().values(row)))

    shell.people(sign_up)
    assert {user["username"] for user in shell.json("list", "--state", "unapproved")} == {"uma", "rex"}
    assert shell("approve", "uma", "--reason", "known to us") == "uma is active\n"
    assert shell("reject", "rex") == "rex is rejected\n"
    assert "an account that is active cannot be approved" in shell("approve", "uma", expected=1)
    token = shell.log_in("uma", PASSWORD).token
    assert len(shell.json("sessions", "list", "uma")) == 1
    assert shell("lock", "uma") == "uma is locked\n"
    assert not alive_at(shell, token)
    assert shell.json("sessions", "list", "uma") == []
    assert shell("unlock", "uma") == "uma is active\n"
    [record] = shell.json("audit", "list", "--action", "user.approve")
    assert record["actor"] == "system"
    assert record["reason"].startswith("known to us (command of ")


def new(name):
    from sso.users import NewUser

    return NewUser(name, f"{name}@example.org", PASSWORD)


def alive(sso, token):
    from specs.problems import Problem

    try:
        return bool(sso.sessions.check(token, Caller(app="crm")))
    except Problem:
        return False


def alive_at(shell, token):
    return shell.people(lambda sso: alive(sso, token))


def test_sessions_are_listed_and_ended(shell, ann):
    tokens = [shell.log_in("ann", PASSWORD).token for _ in range(2)]
    listed = shell.json("sessions", "list", "ann")
    assert "token" not in listed[0]
    shell("sessions", "revoke", "ann", listed[0]["id"])
    assert [alive_at(shell, token) for token in tokens].count(True) == 1
    assert shell("sessions", "revoke", "ann") == "every session of ann has ended\n"
    assert [alive_at(shell, token) for token in tokens] == [False, False]
    token = shell.log_in("ann", PASSWORD).token
    assert "say --yes" in shell("sessions", "revoke", "--everybody", expected=2)
    shell("sessions", "revoke", "--everybody", "--yes")
    assert not alive_at(shell, token)
    for words in ((), ("ann", "--everybody")):
        assert "name somebody, or say --everybody" in shell("sessions", "revoke", *words, expected=2)
    assert shell("sessions", "revoke", "ann", "ses_nothing", expected=1)


def test_a_person_is_changed(shell, ann):
    shell("change", "ann", "--role", "boss", "--role", "clerk", "--address", "192.0.2.0/24", "--language", "en")
    shown = shell.json("show", "ann")
    assert (shown["roles"], shown["addresses"], shown["language"]) == (["boss", "clerk"], ["192.0.2.0/24"], "en")
    shell("change", "ann", "--role", "", "--address", "")
    assert (shell.json("show", "ann")["roles"], shell.json("show", "ann")["addresses"]) == ([], [])
    assert "addresses" in shell("change", "ann", "--address", "nowhere", expected=1)
    assert "say what to change" in shell("change", "ann", expected=2)


def test_passwords_are_reset_by_letter_or_replaced_for_one_login(shell):
    shell("create-user", "bea", "--email", "bea@example.org", "--password-stdin", "--no-must-change", stdin=PASSWORD)
    shell("reset-password", "bea")
    waiting = shell.json("mail", "list")
    assert "password-reset" in [one["kind"] for one in waiting]
    assert "bea@example.org" not in json.dumps(waiting)
    shell("change-password", "bea", "--password-stdin", stdin=OTHER)
    from specs.problems import Problem

    with pytest.raises(Problem) as refused:
        shell.log_in("bea", OTHER)
    assert refused.value.code == "password-change-required"
    assert "has no second factor" in shell("reset-totp", "bea")
    assert shell("unblock", "bea") == "bea need not wait\n"


def test_a_person_is_deleted_for_good(shell):
    shell("create-user", "dan", "--email", "dan@example.org", "--password-stdin", stdin=PASSWORD)
    assert "say --yes" in shell("delete", "dan", expected=2)
    assert shell("delete", "dan", "--yes") == "deleted: dan\n"
    assert "there is no user" in shell("show", "dan", expected=1)


def test_people_of_another_system_are_taken_over_with_their_hashes(shell, tmp_path):
    from passlib.hash import django_pbkdf2_sha256, pbkdf2_sha256

    one, two = pbkdf2_sha256.using(rounds=1000).hash(PASSWORD), django_pbkdf2_sha256.using(rounds=1000).hash(OTHER)
    lines = [
        {"username": "imp1", "email": "imp1@example.org", "password_hash": one, "roles": ["a", "b"]},
        {"username": "imp2", "email": "imp2@example.org", "password_hash": "$md5$nothing"},
        {"username": "imp3", "email": "no address"},
        {"username": "imp4", "email": "imp4@example.org", "shoe_size": 44},
        {"email": "imp5@example.org"},
    ]
    file = tmp_path / "people.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    dry = invoke(["sso", "import", str(file), "--dry-run", "--data", str(shell.data)])
    assert (dry.exit_code, dry.stdout) == (1, "1 could be taken over, 4 refused\n")
    assert dry.stderr.splitlines()[0].split(": ")[1:3] == ["line 2", "password_hash"]
    assert "there is no user" in shell("show", "imp1", expected=1)
    shell("import", file, expected=1)
    assert shell.json("show", "imp1")["roles"] == ["a", "b"]
    assert shell.log_in("imp1", PASSWORD).session.username == "imp1"
    table = tmp_path / "people.csv"
    table.write_text(f"username,email,password_hash,roles,must_change\nimp6,imp6@example.org,{two},a b,no\n")
    assert shell("import", table) == "1 were taken over, 0 refused\n"
    assert shell.log_in("imp6", OTHER).user.roles == ("a", "b")
    assert "line 2: this user name or address is taken" in shell("import", table, expected=1)
    assert "1 were there already" in shell("import", table, "--skip-existing")
    for content, said in (("{", "not JSON"), ("[1]", "no object"), ("", None)):
        file.write_text(content)
        got = shell("import", file, expected=1 if said else 0)
        assert said is None or said in got
    assert "no such file" in shell("import", tmp_path / "nothing", expected=1)


def test_what_is_exported_is_taken_over_by_another_installation(shell, ann, tmp_path, sink):
    file = tmp_path / "all.jsonl"
    shell("export", "--file", file, "--with-hashes")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "file exists" in shell("export", "--file", file, expected=1)
    assert "password_hash" not in shell("export")
    with memory() as folder:
        other = Shell(folder, sink.port)
        other("import", file, "--skip-existing")
        assert other.log_in("ann", PASSWORD).session.username == "ann"
    mine = json.loads(shell("export", "ann"))
    assert (mine["profile"]["email"], "password" in json.dumps(mine["profile"])) == ("ann@example.org", True)
    assert "$pbkdf2" not in json.dumps(mine)
    assert shell("export", "ann", "--with-hashes", expected=2)
    assert "user.export-all" in [one["action"] for one in shell.json("audit", "list", "--action", "user.export-all")]


def test_applications_are_listed_and_get_credentials(shell, tmp_path):
    assert [one["app"] for one in shell.json("apps", "list")] == ["crm", "batch"]
    assert "signup login" in shell("apps", "list")
    assert shell("apps", "add-credential", "batch", "--name", "night").startswith("gwa_")
    file = tmp_path / "credential"
    shell("apps", "add-credential", "batch", "--file", file)
    assert (file.read_text()[:4], file.stat().st_mode & 0o777) == ("gwa_", 0o600)
    assert "is there already" in shell("apps", "add-credential", "batch", "--file", file, expected=1)
    [held] = [one["credentials"] for one in shell.json("apps", "list") if one["app"] == "batch"]
    assert (len(held), "gwa_" in json.dumps(held)) == (2, False)
    shell("apps", "remove-credential", "batch", held[0]["id"])
    assert shell("apps", "add-credential", "unknown", expected=1)


def test_letters_are_tried_and_looked_at(shell, sink):
    assert "taken the message" in shell("mail", "test", "op@example.org", "--language", "de")
    assert sink.messages[-1]["Subject"] == "Eine Nachricht von Acme"
    sink.answers.append("550 5.7.1 not from you")
    assert "550 5.7.1" in shell("mail", "test", "op@example.org", expected=1)
    assert "confirm" in shell("mail", "show").split()
    assert shell("mail", "show", "confirm").startswith("Subject: Confirm your address for Acme\n\n")
    assert "https://acme.example/sso/signup/confirm?token=" in shell("mail", "show", "confirm", "--language", "de")
    assert shell("mail", "show", "confirm", "--html").startswith("<!doctype html>")
    assert "no letter of the kind" in shell("mail", "show", "nothing", expected=1)

    def give_up(sso):
        [first, *_] = sso.database.read(lambda c: sso.outbox.due_ids(c))
        sso.database.write(lambda c: sso.outbox.give_up(c, first, "550"))
        return first

    first = shell.people(give_up)
    assert [(one["id"], one["error"]) for one in shell.json("mail", "list", "--given-up")] == [(first, "550")]
    assert "550" in shell("mail", "list", "--given-up")
    assert shell("mail", "retry", first) == "1 are tried again\n"
    assert shell("mail", "retry") == "0 are tried again\n"
    shell.people(give_up)
    assert "say --yes" in shell("mail", "drop", expected=2)
    assert shell("mail", "drop", "--yes") == "1 are forgotten\n"


def test_without_a_connection_for_mail_that_is_said(tmp_path):
    done = invoke(["sso", "mail", "test", "op@example.org", "--data", str(tmp_path / "var")])
    assert (done.exit_code, "see sso.mail" in done.stderr) == (1, True)


def test_rounds_are_measured(shell):
    done = invoke(["sso", "hash-calibrate", "--target", "5000"])
    assert int(done.stdout.removeprefix("rounds: ")) >= 210_000


# The audit


@pytest.fixture
def audited(sink):
    with memory() as folder:
        shell = Shell(folder, sink.port)

        def record(sso):
            for name in ("ann", "bea", "cyd"):
                sso.database.write(lambda c, name=name: sso.audit.record(c, "test", Caller(), target=name))
            Anchor(shell.data).keep(sso)

        shell.people(record)
        yield shell


def test_S46_what_was_not_touched_is_good(audited):
    verdict = audited.json("audit", "verify")
    assert (verdict["good"], verdict["checked"], verdict["bad"]) == (True, 3, None)
    assert verdict["compared_with"] == read_anchor(audited.data) == audited("audit", "checkpoint").strip()
    assert "3 records are as they were written" in audited("audit", "verify")
    assert [one["sequence"] for one in audited.json("audit", "list", "--after", "1", "--limit", "1")] == [2]


@pytest.mark.parametrize(
    ("damage", "bad"), [("change", 2), ("delete", 2), ("reorder", 1), ("truncate", 3), ("turned-back", 3)]
)
def test_S46_the_first_bad_record_is_named(audited, damage, bad):
    audit = tables.audit

    def harm(sso):
        rows = sso.database.read(lambda c: c.execute(audit.select().order_by(audit.c.sequence)).all())
        statements = {
            "change": [update(audit).where(audit.c.sequence == 2).values(actor="usr_somebody")],
            "delete": [delete(audit).where(audit.c.sequence == 2)],
            "reorder": [
                update(audit).where(audit.c.sequence == 1).values(sequence=99),
                update(audit).where(audit.c.sequence == 2).values(sequence=1),
                update(audit).where(audit.c.sequence == 99).values(sequence=2),
            ],
            "truncate": [delete(audit).where(audit.c.sequence == 3)],
            "turned-back": [
                delete(audit).where(audit.c.sequence == 3),
                update(tables.audit_head).values(sequence=2, mac=rows[1].mac),
            ],
        }[damage]
        for statement in statements:
            sso.database.write(lambda c, s=statement: c.execute(s))

    audited.people(harm)
    assert f"gatewright: record {bad}: " in audited("audit", "verify", expected=1)
    done = invoke(["sso", "audit", "verify", "--json", "--data", str(audited.data)])
    assert (done.exit_code, json.loads(done.stdout)["bad"]) == (1, bad)


def test_S46_the_anchor_is_not_turned_back_with_the_end(audited, caplog):
    kept = read_anchor(audited.data)

    def cut(sso):
        audit = tables.audit
        mac = sso.database.read(lambda c: c.execute(audit.select().where(audit.c.sequence == 1)).one().mac)
        sso.database.write(lambda c: c.execute(delete(audit).where(audit.c.sequence > 1)))
        sso.database.write(lambda c: c.execute(update(tables.audit_head).values(sequence=1, mac=mac)))
        assert sso.audit.verify().bad is None  # the chain alone does not tell
        for _ in range(3):
            sso.database.write(lambda c: sso.audit.record(c, "cover.up", Caller()))
        return Anchor(audited.data).keep(sso)

    assert audited.people(cut) is False
    assert read_anchor(audited.data) == kept
    assert "does not hold the record that it ended with" in caplog.text
    assert "gatewright: record 3: " in audited("audit", "verify", expected=1)


def test_the_anchor_follows_the_end_and_is_said_in_the_log_once_a_day(audited, caplog):
    caplog.set_level("INFO", "gatewright.audit")
    anchor = Anchor(audited.data)
    (audited.data / "audit-anchor").write_text("nonsense\n")

    def grow(sso):
        said = []
        for _ in range(3):
            sso.database.write(lambda c: sso.audit.record(c, "test", Caller()))
            said.append((anchor.keep(sso), anchor.keep(sso)))
        return said

    assert audited.people(grow) == [(True, False)] * 3
    assert read_anchor(audited.data).startswith("6.")
    assert (audited.data / "audit-anchor").stat().st_mode & 0o777 == 0o600
    assert caplog.text.count("the audit ends with") == 1
    assert anchor.keep(None) is False


def test_people_are_kept_by_the_usual_settings_where_the_document_says_nothing(tmp_path):
    data = tmp_path / "var"
    done = invoke(
        ["sso", "create-super-user", "first", "--email", "f@example.org", "--password-stdin", "--data", str(data)],
        input=PASSWORD,
    )  # fmt: skip
    assert (done.exit_code, done.stdout[:4]) == (0, "usr_"), done.output
    assert Sso.read({}).session.max_per_user == 20
