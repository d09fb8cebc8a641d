from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.limits import NANOSECONDS, Rate, bucket_key
from security.limits.rules import DENY, UNLIMITED, LimitDefinition, parse_rate
from security.limits.times import Calendar
from specs.problems import ConfigurationError, Problem


def compiled(rules, **settings):
    return LimitDefinition.read({"rules": rules, **settings}, "limits.standard").compile("standard")


def per(count, seconds, burst=None):
    return Rate(count, seconds * NANOSECONDS, count if burst is None else burst)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10/second", (per(10, 1),)),
        ("1000/hour", (per(1000, 3600),)),
        ("100/m", (per(100, 60),)),
        ("5/s", (per(5, 1),)),
        ("7/h", (per(7, 3600),)),
        ("5000/d", (per(5000, 86_400),)),
        ("10 per hour", (per(10, 3600),)),
        ("10/5 minutes", (per(10, 300),)),
        ("10/5m", (per(10, 300),)),
        ("50000/month", (per(50_000, 30 * 86_400),)),
        ("1/second; 10 per 2 minutes", (per(1, 1), per(10, 120))),
        (" UNLIMITED ", UNLIMITED),
        ("*", UNLIMITED),
        ("deny", DENY),
    ],
)
def test_a_rate_is_read_in_every_notation(text, expected):
    assert parse_rate(text) == expected


@pytest.mark.parametrize(
    "text", ["", "10", "10/", "/m", "10/fortnight", "0/m", "-1/m", "1.5/m", "10/0m0", "99999999999/s", "1/9 years", "m"]
)
def test_what_is_no_rate_is_refused_with_the_remedy(text):
    with pytest.raises(ConfigurationError) as caught:
        parse_rate(text)
    assert caught.value.remedy


def test_the_example_of_the_design_the_longest_prefix_decides():
    limit = compiled([{"from": "*", "rate": ["10/second", "1000/hour"]}, {"from": "10.0.0.0/8", "rate": "unlimited"}])
    assert limit.rates_for("10.1.2.3") is UNLIMITED
    assert limit.rates_for("::ffff:10.1.2.3") is UNLIMITED
    assert limit.rates_for("192.0.2.1") == limit.rates_for("2001:db8::1") == (per(10, 1), per(1000, 3600))


def test_Z22_a_cidr_rule_alone_works():
    limit = compiled("127.0.0.1 = 3/m")
    assert limit.rates_for("127.0.0.1") == (per(3, 60),)
    assert limit.rates_for("127.0.0.2") is DENY


def test_an_address_that_no_rule_holds_is_not_allowed():
    with pytest.raises(Problem) as caught:
        compiled("127.0.0.1 = 3/m").charges("channel", "c", "192.0.2.1")
    assert (caught.value.status, caught.value.code) == (403, "address-not-allowed")
    with pytest.raises(Problem):
        compiled([{"from": "*", "rate": "10/m"}, {"from": "192.0.2.0/24", "rate": "deny"}]).charges(
            "c", "c", "192.0.2.1"
        )
    with pytest.raises(Problem):
        compiled("* = 10/m").charges("channel", "c", "no address")


TEXT = """
# the office
192.168.0.0/16 = 5000/d
127.0.0.1 = *   # ourselves

10.0.0.0/8, ::1 = 10/s, 100/h
* = 10/m
"""


def test_the_text_form_reads_top_to_bottom():
    limit = compiled(TEXT)
    assert [limit.rates_for(a) for a in ("192.168.3.4", "127.0.0.1", "10.9.9.9", "::1", "8.8.8.8", "2001:db8::1")] == [
        (per(5000, 86_400),), UNLIMITED, (per(10, 1), per(100, 3600)), (per(10, 1), per(100, 3600)), (per(10, 60),), (per(10, 60),),
    ]  # fmt: skip
    assert limit.warnings == ()


def test_Z23_a_line_behind_a_wider_one_is_named_and_longest_prefix_consults_it():
    text = "* = 10/m\n127.0.0.1 = 100/m"
    limit = compiled(text)
    assert limit.rates_for("127.0.0.1") == (per(10, 60),)
    assert "127.0.0.1 is never reached" in limit.warnings[0]
    other = compiled(text, match="longest-prefix")
    assert (other.rates_for("127.0.0.1"), other.rates_for("8.8.8.8")) == ((per(100, 60),), (per(10, 60),))
    assert other.warnings == ()


def test_first_match_can_be_said_for_a_list():
    rules = [
        {"from": ["10.0.0.0/8", "::1"], "rate": "1/m"},
        {"from": "10.1.0.0/16", "rate": "2/m"},
        {"from": "*", "rate": "3/m"},
    ]
    assert compiled(rules, match="first").rates_for("10.1.0.1") == (per(1, 60),)
    assert compiled(rules).rates_for("10.1.0.1") == (per(2, 60),)


def test_a_burst_of_the_definition_and_of_a_rule():
    rules = [{"from": "10.0.0.0/8", "rate": "10/s", "burst": 2}, {"from": "*", "rate": "10/s"}]
    limit = compiled(rules, burst=5)
    assert (limit.rates_for("10.0.0.1"), limit.rates_for("8.8.8.8")) == ((per(10, 1, 2),), (per(10, 1, 5),))


@pytest.mark.parametrize(
    ("rules", "path", "said"),
    [
        ([], "limits.standard.rules", "no rule"),
        ("# nothing", "limits.standard.rules", "no rule"),
        ([{"from": "10.0.0.1/8", "rate": "1/m"}], "limits.standard.rules[0].from", r"10\.0\.0\.0/8"),
        ([{"from": "*", "rate": "1/x"}], "limits.standard.rules[0].rate", "not a rate"),
        ([{"from": "*", "rate": ["1/m", "deny"]}], "limits.standard.rules[0].rate", "stands alone"),
        ([{"from": "*", "rate": ["1/m", "2/60s"]}], "limits.standard.rules[0].rate", "same period"),
        ([{"from": "*", "rate": "1/m", "burst": 0}], "limits.standard.rules[0].rate", "burst"),
        ([{"from": "*", "rate": "1/year", "burst": 1000}], "limits.standard.rules[0].rate", "74 or less"),
        ([{"from": [], "rate": "1/m"}], "limits.standard.rules[0].from", "no address"),
        ([{"from": "*", "rate": []}], "limits.standard.rules[0].rate", "no rate"),
        ([{"from": "::1", "rate": "1/m"}, {"from": "::1", "rate": "2/m"}], "limits.standard.rules[1]", "earlier rule"),
        (
            [{"from": "*", "rate": "10001/m", "algorithm": "sliding-log"}],
            "limits.standard.rules[0].rate",
            "remembers 10,000",
        ),
        ([{"from": "*", "rate": "5/m", "cost": 6}], "limits.standard.rules[0].cost", "never be let in"),
        ([{"from": "*", "rate": "5/m", "cost": 0}], "limits.standard.rules[0].cost", "at least one"),
        ([{"from": "*", "rate": "0 at once"}], "limits.standard.rules[0].rate", "at least one"),
        ([{"from": "*", "rate": "5/m", "during": "noon"}], "limits.standard.rules[0].during", "not a time range"),
        (
            [{"from": "*", "rate": "5/m", "replaces": "chanel"}],
            "limits.standard.rules[0].replaces",
            "did you mean 'channel'",
        ),
        ("* = 1/m\nnonsense", "limits.standard.rules (line 2)", "not a rule"),
        ("010.0.0.1 = 1/m", "limits.standard.rules (line 1)", "not an address"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named_with_its_place(rules, path, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        compiled(rules)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"algorithm": "leaky"}, "limits.standard.algorithm"),
        ({"timezone": "Mars/Olympus"}, "limits.standard.timezone"),
        ({"algorithm": "sliding-log", "durable": True}, "limits.standard.durable"),
    ],
)
def test_a_definition_that_cannot_be_used_is_refused(settings, path):
    with pytest.raises(ConfigurationError) as caught:
        compiled("* = 1/m", **settings)
    assert caught.value.path == path


def test_an_algorithm_is_the_definitions_or_the_rules():
    rules = [{"from": "10.0.0.0/8", "rate": "5/day"}, {"from": "*", "rate": "10/s", "algorithm": "sliding-log"}]
    limit = compiled(rules, algorithm="fixed-window", timezone="Europe/Paris")
    (one,), (two,) = limit.rates_for("10.0.0.1"), limit.rates_for("8.8.8.8")
    assert (one.algorithm, one.calendar) == ("fixed-window", Calendar("day", 1, "Europe/Paris"))
    assert (two.algorithm, two.calendar) == ("sliding-log", None)


def test_bytes_and_requests_at_once_are_rates_too():
    (octets, at_once) = compiled([{"from": "*", "rate": ["10MiB/minute", "20 at once"]}]).rates_for("8.8.8.8")
    assert (octets.count, octets.period_ns, octets.unit) == (10 << 20, 60 * NANOSECONDS, "content-bytes")
    assert (at_once.count, at_once.algorithm, at_once.unit) == (20, "concurrent", "concurrent-requests")


def test_a_rule_counts_at_its_times_and_is_not_there_at_others():
    clock = [datetime(2026, 3, 2, 12, tzinfo=ZoneInfo("Europe/Paris")).timestamp()]
    rules = [
        {"from": "*", "rate": "5/m", "during": "mon-fri 08:00-18:00"},
        {"from": "*", "rate": "50/m"},
        {"from": "10.0.0.0/8", "rate": "deny", "during": ["sat,sun", "22:00-06:00"]},
    ]
    definition = LimitDefinition.read({"rules": rules, "timezone": "Europe/Paris"}, "limits.standard")
    limit = definition.compile("standard", lambda: clock[0])
    assert limit.rates_for("10.0.0.1") == limit.rates_for("8.8.8.8") == (per(5, 60),)
    clock[0] += 6 * 3600
    assert limit.rates_for("10.0.0.1") == limit.rates_for("8.8.8.8") == (per(50, 60),)
    clock[0] += 5 * 3600
    assert (limit.rates_for("10.0.0.1"), limit.rates_for("8.8.8.8")) == (DENY, (per(50, 60),))
    keys = {limit.charges("channel", "c", "8.8.8.8")[0].key}
    clock[0] += 12 * 3600
    assert limit.charges("channel", "c", "8.8.8.8")[0].key not in keys


def test_a_cost_of_the_rule_and_of_the_operation_multiply_and_never_pass_what_a_bucket_holds():
    limit = compiled([{"from": "*", "rate": ["10/s", "1KiB/s", "3 at once"], "cost": 2}])
    assert [c.cost for c in limit.charges("channel", "c", "8.8.8.8")] == [2, 1, 1]
    assert [c.cost for c in limit.charges("channel", "c", "8.8.8.8", 3)] == [6, 1, 1]
    assert [c.cost for c in limit.charges("channel", "c", "8.8.8.8", 30)] == [10, 1, 1]


def test_a_change_of_the_count_keeps_the_bucket_and_one_of_the_algorithm_does_not():
    def key(rate, **settings):
        return compiled([{"from": "*", "rate": rate}], **settings).charges("channel", "c", "8.8.8.8")[0].key

    assert key("10/m") == key("20/m") == key("20/m", burst=3) == key("5/m", mode="shadow")
    assert len({key("10/m"), key("10/h"), key("10KiB/m"), key("1 at once"), key("10/m", algorithm="sliding-log")}) == 5


def test_charges_are_named_by_level_definition_subject_rule_and_period():
    limit = compiled([{"from": "10.0.0.0/8", "rate": ["1/s", "9/h"]}, {"from": "*", "rate": "3/m"}])
    two = limit.charges("channel", "c", "10.0.0.1")
    assert [(c.level, c.policy, c.rate) for c in two] == [
        ("channel", "standard-second", per(1, 1)), ("channel", "standard-hour", per(9, 3600)),
    ]  # fmt: skip
    assert two is limit.charges("channel", "c", "10.9.9.9")
    (one,) = limit.charges("channel", "c", "8.8.8.8")
    assert one.policy == "standard"
    others = [
        limit.charges("service", "c", "8.8.8.8"),
        limit.charges("channel", "d", "8.8.8.8"),
        limit.charges("channel", b"c", "8.8.8.8"),
    ]
    keys = {c.key for charges in (two, (one,), *others[:2]) for c in charges}
    assert len(keys) == 5


def test_shadow_mode_keeps_nobody_out():
    limit = compiled("127.0.0.1 = 3/m", mode="shadow")
    assert limit.charges("channel", "c", "192.0.2.1") == ()
    assert [c.shadow for c in limit.charges("channel", "c", "127.0.0.1")] == [True]


parts = st.lists(st.text(max_size=5) | st.binary(max_size=5), min_size=1, max_size=4)


@given(parts, parts)
def test_A54_different_parts_give_different_keys(first, second):
    def encoded(names):
        return [n if isinstance(n, bytes) else n.encode("utf-8", "surrogatepass") for n in names]

    assert (bucket_key(*first) == bucket_key(*second)) == (encoded(first) == encoded(second))
