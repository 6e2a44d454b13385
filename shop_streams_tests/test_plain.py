"""Values on a terminal: bounded, and without control characters."""

import pytest

from shop_streams.plain import plain, plain_pair


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (b"", ""),
        ("тёплое [/red]".encode(), "тёплое [/red]"),
        (b"\x1b[2J\r\n\0", r"\x1b[2J\r\n\x00"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("\u202eevil", r"\u202eevil"),
        (b"x" * 10_000_000, "x" * 59 + "…"),
        ("ё".encode() * 60, "ё" * 60),
    ],
)
def test_values_are_shown_bounded_and_without_control_characters(value: bytes | str | None, shown: str) -> None:
    assert plain(value) == shown


def test_two_values_are_shown_from_shortly_before_their_difference() -> None:
    long = b'{"first":"' + b"a" * 500 + b'","event_type":"%s"}'
    before, after = plain_pair(long % b"bux", long % b"buy", 40)
    assert before.endswith('bux"}') and after.endswith('buy"}') and before.startswith("…")
    assert plain_pair("ёёёёёёёёёёёёёёё1".encode(), "ёёёёёёёёёёёёёёё2".encode())[0] == "…ёёёёёёёё1"
    assert plain_pair(b"same", b"same") == ("same", "same") and plain_pair(None, b"x") == ("null", "x")
