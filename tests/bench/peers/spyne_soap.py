"""SOAP 1.1 by Spyne: the order of `workload`, checked by its schema with lxml, behind gunicorn's gevent worker."""

from spyne import Application, Array, Boolean, ComplexModel, Double, Integer, ServiceBase, Unicode, rpc
from spyne.protocol.soap import Soap11
from spyne.server.wsgi import WsgiApplication

NAMESPACE = "urn:gatewright:soap"


class Line(ComplexModel):
    """One line of an order."""

    __namespace__ = NAMESPACE
    sku = Unicode(min_len=1, max_len=40, min_occurs=1)
    count = Integer(ge=1, min_occurs=1)


class Placed(ComplexModel):
    """What became of an order."""

    __namespace__ = NAMESPACE
    order_id = Unicode
    customer_id = Integer
    status = Unicode
    total = Double
    line_count = Integer
    express = Boolean
    message = Unicode


class Orders(ServiceBase):
    """The service."""

    @rpc(Unicode, Integer, Unicode, Double, Boolean, Unicode, Array(Line), _returns=Placed)
    def PlaceOrder(ctx, order_id, customer_id, currency, total, express, reference, lines):  # noqa: N805
        """Takes an order."""
        return Placed(
            order_id=order_id, customer_id=customer_id, status="accepted", total=total, line_count=len(lines),
            express=express, message="Your order is accepted and goes to the warehouse today.",
        )  # fmt: skip


application = WsgiApplication(
    Application([Orders], tns=NAMESPACE, in_protocol=Soap11(validator="lxml"), out_protocol=Soap11())
)
