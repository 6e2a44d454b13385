"""What checks count in millions of rows: numpy and Arrow instead of an object for each row, and a limited number at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.lake.reader import Lake, batches, prune_to
from shop_streams.lake.table import Table

KEYS_AT_ONCE = 5_000_000  # rows of two numbers that are sorted: about 200 MB
_MIX = np.uint64(0x9E3779B97F4A7C15)  # spreads numbers that follow each other; 2^64 divided by the golden ratio

Keys = tuple[np.ndarray, np.ndarray]
"""Two int64 numbers of each row, which together are its key."""


@dataclass
class Found:
    """Wrong rows: how many, and the first ones in words."""

    count: int = 0
    words: list[str] = field(default_factory=list)

    def add(self, count: int, words: Iterable[str]) -> None:
        """Add wrong rows; of the words only as many as a person reads are kept."""
        self.count += count
        for _, text in zip(range(5 - len(self.words)), words, strict=False):
            self.words.append(text)


def rows_of(
    lake: Lake, table: Table, columns: list[str], keys: Collection[str], where: pc.Expression | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of these partitions, in batches."""
    if keys:
        yield from batches(table.uri(lake.settings), columns, where, prune=prune_to(table, keys))


def keys_of(
    lake: Lake, table: Table, columns: list[str], keys: Collection[str], of: Callable[[pa.RecordBatch], Keys]
) -> Iterator[Keys]:
    """The keys of the rows of these partitions."""
    for rows in rows_of(lake, table, columns, keys):
        yield of(rows)


def two(first: pa.Array, second: pa.Array) -> Keys:
    """Two columns without nulls as keys."""
    return first.to_numpy(), second.to_numpy()


def joined(found: Iterable[Keys]) -> Keys:
    """All keys in one."""
    nothing = np.empty(0, np.int64)
    first, second = zip((nothing, nothing), *found, strict=True)
    return np.concatenate(first), np.concatenate(second)


def parts(read: Callable[[], Iterable[Keys]], rows: int) -> Iterator[Keys]:
    """The keys in parts of about `KEYS_AT_ONCE`. Equal keys are in one part; each part reads them all."""
    count = max(1, -(-rows // KEYS_AT_ONCE))
    for part in range(count):
        yield joined(_of_part(keys, part, count) for keys in read())


def _of_part(keys: Keys, part: int, count: int) -> Keys:
    if count == 1:
        return keys
    mine = part_of(keys, count) == part
    return keys[0][mine], keys[1][mine]


def part_of(keys: Keys, count: int) -> np.ndarray:
    """The part of each key, of `count` parts of about the same size, also if both numbers of each key are the same."""
    first, second = (one.astype(np.uint64) for one in keys)
    found: np.ndarray = ((first * _MIX + second) * _MIX >> np.uint64(33)) % np.uint64(count)
    return found


def repeated(keys: Keys) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The keys that are there more than once, ascending: the first numbers, the second ones, and how often they are there."""
    order = np.lexsort(keys[::-1])
    first, second = keys[0][order], keys[1][order]
    differs = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    starts = np.flatnonzero(np.append(True, differs)) if len(order) else np.empty(0, np.int64)
    counts = np.diff(np.append(starts, len(order)))
    twice = starts[counts > 1]
    return first[twice], second[twice], counts[counts > 1]


def among(keys: Keys, others: Keys) -> np.ndarray:
    """For each of `keys` whether `others` has it too."""
    known = np.unique(np.concatenate(keys))
    mine = np.isin(others[0], known) & np.isin(others[1], known)

    def numbers(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.searchsorted(known, first) * len(known) + np.searchsorted(known, second)
        return found

    return np.isin(numbers(*keys), numbers(others[0][mine], others[1][mine]))


class FileNumbers(dict[str, int]):
    """File -> its number; a new file gets the next one."""

    def __missing__(self, file: str) -> int:
        self[file] = number = len(self)
        return number

    def of(self, rows: pa.RecordBatch) -> Keys:
        """The keys of rows with file and line, without those that are no line."""
        lines = rows.filter(rows["line"].is_valid())
        names = lines["file"].dictionary_encode()
        numbers = np.array([self[name] for name in names.dictionary.to_pylist()], np.int64)
        return numbers[names.indices.to_numpy()], lines["line"].to_numpy()


def wrong_travels(rows: pa.RecordBatch) -> pa.BooleanArray:
    """For each row whether its travels can't be: travel_count is the length of travel_array, and a home is a city in it."""
    travels, homes = rows["travel_array"], rows["home_city"]
    miscounted = np.asarray(pc.fill_null(pc.not_equal(rows["travel_count"], pc.list_value_length(travels)), True))
    owners = pc.list_parent_indices(travels)
    at_home = pc.fill_null(pc.equal(pc.list_flatten(travels), homes.take(owners)), False)
    seen = np.zeros(len(rows), bool)
    seen[np.asarray(owners.filter(at_home))] = True
    has_home = np.asarray(pc.fill_null(pc.not_equal(homes, ""), False))
    return pa.array(miscounted | (has_home & ~seen))


@dataclass
class Weeks:
    """Which zones each week of a month has. `zones`: all ids, ascending."""

    zones: np.ndarray
    _seen: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # (month, week) -> for each zone whether
    _rows: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, rows: pa.RecordBatch) -> None:
        """Rows with month, week and zone_id."""
        days = [rows[name].cast(pa.int32()).to_numpy() for name in ("month", "week")]
        zone = rows["zone_id"].to_numpy()
        place = np.searchsorted(self.zones, zone)
        known = np.append(self.zones, -1)[place] == zone
        weeks, number = np.unique(np.stack(days), axis=1, return_inverse=True)
        for index, week in enumerate(map(tuple, weeks.T.tolist())):
            mine = number.reshape(-1) == index
            self._seen.setdefault(week, np.zeros(len(self.zones), bool))[place[mine & known]] = True
            self._rows[week] = self._rows.get(week, 0) + int(mine.sum())

    def wrong(self) -> list[str]:
        """A text for each week of a month that does not have each zone once."""
        count, texts = len(self.zones), []
        for (month, week), rows in sorted(self._rows.items()):
            zones = int(self._seen[month, week].sum())
            if (zones, rows) != (count, count):
                first, monday = (np.datetime64(day, "D") for day in (month, week))
                texts.append(f"month {str(first)[:7]}, week {monday}: {zones} zones in {rows} rows, not {count}")
        return texts


def loaded_and_refused(read: Callable[[], Iterable[Keys]], rows: int, letters: Keys, files: FileNumbers) -> Found:
    """Each (file, line) that is twice in STG, or both a row and a dead letter."""
    found = Found()
    for part in parts(read, rows):
        name = [*files]
        number, line, count = repeated(part)
        found.add(
            len(number), (f"{name[f]}:{n} is loaded {c} times" for f, n, c in zip(number, line, count, strict=True))
        )
        both = among(letters, part)
        refused = zip(letters[0][both], letters[1][both], strict=True)
        found.add(int(both.sum()), (f"{name[f]}:{n} is a row and a dead letter" for f, n in refused))
    return found


def wrong_pairs(read: Callable[[], Iterable[Keys]], rows: int) -> Found:
    """The pairs that are there twice, or not in order. No ids: that two users were near each other is personal."""
    found = Found()
    for part in parts(read, rows):
        _, _, counts = repeated(part)
        found.add(len(counts), (f"a pair is there {count} times" for count in counts))
        wrong = int((part[0] >= part[1]).sum())
        found.add(wrong, ["a pair is not in order"] * min(wrong, 5))
    return found
