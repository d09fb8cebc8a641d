"""Calls with the Python client that OpenAPI Generator made as the package `shop`; prints what came, as JSON."""

import datetime
import json
import sys

import shop

url, username, password, key = sys.argv[1:]


def api(**credentials):
    """The operations, called with credentials."""
    return shop.ShopApi(shop.ApiClient(shop.Configuration(host=url, **credentials)))


def status_of(call):
    """The status and body of a call that is refused."""
    try:
        call()
    except shop.ApiException as refused:
        return refused.status, json.loads(refused.body)
    raise AssertionError("the call is answered")


stranger = api()
order = shop.PlaceOrderInput(
    customer="Ann Ą",
    segment="gold",
    day=datetime.date(2026, 1, 31),
    total="1234567890123456789.10",
    address=shop.PlaceOrderInputAddress(street="Main & 1st"),
    lines=[
        shop.PlaceOrderInputLinesInner(item="book", count=1),
        shop.PlaceOrderInputLinesInner(item="pen", count=2),
    ],
    tags=["a", ""],
)
placed = stranger.place_order(order)
assert placed.day == datetime.date(2026, 1, 31)
status, problem = status_of(lambda: stranger.find_order(404))
problem = shop.Problem.from_dict(problem)
found = {
    "found": stranger.find_order(7, segment="silver").to_dict(),
    "placed": {name: value for name, value in json.loads(placed.to_json()).items() if value is not None},
    "refused": [status, problem.code, problem.detail],
    "stranger": status_of(stranger.who_am_i)[0],
    "basic": api(username=username, password=password).who_am_i().caller,
    "key": api(api_key={"keys": key}).who_by_key().caller,
}
print(json.dumps(found))
