"""The states of an account."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.problems import Problem
from sso.workflow import EVENTS, STATES, TRANSITIONS, after, first


@given(st.booleans(), st.booleans(), st.lists(st.sampled_from(sorted(EVENTS)), max_size=12))
def test_nobody_is_active_who_did_not_pass_what_was_asked(approval, confirmation, events):
    state, done = first(approval=approval, confirmation=confirmation), set()
    for event in events:
        if (state, event) in TRANSITIONS:
            state = after(state, event)
            done.add(event)
        else:
            with pytest.raises(Problem, match="409 conflict"):
                after(state, event)
        assert state in STATES
        if state in ("active", "locked"):
            assert not approval or "approve" in done
            assert not confirmation or "confirm" in done
        if "delete" in done:
            assert state == "deleted"


def test_S7_a_decision_is_made_once():
    assert [(state, event) for state, event in TRANSITIONS if event in ("approve", "reject")] == [
        ("new", "approve"), ("new", "reject"), ("unapproved", "approve"), ("unapproved", "reject"),
    ]  # fmt: skip
    for state in ("active", "rejected", "deleted"):
        with pytest.raises(Problem) as refused:
            after(state, "approve")
        assert refused.value.status == 409
