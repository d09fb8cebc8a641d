"""Bare Falcon under gunicorn's gevent worker: a JSON handler, and nothing that a gateway does."""

import falcon
import orjson
from falcon.media import JSONHandler


class Orders:
    """Takes an order."""

    def on_post(self, request, response):
        order = request.get_media()
        response.media = {
            "order_id": order["order_id"],
            "customer_id": order["customer_id"],
            "status": "accepted",
            "total": order["total"],
            "line_count": len(order["lines"]),
            "express": order["express"],
            "message": "Your order is accepted and goes to the warehouse today.",
        }


application = falcon.App()
json = JSONHandler(dumps=orjson.dumps, loads=orjson.loads)
application.req_options.media_handlers[falcon.MEDIA_JSON] = json
application.resp_options.media_handlers[falcon.MEDIA_JSON] = json
application.add_route("/orders", Orders())
