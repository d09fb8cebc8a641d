"""Letters are sent to a real server: each once, in its time, and what cannot be sent is kept to be looked at."""

import re
from pathlib import Path

import pytest
from mail_sink import mail_sink
from sqlalchemy import select, update

from backends.connectors.smtp import Connector
from backends.leases import Lease, LeaseLost, leases
from sso import expiry, tables
from sso.mail import Postman, links_of, sample_values
from sso.mail_templates import LANGUAGES, Templates
from sso.settings import Mail

SENDER = "Acme <no-reply@acme.example>"
PAGES = "https://acme.example/sso"


def postman(world, sink, *, templates=None, connect=None, **settings):
    mail = Mail.read({"connection": "outbox", "from": SENDER, **settings})
    given = {"host": "127.0.0.1", "port": sink.port, "tls": "none", "timeout": "30s"}
    connector = Connector("outbox", Connector.Settings.read(given))
    return Postman(
        world.sso.database, world.sso.outbox, mail, templates or Templates(None, links_of(mail, PAGES)),
        connect or connector.connected, lambda: world.now,
    )  # fmt: skip


def post(world, kind="welcome", address="ann@example.org", language="en", **values):
    filled = {"site_name": "Acme", "username": "ann", **values}
    world.database.write(lambda c: world.sso.outbox.post(c, kind, "usr_1", address, language, filled))


def envelopes(world, **which):
    return world.database.read(lambda c: world.sso.outbox.envelopes(c, **which))


def test_a_letter_is_sent_once_in_the_language_of_its_reader(world):
    post(world, "confirm", language="de-AT", token="gwt_a-b_c")
    with mail_sink() as sink:
        man = postman(world, sink)
        assert (man.deliver(), man.deliver()) == (1, 0)
    [got] = sink.messages
    assert (got["Subject"], got["To"], got["From"]) == (
        "Bestätigen Sie Ihre Adresse für Acme", "ann@example.org", SENDER,
    )  # fmt: skip
    assert (got["Auto-Submitted"], got.envelope[0]) == ("auto-generated", "no-reply@acme.example")
    for kind in ("plain", "html"):
        assert "https://acme.example/sso/signup/confirm?token=gwt_a-b_c" in got.get_body((kind,)).get_content()
    assert envelopes(world) == []


def test_a_letter_that_is_not_taken_now_is_tried_again_ever_later_until_it_is(sqlite_world):
    world = sqlite_world
    post(world)
    with mail_sink() as sink:
        sink.answers += ["451 4.3.0 ann@example.org", "RCPT 450 4.2.1", "452 full"]
        man = postman(world, sink)
        for seconds in (30, 60, 120):
            assert man.deliver() == 0
            [waiting] = envelopes(world)
            assert (waiting.due_at - world.now).total_seconds() == seconds
            world.passes(seconds=seconds - 1)
            assert (man.deliver(), sink.messages) == (0, [])
            world.passes(seconds=1)
        assert (waiting.tries, waiting.error) == (3, "452")
        assert man.deliver() == 1
    assert (len(sink.messages), envelopes(world)) == (1, [])


def test_a_letter_that_is_never_taken_is_given_up_in_the_end_and_can_be_tried_anew(sqlite_world):
    world = sqlite_world
    post(world)
    with mail_sink() as sink:
        man = postman(world, sink, give_up_after="3h")
        rounds = 0
        while envelopes(world):
            sink.answers.append("451 4.3.0 later")
            man.deliver()
            world.passes(minutes=30)
            rounds += 1
        assert 4 <= rounds <= 8
        [dead] = envelopes(world, given_up=True)
        assert (dead.error, man.deliver()) == ("451 4.3.0", 0)
        sink.answers.clear()
        assert world.database.write(lambda c: world.sso.outbox.try_again(c, dead.id)) == 1
        assert man.deliver() == 1
    assert world.database.read(world.sso.outbox.counts) == (0, 0)


def test_a_letter_that_is_refused_is_given_up_at_once_and_the_next_is_sent(sqlite_world, caplog):
    world = sqlite_world
    post(world, address="gone@example.org")
    world.passes(seconds=1)
    post(world)
    with mail_sink() as sink:
        sink.answers.append("550 5.1.1 <gone@example.org> unknown here")
        assert postman(world, sink).deliver() == 1
    [dead] = envelopes(world, given_up=True)
    assert (dead.error, dead.kind, dead.user_id) == ("550 5.1.1", "welcome", "usr_1")
    assert "gone@example.org" not in caplog.text  # S29
    assert world.database.write(lambda c: world.sso.outbox.drop(c)) == 1


def test_a_server_that_is_down_holds_letters_up_and_counts_against_none(sqlite_world):
    world = sqlite_world
    post(world)
    with mail_sink() as sink:
        pass
    man = postman(world, sink)
    for seconds in (1, 2, 4, 8):
        assert man.deliver() == 0
        world.passes(seconds=seconds)
    assert [(one.tries, one.error) for one in envelopes(world)] == [(0, None)]
    with mail_sink(sink=sink):
        assert man.deliver() == 1
        post(world)
        assert man.deliver() == 1
    assert len(sink.messages) == 2


def test_a_server_that_goes_away_in_the_middle_gets_the_rest_later(sqlite_world):
    world = sqlite_world
    for number in range(3):
        post(world, address=f"p{number}@example.org")
        world.passes(seconds=1)
    with mail_sink() as sink:
        sink.answers += ["250 OK", "421 4.3.2 shutting down"]
        man = postman(world, sink)
        assert man.deliver() == 1
        assert [one.tries for one in envelopes(world)] == [0, 0]
        world.passes(seconds=1)
        assert man.deliver() == 2
    assert sorted(got["To"] for got in sink.messages) == [f"p{number}@example.org" for number in range(3)]


def test_whoever_was_killed_with_a_letter_in_hand_leaves_it_to_the_next(world):
    post(world)
    [letter_id] = world.database.read(lambda c: world.sso.outbox.due_ids(c))
    taken = world.database.write(lambda c: world.sso.outbox.take(c, letter_id))
    assert taken.address == "ann@example.org"
    with mail_sink() as sink:
        man = postman(world, sink)
        assert man.deliver() == 0  # somebody has it
        assert world.database.write(lambda c: world.sso.outbox.take(c, letter_id)) is None
        world.passes(minutes=15)
        assert man.deliver() == 1
    assert sink.messages[0]["Message-ID"] == f"<{letter_id}@acme.example>"


def test_a_message_that_arrives_twice_has_the_same_id(sqlite_world):
    """The one case that SMTP leaves: killed between the server's last word and the commit."""
    world = sqlite_world
    post(world)
    with mail_sink() as sink:
        man = postman(world, sink)
        man.outbox = world.sso.outbox
        real, killed = world.sso.outbox.sent, RuntimeError("killed")

        def die(connection, letter_id):
            raise killed

        world.sso.outbox.sent = die
        with pytest.raises(RuntimeError):
            man.deliver()
        world.sso.outbox.sent = real
        world.passes(minutes=15)
        assert man.deliver() == 1
    assert len({got["Message-ID"] for got in sink.messages}) == 1 < len(sink.messages)


def test_who_has_lost_the_lease_sends_nothing(sqlite_world):
    world = sqlite_world
    post(world)
    world.database.write(lambda c: leases.create(c))
    mine, others = (Lease(world.database, "mail", who, ttl=15, clock=lambda: world.now) for who in ("a", "b"))
    assert mine.hold()
    with mail_sink() as sink:
        man = postman(world, sink)
        man._guard = mine.guard
        world.passes(seconds=16)
        assert others.hold()  # while the first one was paused
        with pytest.raises(LeaseLost):
            man.deliver()
        assert sink.messages == []
        man._guard = others.guard
        assert man.deliver() == 1


def test_a_postman_that_is_to_stop_finishes_the_letter_in_hand_alone(sqlite_world):
    world = sqlite_world
    for _ in range(3):
        post(world)
    asked = iter([True, False])
    with mail_sink() as sink:
        man = postman(world, sink)
        man._going_on = lambda: next(asked)
        assert man.deliver() == 1
    assert len(sink.messages) == 1


def test_a_letter_that_cannot_be_opened_or_written_down_keeps_no_other(sqlite_world):
    world = sqlite_world
    post(world)
    world.database.write(lambda c: c.execute(update(tables.letters).values(box="v1.gone.x")))
    post(world, kind="never-heard-of")
    post(world, address="two words@example.org")
    post(world, address="last@example.org")
    with mail_sink() as sink:
        assert postman(world, sink).deliver() == 1
    errors = sorted(one.error for one in envelopes(world, given_up=True))
    assert [got["To"] for got in sink.messages] == ["last@example.org"]
    assert len(errors) == 3
    assert any("no key 'gone'" in error for error in errors)
    assert any("no letter of the kind" in error for error in errors)


# What letters say


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", Templates().kinds())
def test_each_letter_there_is_can_be_filled_in_each_language(kind, language):
    values, mail = sample_values(), Mail.read({"connection": "outbox", "from": SENDER})
    filled = Templates(None, links_of(mail, PAGES)).fill(kind, language, values)
    assert "Example" in filled.subject
    assert "{" not in filled.text + filled.subject
    assert "None" not in filled.text
    assert "<html" in filled.html
    wanted = links_of(mail, PAGES).get(kind, "").replace("{token}", "gwt_example")
    assert wanted in filled.text
    other = Templates().fill(kind, next(one for one in LANGUAGES if one != language), values)
    assert other.subject != filled.subject


def test_each_letter_that_the_program_posts_has_a_template():
    source = "".join(path.read_text() for path in Path(tables.__file__).parent.glob("*.py"))
    posted = set(re.findall(r'write_to\([^"()]*(?:\([^()]*\))?[^"()]*"([a-z-]+)"', source))
    posted |= set(re.findall(r'outbox\.post\([^"()]*"([a-z-]+)"', source)) | {"welcome", "rejected", "locked"}
    assert {"confirm", "email-confirm", "password-expires", "deleted"} <= posted
    assert posted - set(Templates().kinds()) == set()


def test_S8_names_do_not_become_headers_nor_tags(sqlite_world):
    world = sqlite_world
    post(world, username="<script>alert(1)</script>\r\nBcc: eve@example.org", site_name="A\r\nBcc: eve@example.org")
    with mail_sink() as sink:
        postman(world, sink).deliver()
    [got] = sink.messages
    assert (got["Bcc"], got.envelope[1]) == (None, ["ann@example.org"])
    assert got["Subject"] == "Welcome to A Bcc: eve@example.org"
    assert "<script>" not in got.get_body(("html",)).get_content()
    assert "&lt;script&gt;" in got.get_body(("html",)).get_content()


def test_an_operators_templates_come_first_and_a_broken_one_does_not_keep_a_letter(tmp_path, caplog):
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "welcome.txt").write_text("Subject: Ahoy {{ username }}\n\nAboard {{ site_name }}: {{ link }}\n")
    (tmp_path / "en" / "locked.txt").write_text("Subject: x\n\n{{ nobody_knows }}\n")
    (tmp_path / "en" / "deleted.txt").write_text("no subject\n")
    (tmp_path / "en" / "confirm.html").write_text("<b>{{ username }}</b>")
    templates = Templates(tmp_path, {"welcome": "https://app.example/start"})
    values = {"site_name": "Acme", "username": "<ann>"}
    filled = templates.fill("welcome", "en", values)
    assert (filled.subject, filled.text) == ("Ahoy <ann>", "Aboard Acme: https://app.example/start\n")
    assert "Aboard Acme" in filled.html
    assert templates.fill("confirm", "en", {**values, "token": "t"}).html == "<b>&lt;ann&gt;</b>"
    assert templates.fill("welcome", "de", values).subject == "Willkommen bei Acme"
    for kind in ("locked", "deleted"):
        assert templates.fill(kind, "en", values).subject == Templates().fill(kind, "en", values).subject
        assert f"the template for '{kind}' (en) cannot be used" in caplog.text
        with pytest.raises(ValueError):
            templates.check(kind, "en", values)
    assert templates.fill("welcome", "../../../etc", values).subject == "Ahoy <ann>"


def test_a_template_reaches_nothing_of_the_program(tmp_path):
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "welcome.txt").write_text("Subject: x\n\n{{ username.__class__.__mro__ }}\n")
    with pytest.raises(ValueError, match="SecurityError"):
        Templates(tmp_path).check("welcome", "en", {"username": "ann"})


# What is about to end


def test_people_are_told_once_that_their_password_ends(world):
    world.configure(password={"expires_after": "90d", "warn_before": "14d", "min_length": 15})
    ann, bea = world.person("ann").id, world.person("bea").id
    world.sso.users.decide(bea, "lock", world.caller(actor="system"))
    world.passes(days=75)
    assert expiry.warn(world.sso) == 0
    world.passes(days=2)
    assert (expiry.warn(world.sso), expiry.warn(world.sso)) == (1, 0)
    [letter] = world.letters("password-expires")
    assert (letter.address, letter.values["days"]) == ("ann@example.org", 13)
    world.log_in("ann", new_password="quiet violet mountains")
    world.passes(days=80)
    assert expiry.warn(world.sso) == 1
    assert len(world.letters("password-expires")) == 2
    assert world.row(ann).warned_of == world.row(ann).password_set_at


def test_nobody_is_told_where_passwords_do_not_end(sqlite_world):
    sqlite_world.person()
    sqlite_world.passes(days=5000)
    assert expiry.warn(sqlite_world.sso) == 0


def test_a_password_that_has_ended_is_told_at_the_login_and_not_by_a_late_letter(sqlite_world):
    world = sqlite_world
    world.configure(password={"expires_after": "90d", "warn_before": "14d"})
    world.person()
    world.passes(days=91)
    assert (expiry.warn(world.sso), expiry.warn(world.sso)) == (1, 0)
    assert world.letters("password-expires") == []
    assert world.database.read(lambda c: c.execute(select(tables.users.c.warned_of)).scalar()) is not None
