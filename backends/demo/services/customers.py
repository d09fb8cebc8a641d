"""Customers: who they are, kept in the database behind the connection `customers`."""

from gatewright import Bool, Date, Enum, Int, Problem, Service, Text

namespace = "my.api.customer"


class GetCustomer(Service):
    """Returns basic information about a customer."""

    name = "get-customer"

    input = Int("cust_id", minimum=1), "-cust_type", Enum("-segment", "gold", "silver")
    output = "name", Bool("is_active"), "region", Date("-last_seen")

    def handle(self):
        wanted = self.request.input
        row = self.out.sql["customers"].one(
            """
            select name, is_active, region, last_seen from customers
            where cust_id = :cust_id
              and (:cust_type is null or cust_type = :cust_type) and (:segment is null or segment = :segment)
            """,
            cust_id=wanted.cust_id, cust_type=wanted.cust_type, segment=wanted.segment,
        )
        if row is None:
            raise Problem(404, "no-such-customer", "no customer has this id")
        self.response.payload = row


class UpdateCustomer(Service):
    """Updates basic information about a customer."""

    name = "update-customer"
    invokes = ["get-customer"]

    input = Int("cust_id", minimum=1), Text("name", min_length=1, max_length=100), Bool("is_active"), "region"
    output = "result", "name", Bool("is_active"), "region"

    def handle(self):
        values = dict(self.request.input)
        changed = self.out.sql["customers"].execute(
            "update customers set name = :name, is_active = :is_active, region = :region where cust_id = :cust_id",
            **values,
        )
        if not changed:
            raise Problem(404, "no-such-customer", "no customer has this id")
        customer = self.invoke("get-customer", {"cust_id": values["cust_id"]})
        self.response.payload = {**customer, "result": "updated"}
