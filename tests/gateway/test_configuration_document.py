"""What a document may say: every fault is named with its place and what to write instead, all in one go."""

import pytest

from gateway.configuration.document import Document, check
from gateway.configuration.kinds import AUTHENTICATORS, CHANNELS, CONNECTORS, KINDS, place, read_object
from gateway.configuration.schema import schema
from specs.problems import ConfigurationError
from specs.registry import Registry
from specs.settings import describe

CHANNEL_WORDS = ", ".join(CHANNELS.words())


def read(text):
    document = Document.parse(text)
    return {key: read_object(key[0], body, place(*key)) for key, body in document.objects.items()}


def faults(text):
    """What is refused about a document, a fault a line."""
    with pytest.raises(ConfigurationError) as refused:
        check(read(text))
    return str(refused.value)


EXAMPLE = """
format: 1
security:
  partners:  {type: basic, username: api, password: "${env:PARTNER_PASSWORD}", realm: Partners}
limits:
  standard:
    rules:
      - {from: 10.0.0.0/8, rate: unlimited}
      - {from: "*",        rate: [10/second, 1000/hour]}
channels:
  get-customer: {type: rest, path: "/customers/{cust_id}", methods: [GET], service: customer.get,
                 security: [partners], limit: standard, allow: [10.0.0.0/8, "::1"]}
connections:
  crm:   {type: sql, url: "postgresql+psycopg://crm@db/crm", password: "x", pool_size: 10}
consumers:
  acme:  {groups: [gold], basic: {username: acme, password: "${env:ACME}"}, limit: standard}
jobs:
  refresh: {service: rates.update, every: 1h}
"""


def test_the_published_example_is_accepted():
    settings = read(EXAMPLE)
    assert check(settings) == []
    channel = settings["channels", "get-customer"]
    assert (channel.path, channel.methods, channel.security) == ("/customers/{cust_id}", ("GET",), (("partners",),))
    assert settings["jobs", "refresh"].every == 3600


def test_security_is_an_or_of_ands():
    text = "{type: rest, path: /a, service: s, security: [partners, [staff, device]]}"
    settings = read(f"channels: {{a: {text}}}")["channels", "a"]
    assert settings.security == (("partners",), ("staff", "device"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chanels: {}", "chanels: no such key: did you mean 'channels'?"),
        ("format: 2", "format: no format called 2: write 1"),
        ("[]", "a document is a map: begin with format: 1"),
        ("channels: []", "channels: this is a map: write {name: {...}}"),
        ("channels: {a: 1}", "channels.a: this is a map of settings"),
        ("channels: {' a': {}}", "not a name"),
        ("channels: {a: {path: /a}}", f"channels.a.type: this setting is required: use one of {CHANNEL_WORDS}"),
        ("channels: {a: {type: gopher}}", f"channels.a.type: no channel called 'gopher': use one of {CHANNEL_WORDS}"),
        ("channels: {a: {type: rset}}", "channels.a.type: no channel called 'rset': did you mean 'rest'? (there are: "),
        ("security: {a: {type: vault}}", "security.a.type: no authenticator called 'vault': use one of apikey, basic, sso, wss"),
        ("connections: {a: {type: ssh}}", "connections.a.type: no connector called 'ssh': use one of rest, smtp, sql"),
        ("channels: {a: {type: rest, path: /a, servce: b}}", "channels.a.servce: no such setting: did you mean 'service'?"),
        ("channels: {a: {type: rest, path: a, service: b}}", "channels.a.path: the path 'a' does not begin with a slash"),
        ("channels: {a: {type: rest, path: '/{x}/{x}', service: b}}", "uses the variable 'x' twice"),
        ("channels: {a: {type: rest, path: /a, service: b, methods: [FETCH]}}", "channels.a.methods[0]: no method called"),
        ("channels: {a: {type: rest, path: /a, service: b, format: jsn}}", "channels.a.format: no format called 'jsn'"),
        ("channels: {a: {type: rest, path: /a, service: b, cost: -1}}", "channels.a.cost: a call takes at least one hit, not -1"),
        ("services: {a: {cost: 0}}", "services.a.cost: a call takes at least one hit, not 0: write 1 or more"),
        ("channels: {a: {type: rest, path: /a, service: b, cost: true}}", "channels.a.cost: this is a number of hits, not True"),
        ("channels: {a: {type: rest, path: /a, service: b, allow: [10.0.0.300]}}", "channels.a.allow[0]: not an address"),
        ("channels: {a: {type: rest, path: /a, service: b, allow: [010.0.0.1]}}", "channels.a.allow[0]: not an address"),
        ("channels: {a: {type: rest, path: /a, service: b, security: [[]]}}", "an empty list would let everybody in"),
        ("channels: {a: {type: rest, path: /a, service: b, cors: {origins: '*', credentials: true}}}", "cannot go with every"),
        ("channels: {a: {type: rest, path: /a, service: b, security: partner}}", "nothing under 'security' is called 'partner'"),
        ("channels: {a: {type: rest, path: /a, service: b, limit: x}}\nlimits: {y: {rules: '* = 1/s'}}",
         "channels.a.limit: nothing under 'limits' is called 'x': use one of y"),
        ("security: {a: {type: basic}}", "security.a: nobody could come in: give username and password, or groups"),
        ("security: {a: {type: apikey, key: '1234567890123456', groups: [g]}}", "security.a: give a key or groups"),
        ("consumers: {a: {basic: {username: 'a:b', password: x}}}", "consumers.a.basic.username: a username is not empty"),
        ("consumers: {a: {groups: ['*']}}", "consumers.a.groups: '*' stands for every consumer"),
        ("gateway: {limit_storage: 'mongo://x'}", "gateway.limit_storage: limits cannot be counted in 'mongo://x'"),
        ("jobs: {a: {service: s}}", "jobs.a: a job has one of every, cron and at"),
        ("jobs: {a: {service: s, cron: '61 * * * *'}}", "jobs.a.cron: not a cron expression"),
        ("jobs: {a: {service: s, at: soon}}", "jobs.a.at: not a date and time"),
        ("jobs: {a: {service: s, every: 1h, timezone: Mars}}", "jobs.a.timezone: no time zone called 'Mars'"),
        ("sso: {enabled: true, apps: {crm: {log_in: true}}}", "sso.apps.crm.log_in: no such setting"),
        ("security: {staff: {type: sso}}", "security.staff: single sign-on is off: write sso: {enabled: true}"),
        ("sso: {enabled: true, apps: {crm: {}}}\nsecurity: {staff: {type: sso, apps: [shop]}}",
         "security.staff.apps[0]: no application 'shop': add it to sso.apps"),
        ("sso: {path: /}", "sso.path: people cannot log in at '/'"),
        ("docs: {colour: red}", "docs.colour: not a colour: 'red'"),
        ("topics: {a: {}}", "topics.a: topics are not part of this version"),
        ("channels: {a: {type: rest, path: /a, service: b, response_headers: {'$box': x}}}", "not a key"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_place_and_the_remedy(text, message):
    assert message in faults(text)


@pytest.mark.parametrize("text", ["", "format: 1", "sso: {enabled: false}", "docs: {}", "docs: {enabled: false}", "keys: {}",
                                  "vault: {}", "topics: {}", "channels:", "gateway: {}", "$schema: x"])  # fmt: skip
def test_what_is_empty_or_off_is_accepted(text):
    assert check(read(text)) == []


def channel(path, more=""):
    return f"{{type: rest, service: s, path: '{path}'{more}}}"


def test_two_channels_on_one_path_are_refused_by_name():
    got = faults(f"channels: {{one: {channel('/a/{x}')}, two: {channel('/a/{x}', ', methods: GET')}}}")
    assert got == "channels.two.path: 'GET /a/{x}' leads to the channel 'one' already: give one of them another path"


@pytest.mark.parametrize("more", [", host: b.example", ", enabled: false"])
def test_another_host_or_a_channel_that_is_off_is_no_clash(more):
    assert check(read(f"channels: {{one: {channel('/a')}, two: {channel('/a', more)}}}")) == []


def test_methods_share_a_path():
    text = f"channels: {{one: {channel('/a', ', methods: GET')}, two: {channel('/a', ', methods: [post]')}}}"
    assert check(read(text)) == []


def test_a_username_belongs_to_one_consumer():
    basic = "{basic: {username: u, password: p}}"
    assert "consumers.b.basic: the username 'u' belongs to the consumer 'a' already" in faults(
        f"consumers: {{a: {basic}, b: {basic}}}"
    )


def test_a_consumer_has_several_credentials():
    got = read("consumers: {a: {basic: [{username: u, password: p}, {username: v, password: p}], apikey: {key: abc}}}")
    consumer = got["consumers", "a"]
    assert ([b.username for b in consumer.basics], len(consumer.keys_held)) == (["u", "v"], 1)


def test_what_is_only_doubtful_is_a_warning():
    settings = read(f"channels: {{a: {channel('/a', ', groups: gold')}}}\njobs: {{j: {{service: t, every: 1h}}}}")
    got = [str(warning) for warning in check(settings, services={"s"})]
    assert got == [
        "channels.a.groups[0]: nobody is in the group 'gold'",
        "jobs.j.service: the service 't' is not deployed",
    ]


def test_names_may_hold_blanks_and_dots():
    settings = read(
        "connections: {My MS SQL Connection: {type: sql, url: 'sqlite:////tmp/x.db'}, my.ftp: {type: rest, url: 'http://h'}}"
    )
    assert sorted(name for _, name in settings) == ["My MS SQL Connection", "my.ftp"]


def test_a_fault_is_shown_with_its_line_and_column():
    document = Document.parse("channels:\n  a:\n    type: rest\n    path: /a\n    servce: s\n", "my.yaml")
    with pytest.raises(ConfigurationError) as refused:
        read_object("channels", document.objects["channels", "a"], "channels.a")
    assert document.describe(refused.value) == [
        "my.yaml:5:5: channels.a.servce: no such setting: did you mean 'service'?",
        "my.yaml:2:3: channels.a.service: this setting is required: name of the service that answers",
    ]


def test_every_setting_has_its_sentence():
    classes = [kind.settings for kind in KINDS.values() if kind.settings is not None]
    for registry in (AUTHENTICATORS, CHANNELS, CONNECTORS):
        assert isinstance(registry, Registry)
        classes += [registry.get(word).Settings for word in registry.words()]
    assert [(c, key) for c in classes for key, _, _, sentence in describe(c) if not sentence] == []


def test_the_published_schema_accepts_what_we_accept():
    from jsonschema_rs import Draft202012Validator

    from gateway.configuration.loader import load

    validator = Draft202012Validator(schema())
    assert [error.message for error in validator.iter_errors(load(EXAMPLE))] == []
    assert not validator.is_valid(load("channels: {a: {type: rest, path: /a, servce: b}}"))
    assert not validator.is_valid(load("channels: {a: {type: gopher}}"))
    assert not validator.is_valid(load("chanels: {}"))


@pytest.mark.parametrize(
    ("channel", "path"),
    [
        ("c: {type: rest, path: /a, service: s, security: [basic, token]}", "channels.c.security[1]"),
        ("c: {type: rest, path: /a, service: s, security: [[basic, token]]}", "channels.c.security[0]"),
        ("c: {type: proxy, path: /a, upstreams: ['http://a.example'], security: [token]}", "channels.c.security[0]"),
    ],
)
def test_a_definition_that_reads_soap_messages_is_refused_where_none_come(channel, path):
    text = f"""
        security:
          token: {{type: wss, username: ann, password: secret}}
          basic: {{type: basic, username: ann, password: secret}}
        channels:
          {channel}
        """
    assert faults(text) == (
        f"{path}: 'token' is read from SOAP messages, and none come here: nobody could come in by it: "
        "name another definition, or give the channel the type soap"
    )
    soap = "c: {type: soap, path: /a, services: [s], security: [token]}"
    assert check(read(text.replace(channel, soap))) == []
