"""The anchor of the audit's end: a checkpoint in a file beside the database, by which a cut-off end is noticed.

Who can write to the database can remove the last records and turn the head back to the one before them; the chain alone does
not tell. The anchor is written each minute by who holds the installation's lease, and said in the log once a day, for a
log that is kept elsewhere cannot be turned back.
"""

from __future__ import annotations

import logging
import os
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sso.system import SingleSignOn

log = logging.getLogger("gatewright.audit")

FILE_NAME: Final = "audit-anchor"
SAY_EVERY: Final = timedelta(days=1)
_FORM: Final = re.compile(r"[0-9]{1,19}\.[0-9a-f]{64}", re.ASCII)


def read_anchor(data: Path) -> str:
    """The checkpoint that is kept in the folder *data*; empty where there is none."""
    try:
        text = (data / FILE_NAME).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if _FORM.fullmatch(text) else ""


class Anchor:
    """Keeps the anchor in the folder *data*."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._said_at: datetime | None = None

    def keep(self, people: SingleSignOn | None) -> bool:
        """Write the checkpoint of this moment, if it is another one; whether it was.

        One that does not follow from what is kept is not written: who turned the end back would turn the anchor back with it.
        """
        if people is None:
            return False
        kept, now = read_anchor(self._data), people.audit.checkpoint()
        if kept == now:
            return False
        if kept and not people.audit.holds(kept):
            log.error("the audit does not hold the record that it ended with before: see gatewright sso audit verify")
            return False
        beside = self._data / f".{FILE_NAME}.{os.getpid()}"
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{now}\n")
        beside.replace(self._data / FILE_NAME)
        moment = people.clock()
        if self._said_at is None or moment - self._said_at >= SAY_EVERY:
            self._said_at = moment
            log.info("the audit ends with %s", now)
        return True
