"""Clicks of the tests, and the statistics computed from them in plain Python: an independent oracle."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from shop_streams.defs.clickstream.schema import CLICKS
from shop_streams.lake.reader import Lake

MILLISECOND = 1_000
MINUTE = 60_000_000  # microseconds, as all times here
HALF_HOUR = 30 * MINUTE
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MIDNIGHT = round(datetime(2026, 3, 10, tzinfo=UTC).timestamp()) * 1_000_000


@dataclass(frozen=True)
class Click:
    """One row of the table of clicks; `at` are microseconds since 1970, `origin` is (partition, offset)."""

    at: int
    session: str | None = "0:a:s"
    item: str | None = "i"
    event: str | None = "pageView"
    shop: str | None = "shop.example"
    identity: str | None = None
    corrupt: bool | None = False
    amount: int | None = None
    price: Decimal | None = None
    origin: tuple[int, int] = (0, 0)

    @property
    def order(self) -> tuple[int, int, int]:
        return (self.at, *self.origin)

    @property
    def half(self) -> int:
        return self.at // HALF_HOUR

    @property
    def key(self) -> str:
        """The partition of the mart."""
        return datetime.fromtimestamp(self.half * 1800, UTC).strftime("%Y-%m-%d-%H:%M")


SCHEMA = pa.schema(
    [
        ("clicked_at", pa.timestamp("us", "UTC")), ("event_type", pa.string()), ("shop", pa.string()),
        ("item_id", pa.string()), ("session_id", pa.string()), ("order_price", pa.decimal128(27, 9)),
        ("order_amount", pa.int32()), ("corrupt", pa.bool_()), ("identity", pa.string()), ("clicked_on", pa.date32()),
        ("kafka_partition", pa.int32()), ("kafka_offset", pa.int64()),
    ]
)  # fmt: skip


def table_of(clicks: Iterable[Click]) -> pa.Table:
    """The columns of the table of clicks that the mart reads."""
    rows: list[dict[str, Any]] = [
        {
            "clicked_at": one.at, "event_type": one.event, "shop": one.shop, "item_id": one.item,
            "session_id": one.session, "order_price": one.price, "order_amount": one.amount, "corrupt": one.corrupt,
            "identity": one.identity, "clicked_on": one.at // DAY, "kafka_partition": one.origin[0],
            "kafka_offset": one.origin[1],
        }
        for one in clicks
    ]  # fmt: skip
    return pa.table([pa.array([row[field.name] for row in rows], field.type) for field in SCHEMA], schema=SCHEMA)


def append(lake: Lake, clicks: Sequence[Click], path: str = CLICKS.path) -> None:
    """One commit to the table of clicks."""
    uri = replace(CLICKS, path=path).uri(lake.settings)
    write_deltalake(uri, table_of(clicks), mode="append", partition_by=["clicked_on"], schema_mode="merge")


def numbered(clicks: Iterable[Click]) -> list[Click]:
    """The clicks with offsets in the order of arrival, in two Kafka partitions by session."""
    return [replace(one, origin=(len(one.session or "") % 2, number)) for number, one in enumerate(clicks)]


def sound(clicks: Iterable[Click]) -> list[Click]:
    """The clicks that count, in their order."""
    last: dict[str, int] = {}
    found = []
    for one in sorted((one for one in clicks if not one.corrupt), key=lambda one: one.order):
        if one.identity is not None:
            previous, last[one.identity] = last.get(one.identity), one.at
            if previous is not None and one.at - previous <= 7 * DAY:
                continue
        found.append(one)
    return found


def depths(clicks: Sequence[Click], half: int, hours: int = 24) -> dict[Click, int]:
    """The depth of each sound click of the half hour."""
    visits: dict[str, tuple[int, int]] = {}
    found = {}
    for one in sound(clicks):
        if not half * HALF_HOUR - hours * HOUR <= one.at < (half + 1) * HALF_HOUR:
            continue
        views = int(one.event == "pageView")
        if one.session is not None:
            last, before = visits.get(one.session, (one.at, 0))
            views += before if one.at - last <= 30 * MINUTE else 0
            visits[one.session] = one.at, views
        if one.half == half:
            found[one] = views
    return found


Stats = dict[tuple[str, str], tuple[int, float | None, int, float]]


def item_stats(clicks: Sequence[Click], half: int, hours: int = 24) -> Stats:
    """(shop, item) -> views, mean depth, ordered pieces and their money, of one half hour."""
    views: dict[tuple[str, str], list[int]] = {}
    orders: dict[tuple[str, str], list[tuple[int, Decimal]]] = {}
    for one, depth in depths(clicks, half, hours).items():
        if one.item is None or one.shop is None:
            continue
        if one.event == "pageView":
            views.setdefault((one.shop, one.item), []).append(depth)
        if one.amount is not None and one.price is not None:
            orders.setdefault((one.shop, one.item), []).append((one.amount, one.price * one.amount))
    found: Stats = {}
    for key in views.keys() | orders.keys():
        deep, sold = views.get(key, []), orders.get(key, [])
        mean = sum(deep) / len(deep) if deep else None
        found[key] = len(deep), mean, sum(pieces for pieces, _ in sold), float(sum(money for _, money in sold))
    return found


def random_clicks(source: random.Random, count: int, hours: int) -> list[Click]:
    """Clicks of few sessions within `hours`, with gaps at the limit, repeats, corrupt copies and clicks without a session."""
    clicks: list[Click] = []
    sessions = [f"0:{number:04x}:s" for number in range(max(2, count // 12))]
    while len(clicks) < count:
        session = source.choice(sessions) if source.random() < 0.95 else None
        at = MIDNIGHT + source.randrange(hours * 60) * MINUTE
        for _ in range(source.randrange(1, 8)):
            at += source.choice([0, MILLISECOND, MINUTE, 10 * MINUTE, HALF_HOUR, HALF_HOUR + MILLISECOND])
            buys = source.random() < 0.15
            identity = f"p {session} {len(clicks)}" if source.random() < 0.8 else None
            clicks.append(
                Click(
                    at, session, source.choice(["i", "j", None]), "buy_button_click" if buys else source.choice(["pageView"] * 4 + ["x", None]),
                    identity=identity, corrupt=source.random() < 0.1,
                    amount=source.randrange(1, 5) if buys else None, price=Decimal(source.randrange(999)) / 100 if buys else None,
                )
            )  # fmt: skip
            if source.random() < 0.2:
                again = source.choice([0, MINUTE, HOUR, DAY, 7 * DAY, 7 * DAY + MILLISECOND, -MINUTE, -HOUR])
                clicks.append(replace(clicks[-1], at=clicks[-1].at + again, corrupt=source.random() < 0.2))
    source.shuffle(clicks)
    return numbered(clicks)
