"""What a delivered row says: a plan's rows as Arrow, and as JSON in the several ways in which clients write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.simulate.community.people import Numbers, draw, friend, located, positions
from shop_streams.simulate.community.plan import KINDS, MESSAGE, REACTION, REGISTRATION, SUBSCRIPTION, Plan

EVENT = pa.struct({
    "admins": pa.list_(pa.int64()), "channel_id": pa.int64(), "datetime": pa.string(),
    "media": pa.struct({"media_type": pa.string(), "src": pa.string()}), "message": pa.string(),
    "message_channel_to": pa.int64(), "message_from": pa.int64(), "message_group": pa.int64(), "message_id": pa.int64(),
    "message_to": pa.int64(), "message_ts": pa.string(), "reaction_from": pa.string(), "reaction_type": pa.string(),
    "subscription_channel": pa.int64(), "subscription_user": pa.string(), "tags": pa.list_(pa.string()), "user": pa.string(),
})  # fmt: skip
SCHEMA = pa.schema({"event": EVENT, "event_type": pa.string(), "lat": pa.float64(), "lon": pa.float64()})
CHANNELS = 150
WITHOUT_COORDINATES = np.array([0.12, 0.55, 0.5, 0.4])  # of the kinds' rows
OUT_OF_RANGE = 0.004
WORDS = ("hello", "see you at the beach", "who wants to surf?", "wie spät ist es?", "привет", "👍 нет, завтра", "42")
REACTIONS = ("like", "heart", "laugh", "sad")
ZONES = ((0, ""), (0, "Z"), (600, "+10:00"), (-210, "-03:30"))  # minutes and how they are written; "" twice as often
AS_TEXT = ("message_id", "message_from", "message_to", "message_channel_to", "subscription_channel")
AS_NUMBER = ("user", "reaction_from", "subscription_user")


def table(plan: Plan) -> pa.Table:
    """One row for each of the plan, with SCHEMA's columns. Equal numbers have equal rows."""

    def chance(purpose: str) -> Numbers:
        return draw(purpose, plan.seed, plan.number)

    user, kind = plan.user, plan.kind
    message, reaction, subscription = kind == MESSAGE, kind == REACTION, kind == SUBSCRIPTION
    to = np.searchsorted([0.4, 0.9], chance("to"), side="right")  # a friend, a channel, a group
    any_channel = 1 + (CHANNELS * chance("channel") ** 3).astype(np.int64)
    ids = message_id(plan.seed, plan.number)
    reacted_to = message_id(plan.seed, (plan.number * chance("reacted to")).astype(np.int64))
    text = pa.array(spelled_times(plan)).cast(pa.string())
    by_datetime = ~message | (chance("datetime") < 0.7)
    digits = pc.cast(pa.array(user), pa.string())
    by_user = (kind == REGISTRATION) | (subscription & (chance("user or subscription_user") < 0.5))
    with_media = message & (chance("media") < 0.05)
    columns = {
        "admins": _where(subscription & (chance("admins") < 0.1), _lists(user, 1 + user % 7)),
        "channel_id": _where(subscription & (chance("channel_id") < 0.1), 1 + user % CHANNELS),
        "datetime": _where(by_datetime, text),
        "media": _media(with_media, chance("media type")),
        "message": _where(message & ~with_media, _words(WORDS, chance("words"))),
        "message_channel_to": _where(message & (to == 1), any_channel),
        "message_from": _where(message, user),
        "message_group": _where(message & (to == 2), 1 + user % 50),
        "message_id": _where(message | reaction, np.where(message, ids, reacted_to)),
        "message_to": _where(message & (to == 0), friend(user, chance("friend"), plan.users)),
        "message_ts": _where(~by_datetime, text),
        "reaction_from": _where(reaction, digits),
        "reaction_type": _where(reaction, _words(REACTIONS, chance("reaction"))),
        "subscription_channel": _where(subscription, np.where(plan.channel > 0, plan.channel, any_channel)),
        "subscription_user": _where(subscription & ~by_user, digits),
        "tags": _where(message & (chance("tags") < 0.1), _tags(chance("tag"))),
        "user": _where(by_user, digits),
    }
    lats, lons = positions(user, plan.time // 86_400_000_000, plan.number, plan.users)
    lats = np.where(chance("out of range") < OUT_OF_RANGE, 999.0, lats)
    known = located(user) & (chance("without coordinates") >= WITHOUT_COORDINATES[kind])
    event = pa.StructArray.from_arrays([columns[field.name] for field in EVENT], fields=list(EVENT))
    arrays = [event, _words(KINDS, kind / len(KINDS)), _where(known, lats), _where(known, lons)]
    return pa.table(arrays, schema=SCHEMA)


def message_id(seed: int, number: Numbers) -> Numbers:
    """Ids of messages; those of two seeds differ, with a probability near 1."""
    return int(10**6 * draw("messages", seed)[0]) * 10**8 + number + 1


def spelled_times(plan: Plan) -> Numbers:
    """Each time as text: with a blank or a T, up to nine digits of a second, and without or with a time zone."""
    digits = np.where(plan.time % 1_000_000 == 0, 0, np.where(plan.time % 1_000 == 0, 3, 6))
    zone = (5 * draw("zone", plan.seed, plan.number)).astype(np.int64) % len(ZONES)
    blank = draw("blank", plan.seed, plan.number) < 0.6
    result = np.full(len(plan), "", dtype="U40")
    for index, (minutes, suffix) in enumerate(ZONES):
        for count, unit, more in ((0, "s", ""), (3, "ms", ""), (6, "us", "000")):
            chosen = np.flatnonzero((zone == index) & (digits == count))
            if not len(chosen):
                continue
            shifted = (plan.time[chosen] + minutes * 60_000_000).astype("datetime64[us]")
            text = np.char.add(np.datetime_as_string(shifted.astype(f"datetime64[{unit}]")), f"{more}{suffix}")
            result[chosen] = np.where(blank[chosen], np.char.replace(text, "T", " "), text)
    return result


def _where(mask: Numbers, values: Any) -> pa.Array:
    values = values if isinstance(values, pa.Array) else pa.array(values)
    return pc.if_else(pa.array(mask), values, pa.scalar(None, values.type))


def _words(words: tuple[str, ...], draws: Numbers) -> pa.Array:
    return pa.array(words).take(pa.array((len(words) * draws).astype(np.int64)))


def _lists(*columns: Numbers) -> pa.Array:
    count, width = len(columns[0]), len(columns)
    return pa.ListArray.from_arrays(
        pa.array(np.arange(0, width * count + 1, width, dtype=np.int32)), pa.array(np.stack(columns, axis=1).ravel())
    )


def _tags(draws: Numbers) -> pa.Array:
    flat = _words(("sea", "bbq", "café"), draws)
    return pa.ListArray.from_arrays(pa.array(np.arange(len(draws) + 1, dtype=np.int32)), flat)


def _media(mask: Numbers, draws: Numbers) -> pa.Array:
    kinds = _words(("image", "video"), draws)
    sources = _words(("https://media.example/a.jpg", "https://media.example/b.mp4"), draws)
    return pa.StructArray.from_arrays([kinds, sources], fields=list(EVENT.field("media").type), mask=pa.array(~mask))


def json_lines(rows: pa.Table, draws: Numbers) -> Iterator[str]:
    """A line of JSON for each row, without what is null; in some rows ids are texts, and users numbers."""
    for row, chance in zip(rows.to_pylist(), draws, strict=True):
        event = row["event"]
        if chance < 0.2:
            _change(event, AS_TEXT, str)
        elif chance > 0.8:
            _change(event, AS_NUMBER, int)
        yield json.dumps(row if 0.2 < chance < 0.3 else _without_nulls(row), ensure_ascii=False)


def _change(event: dict[str, Any], names: tuple[str, ...], to: Callable[[Any], Any]) -> None:
    event.update({name: to(event[name]) for name in names if event[name] is not None})


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return value


def other_types(rows: pa.Table) -> pa.Table:
    """The same rows as a writer with other types has them: ids of messages as text, users as numbers, no unused fields."""
    events = rows["event"].combine_chunks()
    arrays = {}
    for field in EVENT:
        values = pc.struct_field(events, field.name)
        if values.null_count == len(values):
            continue
        changed = {"message_id": pa.string(), "message_from": pa.string(), "user": pa.int64()}.get(field.name)
        arrays[field.name] = values.cast(changed) if changed else values
    event = pa.StructArray.from_arrays(list(arrays.values()), names=list(arrays))
    return rows.set_column(0, "event", event)


def with_nan(rows: pa.Table, mask: Numbers) -> pa.Table:
    """The rows with NaN for a missing latitude where the mask is true, as some writers store it."""
    lats = pc.if_else(pc.and_(pa.array(mask), pc.is_null(rows["lat"])), pa.scalar(float("nan")), rows["lat"])
    return rows.set_column(rows.schema.get_field_index("lat"), "lat", lats)
