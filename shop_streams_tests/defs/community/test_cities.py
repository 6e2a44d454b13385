"""The file of cities, and the nearest city: each kind of broken file, and a comparison with every city."""

import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams.defs.community.cities import Cities, CitiesBroken, Places, load_cities
from shop_streams_tests.defs.community.events import nearest_of

HEADER = "id;city;lat;lng;timezone"
SYDNEY = "1;Sydney;-33,865;151,2094;Australia/Sydney"
PERTH = "2;Perth;-31,9522;115,8589;Australia/Perth"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "geo.csv"


def shown(cities: Cities) -> list[tuple[object, ...]]:
    columns = cities.ids.tolist(), cities.names, cities.lats.tolist(), cities.lngs.tolist(), cities.timezones
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["without BOM", "with BOM"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CR LF", "CR"])
@pytest.mark.parametrize("last", [True, False], ids=["line end at the end", "none"])
def test_every_form_of_the_file_is_read(file: Path, bom: bytes, end: str, last: bool) -> None:
    lines = [HEADER, "20;Köln;+50,9375;6,9603;Europe/Berlin", "", ' 3 ;"Saint; John";0; -180 ;America/Halifax']
    file.write_bytes(bom + (end.join(lines) + end * last).encode())
    assert shown(load_cities(file)) == [
        (3, "Saint; John", 0.0, -180.0, "America/Halifax"),
        (20, "Köln", 50.9375, 6.9603, "Europe/Berlin"),
    ]


def test_columns_may_have_any_order(file: Path) -> None:
    file.write_text("timezone;lng;more;lat;city;id\nAustralia/Perth;115,8589;x;-31,9522;Perth;2\n")
    assert shown(load_cities(file)) == [(2, "Perth", -31.9522, 115.8589, "Australia/Perth")]


def test_the_digest_is_that_of_the_content(file: Path) -> None:
    def digest(*lines: str) -> int:
        file.write_text("\n".join([HEADER, *lines]))
        return load_cities(file).digest

    same = digest(SYDNEY, PERTH)
    assert 0 < same < 2**63
    assert digest(PERTH, "", SYDNEY.replace("-33,865", "-33,86500")) == same
    changes = [
        ("2;P", "3;P"),
        ("Perth;-", "Berth;-"),
        ("31,9522", "31,9523"),
        ("115,8589", "115,8588"),
        ("/Perth", "/Sydney"),
    ]
    digests = [digest(SYDNEY, PERTH.replace(*change)) for change in changes] + [digest(SYDNEY), digest(PERTH)]
    assert len({same, *digests}) == len(digests) + 1


# What it is; the file; line, column, and the value or the words that the error names.
BROKEN: list[tuple[str, bytes, tuple[int, str, str]]] = [
    ("empty", b"", (1, "id", "''")),
    ("only a BOM", b"\xef\xbb\xbf", (1, "id", "''")),
    ("no city", f"{HEADER}\n".encode(), (2, "id", "there is no city")),
    ("another separator", f"{HEADER}\n{SYDNEY}".replace(";", ",").encode(), (1, "id", "'id,city,lat,lng,timezone'")),
    ("tabs", f"{HEADER}\n{SYDNEY}".replace(";", "\t").encode(), (1, "id", "semicolons")),
    ("another separator below the header", f"{HEADER}\n1,A,1,1,UTC".encode(), (2, "city", "1 columns of 5")),
    ("no header", f"{SYDNEY}\n{PERTH}".encode(), (1, "id", "Sydney")),
    ("a column missing", b"id;city;lat;lng\n1;A;1,0;1,0", (1, "timezone", "'id;city;lat;lng'")),
    ("a column twice", b"id;city;lat;lat;lng;timezone\n", (1, "lat", "each column once")),
    ("a value missing", f"{HEADER}\n{SYDNEY}\n2;Perth;-31,9522".encode(), (3, "lng", "3 columns of 5")),
    ("a value too many", f"{HEADER}\n{SYDNEY};x".encode(), (2, "6", "'x'")),
    ("point for comma", f"{HEADER}\n{SYDNEY}\n2;Perth;-31,9522;115.8589;Australia/Perth".encode(), (3, "lng", "'115.8589'")),
    ("no latitude", f"{HEADER}\n1;A;;1,0;UTC".encode(), (2, "lat", "''")),
    ("a word for a number", f"{HEADER}\n1;A;north;1,0;UTC".encode(), (2, "lat", "'north'")),
    ("nan", f"{HEADER}\n1;A;nan;1,0;UTC".encode(), (2, "lat", "'nan'")),
    ("two commas", f"{HEADER}\n1;A;1,0,0;1,0;UTC".encode(), (2, "lat", "'1,0,0'")),
    ("other digits", f"{HEADER}\n1;A;\u0661;1,0;UTC".encode(), (2, "lat", "'\u0661'")),
    ("latitude out of range", f"{HEADER}\n1;A;90,0001;1,0;UTC".encode(), (2, "lat", "'90,0001'")),
    ("longitude out of range", f"{HEADER}\n1;A;90,0;-180,1;UTC".encode(), (2, "lng", "'-180,1'")),
    ("no id", f"{HEADER}\n;A;1,0;1,0;UTC".encode(), (2, "id", "''")),
    ("a word for an id", f"{HEADER}\nx1;A;1,0;1,0;UTC".encode(), (2, "id", "'x1'")),
    ("an id of 65 bits", f"{HEADER}\n{2**63};A;1,0;1,0;UTC".encode(), (2, "id", f"'{2**63}'")),
    ("an id twice", f"{HEADER}\n{SYDNEY}\n{PERTH}\n1;A;1,0;1,0;UTC".encode(), (4, "id", "'1'")),
    ("no name", f"{HEADER}\n1; ;1,0;1,0;UTC".encode(), (2, "city", "''")),
    ("unknown time zone", f"{HEADER}\n1;A;1,0;1,0;Australia/Perht".encode(), (2, "timezone", "'Australia/Perht'")),
    ("a time zone in other letters", f"{HEADER}\n1;A;1,0;1,0;utc".encode(), (2, "timezone", "'utc'")),
    ("no time zone", f"{HEADER}\n1;A;1,0;1,0;".encode(), (2, "timezone", "''")),
    ("a place of this machine only", f"{HEADER}\n1;A;1,0;1,0;localtime".encode(), (2, "timezone", "'localtime'")),
    ("two cities at one place", f"{HEADER}\n{SYDNEY}\n3;B;1,0;1,0;UTC\n2;A;1,0;1,00;UTC".encode(), (4, "lat", "line 3")),
    ("less than a metre apart", f"{HEADER}\n1;A;1,0;1,0;UTC\n2;B;1,000008;1,0;UTC".encode(), (3, "lat", "'1,000008 1,0'")),
    ("one place at the 180th meridian", f"{HEADER}\n1;A;1,0;180;UTC\n2;B;1,0;-180;UTC".encode(), (3, "lat", "line 2")),
    ("one place at a pole", f"{HEADER}\n1;A;-90;0;UTC\n2;B;-90;77;UTC".encode(), (3, "lat", "line 2")),
    ("no UTF-8", f"{HEADER}\n{PERTH}\n1;".encode() + "Köln;1,0;1,0;UTC".encode("latin-1"), (3, "city", "UTF-8")),
    ("UTF-16", f"{HEADER}\n{PERTH}".encode("utf-16"), (1, "id", "semicolons")),
    ("a quote without an end", f'{HEADER}\n{PERTH}\n3;"A;1,0;1,0;UTC'.encode(), (3, "id", "can't be read")),
]  # fmt: skip


@pytest.mark.parametrize(("content", "named"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_file_is_one_error_that_names_the_place(
    file: Path, content: bytes, named: tuple[int, str, str]
) -> None:
    file.write_bytes(content)
    line, column, words = named
    with pytest.raises(CitiesBroken) as error:
        load_cities(file)
    assert str(error.value).startswith(f"{file}, line {line}, column {column}: ") and words in str(error.value)


def test_two_cities_a_little_more_than_a_metre_apart_are_two_places(file: Path) -> None:
    file.write_text(f"{HEADER}\n1;A;1,0;1,0;UTC\n2;B;1,00001;1,0;UTC")
    assert len(load_cities(file).ids) == 2


def test_a_missing_file_and_a_folder_are_named(file: Path) -> None:
    with pytest.raises(CitiesBroken, match=r"geo.csv can't be read: No such file.*id;city;lat;lng;timezone"):
        load_cities(file)
    with pytest.raises(CitiesBroken, match="can't be read: Is a directory"):
        load_cities(file.parent)


City = tuple[int, float, float]
LATS = st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, -45.0, 0.0, 45.0, 89.9999, 90.0]))
LNGS = st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, -179.9999, -90.0, 0.0, 90.0, 179.9999, 180.0]))
CITIES = st.dictionaries(st.integers(0, 2**63 - 1), st.tuples(LATS, LNGS), min_size=1, max_size=30)


def places_of(cities: Sequence[City]) -> Places:
    ids, lats, lngs = zip(*sorted(cities), strict=True)
    return Places(np.array(ids, np.int64), np.array(lats), np.array(lngs))


@given(cities=CITIES, positions=st.lists(st.tuples(LATS, LNGS), min_size=1, max_size=30))
@settings(max_examples=300, deadline=None)
def test_the_nearest_is_that_of_a_comparison_with_every_city(
    cities: dict[int, tuple[float, float]], positions: list[tuple[float, float]]
) -> None:
    """Also where positions are cities, poles, on the 180th meridian, or in the middle between two."""
    every = [(number, *where) for number, where in cities.items()]
    positions = [*positions, *cities.values()]
    found = places_of(every).nearest(*np.array(positions).T)
    assert found.dtype == np.int64
    assert found.tolist() == [nearest_of(every, *position) for position in positions]


# Metres north of the equator of city 2; city 1 is a hundred metres south of the position, city 3 elsewhere.
@pytest.mark.parametrize(("metres", "nearest"), [(100, 1), (99.1, 1), (98.9, 2), (100.9, 1), (101.1, 1)])
def test_equally_near_to_a_metre_is_the_smaller_id(metres: float, nearest: int) -> None:
    degree = 2 * np.pi * 6_371_000 / 360
    cities = [(1, -100 / degree, 10.0), (2, metres / degree, 10.0), (3, 50.0, 50.0)]
    assert places_of(cities).nearest(np.array([0.0, 50.0]), np.array([10.0, 50.0])).tolist() == [nearest, 3]


def test_a_grid_has_many_ties() -> None:
    """All cities of the northernmost row are equally near to the pole; a position may be in the middle between four."""
    cities = [
        (1000 - number, lat, lng)
        for number, (lat, lng) in enumerate((lat, lng) for lat in range(-80, 81, 20) for lng in range(-180, 180, 20))
    ]
    positions = [(90.0, 12.0)] * 3 + [(0.0, 10.0), (10.0, 10.0), (10.0, 180.0), (-90.0, 0.0), (-30.0, -170.0)]
    found = places_of(cities).nearest(*np.array(positions).T)
    assert found.tolist() == [nearest_of(cities, *position) for position in positions]


def spread(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions, evenly on the sphere."""
    random = np.random.default_rng(seed)
    return np.degrees(np.arcsin(random.uniform(-1, 1, count))), random.uniform(-180, 180, count)


def test_100_000_cities_are_at_most_three_times_slower_than_24() -> None:
    lat, lon = spread(1_000_000, 1)
    seconds = {}
    for count in (24, 100_000):
        places = Places(np.arange(count), *spread(count, 2))
        places.nearest(lat[:10], lon[:10])
        seconds[count] = min(timed(places, lat, lon) for _ in range(3))
    assert seconds[100_000] <= 3 * seconds[24], seconds


def timed(places: Places, lat: np.ndarray, lon: np.ndarray) -> float:
    start = time.process_time()
    places.nearest(lat, lon)
    return time.process_time() - start


def test_what_goes_to_the_workers_is_small_and_loads_fast() -> None:
    places = Places(np.arange(100_000), *spread(100_000, 1))
    places.nearest(np.zeros(1), np.zeros(1))
    assert len(pickle.dumps(places)) < 2_500_000, "without the index"
    assert pickle.loads(pickle.dumps(places)).nearest(np.zeros(1), np.zeros(1)) == places.nearest(
        np.zeros(1), np.zeros(1)
    )
    script = "import sys, shop_streams.defs.community.cities; print([one for one in ('scipy', 'dagster', 'pandas') if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
