"""The test kit: a service is tested in five lines, with no server and no database."""

import pytest

from backends.testkit import MemoryCache
from gatewright import Int, Problem, Service, invoke
from specs.exchange import Identity


class GetCustomer(Service):
    """Returns basic information about a customer."""

    name = "customer.get"
    input = Int("cust_id"), "-segment"
    output = "name", "-segment"

    def handle(self):
        row = self.out.sql["crm"].one("select name from customer where id = :id", id=self.request.input.cust_id)
        if row is None:
            raise Problem(404, "no-such-customer", "no customer has this id")
        self.response.payload = row


class Report(Service):
    def handle(self):
        self.cache.default["seen"] = self.kvdb.conn.incr("count")
        with self.lock("report"):
            customer = self.invoke("customer.get", {"cust_id": 1})
        self.invoke_async("customer.get", {"cust_id": 2})
        self.response.payload = f"{customer.name} for {self.identity.name}"


class Crm:
    def one(self, statement, **parameters):
        return {"name": "Ann"} if parameters == {"id": 1} else None


OUT = {"sql": {"crm": Crm()}}


def test_a_service_answers_as_its_caller_would_see_it():
    assert invoke(GetCustomer, out=OUT, cust_id="1") == {"name": "Ann"}


def test_the_answers_members_are_attributes():
    assert invoke(GetCustomer, {"cust_id": 1}, out=OUT).name == "Ann"


def test_a_refusal_is_a_problem():
    with pytest.raises(Problem, match="no-such-customer"):
        invoke(GetCustomer, out=OUT, cust_id=2)


def test_a_faulty_input_is_refused_by_the_contract():
    with pytest.raises(Problem) as caught:
        invoke(GetCustomer, cust_id="one")
    assert [fault.pointer for fault in caught.value.errors] == ["/cust_id"]


def test_a_connection_that_the_test_forgot_is_named_in_the_cause():
    with pytest.raises(Problem) as caught:
        invoke(GetCustomer, out={"sql": {"crn": Crm()}}, cust_id=1)
    assert "the test gives no out.sql['crm']: did you mean 'crn'?" in str(caught.value.__cause__)


def test_services_of_the_same_module_the_cache_and_the_background_are_there():
    cache, background = MemoryCache(), []
    answer = invoke(Report, out=OUT, cache=cache, background=background, identity=Identity("bob", "user"))
    assert (answer, cache["seen"], [call.payload for call in background]) == ("Ann for bob", 1, [{"cust_id": 2}])


def test_a_service_can_be_named():
    assert invoke("customer.get", out=OUT, services=[GetCustomer], cust_id=1).name == "Ann"


def test_the_memory_cache_forgets_in_time():
    now = [0.0]
    cache = MemoryCache(lambda: now[0])
    cache.conn.setex("a", 10, "1")
    cache.set("b", "2")
    assert (cache.get("a"), cache.keys(), cache.delete("b", "c"), cache.set("a", "3", nx=True)) == (
        "1",
        ["a", "b"],
        1,
        False,
    )
    now[0] = 10.0
    assert (cache.get("a"), cache.exists("a"), cache.incr("a")) == (None, 0, 1)
