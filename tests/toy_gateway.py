"""A gateway in miniature, served by the real master, workers and steward: ``python toy_gateway.py '{"data": ...}'``."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402

from gateway import child  # noqa: E402
from gateway.journal import Journal  # noqa: E402
from gateway.metrics import Metrics  # noqa: E402
from gateway.options import Options  # noqa: E402
from gateway.server import serve  # noqa: E402
from specs.problems import ConfigurationError  # noqa: E402


class Gateway:
    def __init__(self, options):
        self.options = options
        self.metrics = Metrics(options.run_folder / "metrics")
        self.journal = Journal(options.access_log)

    def start(self):
        if os.environ.get("TOY_FAILS"):
            raise RuntimeError("the toy is broken")
        if (self.options.data / "refuse").exists():
            raise ConfigurationError("toy", "this cannot be", "do without")
        self.journal.start()
        self.metrics.facts.update(serving=True, revision=7)
        self.metrics.write()
        gevent.spawn(self._write_metrics)

    def _write_metrics(self):
        while True:
            gevent.sleep(0.2)
            self.metrics.write()

    def stop(self, grace):
        self.metrics.write()
        self.journal.stop()

    def handle(self, exchange):
        if exchange.path == "/slow":
            gevent.sleep(float(exchange.query_string or 1))
        if exchange.path == "/hang":
            monkey.get_original("time", "sleep")(60)
        exchange.response_status = 200
        exchange.response_body = f"{os.getpid()} {exchange.scheme}".encode()
        self._record(exchange)

    def refuse(self, exchange):
        exchange.response_status = exchange.problem.status
        self._record(exchange)

    def _record(self, exchange):
        taken = time.monotonic_ns() - exchange.started_ns
        self.metrics.observe("toy", exchange.response_status, taken / 1e9)
        self.journal.access(exchange, taken)


def prepare(options):
    if options.config and "bad" in options.config.read_text():
        print("gatewright: the document is bad", file=sys.stderr)
        return 1
    if options.config and "endless" in options.config.read_text():
        monkey.get_original("time", "sleep")(600)
    if not os.environ.get("TOY_STEWARD"):
        import gateway.configuration.store  # noqa: F401 - imports croniter, which starts a process: not in the writer's thread
        from gateway.migrations import migrate
        from security.database import open_database

        database = open_database(options.data)
        migrate(database)
        database.close()
    return 0


if __name__ == "__main__":
    child.STEWARD = os.environ.get("TOY_STEWARD") or child.STEWARD
    sys.exit(serve(Options.from_json(sys.argv[1].encode()), prepare, factory=Gateway))
