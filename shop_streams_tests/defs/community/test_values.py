"""What counts as an id, a text, a coordinate, a time."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.defs.community.values import Wrong, id_of, number_of, text_of, time_of

REFUSED = object()
LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0), (-5, -5), (LARGEST, LARGEST), (-LARGEST - 1, -LARGEST - 1), (LARGEST + 1, REFUSED), (10**40, REFUSED),
        ("17", 17), ("007", 7), ("-5", -5), (str(LARGEST), LARGEST), (str(LARGEST + 1), REFUSED), (b"17", 17),
        ("", REFUSED), (" 17", REFUSED), ("17\n", REFUSED), ("+5", REFUSED), ("1e3", REFUSED), ("5.0", REFUSED), ("٣", REFUSED),
        ("9" * 5000, REFUSED), ("a", REFUSED), (b"\xff", REFUSED),
        (5.0, 5), (1e3, 1000), (2.0**53, 2**53), (2.0**53 + 2, REFUSED), (5.5, REFUSED), (math.inf, REFUSED), (math.nan, None),
        (Decimal("5.00"), 5), (Decimal("5.01"), REFUSED), (Decimal(LARGEST), LARGEST), (Decimal(LARGEST + 1), REFUSED),
        (True, REFUSED), (False, REFUSED), ([], REFUSED), ({}, REFUSED), (datetime(2026, 1, 1), REFUSED),
    ],
)  # fmt: skip
def test_an_id(value: Any, expected: Any) -> None:
    _expect(id_of, value, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ""), ("a\0ü", "a\0ü"), (b"\xc3\xbc", "ü"), (b"\xc3", REFUSED), ("\ud800", REFUSED), ("5", "5"),
        (5, "5"), (-5, "-5"), (10**30, str(10**30)), (10**4000, REFUSED), (5.0, "5"), (1e3, "1000"), (-0.0, "0"), (5.5, "5.5"),
        (1e300, REFUSED), (math.inf, REFUSED), (math.nan, None), (Decimal("5.00"), "5"), (Decimal("5.50"), "5.5"),
        (Decimal("100"), "100"), (Decimal(10**30), str(10**30)),
        (True, REFUSED), ([], REFUSED), ({}, REFUSED), (datetime(2026, 1, 1), REFUSED),
    ],
)  # fmt: skip
def test_a_text(value: Any, expected: Any) -> None:
    _expect(text_of, value, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5.0), (5.5, 5.5), (Decimal("5.5"), 5.5), (10**400, None), (True, REFUSED), ("5.5", REFUSED), ("NaN", REFUSED),
        ([], REFUSED), (b"5", REFUSED),
    ],
)  # fmt: skip
def test_a_coordinate(value: Any, expected: Any) -> None:
    _expect(number_of, value, expected)


def _expect(kind: Callable[[Any], Any], value: Any, expected: Any) -> None:
    if expected is REFUSED:
        with pytest.raises(Wrong, match=r"^is wrong: "):
            kind(value)
    else:
        assert kind(value) == expected and type(kind(value)) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31 23:59:59", "2026-01-31T23:59:59+00:00"),
        ("2026-01-31T23:59:59", "2026-01-31T23:59:59+00:00"),
        ("2026-01-31 23:59:59Z", "2026-01-31T23:59:59+00:00"),
        ("2026-01-31 23:59:59+03:00", "2026-01-31T20:59:59+00:00"),
        ("2026-01-31 23:59:59-0330", "2026-02-01T03:29:59+00:00"),
        ("2026-01-31 23:59:59+03", "2026-01-31T20:59:59+00:00"),
        ("2026-01-31 23:59:59.5", "2026-01-31T23:59:59.500000+00:00"),
        ("2026-01-31 23:59:59.123456789", "2026-01-31T23:59:59.123456+00:00"),
        ("2026-01-31 23:59:59.999999999Z", "2026-01-31T23:59:59.999999+00:00"),
        ("2024-02-29 00:00:00", "2024-02-29T00:00:00+00:00"),
        ("0001-01-01 00:00:00+14:00", "outside of Python's years, a time all the same"),
        *[
            (junk, None)
            for junk in (
                "", "2026-01-31", "2026-01-31 23:59", "2026-02-29 00:00:00", "2026-01-31 24:00:00", "2026-01-31 23:60:00",
                "2026-01-31 23:59:60", "2026-13-01 00:00:00", "26-01-31 23:59:59", "2026-1-31 23:59:59", "20260131T235959",
                "2026-01-31  23:59:59", " 2026-01-31 23:59:59", "2026-01-31 23:59:59\n", "2026-01-31 23:59:59.", "2026-01-31t23:59:59",
                "2026-01-31 23:59:59.1234567890", "2026-01-31 23:59:59,5", "2026-01-31 23:59:59 UTC", "2026-01-31 23:59:59+24:00",
                "2026-W05-6T23:59:59", "٢٠٢٦-01-31 23:59:59", "1769903999", "2026-01-31 23:59:59+03:00:00", "0000-01-01 00:00:00",
            )
        ],
    ],
)  # fmt: skip
def test_a_time(text: str, expected: str | None) -> None:
    found = time_of(text)
    if expected is None:
        assert found is None
    elif "+" in expected:
        assert found is not None and datetime.fromtimestamp(found / 1e6, UTC).isoformat() == expected
    else:
        assert found is not None and found < -62_135_596_800_000_000


@given(st.datetimes(), st.sampled_from(" T"), st.integers(0, 9))
def test_every_time_is_read_to_the_microsecond(moment: datetime, between: str, digits: int) -> None:
    fraction = f"{moment.microsecond:06}000"[:digits]
    text = f"{moment:%Y-%m-%d}".rjust(10, "0") + f"{between}{moment:%H:%M:%S}" + (f".{fraction}" if digits else "")
    whole = int((moment.replace(microsecond=0) - datetime(1970, 1, 1)).total_seconds())
    assert time_of(text) == whole * 1_000_000 + int(fraction.ljust(9, "0")) // 1000
