"""Who the simulated users are, and where each of them is on a day. Everything follows from the numbers of users and days."""

from __future__ import annotations

import csv
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypeAlias

import numpy as np

NEVER_LOCATED = 0.04  # of the users: their apps send no coordinates
KM = 1 / 111.2  # of latitude, in degrees
HOME_SPREAD = 2.2  # km: how far the users of a city live from its middle
CROWD = 10_000  # users; of a larger population, cities are wider and not denser
WALK = 0.35  # km: how far they are from home
TRIP_SHARE = 0.07  # of the weeks
SHORTEST_LEASE, LEASES = 45, 300  # days until a user moves house: the least, and how much longer at the most

Numbers: TypeAlias = "np.ndarray"


@dataclass(frozen=True)
class Places:
    """The cities that users live in: degrees, and the share of the users up to each of them."""

    lats: Numbers
    lngs: Numbers
    shares: Numbers


@cache
def cities_file() -> bytes:
    """The 24 cities that come with the package."""
    return (files("shop_streams.defs.community") / "geo.csv").read_bytes()


@cache
def places() -> Places:
    """The package's cities, the largest first. The n-th has 1/n of the first one's users."""
    rows = list(csv.DictReader(cities_file().decode("utf-8-sig").splitlines(), delimiter=";"))
    weights = 1 / np.arange(1, len(rows) + 1)
    lats, lngs = (np.array([float(row[name].replace(",", ".")) for row in rows]) for name in ("lat", "lng"))
    return Places(lats, lngs, np.cumsum(weights) / weights.sum())


def draw(purpose: str, *keys: Numbers | int) -> Numbers:
    """Numbers from 0 to below 1, one for each element of the keys. The same purpose and keys have the same number.

    SplitMix64 (Steele, Lea, Flood 2014) over the keys. It does not depend on NumPy's version, as its generators do.
    """
    state = np.array([zlib.crc32(purpose.encode())], dtype=np.uint64)
    for key in keys:
        state = _mixed(state ^ _mixed(np.atleast_1d(np.asarray(key, dtype=np.int64)).astype(np.uint64)))
    return (state >> np.uint64(11)) / 2.0**53


def _mixed(x: Numbers) -> Numbers:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _normal(purpose: str, *keys: Numbers | int) -> tuple[Numbers, Numbers]:
    """Two normal numbers for each element of the keys (Box and Muller)."""
    radius = np.sqrt(-2 * np.log(1 - draw(f"{purpose} radius", *keys)))
    angle = 2 * np.pi * draw(f"{purpose} angle", *keys)
    return radius * np.cos(angle), radius * np.sin(angle)


def city(users: Numbers, days: Numbers) -> Numbers:
    """The index of the city in which each user is on that day (days since 1970): at home, or on a trip for a week."""
    lease = SHORTEST_LEASE + (LEASES * draw("lease", users)).astype(np.int64)
    flat = (days + (lease * draw("moving day", users)).astype(np.int64)) // lease
    week = (days + (7 * draw("weekday", users)).astype(np.int64)) // 7
    home = draw("home", users, flat)
    trip = draw("trip", users, week) < TRIP_SHARE
    return np.searchsorted(places().shares, np.where(trip, draw("destination", users, week), home), side="right")


def positions(users: Numbers, days: Numbers, numbers: Numbers, population: int) -> tuple[Numbers, Numbers]:
    """Latitudes and longitudes, in degrees with six decimals, of each user on that day at the event of that number."""
    spread = HOME_SPREAD * max(1.0, population / CROWD) ** 0.5
    where = city(users, days)
    home_north, home_east = _normal("address", users, where)
    walk_north, walk_east = _normal("walk", users, numbers)
    lats = places().lats[where] + KM * (spread * home_north + WALK * walk_north)
    east = KM * (spread * home_east + WALK * walk_east)
    return lats.round(6), (places().lngs[where] + east / np.cos(np.radians(lats))).round(6)


def located(users: Numbers) -> Numbers:
    """Whether the user's app ever sends coordinates."""
    return draw("located", users) >= NEVER_LOCATED


def friend(users: Numbers, draws: Numbers, of: int) -> Numbers:
    """Another user to whom the user writes, of 20 acquaintances; the first ones are written to most."""
    return (users - 1 + 1 + (min(20, of - 1) * draws**2).astype(np.int64)) % of + 1
