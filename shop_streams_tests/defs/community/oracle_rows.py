"""The oracle's reading of RAW: which rows are valid, and what they say. Plain Python, from the specification alone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

LONGS = ("channel_id", "message_channel_to", "message_from", "message_group", "message_id", "message_to", "subscription_channel")  # fmt: skip
TEXTS = ("datetime", "message", "message_ts", "reaction_from", "reaction_type", "subscription_user", "user")
TYPES = ("message", "reaction", "subscription", "registration")
TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII)


@dataclass(frozen=True)
class Raw:
    """A row of a file: its value, or the problem with it. `line` is from 1; None: the whole file can't be read."""

    file: str
    line: int | None
    folder: date
    value: Any = None
    problem: str | None = None


@dataclass(frozen=True)
class Refused:
    file: str
    line: int | None
    folder: date
    reason: str


@dataclass(frozen=True)
class Valid:
    """A valid row. `values` are all its typed values: two rows are the same event if and only if these are equal."""

    values: tuple[Any, ...]
    file: str
    line: int | None
    folder: date
    event_type: str
    user_id: int
    time: datetime  # UTC, aware
    lat: float | None
    lon: float | None
    message_id: int | None
    message_to: int | None
    channel: int | None


class Wrong(Exception):
    """The field's value has a type that it may not have."""


def raw_rows(folder: Path) -> list[Raw]:
    """Every row of the landing folder, by file and line."""
    found: list[Raw] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts = path.relative_to(folder).parts
        name = re.fullmatch(r"date=(\d{4}-\d\d-\d\d)", parts[0])
        if not name or len(parts) < 2 or any(part.startswith(("_", ".")) for part in parts):
            continue
        file, day = "/".join(parts), date.fromisoformat(name[1])
        if path.suffix == ".parquet":
            try:
                rows = pq.ParquetFile(path).read().to_pylist()
            except (pa.ArrowException, OSError) as error:
                found.append(Raw(file, None, day, problem=f"unreadable: {error}"))
                continue
            found += [Raw(file, line, day, row) for line, row in enumerate(rows, 1)]
        elif path.suffix in (".json", ".jsonl", ".ndjson"):
            for line, text in enumerate(path.read_bytes().split(b"\n"), 1):
                if text.strip():
                    try:
                        found.append(Raw(file, line, day, json.loads(text)))
                    except ValueError:
                        found.append(Raw(file, line, day, problem="not JSON"))
    return found


def verdicts(
    rows: Iterable[Raw], now: datetime, first_day: date = date(2015, 1, 1)
) -> tuple[list[Valid], list[Refused]]:
    """The valid rows and the refused ones. `now` is aware."""
    valid: list[Valid] = []
    refused: list[Refused] = []
    for row in rows:
        found = row.problem or _verdict(row, now, first_day)
        if isinstance(found, Valid):
            valid.append(found)
        else:
            refused.append(Refused(row.file, row.line, row.folder, found))
    return valid, refused


def _verdict(row: Raw, now: datetime, first_day: date) -> Valid | str:
    if not isinstance(row.value, dict):
        return "not an object"
    try:
        event = _event(row.value.get("event"))
        event_type = _text("event_type", row.value.get("event_type"))
        lat, lon = (_double(name, row.value.get(name)) for name in ("lat", "lon"))
    except Wrong as wrong:
        return str(wrong)
    if event_type not in TYPES:
        return "event_type"
    user = {
        "message": event["message_from"],
        "reaction": event["reaction_from"],
        "registration": event["user"],
        "subscription": event["subscription_user"] if event["user"] is None else event["user"],
    }[event_type]
    user_id = int(user) if re.fullmatch("[0-9]+", str(user)) else None
    if user_id is None or user_id >= 2**63:
        return "user"
    time = _time(event["message_ts"] if event["datetime"] is None else event["datetime"])
    if time is None:
        return "time"
    if time.date() < first_day:
        return "before the first day"
    if time > now + timedelta(hours=1):
        return "ahead of now"
    channel = {"message": event["message_channel_to"], "subscription": event["subscription_channel"]}.get(event_type)
    values = (*(event[name] for name in sorted(event)), event_type, str(lat), str(lon))
    return Valid(values, row.file, row.line, row.folder, event_type, user_id, time, lat, lon,
                 event["message_id"], event["message_to"], channel)  # fmt: skip


def _event(value: Any) -> dict[str, Any]:
    """All 17 fields, typed."""
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise Wrong("event")
    found: dict[str, Any] = {name: _long(f"event.{name}", value.get(name)) for name in LONGS}
    found |= {name: _text(f"event.{name}", value.get(name)) for name in TEXTS}
    for name, typed in (("admins", _long), ("tags", _text)):
        many = value.get(name)
        if not isinstance(many, list | None):
            raise Wrong(f"event.{name}")
        found[name] = None if many is None else tuple(typed(f"event.{name}", one) for one in many)
    media = value.get("media")
    if not isinstance(media, dict | None):
        raise Wrong("event.media")
    found["media"] = None if media is None else tuple(
        _text(f"event.media.{name}", media.get(name)) for name in ("media_type", "src")
    )  # fmt: skip
    return found


def _long(name: str, value: Any) -> int | None:
    if value is None:
        return None
    number = int(value) if isinstance(value, str) and re.fullmatch("-?[0-9]+", value) else value
    if type(number) is not int or not -(2**63) <= number < 2**63:
        raise Wrong(name)
    return number


def _text(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if type(value) in (int, float):
        return str(value)
    raise Wrong(name)


def _double(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float):
        raise Wrong(name)
    return None if math.isnan(value) else float(value)


def _time(text: str | None) -> datetime | None:
    """The time in UTC, to the microsecond; None if the text is no time."""
    found = TIME.fullmatch(text or "")
    if not found:
        return None
    fraction, zone = (found[7] or "").ljust(6, "0")[:6], found[8] or "Z"
    sign, digits = -1 if zone[0] == "-" else 1, zone[1:].replace(":", "").ljust(4, "0")
    offset = timedelta() if zone == "Z" else sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    try:
        moment = datetime.strptime(
            f"{found[1]} {found[2]} {found[3]} {found[4]} {found[5]} {found[6]}", "%Y %m %d %H %M %S"
        )
        return moment.replace(microsecond=int(fraction), tzinfo=timezone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
