"""Executors: where services run. One file adds one; this page says what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specs.exchange import Call, Outcome


class Executor:
    """Runs calls whose input has been read by the contract, and gives what the service answered."""

    def run(self, call: Call) -> Outcome:
        """The outcome of *call*, by its deadline.

        Raises Problem and nothing else: the service's own, 405 where it has no handler for the method, 500
        ``invalid-response`` or ``internal-error``, 502 to 504 for backends and deadlines, 503 where it cannot be run now.
        """
        raise NotImplementedError
