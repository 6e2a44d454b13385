"""The API's parameters and answers, as /openapi.json describes them. Answers are not made from these models, nor checked."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

DIGITS = 1000
_WHOLE = re.compile(rf"-?[0-9]{{1,{DIGITS}}}")


def whole_number(value: Any) -> int:
    """A whole number from its decimal digits; pydantic alone would also take ` 1`, `1_0` and `1.0`.

    Raises:
        ValueError: anything else.
    """
    if not _WHOLE.fullmatch(str(value)):
        raise ValueError(f"must be a whole number of at most {DIGITS} digits")
    return int(value)


Whole = Annotated[int, BeforeValidator(whole_number), WithJsonSchema({"type": "integer"})]
SINCE = "Half hours that ended at this time or later, in epoch seconds. Any whole number: a negative one means all half hours."
Since = Annotated[Whole, Path(description=SINCE, examples=[1767225600])]
Url = Annotated[
    str | None,
    Query(description="Only this shop: exactly the host, with a port that is not the default one.", examples=["shop.example"]),
]  # fmt: skip
Limit = Annotated[
    Whole | None,
    Query(ge=0, description="At most so many items; without it, all of them.", examples=[100],
          json_schema_extra={"type": "integer", "minimum": 0}),
]  # fmt: skip
Offset = Annotated[Whole, Query(ge=0, description="So many items are left out first.", examples=[0])]


class Item(BaseModel):
    """An item of a shop, summed over the half hours."""

    url: str = Field(description="the shop's host, with a port that is not the default one", examples=["shop.example"])
    id_item: str = Field(examples=["chair-7"])


class UserItem(Item):
    count: int = Field(description="page views of the item's page", examples=[12])
    deep: float = Field(description="their mean depth: page views of the visit up to each", examples=[3.25])


class OrderItem(Item):
    count: int = Field(description="ordered pieces", examples=[2])
    sum: float = Field(description="the sum of price x amount", examples=[2980.0])


class Answer(BaseModel):
    timestamp: int = Field(description="the `since` that was asked for", examples=[1767225600])
    check: bool = Field(description="whether the database answered", examples=[True])


class Users(Answer):
    contents: list[UserItem] = Field(description="ordered by `url` and `id_item`, byte by byte")


class Orders(Answer):
    contents: list[OrderItem] = Field(description="ordered by `url` and `id_item`, byte by byte")


class NoAnswer(Answer):
    """The database does not answer: try again after the seconds of Retry-After."""

    contents: list[UserItem] = Field(description="empty", max_length=0, examples=[[]])
    check: bool = Field(description="false", examples=[False])


class StreamState(BaseModel):
    alive: bool = Field(description="whether the stream's run has a fresh lease")
    run_id: str = Field(description="of the Dagster run")
    epoch: int = Field(description="how often the lease was acquired")
    lag: int | None = Field(description="records that wait; null before the first batch")
    beat_age_seconds: float = Field(description="since the run's last beat")


class Detail(BaseModel):
    detail: str


class Alive(BaseModel):
    alive: bool


class Health(BaseModel):
    healthy: bool
    reason: str | None = Field(None, description="why it is not healthy; absent if it is")


RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


def described(model: Any, words: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    """FastAPI's description of an answer."""
    return {"model": model, "description": words, **({"headers": headers} if headers else {})}
