"""The SOAP endpoint that the tests of clients call: one operation with every kind of value, one that refuses, one list."""

SERVICES = {
    "orders.py": '''
        """Orders."""
        from gatewright import (
            Bool, Bytes, Date, DateTime, Decimal, Dict, DictList, Enum, Float, Int, List, Opaque, Problem, Service, Text, UTC
        )

        namespace = "acme.orders"

        class PlaceOrder(Service):
            """Places an order & says what was understood."""
            name = "orders.place"
            input = (
                Int("number"), Text("customer"), Bool("urgent"), Enum("segment", "gold", "silver"), Date("day"),
                DateTime("made_at"), Decimal("total"), Float("weight"), Bytes("scan"), List("tags", Text("item")),
                Dict("address", Text("street"), Text("-zip"), Dict("geo", Float("lat"), Float("lon"))),
                DictList("lines", Int("number"), Text("item"), Decimal("price")),
                Text("-note", nullable=True), Text("-unused"), List("-more", Int("item")),
            )
            output = (*input, Text("received"), Text("caller"))

            def handle(self):
                given = self.request.input
                received = ";".join(f"{key}={type(value).__name__}" for key, value in given.items())
                self.response.payload = {**given, "received": received, "caller": self.identity.name}

        class FindOrder(Service):
            name = "orders.find"
            input = Int("number")
            output = "number", "-segment"

            def handle(self):
                if self.request.input.number == 500:
                    raise RuntimeError("kaboom secret")
                raise Problem(404, "no-such-order", "There is no order " + str(self.request.input.number) + " \\u2713")

        class ListOrders(Service):
            name = "orders.list"
            output = Int("number"), Text("customer")
            output_repeated = True

            def handle(self):
                self.response.payload = [{"number": 1, "customer": "A"}, {"number": 2, "customer": "B"}]

        class Anything(Service):
            name = "orders.anything"
            input = Opaque("value"), Opaque("-more"), List("-tags")
            output = Opaque("value"), Opaque("-more"), List("-tags"), "python"

            def handle(self):
                given = self.request.input
                self.response.payload = {**given, "python": repr(dict(given))}

        class Free(Service):
            name = "orders.free"

            def handle(self):
                self.response.payload = {"got": self.request.payload}
    ''',
    "linuxjournal.py": '''
        from gatewright import Service

        class GetRate(Service):
            """Returns the real long-term rate for a given date."""
            class SimpleIO:
                input_optional = ("year", "month", "day")
                output_optional = ("rate",)

            def handle(self):
                given = self.request.input
                assert (given.year, given.month, given.day) == ("2013", "9", "3"), given
                self.response.payload.rate = "1.22"
    ''',
}
CONFIGURATION = """
format: 1
security:
  partners: {type: basic, username: api, password: partner-password, realm: Partners}
  tokens:   {type: wss, username: api, password: "${env:TOKEN_PASSWORD}"}
  text:     {type: wss, username: api, password: "${env:TOKEN_PASSWORD}", accept: text}
  people:   {type: wss, groups: [gold]}
  keys:     {type: apikey, groups: ["*"]}
groups: {gold: {}}
limits:
  one: {rules: [{from: "*", rate: 1/hour}]}
  few: {rules: [{from: "*", rate: 3/hour}]}
consumers:
  acme: {groups: [gold], basic: {username: acme, password: acme-password-1}, apikey: {key: "acme-key-0123456789abcdef"}}
  tin:  {groups: [tin], basic: {username: tin, password: tin-password-1}}
channels:
  orders:   {type: soap, path: /soap/orders, services: [orders.place, orders.find, orders.list, orders.anything, orders.free],
             description: Orders of Acme, wsdl: public}
  secured:  {type: soap, path: /soap/secured, services: [orders.place, orders.find], security: [partners]}
  open-doc: {type: soap, path: /soap/open, services: [orders.place], security: [partners], wsdl: public}
  no-doc:   {type: soap, path: /soap/closed, services: [orders.find], wsdl: "off", namespace: "urn:acme:closed"}
  tokens:   {type: soap, path: /soap/tokens, services: [orders.place, orders.find], security: [tokens], wsdl: public}
  people:   {type: soap, path: /soap/people, services: [orders.place, orders.find], security: [people]}
  either:   {type: soap, path: /soap/either, services: [orders.place, orders.find], security: [tokens, partners]}
  both:     {type: soap, path: /soap/both, services: [orders.place, orders.find], security: [[keys, people]]}
  grouped:  {type: soap, path: /soap/grouped, services: [orders.find], security: [partners], groups: [gold], wsdl: public}
  limited:  {type: soap, path: /soap/limited, services: [orders.list], limit: few}
  small:    {type: soap, path: /soap/small, services: [orders.free], max_body: 2KiB, cors: {origins: ["https://a.example"]}}
  client3:  {type: soap, path: /client3/get-rate, services: [linuxjournal.get-rate]}
  absent:   {type: soap, path: /soap/absent, services: [orders.find, nobody.wrote-it]}
  tenant:   {type: soap, path: "/soap/{number}/orders", services: [orders.find]}
  json-place: {type: rest, path: /orders, methods: [POST], service: orders.place}
"""
ENVIRONMENT = {"TOKEN_PASSWORD": "token-password-1"}
PARTNER = ("api", "partner-password")
NAMESPACE = "urn:gatewright:acme.orders"
