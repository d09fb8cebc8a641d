"""FastAPI with HTTPBasic, a limit of slowapi and pydantic models, under uvicorn."""

import secrets
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel, Field
from slowapi import Limiter
from slowapi.util import get_remote_address

limiter = Limiter(key_func=get_remote_address)
app = FastAPI()
app.state.limiter = limiter
security = HTTPBasic()


class Line(BaseModel):
    sku: str = Field(min_length=1, max_length=40)
    count: int = Field(ge=1)


class Order(BaseModel):
    order_id: str = Field(min_length=1, max_length=40)
    customer_id: int = Field(ge=1)
    currency: str = Field(min_length=3, max_length=3)
    total: float = Field(ge=0)
    express: bool
    reference: str = Field(max_length=80)
    lines: list[Line] = Field(min_length=1)


class Accepted(BaseModel):
    order_id: str
    customer_id: int
    status: str
    total: float
    line_count: int
    express: bool
    message: str


def identify(credentials: Annotated[HTTPBasicCredentials, Depends(security)]) -> str:
    right = secrets.compare_digest(credentials.username.encode(), b"bench")
    right &= secrets.compare_digest(credentials.password.encode(), b"bench-password")
    if not right:
        raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})
    return credentials.username


@app.post("/orders", response_model=Accepted)
@limiter.limit("100000000/minute")
async def orders(request: Request, order: Order, user: Annotated[str, Depends(identify)]):
    return Accepted(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status="accepted",
        total=order.total,
        line_count=len(order.lines),
        express=order.express,
        message="Your order is accepted and goes to the warehouse today.",
    )
