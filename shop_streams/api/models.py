"""The API's parameters and answers, as /openapi.json describes them. Answers are not made from these models, nor checked."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

DIGITS = 1000
_WHOLE = re.compile(rf"-?[0-9]{{1,{DIGITS}}}")


def whole_number(value: Any) -> int:
    """A whole number from its decimal digits; pydantic alone would also take ` 1`, `1_0` and `1.0`.

    Raises:
        PydanticCustomError: anything else; the answer is 422.
    """
    if not _WHOLE.fullmatch(str(value)):
        raise PydanticCustomError("whole_number", f"Input should be a whole number of at most {DIGITS} digits")
    return int(value)


def _count(value: Any) -> int:
    if (number := whole_number(value)) < 0:
        raise PydanticCustomError("not_negative", "Input should be 0 or more")
    return number


def _shown(kind: str, example: Any, **more: Any) -> WithJsonSchema:
    """The parameter's schema: FastAPI would say that it may be null, which no parameter of an address can be."""
    return WithJsonSchema({"type": kind, "examples": [example], **more})


SINCE = "Half hours that ended at this time or later, in epoch seconds. Any whole number; a negative one selects all of them."
URL = "Only this shop: exactly its host in lower case, with a port that is not the default one."
Since = Annotated[int, BeforeValidator(whole_number), _shown("integer", 1767225600), Path(description=SINCE)]
Url = Annotated[str | None, _shown("string", "shop.example"), Query(description=URL)]
Limit = Annotated[
    int | None, BeforeValidator(_count), _shown("integer", 100, minimum=0),
    Query(description="At most so many items; without it, all of them."),
]  # fmt: skip
Offset = Annotated[
    int, BeforeValidator(_count), _shown("integer", 0, minimum=0), Query(description="So many items are left out first.")
]  # fmt: skip


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


class Problem(BaseModel):
    """What is wrong with one parameter."""

    type: str
    loc: list[str] = Field(examples=[["path", "since"]])
    msg: str = Field(examples=[f"Input should be a whole number of at most {DIGITS} digits"])
    input: str


class Invalid(BaseModel):
    detail: list[Problem]


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
