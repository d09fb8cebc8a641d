"""The arithmetic of schedules: laws over any moment and zone, and the nights on which clocks change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.schedules import TICK, At, Cron, Every, read_moment
from specs.problems import ConfigurationError

ZONES = ["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kolkata"]
moments = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))
near_changes = st.builds(
    lambda base, hours: base + timedelta(hours=hours),
    st.sampled_from([datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC),
                     datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 5, tzinfo=UTC),
                     datetime(2026, 4, 4, 15, tzinfo=UTC), datetime(2026, 10, 3, 15, tzinfo=UTC)]),
    st.floats(-4, 4),
)  # fmt: skip
expressions = st.sampled_from(
    ["* * * * *", "*/15 * * * *", "30 * * * *", "30 2 * * *", "20,25,32 2 * * *", "0 0-3 * * *", "15 1,2 * * 0",
     "0 9 * * mon-fri", "0 0 1 * *", "@hourly", "@daily", "0 * 29 2 *"]
)  # fmt: skip
schedules = st.one_of(
    st.builds(Every, st.floats(0.1, 10**7), moments),
    st.builds(Cron, expressions, st.sampled_from(ZONES)),
    st.builds(At, moments),
)


def runs(schedule, begin, end):
    """Every run in (begin, end]."""
    while (begin := schedule.next_run(begin)) is not None and begin <= end:
        yield begin


@settings(max_examples=300, deadline=None)
@given(schedules, st.one_of(moments, near_changes))
def test_the_next_run_is_later_and_none_lies_between(schedule, after):
    run = schedule.next_run(after)
    if run is not None:
        assert run > after
        assert run.tzinfo is UTC
        middle = after + (run - after) / 2
        assert schedule.next_run(run - TICK) == run
        if after < middle < run:
            assert schedule.next_run(middle) == run


@settings(max_examples=60, deadline=None)
@given(expressions, st.sampled_from(ZONES), near_changes)
def test_a_cron_run_shows_a_fitting_time_on_the_wall_or_was_left_out(expression, zone, after):
    """Against a slow reference: every minute of a day around the change is looked at on the wall."""
    cron = Cron(expression, zone)
    place = ZoneInfo(zone)
    begin = after.replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
    end = begin + timedelta(hours=12)
    got = list(runs(cron, begin, end))
    assert got == sorted(set(got))

    named = set(runs(Cron(expression), begin - timedelta(hours=15), end + timedelta(hours=15)))

    def fits(wall):
        return wall.replace(tzinfo=UTC, fold=0) in named

    minutes = [begin + timedelta(minutes=n) for n in range(1, 12 * 60 + 1)]
    shown = [(minute, minute.astimezone(place)) for minute in minutes]
    fitting = [(minute, wall) for minute, wall in shown if fits(wall.replace(tzinfo=None))]
    if expression in ("* * * * *", "*/15 * * * *", "30 * * * *", "@hourly", "0 * 29 2 *"):
        assert got == [minute for minute, _ in fitting]
    else:
        first_comings = {minute for minute, wall in fitting if wall.fold == 0}
        left_out = set(got) - first_comings
        assert first_comings <= set(got)
        assert all(minute.astimezone(place).utcoffset() != (minute - timedelta(hours=3)).astimezone(place).utcoffset()
                   for minute in left_out)  # fmt: skip


def test_a_time_that_the_clocks_leave_out_runs_once_an_hour_later():
    cron = Cron("30 2 * * *", "Europe/Paris")
    got = [run.astimezone(ZoneInfo("Europe/Paris")).isoformat() for run in
           runs(cron, datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 3, 30, 12, tzinfo=UTC))]  # fmt: skip
    assert got == ["2026-03-28T02:30:00+01:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00"]


def test_a_time_that_comes_twice_runs_once():
    cron = Cron("30 2 * * *", "Europe/Paris")
    got = [
        run.isoformat()
        for run in runs(cron, datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 26, 12, tzinfo=UTC))
    ]
    assert got == ["2026-10-25T00:30:00+00:00", "2026-10-26T01:30:00+00:00"]


def test_an_hourly_job_follows_the_time_that_passes_when_clocks_go_back():
    cron = Cron("30 * * * *", "America/Havana")  # 01:00 becomes 00:00
    begin = datetime(2026, 11, 1, 3, tzinfo=UTC)
    assert len(list(runs(cron, begin, begin + timedelta(hours=6)))) == 6


def test_every_does_not_drift():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert Every(0.1, start).next_run(start + timedelta(days=365)) == start + timedelta(days=365, seconds=0.1)


@pytest.mark.parametrize("expression", ["", "* * * *", "61 * * * *", "0 0 30 2 *", "R * * * *", "H H * * *", "* * * * * *",
                                        "@reboot", "hello", "* " * 200])  # fmt: skip
def test_what_is_no_cron_expression_is_refused(expression):
    with pytest.raises(ConfigurationError):
        Cron(expression)


def test_a_zone_that_does_not_exist_is_refused():
    with pytest.raises(ConfigurationError, match="no time zone called 'Europe/Pari'"):
        Cron("@daily", "Europe/Pari")


def test_a_moment_without_a_zone_is_in_the_zone_of_the_job():
    assert read_moment("2026-07-01T12:00", "at", "Europe/Paris") == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert read_moment("2026-07-01T12:00:00Z", "at", "Europe/Paris") == datetime(2026, 7, 1, 12, tzinfo=UTC)
    with pytest.raises(ConfigurationError, match="at: not a date and time"):
        read_moment("tomorrow", "at")
