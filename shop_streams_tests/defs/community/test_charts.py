"""The picture of the zones: what is drawn, and that it is a small picture that Dagster can show."""

import base64
import re
from datetime import date
from io import BytesIO

import pyarrow as pa
import pytest
from PIL import Image

from shop_streams.defs.community.charts import NAMED, ZoneTotal, newest_totals, with_room, zones_picture

PLACES = {1: ("Sydney", -33.9, 151.2), 2: ("Melbourne", -37.8, 145.0), 3: ("Perth", -32.0, 115.9)}
MAY, JUNE = date(2026, 5, 1), date(2026, 6, 1)


def rows(*found: tuple[date, date, int, int]) -> pa.Table:
    names = ("month", "week", "zone_id", "week_message")
    return pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) for row in found],
        pa.schema(
            [("month", pa.date32()), ("week", pa.date32()), ("zone_id", pa.int64()), ("week_message", pa.int64())]
        ),
    )


def test_the_newest_week_of_the_newest_month_is_shown_the_largest_zone_first() -> None:
    week = date(2026, 4, 27)
    found = rows(
        (date(2026, 4, 1), week, 1, 100), (MAY, week, 1, 4), (MAY, week, 2, 7), (MAY, week, 3, 0), (MAY, week, 9, 5),
        (date(2026, 4, 1), date(2026, 4, 20), 2, 900),
    )  # fmt: skip
    assert [(one.city, one.total) for one in newest_totals(found, PLACES, "week_message")] == [
        ("Melbourne", 7),
        ("Sydney", 4),
    ]
    assert newest_totals(rows(), PLACES, "week_message") == []


def test_without_data_there_is_a_sentence() -> None:
    assert zones_picture([], "Messages, week of 2026-05-25").value == "Messages, week of 2026-05-25: none in any zone."


@pytest.mark.parametrize("zones", [1, 2, 24, 100_000])
def test_the_picture_is_small_whatever_the_number_of_zones(zones: int) -> None:
    """And its names may be in any script, and have what markdown and matplotlib would read as markup."""
    places = {
        n: (f"Łódź ]$\\bad$ {n} {'y' * (n % 30)}", (n * 7 % 150) - 75.0, (n * 11 % 360) - 180.0) for n in range(zones)
    }
    totals = newest_totals(rows(*[(MAY, MAY, n, n + 1) for n in places]), places, "week_message")
    markdown = zones_picture(totals, "Messages").value
    encoded = re.fullmatch(r"!\[Messages\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert encoded and len(markdown) < 60_000
    with Image.open(BytesIO(base64.b64decode(encoded[1]))) as picture:
        assert (picture.format, picture.width) == ("PNG", 600) and len(picture.getcolors() or []) > 5


def test_a_name_does_not_cover_that_of_a_larger_zone() -> None:
    large, near, far = (ZoneTotal(str(lon), -33.0, lon, 1) for lon in (151.0, 151.5, 140.0))
    assert with_room([large, near, far], 30, 20) == [large, far]
    assert len(with_room([ZoneTotal("", 0.0, float(n), 1) for n in range(NAMED)], 0, 0)) == NAMED
