"""Processes beside the workers: a piece of work in a process of its own (`Apart`), and the steward (`StewardProcess`).

Nothing here needs an event loop: the master calls it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from gateway.options import Options
from gateway.process_log import say
from specs.problems import ConfigurationError

log = logging.getLogger("gatewright.server")

#: The module that is the steward, and the variable that tells it its sockets.
STEWARD = "gateway.steward"
HANDED = "GATEWRIGHT_HANDED"
_ROOT = str(Path(__file__).parent.parent)


class Apart:
    """*work* in a forked process, where a refusal is one line on standard error. *forked* is called there first.

    Its code comes through a pipe: whoever reaps all children of the master may have heard of its end before.
    """

    def __init__(self, work: Callable[[Options], Any], options: Options, forked: Callable[[], None]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.began = time.monotonic()
        self._reading, writing = os.pipe()
        self._child = os.fork()
        if not self._child:
            os.close(self._reading)
            _work(work, options, forked, writing)
        os.close(writing)

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        code = os.read(self._reading, 1)
        self._end()
        return code[0] if code else 1

    def poll(self) -> int | None:
        """Its exit code; None while it has not ended."""
        os.set_blocking(self._reading, False)
        try:
            return self.wait()
        except BlockingIOError:
            return None

    def stop(self) -> None:
        """End it, whatever it is at."""
        try:
            os.kill(self._child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._end()

    def _end(self) -> None:
        os.close(self._reading)
        try:
            os.waitpid(self._child, 0)
        except ChildProcessError:
            pass


def _work(work: Callable[[Options], Any], options: Options, forked: Callable[[], None], writing: int) -> NoReturn:
    code = 1
    try:
        forked()
        found = work(options)
        code = found if isinstance(found, int) else 0
    except ConfigurationError as error:
        say(f"gatewright: {error}")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(writing, bytes([code & 255]))
        os._exit(code)


class StewardProcess:
    """The steward as the master sees it: started with its listening sockets and the options, and again when it ends.

    The sockets stay open in the master, so callers of a steward that is being replaced wait instead of being refused. It can
    be started ahead of the options, which it reads from its standard input: they tell it that the installation is prepared.
    One that has given no sign of life for ``options.timeout`` seconds (`sign_of_life`) is killed, and so replaced.
    """

    def __init__(self, options: Options, listeners: Mapping[str, socket.socket], news: int) -> None:
        self._options = options
        self._listeners = listeners
        self._news = news
        self._child = 0
        self._failures = 0
        self._not_before = 0.0
        self._started = 0.0
        self._working_since = 0.0
        self._input = -1  #: of a steward that waits for its options

    def start(self) -> None:
        """Have it work, now."""
        if self._input < 0:
            self.start_ahead()
        try:
            os.write(self._input, self._options.as_json())
        except BrokenPipeError:
            pass  # it has ended already: `keep` finds that
        os.close(self._input)
        self._input = -1
        self._working_since = time.monotonic()

    def start_ahead(self) -> None:
        """Start a process that waits for its options.

        PERF: its second of imports passes while the installation is prepared, on another core where there is one.
        """
        handed = {name: sock.fileno() for name, sock in self._listeners.items()} | {"news": self._news}
        reading, writing = os.pipe()
        # WHY -P: a file called security.py in the current folder is not ours.
        path = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, HANDED: json.dumps(handed), "PYTHONPATH": path}
        for descriptor in handed.values():
            os.set_inheritable(descriptor, True)
        try:
            self._child = os.posix_spawn(
                sys.executable,
                [sys.executable, *_warning_options(), "-P", "-m", STEWARD],
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)],
            )
            self._input = writing
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
            for descriptor in handed.values():
                os.set_inheritable(descriptor, False)
        self._started = time.monotonic()

    def keep(self) -> bool:
        """Start it again if it has ended, not more often than it can start; whether it was found alive."""
        now = time.monotonic()
        if self._alive() and self._hangs(now):
            log.error("the steward has given no sign of life for %s s and is ended", self._options.timeout)
            self.signal(signal.SIGKILL)
            return True  # its end is found the next time
        if self._alive():
            if self._failures and now - self._started > 60:
                self._failures = 0
            return True
        if self._child:
            self._child = 0
            self._not_before = now + min(30.0, 0.25 * 2**self._failures)
            self._failures += 1
            log.error("the steward has ended; another one starts in %.2f s", self._not_before - now)
        if now >= self._not_before:
            self.start()
        return False

    def _hangs(self, now: float) -> bool:
        if self._input >= 0:
            return False  # it waits for its options
        try:
            seen = life_file(self._options).stat().st_mtime
        except OSError:
            seen = 0.0
        return now - max(seen, self._working_since) > self._options.timeout

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self._alive():
            os.kill(self._child, number)

    def stop(self, patience: float = 5.0) -> None:
        """End it."""
        if self._input >= 0:
            os.close(self._input)
            self._input = -1
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + patience
        while self._alive():
            if time.monotonic() > deadline:
                os.kill(self._child, signal.SIGKILL)
                deadline += patience
            time.sleep(0.02)
        self._child = 0

    def _alive(self) -> bool:
        if not self._child:
            return False
        try:
            # The arbiter reaps every child that ends; whoever comes second is told that there is no such child.
            return os.waitpid(self._child, os.WNOHANG)[0] == 0
        except ChildProcessError:
            return False


def life_file(options: Options) -> Path:
    """The file whose time of change is when the steward was last well, on `time.monotonic`'s clock."""
    return options.run_folder / "steward"


def sign_of_life(options: Options) -> None:
    """Tell the master that the steward is well."""
    now = time.monotonic()
    try:
        place = life_file(options)
        place.touch(mode=0o600)
        os.utime(place, (now, now))
    except OSError as error:
        log.error("the steward cannot say that it is well: %s", error.strerror)


def _warning_options() -> list[str]:
    return [f"-W{option}" for option in sys.warnoptions]
