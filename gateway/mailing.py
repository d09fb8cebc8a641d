"""Mail of people, in a process that serves: the letters are sent by whichever holds the installation's lease."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from specs.problems import BackendError, BackendUnavailable

if TYPE_CHECKING:
    from backends.connections import Connections
    from backends.leases import Lease
    from gateway.configuration.objects import Configuration
    from gateway.metrics import Metrics
    from sso.mail import Line, Postman
    from sso.system import SingleSignOn

log = logging.getLogger("gatewright.mail")

#: Seconds between two looks into the outbox. PERF: a look is one indexed read.
LOOK_EVERY: Final = 1.0
#: So many people are told of an end in one transaction.
BATCH_OF_WARNINGS: Final = 100


#: Seconds after which a mail server that had nothing to do is asked whether it is there, and letters are counted anew.
PROBE_EVERY: Final = 600.0
COUNT_EVERY: Final = 10.0


class Standing(NamedTuple):
    """How the mail of people stands. *trouble* says why the server cannot be used; empty where it can."""

    waiting: int = 0
    given_up: int = 0
    trouble: str = ""


class Stop(Protocol):
    """An event that ends a task."""

    def wait(self, timeout: float) -> Any:
        """Wait for it; whether it is set."""

    def is_set(self) -> bool:
        """Whether it is."""


class Mailing:
    """Sends letters while *lease* is ours, to people and as the configuration says that *current* gives at that moment."""

    def __init__(
        self,
        connections: Connections,
        lease: Lease,
        current: Callable[[], tuple[SingleSignOn | None, Configuration]],
        stop: Stop,
    ) -> None:
        self._connections = connections
        self._lease = lease
        self._current = current
        self._stop = stop
        self._made: tuple[object, str, Postman] | None = None
        self._probed = self._counted = -inf
        #: As the holder of the lease knows it; of nothing in every other process.
        self.standing = Standing()

    def published_by(self, metrics: Metrics) -> None:
        """Have *metrics* tell how the mail stands."""
        metrics.gauge("letters_waiting", lambda: self.standing.waiting)
        metrics.gauge("letters_given_up", lambda: self.standing.given_up)
        metrics.gauge("mail_unreachable", lambda: bool(self.standing.trouble))
        metrics.note("mail", lambda: [self.standing._asdict()] if self._made is not None and self._lease.held else [])

    def run(self) -> None:
        """Look into the outbox until it is time to stop."""
        while not self._stop.wait(LOOK_EVERY):
            try:
                postman = self._postman() if self._lease.held else None
                while postman is not None and self._goes_on() and postman.deliver():
                    self._probed = monotonic()
                self._look_at(postman)
            except BackendUnavailable as error:
                # Another process is the postman now, or the database is away.
                log.info("letters are left to others, or for later: %s", error)
            except Exception:
                log.exception("letters could not be sent; tried again")
                self._stop.wait(10.0)

    def _postman(self) -> Postman | None:
        """The one that the configuration describes. It knows how long to wait for a server, so it lasts as long as that does."""
        people, configuration = self._current()
        mail = people.settings.mail if people is not None else None
        definition = configuration.find("connections", mail.connection) if mail is not None else None
        if people is None or definition is None:
            self._made = None
            return None
        if self._made is None or (self._made[0], self._made[1]) != (people, definition.digest):
            postman = postman_of(
                people, configuration, self._connections, guard=self._lease.guard, going_on=self._goes_on
            )
            self._made = people, definition.digest, postman
            self._probed = self._counted = -inf
        return self._made[2]

    def _look_at(self, postman: Postman | None) -> None:
        """Know how the mail stands: whether there is a server that takes it, and what waits."""
        if postman is None or not self._goes_on():
            self.standing = Standing()
            return
        now = monotonic()
        # WHY: with no letter that is tried again, nobody else would find out that the server is back.
        if postman.trouble or now - self._probed >= PROBE_EVERY:
            self._probed = now
            postman.probe()
        waiting, given_up, _ = self.standing
        if now - self._counted >= COUNT_EVERY:
            self._counted = now
            waiting, given_up = postman.database.read(postman.outbox.counts)
        self.standing = Standing(waiting, given_up, postman.trouble)

    def _goes_on(self) -> bool:
        return self._lease.held and not self._stop.is_set()


def postman_of(
    people: SingleSignOn,
    configuration: Configuration,
    connections: Connections,
    *,
    guard: Callable[[Any], None] = lambda connection: None,
    going_on: Callable[[], bool] = lambda: True,
) -> Postman:
    """The postman that *configuration* describes. Raises BackendError where it describes none."""
    from sso.mail import Postman, links_of
    from sso.mail_templates import Templates

    mail = people.settings.mail
    definition = configuration.find("connections", mail.connection) if mail is not None else None
    if mail is None or definition is None:
        raise BackendError("the document does not say how people are written to: see sso.mail")

    @contextmanager
    def connect() -> Iterator[Line]:
        lease = connections.lease(definition.type, mail.connection, definition.settings)
        try:
            connector = lease.connector
            if not hasattr(connector, "connected"):
                raise BackendError(f"the connection '{mail.connection}' is of type {definition.type} and sends no mail")
            with connector.connected() as line:
                yield line
        finally:
            lease.release()

    pages = f"{people.public_url}{people.settings.path.rstrip('/')}"  # type: ignore[attr-defined]
    templates = Templates(Path(mail.templates) if mail.templates else None, links_of(mail, pages))
    return Postman(
        people.database, people.outbox, mail, templates, connect, people.clock, guard=guard, going_on=going_on
    )


def look_after(people: SingleSignOn | None) -> None:
    """Each minute, by who holds the lease: tell people of what is about to end."""
    if people is not None:
        # PERF: imported by those who have people alone.
        from sso.expiry import warn

        while warn(people, BATCH_OF_WARNINGS) == BATCH_OF_WARNINGS:
            pass
