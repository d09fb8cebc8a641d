"""The mail of people: what of it is refused or doubted where a document is applied."""

import pytest

from gateway.configuration.document import Document, check
from gateway.configuration.kinds import place, read_object
from specs.problems import ConfigurationErrors

MAIL = 'mail: {connection: outbox, from: "Acme <no-reply@acme.example>"}'


def checked(text):
    document = Document.parse(text)
    return check({key: read_object(key[0], body, place(*key)) for key, body in document.objects.items()})


def test_a_connection_of_another_type_is_refused_where_it_is_named():
    with pytest.raises(ConfigurationErrors) as refused:
        checked(f"sso: {{enabled: true, {MAIL}}}\nconnections: {{outbox: {{type: rest, url: 'http://127.0.0.1:1'}}}}")
    [fault] = refused.value.errors
    assert (fault.path, fault.message) == (
        "sso.mail.connection", "the connection 'outbox' is of type rest, which sends no mail"
    )  # fmt: skip
    assert fault.remedy == "name a connection of type smtp"


def test_a_connection_that_there_is_not_is_refused_where_it_is_named():
    with pytest.raises(ConfigurationErrors) as refused:
        checked(f"sso: {{enabled: true, {MAIL}}}\nconnections: {{outbx: {{type: smtp, host: localhost, tls: none}}}}")
    [fault] = refused.value.errors
    assert fault.path == "sso.mail.connection"
    assert "outbx" in fault.remedy


def test_mail_that_can_go_is_accepted():
    assert checked(f"sso: {{enabled: true, {MAIL}}}\nconnections: {{outbox: {{type: smtp, host: m, tls: none}}}}") == []


@pytest.mark.parametrize(
    ("sso", "doubted"),
    [
        ("apps: {crm: {signup: true}}", ["sso.apps.crm.signup"]),
        ("apps: {crm: {login: true}}", []),
        ("apps: {crm: {signup: true}}, signup: {email_confirmation: false}", []),
    ],
)
def test_a_sign_up_that_waits_for_a_letter_which_nobody_sends_is_doubted(sso, doubted):
    assert [one.path for one in checked(f"sso: {{enabled: true, {sso}}}")] == doubted
