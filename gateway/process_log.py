"""What a process says beside the access log: our lines, and those that services write with `self.logger`, on standard error.

SECURITY: A48. A message holds what callers sent: what a terminal could obey, a line's end among it, is written as its escape.

>>> line = logging.LogRecord("gatewright.service.a", logging.INFO, "", 0, "name: %s", ("Ann\\x1b[2J\\n[1] all is well",), None)
>>> Lines("%(levelname)s %(message)s").format(line)
'INFO name: Ann\\\\x1b[2J\\\\n[1] all is well'
"""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"
#: The loggers of ours and of services; those of libraries are heard from warnings on.
OURS = "gatewright"


class Lines(logging.Formatter):
    """A line for each message; of an error, its traceback below."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line."""
        return _shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The traceback, whose own lines stay lines."""
        return "\n".join(map(_shown, super().formatException(ei).split("\n")))


def begin(level: str) -> None:
    """Write what is logged in this process from *level* on (``info``) to standard error. Again is no harm."""
    ours = getattr(logging, level.upper())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(FORMAT))
    logging.basicConfig(level=max(ours, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger(OURS).setLevel(ours)


def say(line: str, to: TextIO | None = None) -> None:
    """Tell whoever started the gateway: *line* on standard error, or *to*. A line and its end are one write.

    The master, the steward and the workers share a terminal; of two writes another's line may come between.
    """
    stream = to or sys.stderr
    stream.write(f"{line}\n")
    stream.flush()


def _shown(text: str) -> str:
    # PERF: nearly every line is printable as it stands.
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
