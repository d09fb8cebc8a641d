"""Services as the executor runs them: what they get, what they may answer, what becomes of their failures."""

import logging

import pytest

from backends import BackendTimeout, Fault, Int, Problem, Service
from backends.catalogue import Catalogue, deploy, describe
from backends.executors.local import MOST_DEPTH, LocalExecutor
from backends.guard import Guard
from backends.platform import Platform, Server
from specs.exchange import Call, Identity


def executor_of(*classes, **reached):
    deployed = [deploy(one, describe(one, module="testing")) for one in classes]
    return LocalExecutor(Catalogue(deployed), Platform(**reached), Guard(enforce=False))


def run(service, payload=None, **call):
    executor = executor_of(service)
    return executor.perform(Call(service.name, payload=payload, cid="c1", **call))


def refused(service, payload=None, **call):
    with pytest.raises(Problem) as caught:
        run(service, payload, **call)
    return caught.value


def test_a_declared_output_is_a_record_to_fill():
    class Fill(Service):
        name = "fill"
        input = "cust_id", "-segment"
        output = "name", "is_active", "-last_seen"

        def handle(self):
            self.response.payload.name = f"customer {self.request.input.cust_id + 1}"
            self.response.payload.is_active = self.request.input.segment is None

    assert run(Fill, {"cust_id": "7"}).payload == {"name": "customer 8", "is_active": True}


def test_a_row_can_be_the_payload_and_what_is_not_declared_is_left_out():
    class Row(Service):
        name = "row"
        output = "name"

        def handle(self):
            self.response.payload = {"name": "Ann", "password_hash": "x"}

    assert run(Row).payload == {"name": "Ann"}


def test_a_repeated_output_is_a_list_of_records():
    class Rows(Service):
        name = "rows"

        class SimpleIO:
            output_required = "id"
            output_repeated = True

        def handle(self):
            self.response.payload[:] = [{"id": 1}, {"id": 2}]

    assert run(Rows).payload == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize("value", ["text", b"bytes", {"a": [1, None]}, [1, 2], None, 7])
def test_without_a_declared_output_the_payload_is_anything(value):
    class Free(Service):
        name = "free"

        def handle(self):
            self.response.payload = value

    assert run(Free).payload == value


def test_an_iterator_is_streamed():
    class Stream(Service):
        name = "stream"

        def handle(self):
            self.response.content_type = "text/csv"
            self.response.payload = (part for part in (b"a,b\n", "1,2\n"))

    outcome = run(Stream)
    assert (list(outcome.stream), outcome.content_type) == ([b"a,b\n", b"1,2\n"], "text/csv")


def test_status_headers_and_content_type_go_with_the_answer():
    class Created(Service):
        name = "created"

        def handle(self):
            self.response.status_code = 201
            self.response.headers["Location"] = "/customers/7"
            self.response.headers.add("Set-Cookie", "a=1")
            self.response.headers.add("Set-Cookie", "b=2")

    outcome = run(Created)
    assert (outcome.status, outcome.headers) == (
        201,
        [("Location", "/customers/7"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")],
    )


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b", "5 \u20ac"])
def test_A8_what_cannot_stand_in_a_header_is_an_internal_error(value):
    """Here, where it is logged as one, and not on the wire, where it has been logged already."""

    class Split(Service):
        name = "split"

        def handle(self):
            self.response.headers["X-Note"] = value

    class Typed(Service):
        name = "typed"

        def handle(self):
            self.response.content_type = value
            self.response.payload = "x"

    assert refused(Split).code == refused(Typed).code == "internal-error"


def test_a_required_output_that_is_missing_is_a_500_that_names_it():
    class Missing(Service):
        name = "missing"
        output = "name", "region"

        def handle(self):
            self.response.payload.name = "Ann"

    problem = refused(Missing)
    assert (problem.status, problem.code, [fault.pointer for fault in problem.errors]) == (
        500,
        "invalid-response",
        ["/region"],
    )


def test_a_problem_of_the_service_goes_out_as_it_is():
    class Refuse(Service):
        name = "refuse"

        def handle(self):
            raise Problem(404, "no-such-customer", "no customer has this id", errors=[Fault("/cust_id", "x", "y")])

    problem = refused(Refuse)
    assert (problem.status, problem.code, problem.detail) == (404, "no-such-customer", "no customer has this id")


def test_Z33_what_an_exception_says_stays_in_the_log(caplog):
    class Kaboom(Service):
        name = "kaboom"

        def handle(self):
            raise ValueError("kaboom secret")

    problem = refused(Kaboom)
    assert problem.code == "internal-error"
    assert "kaboom secret" not in str(problem.as_dict("c1"))
    assert "cid=c1" in caplog.text
    assert "kaboom secret" in caplog.text
    assert "Traceback" in caplog.text


def test_a_service_that_exits_ends_its_call_and_not_the_process():
    class Exit(Service):
        name = "exit"

        def handle(self):
            raise SystemExit(3)

    assert refused(Exit).code == "internal-error"


def test_a_backend_that_is_late_is_a_504(caplog):
    class Late(Service):
        name = "late"

        def handle(self):
            raise BackendTimeout("10.0.0.7:5432 did not answer in 3 s")

    problem = refused(Late)
    assert (problem.status, problem.code, "10.0.0.7" in problem.detail) == (504, "backend-timeout", False)
    assert "10.0.0.7" in caplog.text


@pytest.mark.parametrize("hook", ["before_handle", "after_handle"])
def test_Z44_what_a_hook_raises_is_not_swallowed(hook):
    def refuse(self):
        raise Problem(403, "not-today", "come back tomorrow")

    hooked = type("Hooked", (Service,), {"name": "hooked", "handle": lambda self: None, hook: refuse})
    assert refused(hooked).code == "not-today"


def test_hooks_run_around_handle():
    class Hooks(Service):
        name = "hooks"
        output = "steps"

        def before_handle(self):
            self.steps = ["before"]

        def handle(self):
            self.steps.append("handle")

        def after_handle(self):
            self.response.payload.steps = " ".join([*self.steps, "after"])

    assert run(Hooks).payload == {"steps": "before handle after"}


class Verbs(Service):
    name = "verbs"

    def handle_GET(self):
        self.response.payload = "got"

    def handle_DELETE(self):
        self.response.payload = "gone"


@pytest.mark.parametrize(("method", "answer"), [("GET", "got"), ("HEAD", "got"), ("DELETE", "gone")])
def test_a_verb_has_its_own_handler(method, answer):
    assert run(Verbs, method=method).payload == answer


def test_a_verb_without_a_handler_is_405_with_what_is_allowed():
    problem = refused(Verbs, method="POST")
    assert (problem.status, problem.code, problem.headers) == (
        405,
        "method-not-allowed",
        (("Allow", "DELETE, GET, HEAD"),),
    )


def test_handle_takes_the_verbs_that_have_no_handler_of_their_own():
    class Both(Service):
        name = "both"

        def handle(self):
            self.response.payload = "any"

        def handle_PUT(self):
            self.response.payload = "put"

    assert [run(Both, method=method).payload for method in ("PUT", "POST", "")] == ["put", "any", "any"]


def test_the_members_that_seeds_know_are_there(caplog):
    caplog.set_level(logging.INFO)
    seen = {}

    class Members(Service):
        name = "members"

        def handle(self):
            self.logger.warn("Exception caught (%s)", self.cid)
            seen.update(
                raw=self.request.raw_request,
                payload=self.request.payload,
                params=self.request.channel_params,
                query=self.request.http.GET,
                agent=self.request.http.user_agent,
                channel=self.channel.name,
                who=self.identity.name if self.identity else None,
                cluster=self.server.cluster_id,
                out=(self.out, self.outgoing),
                config=self.config["colour"],
                environ=self.environ,
                amqp=self.request.amqp,
                mq=self.request.ibm_mq or self.request.wmq,
            )

    executor = executor_of(Members, out="OUT", config={"colour": "red"}, server=Server(cluster_id=4))
    executor.perform(
        Call(
            "members",
            payload={"a": 1},
            raw=b'{"a":1}',
            cid="c1",
            channel="front",
            identity=Identity("acme", "consumer"),
            query={"x": "1", "id": "2"},
            params={"id": "3"},
            headers={"user-agent": "curl"},
        )
    )
    assert seen == {
        "raw": b'{"a":1}',
        "payload": {"a": 1},
        "params": {"x": "1", "id": "3"},
        "query": {"x": "1", "id": "2"},
        "agent": "curl",
        "channel": "front",
        "who": "acme",
        "cluster": 4,
        "out": ("OUT", "OUT"),
        "config": "red",
        "environ": {},
        "amqp": None,
        "mq": None,
    }
    assert "cid=c1 Exception caught (c1)" in caplog.text


def test_what_a_process_has_not_says_so():
    class Cacheless(Service):
        name = "cacheless"

        def handle(self):
            self.cache.get("key")

    assert refused(Cacheless).code == "backend-unavailable"


class Double(Service):
    name = "double"
    input = Int("number")
    output = Int("number")

    def handle(self):
        self.response.payload.number = self.request.input.number * 2


def test_a_service_invokes_another_by_its_contract():
    class Caller(Service):
        name = "caller"

        def handle(self):
            self.response.payload = {"sum": self.invoke("double", {"number": "4"}).number, "cid": self.cid}

    assert executor_of(Caller, Double).perform(Call("caller", cid="c1")).payload == {"sum": 8, "cid": "c1"}


def test_what_is_wrong_with_an_inner_input_is_named():
    class Caller(Service):
        name = "caller"

        def handle(self):
            self.invoke("double", {"number": "four"})

    with pytest.raises(Problem) as caught:
        executor_of(Caller, Double).perform(Call("caller", cid="c1"))
    assert [fault.pointer for fault in caught.value.errors] == ["/number"]


def test_an_inner_failure_can_be_caught_as_a_problem():
    class Fails(Service):
        name = "fails"

        def handle(self):
            raise KeyError("x")

    class Caller(Service):
        name = "caller"

        def handle(self):
            try:
                self.invoke("fails")
            except Problem as problem:
                self.response.payload = problem.code

    assert executor_of(Caller, Fails).perform(Call("caller", cid="c1")).payload == "internal-error"


def test_services_that_invoke_one_another_for_ever_are_ended():
    depths = []

    class Again(Service):
        name = "again"

        def handle(self):
            depths.append(1)
            self.invoke("again")

    assert refused(Again).code == "internal-error"
    assert len(depths) == MOST_DEPTH + 1


def test_an_inner_call_has_the_rest_of_the_time():
    seen = []

    class Inner(Service):
        name = "inner"
        deadline = "1h"

        def handle(self):
            seen.append(self._call.deadline)

    class Outer(Service):
        name = "outer"
        deadline = 5

        def handle(self):
            seen.append(self._call.deadline)
            self.invoke("inner")
            self.invoke("inner", timeout=1)

    executor_of(Outer, Inner).perform(Call("outer", cid="c1"))
    assert seen[0] == seen[1]
    assert seen[2] < seen[0] - 3


def test_an_unknown_service_is_a_503():
    with pytest.raises(Problem) as caught:
        executor_of(Double).run(Call("triple"))
    assert (caught.value.status, caught.value.code) == (503, "service-not-deployed")


def test_a_call_in_the_background_is_checked_and_handed_on():
    kept = []

    class Caller(Service):
        name = "caller"

        def handle(self):
            self.response.payload = self.invoke_async("double", {"number": 4}, callback="caller", after=60)

    executor = executor_of(Caller, Double, enqueue=lambda call, **options: kept.append((call, options)))
    cid = executor.perform(Call("caller", cid="c1", identity=Identity("acme", "consumer"))).payload
    [(call, options)] = kept
    assert (call.service, call.payload, call.cid, call.identity.name) == ("double", {"number": 4}, cid, "acme")
    assert (options, cid != "c1") == ({"after": 60, "callback": "caller"}, True)


def test_a_call_in_the_background_that_could_never_run_is_refused_at_once():
    class Caller(Service):
        name = "caller"

        def handle(self):
            self.invoke_async("double", {"number": "four"})

    with pytest.raises(Problem, match="invalid-input"):
        executor_of(Caller, Double, enqueue=lambda call, **options: None).perform(Call("caller"))


def test_a_service_that_holds_the_worker_three_times_a_minute_is_put_aside_until_redeployed():
    now = [100.0]
    guard = Guard(enforce=False, clock=lambda: now[0])
    stalls = []
    for moment in (100.0, 130.0, 161.0, 162.0, 163.0):
        now[0] = moment
        stalls.append(guard.suspensions.stalled("spin", 1))
    assert stalls == [False, False, False, True, True]
    with pytest.raises(Problem) as caught:
        guard.suspensions.check("spin", 1)
    assert (caught.value.status, caught.value.code) == (503, "service-suspended")
    assert guard.suspensions.check("spin", 2) is None
    assert guard.suspensions.names() == ["spin"]
