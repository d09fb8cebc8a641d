"""Workers that are replaced after so many requests: whoever goes by HTTP's rules loses none."""

import threading

import pytest
from running import eventually, gateway
from wires import read_answer

SERVICES = {
    "who.py": """
        import os
        from gatewright import Service

        class Who(Service):
            name = "who"
            def handle(self):
                self.response.payload = {"pid": os.getpid()}
    """,
}
DOCUMENT = """
format: 1
channels:
  who: {type: rest, path: /who, service: who, methods: [GET, POST]}
"""
GET = b"GET /who HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    options = ("--max-requests", "40")
    with gateway(tmp_path_factory.mktemp("room"), DOCUMENT, SERVICES, workers=2, options=options) as running:
        yield running


def test_workers_are_replaced_after_so_many_requests_and_no_request_is_lost(served):
    """Callers keep their connections, and open another where they are told that one closes.

    A connection that was used before may be closed at the moment a request is sent on it: where no byte of an answer has come,
    a GET is asked again (RFC 9112, 9.3.1). Anything else is a request that was lost.
    """
    stop, pids, failures = threading.Event(), set(), []

    def call():
        sock, used = None, False
        while not stop.is_set():
            try:
                used = sock is not None
                sock = sock or served.connect(timeout=30)
                try:
                    sock.sendall(GET)
                    begun = sock.recv(1)
                except ConnectionError:
                    begun = b""
                if used and not begun:
                    sock.close()
                    sock = None
                    continue
                answer = read_answer(sock, begun)
                assert answer.status == 200
                pids.add(answer.json()["pid"])
                if answer.headers.get("connection") == "close":
                    sock.close()
                    sock = None
            except Exception as error:
                failures.append(error)
                return
        if sock is not None:
            sock.close()

    callers = [threading.Thread(target=call) for _ in range(6)]
    for caller in callers:
        caller.start()
    try:
        assert eventually(lambda: len(pids) >= 4 or failures, seconds=60)
    finally:
        stop.set()
        for caller in callers:
            caller.join(30)
    assert failures == []
    assert len(pids) >= 4


def test_what_is_pipelined_is_answered_to_the_end_or_told_to_close(served):
    """An answer that says "close" is the last one, and every one before it is whole."""
    for _ in range(4):
        with served.connect(timeout=30) as sock:
            sock.sendall(GET * 50)
            answered, after, closing = 0, b"", False
            while answered < 50 and not closing:
                answer = read_answer(sock, after)
                assert answer.status == 200
                answered, after, closing = answered + 1, answer.after, answer.headers.get("connection") == "close"
            assert answered == 50 or (closing and after == b"")
