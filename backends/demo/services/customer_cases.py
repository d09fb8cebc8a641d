"""Cases: what customers have asked for."""

from gatewright import Bool, Date, Int, Problem, Service

namespace = "my.api.customer-cases"


class GetCustomerCase(Service):
    """Returns basic information about an individual case opened by a customer."""

    name = "get-customer-cases"

    input = Int("case_id", minimum=1)
    output = "cust_id", Bool("is_open"), "status", Date("last_contact_date"), "-supervisor_id", "-region_id"

    def handle(self):
        row = self.out.sql["customers"].one(
            """
            select cust_id, is_open, status, last_contact_date, supervisor_id, region_id from cases
            where case_id = :case_id
            """,
            case_id=self.request.input.case_id,
        )
        if row is None:
            raise Problem(404, "no-such-case", "no case has this id")
        self.response.payload = row
