"""What is asked of every server: one order of 200 bytes, answered by 200; and Gatewright's documents for it."""

from base64 import b64encode

USERNAME, PASSWORD = "bench", "bench-password"

ORDER = (
    b'{"order_id":"ORD-2026-000017","customer_id":1234567,"currency":"EUR","total":1234.5,"express":true,'
    b'"reference":"spring delivery","lines":[{"sku":"A-1001-X","count":3},{"sku":"B-2002-Y","count":1}]}'
)
XML_ORDER = (
    b"<order><order_id>ORD-2026-000017</order_id><customer_id>1234567</customer_id><currency>EUR</currency>"
    b"<total>1234.5</total><express>true</express><reference>spring delivery</reference>"
    b"<lines><item><sku>A-1001-X</sku><count>3</count></item><item><sku>B-2002-Y</sku><count>1</count></item></lines></order>"
)

SERVICES = {
    "orders.py": '''
        from gatewright import Bool, DictList, Float, Int, Service, Text

        class PlaceOrder(Service):
            """Takes an order."""

            name = "orders.place"
            schema = "order.json"
            input = (
                Text("order_id"), Int("customer_id"), Text("currency"), Float("total"), Bool("express"), Text("-reference"),
                DictList("lines", "sku", Int("count")),
            )
            output = (
                Text("order_id"), Int("customer_id"), Text("status"), Float("total"), Int("line_count"), Bool("express"),
                Text("message"),
            )

            def handle(self):
                order = self.request.input
                answer = self.response.payload
                answer.order_id = order.order_id
                answer.customer_id = order.customer_id
                answer.status = "accepted"
                answer.total = order.total
                answer.line_count = len(order.lines)
                answer.express = order.express
                answer.message = "Your order is accepted and goes to the warehouse today."

        class GetOrder(Service):
            """Gives an order."""

            name = "orders.get"
            input = Int("customer_id")
            output = Int("customer_id"), Text("status"), Text("message")

            def handle(self):
                self.response.payload = {
                    "customer_id": self.request.input.customer_id,
                    "status": "accepted",
                    "message": "Your order is accepted and goes to the warehouse today." * 2,
                }
    ''',
    "order.json": """
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
         "required": ["order_id", "customer_id", "currency", "total", "express", "lines"],
         "properties": {
           "order_id": {"type": "string", "minLength": 1, "maxLength": 40},
           "customer_id": {"type": "integer", "minimum": 1},
           "currency": {"type": "string", "minLength": 3, "maxLength": 3},
           "total": {"type": "number", "minimum": 0},
           "express": {"type": "boolean"},
           "reference": {"type": "string", "maxLength": 80},
           "lines": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["sku", "count"],
             "properties": {"sku": {"type": "string", "minLength": 1, "maxLength": 40},
                            "count": {"type": "integer", "minimum": 1}}}}}}
    """,
}

#: Limits that are counted and never reached. `callers` has users with none, three and five buckets in their chains.
CONFIGURATION = f"""
format: 1
limits:
  first: {{rules: [{{from: "*", rate: 1000000/second}}]}}
  second: {{rules: [{{from: "*", rate: 900000/second}}]}}
  third: {{rules: [{{from: "*", rate: 800000/second}}]}}
  pair: {{rules: [{{from: "*", rate: [1000000/second, 100000000/hour]}}]}}
security:
  callers: {{type: basic, groups: [three, five, none]}}
groups:
  none: {{}}
  three: {{limit: second}}
  five: {{limit: second}}
consumers:
  bench: {{groups: [three], limit: third, basic: {{username: {USERNAME}, password: {PASSWORD}}}}}
  five: {{groups: [five], limit: pair, basic: {{username: five, password: {PASSWORD}}}}}
  none: {{groups: [none], basic: {{username: none, password: {PASSWORD}}}}}
channels:
  whole: {{type: rest, path: /orders, methods: [POST], service: orders.place, security: [callers], limit: first,
          allow: [127.0.0.0/8, 10.0.0.0/8]}}
  five: {{type: rest, path: /five, methods: [POST], service: orders.place, security: [callers], limit: pair,
          allow: [127.0.0.0/8, 10.0.0.0/8]}}
  none: {{type: rest, path: /none, methods: [POST], service: orders.place, security: [callers],
          allow: [127.0.0.0/8, 10.0.0.0/8]}}
  open: {{type: rest, path: /open, methods: [POST], service: orders.place}}
  get: {{type: rest, path: "/orders/{{customer_id}}", methods: [GET], service: orders.get}}
  xml: {{type: xml, path: /xml, methods: [POST], service: orders.place}}
  other-1: {{type: rest, path: /others/1, methods: [POST], service: orders.place}}
  other-2: {{type: rest, path: /others/2, methods: [POST], service: orders.place}}
  other-3: {{type: rest, path: /others/3, methods: [POST], service: orders.place}}
  other-4: {{type: rest, path: /others/4, methods: [POST], service: orders.place}}
"""


def forwarding(upstream: int, *, bare: bool = False) -> str:
    """A document that hands /orders on to the system at a port; *bare*: to anybody, without limits."""
    protected = "" if bare else ", security: [callers], limit: first"
    return f"""
format: 1
limits:
  first: {{rules: [{{from: "*", rate: 1000000/second}}]}}
security:
  callers: {{type: basic, groups: [all]}}
groups:
  all: {{}}
consumers:
  bench: {{groups: [all], basic: {{username: {USERNAME}, password: {PASSWORD}}}}}
channels:
  forwarded: {{type: proxy, path: /orders, rewrite: /orders, upstreams: ["http://127.0.0.1:{upstream}"],
    breaker_failures: 0{protected}}}
"""


def many_channels(count: int) -> str:
    """`CONFIGURATION` with *count* channels in all, the further ones as protected as `whole`."""
    further = count - CONFIGURATION.count("{type: rest") - CONFIGURATION.count("{type: xml")
    return CONFIGURATION + "".join(
        f"  many-{number}: {{type: rest, path: /many/{number % 100}/{number}, methods: [POST], service: orders.place,"
        f" security: [callers], limit: first, allow: [127.0.0.0/8, 10.0.0.0/8]}}\n"
        for number in range(further)
    )


def request(
    path: str, body: bytes = b"", *, method: str = "POST", content_type: str = "application/json", user: str = USERNAME
) -> bytes:
    """A request as a client sends it, with five headers and those that the body and *user* need."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1:8000",
        "User-Agent: bench/1.0",
        "Accept: */*",
        "Accept-Encoding: identity",
    ]
    if user:
        lines.append("Authorization: Basic " + b64encode(f"{user}:{PASSWORD}".encode()).decode())
    if method == "POST":
        lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
