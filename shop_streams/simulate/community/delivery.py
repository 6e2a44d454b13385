"""Files in the landing folder: how rows are spread over them, and what is wrong with a few."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from shop_streams.errors import ShopStreamsError
from shop_streams.simulate.community.people import cities_file, draw
from shop_streams.simulate.community.plan import Plan
from shop_streams.simulate.community.rows import json_lines, other_types, table, with_nan

EPOCH = date(1970, 1, 1)
JSON, PARQUET, OTHER_PARQUET = "JSON", "parquet", "parquet with other types"
# What the files of a date are called, and how they are written.
NAMES = (
    ("{name}.jsonl", JSON),
    ("messenger/{name}.parquet", PARQUET),
    ("gateway/eu/{name}.ndjson", JSON),
    ("gateway/au/2/{name}.parquet", OTHER_PARQUET),
    ("{name}.json", JSON),
)
JUNK = (
    '{{"event": {{"message_from": {user}, "datetime": "{day} 10:00:00", "message_id": {number}}}, "event_type": "call"}}',
    '{{"event": {{"datetime": "{day} 10:00:00", "message_id": {number}}}, "event_type": "message"}}',
    '{{"event": {{"user": "{user}"}}, "event_type": "registration", "lat": 1.5, "lon": 2.5}}',
    '{{"event": {{"message_from": {user}, "datetime": "{day} 25:61:00"}}, "event_type": "message"}}',
    '{{"event": {{"message_from": {user}, "datetime": "1815-06-18 11:35:00"}}, "event_type": "message"}}',
    '{{"event": {{"message_from": {user}, "datetime": "2999-12-31 00:00:00"}}, "event_type": "message"}}',
    '{{"event": {{"message_from": {user}, "message_id": [{number}], "datetime": "{day} 10:00:00"}}, "event_type": "message"}}',
    '{{"event": {{"reaction_from": "somebody", "datetime": "{day} 10:00:00"}}, "event_type": "reaction"}}',
    '{{"event": {{"message_from": {user}, "datetime": "{day} 10:0',
    '["a list", {number}]',
)


@dataclass(frozen=True)
class File:
    """A file below the landing folder, how it is written, and which rows of the plan it has."""

    path: str
    form: str
    rows: np.ndarray  # indexes
    junk: tuple[str, ...] = ()


def junk(count: int, seed: int, day: date) -> list[str]:
    """`count` lines of JSON lines that are no valid rows."""
    return [JUNK[number % len(JUNK)].format(user=number + 1, number=seed * 1000 + number, day=day)
            for number in range(count)]  # fmt: skip


def files(plan: Plan, prefix: str, junk_lines: dict[int, list[str]], json_share: float, limit: int) -> Iterator[File]:
    """The files of all dates, in the order of the folders. Up to `limit` rows a file, and at least two files a date.

    Args:
        junk_lines: lines by day (since 1970) that go into a file of JSON lines.
        json_share: of the rows, in files of JSON lines.
    """
    order = np.argsort(plan.folder, kind="stable")
    days, begins = np.unique(plan.folder[order], return_index=True)
    parts = dict(zip(days.tolist(), np.split(order, begins[1:]), strict=True))
    for day in sorted(parts.keys() | junk_lines.keys()):
        rows = parts.get(day, np.array([], dtype=np.int64))
        texts = [spec for spec in NAMES if spec[1] == JSON]
        others = [spec for spec in NAMES if spec[1] != JSON]
        goes = draw("file", plan.seed, plan.number[rows], plan.copy[rows])
        in_json = goes < json_share
        found: list[File] = []
        for names, chosen, share in ((texts, rows[in_json], json_share), (others, rows[~in_json], 1 - json_share)):
            spread = draw("which file", plan.seed, plan.number[chosen], plan.copy[chosen])
            # As many as the rows need, and up to all names of a small date.
            kinds = 1 + int(len(names) * draw("kinds", plan.seed, day)[0]) if share >= 0.1 else 1
            count = max(kinds, -(-len(chosen) // limit))
            for index in range(count):
                name, form = names[index % len(names)]
                these = chosen[(spread * count).astype(np.int64) == index]
                lines = tuple(junk_lines.get(day, ())) if form == JSON and index == 0 else ()
                if len(these) or lines:
                    path = f"date={EPOCH + timedelta(days=day)}/{name.format(name=f'{prefix}-{index}')}"
                    found.append(File(path, form, these, lines))
        yield from found


def write(folder: Path, plan: Plan, file: File) -> int:
    """Write one file and return how many rows it has, bad ones included."""
    part = plan.part(file.rows)
    rows = table(part)
    if file.form == JSON:
        lines = list(json_lines(rows, draw("spelling", plan.seed, part.number, part.copy, part.folder)))
        middle = len(lines) // 2
        lines[middle:middle] = file.junk
        put(folder / file.path, lambda path: path.write_text("".join(f"{line}\n" for line in lines)))
        return len(lines)
    # A number in a row that is delivered twice would make it another row.
    repeated = np.isin(part.number, plan.number[plan.copy > 0])
    rows = with_nan(rows, ~repeated & (draw("nan", plan.seed, part.number) < 0.3))
    rows = other_types(rows) if file.form == OTHER_PARQUET else rows
    put(folder / file.path, lambda path: pq.write_table(rows, path))
    return len(rows)


def write_unreadable(folder: Path, day: int, prefix: str) -> None:
    """Write a file whose end is missing."""
    path = folder / f"date={EPOCH + timedelta(days=day)}" / f"{prefix}-cut-off.parquet"
    put(path, lambda one: one.write_bytes(b"PAR1\x15\x04\x15\x10"))


def put(path: Path, write_to: Callable[[Path], object]) -> None:
    """Write under a name that is not read, and rename: a reader sees the whole file or none.

    Raises:
        ShopStreamsError: the folder can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"_{path.name}")
        write_to(beside)
        beside.replace(path)
    except OSError as error:
        raise ShopStreamsError(
            f"{path} can't be written: {error}. Is SHOP_STREAMS_COMMUNITY_RAW_URI a folder that you may write to?"
        ) from error


def put_cities(path: Path) -> None:
    """Copy the package's cities, unless there is a file. Somebody's own cities stay."""
    if not path.exists():
        put(path, lambda one: one.write_bytes(cities_file()))


class Pace:
    """Waits so that at most `rate` rows are written in a second."""

    def __init__(self, rate: float | None) -> None:
        self.rate, self.began = rate, time.monotonic()

    def wait(self, rows: int) -> None:
        """Return when `rows` rows may be there."""
        if self.rate:
            time.sleep(max(0.0, self.began + rows / self.rate - time.monotonic()))
