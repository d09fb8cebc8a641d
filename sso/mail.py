"""The postman: sends the letters of the outbox, one process in the whole installation at a time.

What holds. A letter is taken in one transaction, under the lease and before anything is sent, and forgotten in another one as
soon as the server has said that it has the message. So no two processes send the same letter. It arrives twice only where a
process is killed, or the connection or the database lost, between the server's last word and that transaction: SMTP cannot tell.
Both copies then have one Message-ID, by which servers and programs know them to be the same.

What the server says against one letter postpones it (4xx), ever longer, or ends it (5xx); what is wrong with the server itself
(down, silent, a bad certificate, a wrong password) holds up all letters, counts against none, and is said in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final, Protocol

from sqlalchemy import Connection

from backends.clock import Clock
from backends.connectors.smtp import MessageDeferred, MessageRefused, compose
from backends.leases import LeaseLost
from security.database import DatabaseUnavailable
from security.secrets import SecretError
from specs.problems import BackendError
from sso.letters import Letter, Outbox
from sso.mail_templates import Templates
from sso.settings import Mail
from sso.storage import Storage

log = logging.getLogger("gatewright.mail")

FIRST_PAUSE: Final = 30.0
LONGEST_PAUSE: Final = 3600.0
#: Seconds between attempts to reach a server that is down, at first and at most.
FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0


class Line(Protocol):
    """An open connection to the mail server."""

    def send(self, message: EmailMessage) -> None:
        """Hand one message over. Raises MessageDeferred, MessageRefused, and BackendError for the server."""


#: Opens a connection to the mail server, for as long as the block lasts.
Connect = Callable[[], AbstractContextManager[Line]]


class Postman:
    """Sends what is due. *guard* raises in a transaction where another process is the postman by now."""

    def __init__(
        self,
        database: Storage,
        outbox: Outbox,
        mail: Mail,
        templates: Templates,
        connect: Connect,
        clock: Clock,
        *,
        guard: Callable[[Connection], None] = lambda connection: None,
        going_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self.database = database
        self.outbox = outbox
        self.mail = mail
        self.templates = templates
        self.connect = connect
        self.clock = clock
        self._guard = guard
        self._going_on = going_on
        self._wait = 0.0
        self._not_before = clock()
        #: Why the server could not be used when it was last tried; empty where it could.
        self.trouble = ""

    def probe(self) -> None:
        """Find out whether the server can be used, without a letter; `trouble` says why not. Nothing while it is waited for."""
        if self.clock() < self._not_before:
            return
        try:
            with self.connect():
                self._wait, self.trouble = 0.0, ""
        except DatabaseUnavailable:
            raise
        except BackendError as error:
            self._is_away(error)

    def deliver(self, most: int = 50) -> int:
        """Send up to *most* letters that are due; how many were sent. Nothing is raised for what a mail server does.

        Raises LeaseLost and DatabaseUnavailable.
        """
        if self.clock() < self._not_before:
            return 0
        ids = self.database.read(lambda connection: self.outbox.due_ids(connection, most))
        sent = 0
        if not ids:
            return 0
        try:
            with self.connect() as line:
                for letter_id in ids:
                    if not self._going_on():
                        break
                    sent += self._deliver_one(line, letter_id)
        except (LeaseLost, DatabaseUnavailable):
            raise
        except BackendError as error:
            self._is_away(error)
        else:
            self._wait, self.trouble = 0.0, ""
        return sent

    def message_of(self, letter: Letter) -> EmailMessage:
        """The message that *letter* is sent as. Raises ValueError for what cannot be in a header."""
        filled = self.templates.fill(letter.kind, letter.language, letter.values)
        message = compose(
            letter.address,
            filled.subject,
            filled.text,
            html=filled.html,
            sender=self.mail.sender,
            reply_to=self.mail.reply_to,
        )
        domain = self.mail.sender.rpartition("@")[2].rstrip("> ")
        message.replace_header("Message-ID", f"<{letter.id}@{domain}>")
        message.replace_header("Date", format_datetime(self.clock()))
        # RFC 3834: no machine answers this one.
        message["Auto-Submitted"] = "auto-generated"
        return message

    def _is_away(self, error: BackendError) -> None:
        self.trouble = str(error)
        self._wait = min(LONGEST_WAIT, self._wait * 2 or FIRST_WAIT)
        self._not_before = self.clock() + timedelta(seconds=self._wait)
        log.error("letters wait, and are tried again in %g s: %s", self._wait, error)

    def _deliver_one(self, line: Line, letter_id: str) -> int:
        letter = self._take(letter_id)
        if letter is None:
            return 0
        try:
            line.send(self.message_of(letter))
        except MessageRefused as error:
            self._end(letter, str(error))
        except MessageDeferred as error:
            self._postpone(letter, str(error))
        except ValueError as error:
            self._end(letter, f"it cannot be written down: {error}")
        except BackendError:
            self.database.write(lambda connection: self.outbox.put_back(connection, letter), audited=False)
            raise
        else:
            self.database.write(lambda connection: self.outbox.sent(connection, letter.id), audited=False)
            log.info("sent %s %s", letter.kind, letter.id)
            return 1
        return 0

    def _take(self, letter_id: str) -> Letter | None:
        def work(connection: Connection) -> Letter | None:
            self._guard(connection)
            try:
                return self.outbox.take(connection, letter_id)
            except SecretError as error:
                self.outbox.give_up(connection, letter_id, str(error))
                log.error("the letter %s cannot be opened: %s", letter_id, error)
                return None

        return self.database.write(work, audited=False)

    def _postpone(self, letter: Letter, error: str) -> None:
        posted = letter.posted_at or self.clock()
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(letter.tries, 20))
        if self.clock() + timedelta(seconds=pause) - posted > timedelta(seconds=self.mail.give_up_after):
            self._end(letter, error)
            return
        log.warning("%s %s is not taken now (%s), and tried again in %g s", letter.kind, letter.id, error, pause)
        self.database.write(lambda connection: self.outbox.postpone(connection, letter.id, pause, error), audited=False)

    def _end(self, letter: Letter, error: str) -> None:
        log.error("%s %s is given up: %s", letter.kind, letter.id, error)
        self.database.write(lambda connection: self.outbox.give_up(connection, letter.id, error), audited=False)


def links_of(mail: Mail, pages: str) -> Mapping[str, str]:
    """Where the links of letters lead, by kind: below *pages* (a URL), or as the settings say; ``{token}`` is filled in."""
    known = {
        "confirm": f"{pages}/signup/confirm?token={{token}}",
        "password-reset": f"{pages}/password/reset?token={{token}}",
        "email-confirm": f"{pages}/account/email/confirm?token={{token}}",
        "password-expires": f"{pages}/account/password",
        "welcome": f"{pages}/login",
        "already-registered": f"{pages}/password/forgot",
    }
    return {**known, **mail.links}


def sample_values() -> dict[str, Any]:
    """What a template can be tried with."""
    return {
        "site_name": "Example", "username": "ann", "token": "gwt_example", "days": 12, "address": "192.0.2.1",
        "reason": "", "at": "2026-01-31 12:00 UTC",
    }  # fmt: skip
