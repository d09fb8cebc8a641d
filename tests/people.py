"""What tests of single sign-on share: the password of everybody, and what a refusal looks like."""

from contextlib import contextmanager

import pytest

from specs.problems import Problem

PASSWORD = "green lamps over water"
OTHER = "quiet violet mountains"


@contextmanager
def refused(*codes):
    """The block ends in a Problem with one of these words."""
    with pytest.raises(Problem) as caught:
        yield caught
    assert caught.value.code in codes
