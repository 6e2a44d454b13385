"""The cities: their file, and the city nearest to a position. Keep the import light: Spark's workers import this file."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import available_timezones

import numpy as np

from shop_streams.errors import ShopStreamsError

COLUMNS = ("id", "city", "lat", "lng", "timezone")
EARTH_KM = 6371.0
TIE_KM = 0.001  # cities whose distances differ by at most a metre are equally near
MAX_ID = 2**63 - 1
CLOSE_ROWS = 10_000  # positions that are compared with all their candidates at once: bounds the memory

# Chords of unit vectors are exact to about 1e-16. This allows for more, and only adds candidates.
CHORD_ERROR = 1e-12


class CitiesBroken(ShopStreamsError):
    """The file of cities can't be used: names file, line, column and value."""

    next_step = "Correct the file; the sensor tries again."


def haversine_km(lat: Any, lng: Any, other_lat: Any, other_lng: Any) -> Any:
    """The distance on the sphere with R = 6371 km, of numbers or arrays in degrees (https://en.wikipedia.org/wiki/Haversine_formula)."""
    lat, lng, other_lat, other_lng = (np.radians(one) for one in (lat, lng, other_lat, other_lng))
    half = np.sin((other_lat - lat) / 2) ** 2 + np.cos(lat) * np.cos(other_lat) * np.sin((other_lng - lng) / 2) ** 2
    return 2 * EARTH_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0)))


def unit_vectors(lat: np.ndarray, lng: np.ndarray) -> np.ndarray:
    """Points on the unit sphere, shape (n, 3), of degrees. They have no edge at the poles or the 180th meridian."""
    lat, lng = np.radians(lat), np.radians(lng)
    return np.stack([np.cos(lat) * np.cos(lng), np.cos(lat) * np.sin(lng), np.sin(lat)], axis=1)


def chord(kilometres: Any) -> Any:
    """The straight distance, on the unit sphere, of points that are so far apart on the Earth."""
    return 2 * np.sin(np.minimum(np.asarray(kilometres) / EARTH_KM, np.pi) / 2)


def _cells(lat: np.ndarray, lng: np.ndarray) -> np.ndarray:
    """A cell of about a degree for each position, as 16 bits, which numpy sorts in linear time."""
    cells: np.ndarray = (lat + 90).astype(np.uint16) * np.uint16(256) + ((lng + 180) / 1.5).astype(np.uint16)
    return cells


@dataclass(frozen=True, eq=False)
class Places:
    """Where the cities are: all that Spark's workers need. Arrays of one length, ascending by `ids` (int64); degrees."""

    ids: np.ndarray
    lats: np.ndarray
    lngs: np.ndarray

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree  # half a second

        return cKDTree(unit_vectors(self.lats, self.lngs))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_tree"}

    def nearest(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """The id of the nearest city by haversine, int64, for each position; equally near to a metre: the smallest id.

        `lat`, `lon`: arrays of one length, degrees, within -90 to 90 and -180 to 180.
        """
        lat, lon = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
        if len(self.ids) == 1:
            return np.repeat(self.ids, len(lat))
        # Neighbours one after the other find the index in the processor's cache: 100,000 cities take half the time.
        order = np.argsort(_cells(lat, lon), kind="stable")
        found = np.empty(len(lat), np.int64)
        found[order] = self._nearest(lat[order], lon[order])
        return found

    def _nearest(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        chords, found = self._tree.query(unit_vectors(lat, lon), k=2)
        nearest = found[:, 0]
        # Only where a second city is about as near as the first one, the exact distances of all such cities decide.
        limits = chord(2 * EARTH_KM * np.arcsin(np.minimum(chords[:, 0] / 2, 1.0)) + TIE_KM) + CHORD_ERROR
        close = np.flatnonzero(chords[:, 1] <= limits)
        for rows in np.split(close, range(CLOSE_ROWS, len(close), CLOSE_ROWS)):
            if len(rows):
                nearest[rows] = self._nearest_of_close(lat[rows], lon[rows], limits[rows])
        ids: np.ndarray = self.ids[nearest]
        return ids

    def _nearest_of_close(self, lat: np.ndarray, lon: np.ndarray, limits: np.ndarray) -> np.ndarray:
        candidates = self._tree.query_ball_point(unit_vectors(lat, lon), limits)
        counts = np.array([len(one) for one in candidates])
        starts = np.cumsum(counts) - counts
        numbers = np.concatenate(candidates).astype(np.int64)
        far = haversine_km(np.repeat(lat, counts), np.repeat(lon, counts), self.lats[numbers], self.lngs[numbers])
        least = np.repeat(np.minimum.reduceat(far, starts), counts)
        # Numbers ascend with the ids.
        smallest: np.ndarray = np.minimum.reduceat(np.where(far - least <= TIE_KM, numbers, len(self.ids)), starts)
        return smallest


@dataclass(frozen=True, eq=False)
class Cities(Places):
    """The cities, ascending by id. `digest`: 63 bits of everything in them, whatever the file's order or form."""

    names: tuple[str, ...]
    timezones: tuple[str, ...]
    digest: int

    @property
    def places(self) -> Places:
        """The part that Spark's workers need."""
        return Places(self.ids, self.lats, self.lngs)


def load_cities(path: str | Path) -> Cities:
    """The cities of a file `id;city;lat;lng;timezone`, UTF-8, with decimal commas. Other columns are ignored.

    Raises:
        CitiesBroken: the file is missing, or a line is wrong; names the first one.
    """
    try:
        # What is no UTF-8 becomes surrogates, so that it has a line and a column.
        text = Path(path).read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise CitiesBroken(
            f"{path} can't be read: {error.strerror}. It is the list of cities, {';'.join(COLUMNS)}. Put it there, or set "
            "SHOP_STREAMS_COMMUNITY_GEO_URI to where it is."
        ) from error
    rows = sorted(_rows(_Place(path), text))
    if not rows:
        _Place(path, 2, "id").refuse("", "there is no city")
    ids, names, lats, lngs, timezones, lines = zip(*rows, strict=True)
    content = hashlib.blake2b(repr([row[:-1] for row in rows]).encode(), digest_size=8).digest()
    digest = int.from_bytes(content) >> 1
    cities = Cities(np.array(ids, np.int64), np.array(lats), np.array(lngs), names, timezones, digest)
    _refuse_one_place(path, cities, lines)
    return cities


_Row = tuple[int, str, float, float, str, int]  # the columns, and the line


@dataclass(frozen=True)
class _Place:
    """Where something in the file is wrong."""

    path: str | Path
    line: int = 1
    column: str = "id"

    def refuse(self, value: str, why: str) -> NoReturn:
        raise CitiesBroken(f"{self.path}, line {self.line}, column {self.column}: {value!r}: {why}")


def _rows(file: _Place, text: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";", strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        for name in COLUMNS:
            if header.count(name) != 1:
                why = f"the first line must be {';'.join(COLUMNS)}, with semicolons and each column once"
                _Place(file.path, 1, name).refuse(";".join(header), why)
        lines: dict[int, int] = {}
        for fields in reader:
            if fields:
                row = _row(file.path, reader.line_num, header, [field.strip() for field in fields])
                if (first := lines.setdefault(row[0], row[-1])) != row[-1]:
                    _Place(file.path, row[-1], "id").refuse(str(row[0]), f"line {first} has this id too")
                yield row
    except csv.Error as error:
        _Place(file.path, max(reader.line_num, 1), "id").refuse("", f"the line can't be read: {error}")


def _row(path: str | Path, line: int, header: list[str], fields: list[str]) -> _Row:
    for name, value in zip(header, fields, strict=False):
        if any("\ud800" <= one <= "\udfff" for one in value):
            _Place(path, line, name).refuse(value, "this is no UTF-8")
    if len(fields) < len(header):
        _Place(path, line, header[len(fields)]).refuse("", f"the line has {len(fields)} columns of {len(header)}")
    if len(fields) > len(header):
        _Place(path, line, f"{len(header) + 1}").refuse(
            fields[len(header)], f"the first line has {len(header)} columns"
        )
    values = dict(zip(header, fields, strict=True))
    if not re.fullmatch("[0-9]{1,19}", values["id"]) or int(values["id"]) > MAX_ID:
        _Place(path, line, "id").refuse(values["id"], f"an id is a whole number up to {MAX_ID}")
    if not values["city"]:
        _Place(path, line, "city").refuse("", "the city has no name")
    lat, lng = (_degrees(_Place(path, line, name), values[name], limit) for name, limit in (("lat", 90), ("lng", 180)))
    if values["timezone"] not in _timezones():
        _Place(path, line, "timezone").refuse(
            values["timezone"], "no time zone has this name; names are like Europe/Berlin"
        )
    return int(values["id"]), values["city"], lat, lng, values["timezone"], line


def _degrees(place: _Place, value: str, limit: int) -> float:
    if not re.fullmatch("[+-]?[0-9]+(,[0-9]+)?", value):
        place.refuse(value, "this is no number with a decimal comma, like -33,8688")
    degrees = float(value.replace(",", "."))
    if abs(degrees) > limit:
        place.refuse(value, f"degrees are within -{limit} to {limit}")
    return degrees + 0.0  # not -0.0


@cache
def _timezones() -> frozenset[str]:
    """Names that Python knows, without those that are no place's."""
    return frozenset(available_timezones() - {"Factory", "localtime"})


def _refuse_one_place(path: str | Path, cities: Cities, lines: tuple[int, ...]) -> None:
    """Cities less than a metre apart are equally near to everything, so the larger id would never be a zone."""
    from scipy.spatial import cKDTree

    if len(cities.ids) == 1:
        return
    vectors = unit_vectors(cities.lats, cities.lngs)
    chords, found = cKDTree(vectors).query(vectors, k=2)
    for number in np.flatnonzero(chords[:, 1] < chord(TIE_KM))[:1].tolist():
        other = next(one for one in found[number].tolist() if one != number)
        first, second = sorted((lines[number], lines[other]))
        row = number if lines[number] == second else other
        where = f"{cities.lats[row]} {cities.lngs[row]}".replace(".", ",")
        _Place(path, second, "lat").refuse(where, f"line {first} has a city at this place too")
