"""Services that wait, loop, raise, block or exit: their callers are told so, with a cid that the log has, and the rest go on."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from running import eventually, gateway

SERVICES = {
    "misbehaving.py": '''
        import re
        import sys
        import time
        import gevent
        from gatewright import Service

        class Quick(Service):
            name = "quick"
            def handle(self):
                self.response.payload = {"fine": True}

        class Waits(Service):
            name = "waits"
            deadline = 0.5
            def handle(self):
                try:
                    time.sleep(60)
                except Exception:
                    pass  # a deadline is no Exception
                self.response.payload = {"late": True}

        class Loops(Service):
            name = "loops"
            deadline = 0.5
            def handle(self):
                while True:
                    try:
                        sum(range(100))
                    except Exception:
                        pass

        class Raises(Service):
            name = "raises"
            def handle(self):
                raise ValueError("what nobody outside may read: /etc/secret")

        class Exits(Service):
            name = "exits"
            def handle(self):
                sys.exit(3)

        class Recurses(Service):
            name = "recurses"
            def handle(self):
                self.handle()

        class Blocks(Service):
            name = "blocks"
            blocking = True
            deadline = 0.5
            def handle(self):
                time.sleep(self.request.payload["seconds"])
                self.response.payload = {"slept": True}

        class Hooked(Service):
            name = "hooked"
            def before_handle(self):
                raise ValueError("before")
            def handle(self):
                self.response.payload = {"handled": True}

        class HookedAfter(Service):
            name = "hooked-after"
            def handle(self):
                self.response.payload = {"handled": True}
            def after_handle(self):
                raise ValueError("after")

        class Breaks(Service):
            """A stream that fails in the middle."""
            name = "breaks"
            def handle(self):
                def rows():
                    yield "first\\\\n"
                    raise ValueError("the rest is lost")
                self.response.content_type = "text/plain"
                self.response.payload = rows()

        class Unprintable(Service):
            name = "unprintable"
            def handle(self):
                self.response.payload = {"what": object()}
    ''',
}
NAMES = ["quick", "waits", "loops", "raises", "exits", "recurses", "hooked", "hooked-after", "breaks", "unprintable"]
CONFIGURATION = (
    "format: 1\nchannels:\n"
    + "".join(f"  {name}: {{type: rest, path: /{name}, service: {name}, methods: [GET]}}\n" for name in NAMES)
    + "  blocks: {type: rest, path: /blocks, service: blocks, methods: [POST]}\n"
    + "  tuned: {type: rest, path: /tuned, service: waits-long, methods: [GET], deadline: 300ms}\n"
)
SERVICES["waiting.py"] = """
    import time
    from gatewright import Service

    class WaitsLong(Service):
        name = "waits-long"
        def handle(self):
            time.sleep(60)
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("misbehaving"), CONFIGURATION, SERVICES) as running:
        yield running


def assert_problem(served, answer, status, code):
    """The problem, whose cid the log has outside the access line: what went wrong is found under it."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["cid"]) == (status, code, answer.headers["x-request-id"])
    for secret in ("Traceback", "secret", ".py", "ValueError", "File "):
        assert secret not in answer.text
    logged = eventually(lambda: [line for line in served.errors if f"cid={problem['cid']}" in line])
    assert logged
    return logged[0]


def timed(call):
    began = time.monotonic()
    return call(), time.monotonic() - began


def test_a_service_that_waits_past_its_deadline_is_504_and_the_others_go_on(served):
    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(timed, lambda: served.get("/waits")) for _ in range(8)]
        time.sleep(0.1)
        quick = [timed(lambda: served.get("/quick")) for _ in range(10)]
        answers = [one.result() for one in waiting]
    for answer, seconds in answers:
        assert "did not answer by its deadline" in assert_problem(served, answer, 504, "deadline-exceeded")
        assert 0.4 < seconds < 3
    assert [answer.status_code for answer, _ in quick] == [200] * 10
    assert sorted(seconds for _, seconds in quick)[5] < 0.3


def test_a_channel_may_give_less_time_than_the_service(served):
    answer, seconds = timed(lambda: served.get("/tuned"))
    assert_problem(served, answer, 504, "deadline-exceeded")
    assert seconds < 3


def test_a_service_that_loops_is_504_and_the_others_are_answered_after_it(served):
    with ThreadPoolExecutor(4) as pool:
        looping = pool.submit(timed, lambda: served.get("/loops"))
        time.sleep(0.2)
        quick = [pool.submit(timed, lambda: served.get("/quick")) for _ in range(3)]
        answer, seconds = looping.result()
        others = [one.result() for one in quick]
    assert "held the worker" in assert_problem(served, answer, 504, "deadline-exceeded")
    assert seconds < 5
    assert [other.status_code for other, _ in others] == [200] * 3
    assert max(took for _, took in others) < 5
    assert served.get("/quick").status_code == 200


@pytest.mark.parametrize("path", ["/raises", "/exits", "/recurses", "/hooked", "/hooked-after"])
def test_Z33_Z44_a_service_or_hook_that_raises_is_500(served, path):
    assert_problem(served, served.get(path), 500, "internal-error")
    assert served.get("/quick").status_code == 200


def test_the_log_says_where_a_service_failed(served):
    cid = served.get("/raises").headers["x-request-id"]
    text = eventually(lambda: served.log().partition(f"cid={cid} service 'raises'")[2])
    assert "ValueError: what nobody outside may read" in text
    assert 'raise ValueError("what nobody' in text  # the line of the author's source, which stands in no file


def test_what_cannot_be_printed_is_500(served):
    answer = served.get("/unprintable")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "object at" not in answer.text


def test_a_stream_that_fails_is_cut_off_so_that_nobody_takes_it_for_whole(served):
    import requests

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        served.get("/breaks")
    assert served.get("/quick").status_code == 200


def test_a_blocking_service_leaves_the_others_alone_and_is_504_at_its_deadline(served):
    fine = served.post("/blocks", json={"seconds": 0.01})
    assert (fine.status_code, fine.json()) == (200, {"slept": True})
    with ThreadPoolExecutor(4) as pool:
        blocked = [pool.submit(timed, lambda: served.post("/blocks", json={"seconds": 1.5})) for _ in range(3)]
        time.sleep(0.1)
        quick = [timed(lambda: served.get("/quick")) for _ in range(10)]
        answers = [one.result() for one in blocked]
    for answer, seconds in answers:
        assert_problem(served, answer, 504, "deadline-exceeded")
        assert 0.4 < seconds < 3
    assert sorted(seconds for _, seconds in quick)[5] < 0.3


def test_a_worker_whose_threads_are_all_taken_for_good_makes_room_and_nobody_else_notices(served):
    first = served.workers()
    failures, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            answer = served.get("/quick")
            if answer.status_code != 200:
                failures.append(answer.text)
            time.sleep(0.01)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: served.post("/blocks", json={"seconds": 60}), range(20)))
            # 16 threads a worker, a few still held by the test before: whoever comes too many is told to come again.
            assert {answer.status_code for answer in answers} == {503, 504}
            assert [answer.json()["code"] for answer in answers].count("overloaded") >= 4
            assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
            time.sleep(1.5)
            list(pool.map(lambda _: served.post("/blocks", json={"seconds": 60}), range(4)))
        assert eventually(lambda: served.workers() and not served.workers() & first)
        assert served.post("/blocks", json={"seconds": 0.01}).status_code == 200
    finally:
        stop.set()
        asking.join(30)
    assert failures == []


def test_every_answer_has_its_line_in_the_access_log(served):
    cids = {served.get(f"/{name}").headers["x-request-id"]: name for name in ("quick", "raises", "waits")}

    def lines():
        found = [json.loads(line) for line in served.errors if line.startswith("{")]
        return {line["cid"]: line for line in found if line["cid"] in cids}

    assert eventually(lambda: len(lines()) == 3)
    assert {(line["channel"], line["status"]) for line in lines().values()} == {
        ("quick", 200), ("raises", 500), ("waits", 504),
    }  # fmt: skip
