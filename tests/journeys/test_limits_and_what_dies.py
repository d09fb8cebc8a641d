"""Requests at once while workers are killed, a Redis that is asked once a request, and a master that another takes over for."""

import os
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager

import pytest
from running import eventually, gateway
from servers import free_port, redis_server, stop

SERVICES = {
    "echo.py": """
        import os
        import time
        from pathlib import Path
        from gatewright import Service

        class Echo(Service):
            name = "echo"
            input = "-wait"
            output = "worker"

            def handle(self):
                if self.request.input.wait:
                    Path(os.environ["STARTED"], self.cid).touch()
                    time.sleep(float(self.request.input.wait))
                self.response.payload.worker = str(os.getpid())
    """
}
AT_ONCE = """
format: 1
limits:
  running: {rules: [{from: "*", rate: 4 at once}]}
channels:
  running: {type: rest, path: /running, service: echo, limit: running}
  free:    {type: rest, path: /free, service: echo}
"""


def test_what_a_killed_worker_ran_at_once_is_free_again(tmp_path):
    started = tmp_path / "started"
    started.mkdir()
    with gateway(tmp_path, AT_ONCE, SERVICES, workers=2, environment={"STARTED": str(started)}) as served:
        ended, lock = [], threading.Lock()

        def hold():
            try:
                status = served.get("/running?wait=40", timeout=60).status_code
            except OSError:
                status = "lost"
            with lock:
                ended.append(status)

        threads = [threading.Thread(target=hold) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert eventually(lambda: len(list(started.iterdir())) == 4, 30)
        assert served.get("/running").status_code == 429
        assert served.get("/free").status_code == 200
        killed = served.workers()
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        for thread in threads:
            thread.join(60)
        assert ended == ["lost"] * 4

        def free_again():
            try:
                return [served.get("/running").status_code for _ in range(6)] == [200] * 6
            except OSError:
                return False  # no other worker has begun yet

        assert eventually(free_again, 40)
        assert not killed & served.workers()


FIVE = """
format: 1
gateway: {limit_storage: "URL", limit: many}
limits:
  many: {rules: [{from: "*", rate: [100000/hour, 1000000/day]}]}
security:
  keys: {type: apikey, groups: ["*"]}
groups:
  gold: {limit: many}
consumers:
  acme: {groups: [gold], limit: many, apikey: {key: "acme-key-0123456789abcdef"}}
services:
  echo: {limit: many}
channels:
  five: {type: rest, path: /five, service: echo, limit: many, security: [keys]}
"""


def test_a_request_under_five_levels_is_one_question_to_redis(tmp_path):
    import redis

    with redis_server() as server, gateway(tmp_path, FIVE.replace("URL", server.url), SERVICES) as served:
        client = redis.Redis.from_url(server.url)

        def asked():
            """Messages that Redis has read, this one not counted."""
            client.ping()
            return client.info("stats")["total_reads_processed"]

        def ask(times):
            before = asked()
            for _ in range(times):
                answer = served.get("/five", headers={"X-API-Key": "acme-key-0123456789abcdef"})
                assert answer.status_code == 200
                assert answer.headers["RateLimit-Policy"].count("q=") >= 2
            return asked() - before

        ask(3)  # the script is loaded, the connection open
        nothing = ask(0)
        assert ask(50) - nothing == 50
        evaluated = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        assert ask(10) - nothing == 10
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == evaluated + 10
        client.close()


@contextmanager
def sentinel_of(port, folder):
    """A sentinel that gives up a master after half a second."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("server missing: Redis (apt-get install redis-server)")
    own = free_port()
    (folder / "sentinel.conf").write_text(
        f"port {own}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor limits 127.0.0.1 {port} 1\n"
        "sentinel down-after-milliseconds limits 500\nsentinel failover-timeout limits 3000\n"
    )
    with (folder / "sentinel.log").open("wb") as log:
        words = [program, str(folder / "sentinel.conf"), "--sentinel"]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield own
    finally:
        stop(process, signal.SIGKILL)


THREE = """
format: 1
gateway: {limit_storage: "redis+sentinel://127.0.0.1:PORT/limits/0", on_store_failure: deny}
limits:
  three: {rules: [{from: "*", rate: 3/hour}]}
  many:  {rules: [{from: "*", rate: 100000/hour}]}
channels:
  three: {type: rest, path: /three, service: echo, limit: three}
  other: {type: rest, path: /other, service: echo, limit: three}
  many:  {type: rest, path: /many, service: echo, limit: many}
"""


def test_the_master_dies_and_the_one_that_the_sentinels_name_counts_on(tmp_path):
    import redis

    with (
        redis_server() as master,
        redis_server("--replicaof", "127.0.0.1", str(master.port)) as replica,
        sentinel_of(master.port, tmp_path) as port,
    ):
        watcher = redis.Redis(port=port)
        assert eventually(lambda: watcher.execute_command("SENTINEL REPLICAS limits"), 30)
        text = THREE.replace("PORT", str(port))
        with gateway(tmp_path, text, SERVICES, workers=2) as served:
            assert eventually(lambda: served.get("/many").status_code == 200)
            assert [served.get("/three").status_code for _ in range(4)] == [200, 200, 200, 429]
            copy = redis.Redis.from_url(replica.url)
            assert eventually(lambda: copy.dbsize() >= 2)
            copy.close()
            master.kill()
            assert eventually(lambda: served.get("/many").status_code == 503, 30)
            # The replica is made the master, is found, and knows what was counted.
            assert eventually(lambda: [served.get("/many").status_code for _ in range(8)] == [200] * 8, 60)
            assert served.get("/three").status_code == 429
            assert [served.get("/other").status_code for _ in range(4)] == [200, 200, 200, 429]
            states = lambda: {one["limits"]["state"] for one in served.status()["workers"] if "limits" in one}  # noqa: E731
            assert eventually(lambda: served.get("/many") and states() == {"counting"}, 30)
        watcher.close()
