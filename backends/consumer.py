"""Who runs the calls of the background queue: one `Consumer` for each process.

>>> import tempfile
>>> from security.database import metadata, open_database
>>> database = open_database(tempfile.mkdtemp())
>>> database.write(lambda connection: metadata.create_all(connection))
>>> queue = Queue(database)
>>> number = queue.enqueue(Call("rates.update", payload={"year": 2026}, cid="7f3a"))
>>> Consumer(queue, lambda call: Outcome(print(call.service, call.payload)), holder="w1").run_once()
rates.update {'year': 2026}
1
>>> database.close()
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta

from backends.background import Claim, Queue
from specs.exchange import Call, Outcome
from specs.problems import BackendError, Problem

log = logging.getLogger(__name__)

#: 4xx that may be another answer the next time; any other would be the same again.
WORTH_RETRYING = (408, 409, 425, 429)


class Consumer:
    """Claims due calls and runs them, at most *concurrency* at once. One for each process.

    *execute* runs one call, payload unread (`LocalExecutor.perform`). *holder* is unique in the installation. *spawn* starts
    a call beside the others (`gevent.spawn`); by default each runs in place. *exists* tells whether a service is deployed: the
    one called ``<service>-async-callback`` gets the answer where no other callback was named.
    """

    #: The longest that a call from another process waits to be seen, in seconds.
    POLL = 1.0

    def __init__(
        self,
        queue: Queue,
        execute: Callable[[Call], Outcome],
        *,
        holder: str,
        concurrency: int = 10,
        claim_for: float = 60.0,
        exists: Callable[[str], bool] = lambda name: False,
        spawn: Callable[[Callable[[], None]], object] = lambda work: work(),
    ) -> None:
        self.queue = queue
        self.execute = execute
        self.holder = holder
        self.concurrency = concurrency
        self.claim_for = claim_for
        self.exists = exists
        self.spawn = spawn
        self.running: dict[tuple[int, int], Claim] = {}
        self._extend_at = queue.clock()

    def run(self, stop: threading.Event) -> None:
        """Run calls as they come due until *stop* is set. Those in progress go on; see `give_back`."""
        while not stop.is_set():
            try:
                self.queue.wake.clear()
                begun = self.run_once()
            except Exception:
                # WHY: the database may be away for a while; a loop that dies silently stops all background work for good.
                log.exception("background work is interrupted")
                begun = 0
            if not begun or len(self.running) >= self.concurrency:
                self.queue.wake.wait(self.POLL)

    def run_once(self) -> int:
        """Extend what runs, claim what there is room for, begin it; how many calls were begun."""
        self.extend()
        free = self.concurrency - len(self.running)
        claims = self.queue.claim(self.holder, free, self.claim_for) if free > 0 else []
        for claim in claims:
            self.running[claim.id, claim.attempt] = claim
        for claim in claims:
            self.spawn(lambda claim=claim: self._run(claim))  # type: ignore[misc]
        return len(claims)

    def extend(self) -> None:
        """Keep what runs here from going to others, where a third of the claim's time has passed."""
        now = self.queue.clock()
        if self.running and now >= self._extend_at:
            asked = list(self.running.values())
            ours = self.queue.extend(asked, self.claim_for)
            if ours < len(asked):
                log.warning(
                    "%d background calls took so long to be extended that others may run them", len(asked) - ours
                )
        if not self.running or now >= self._extend_at:
            self._extend_at = now + timedelta(seconds=self.claim_for / 3)

    def give_back(self) -> int:
        """Let others have what has not ended here: the last step of stopping. How many calls they were."""
        return self.queue.give_back(list(self.running.values()))

    def _run(self, claim: Claim) -> None:
        try:
            try:
                outcome = self.execute(claim.call)
            except Problem as problem:
                for_good = 400 <= problem.status < 500 and problem.status not in WORTH_RETRYING
                self.queue.fail(claim, problem.code, for_good=for_good)
            except BackendError as error:
                log.warning("cid=%s background call of '%s': %s", claim.call.cid, claim.call.service, error)
                self.queue.fail(claim, error.code)
            except Exception:
                log.exception("cid=%s background call of '%s' failed", claim.call.cid, claim.call.service)
                self.queue.fail(claim, "internal-error")
            else:
                self._complete(claim, outcome)
        except BackendError:
            # The claim will end by itself, and the call comes back.
            log.exception("cid=%s the outcome of a background call could not be kept", claim.call.cid)
        finally:
            self.running.pop((claim.id, claim.attempt), None)
            self.queue.wake.set()

    def _complete(self, claim: Claim, outcome: Outcome) -> None:
        callback = claim.callback
        if not callback and self.exists(f"{claim.call.service}-async-callback"):
            callback = f"{claim.call.service}-async-callback"
        try:
            done = self.queue.complete(claim, outcome.payload, callback)
        except (Problem, ValueError) as error:
            log.error("cid=%s the answer of '%s' cannot be handed on: %s", claim.call.cid, claim.call.service, error)
            self.queue.fail(claim, "not-representable", for_good=True)
        else:
            if not done:
                log.warning(
                    "cid=%s '%s' ended after its claim did: it may run twice", claim.call.cid, claim.call.service
                )
