"""Mincode and base 36: what Divolte's tag writes is read as it was meant, and anything else is one kind of error."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.collector.mincode import MAX_DEPTH, Unreadable, base36, decode
from shop_streams_tests.collector.clients import in_base36, mincode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("sa string!", "a string"),
        ("s!", ""),
        ("sHello World~!!", "Hello World!"),
        ("s~~~!~~!", "~!~"),
        ("s~a!", "a"),
        ("t", True),
        ("f", False),
        ("n", None),
        ("d16!", 42),
        ("d-11!", -37),
        ("dZ!", 35),
        ("j10.3!", 10.3),
        ("j-78.3e10!", -783_000_000_000),
        ("j2e+6!", 2_000_000),
        ("j1e-5!", 0.00001),
        ("()", {}),
        ("a.", []),
        ("(sfoo!bar!sbaz!daz!)", {"foo": "bar", "baz": "daz"}),
        ("asfoo!sbar!.", ["foo", "bar"]),
        ("a(sfoo!bar!)(ddaz!2!ddoo!3!).", [{"foo": "bar"}, {"daz": 2, "doo": 3}]),
        (
            "(sname!John Doe!dage!16!achildren!sMary!sBill!.)",
            {"name": "John Doe", "age": 42, "children": ["Mary", "Bill"]},
        ),
        ("((a!)sb!c!(d!aa!.sb!g!)ae!s1!s2!.tt!ff!nn!)",
         {"a": {}, "b": "c", "d": {"a": [], "b": "g"}, "e": ["1", "2"], "t": True, "f": False, "n": None}),
        ("(s!empty name!sa~!b!c!)", {"": "empty name", "a!b": "c"}),
        ("(da!1!da!2!)", {"a": 2}),
    ],
)  # fmt: skip
def test_values(text: str, value: Any) -> None:
    found = decode(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "", ".", ")", "z", "(", "a", "sno end", "sends with an escape~", "d54@@!", "j54@@!", "d!", "j!", "d1_0!", "d 1!", "d\u0661!",
        "j+1!", "j01!", "j.5!", "j1.!", "jNaN!", "jInfinity!", "j1e999!", "j-1e999!", "(.", "a)", "(s!", "(sa!", "tt", "s!s!", "()!",
        f"d{'z' * 14}!", "dzzzzzzzzzzzzz!", "\0", "(sa!b!.", f"j{'9' * 5000}!",
    ],
)  # fmt: skip
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(Unreadable):
        decode(text)


def test_depth_has_a_limit() -> None:
    assert decode("a" * MAX_DEPTH + "." * MAX_DEPTH)
    assert decode("((x!" + "(x!" * (MAX_DEPTH - 2) + ")" * MAX_DEPTH)
    for text in ("a" * 33 + "." * 33, "(" + "(x!" * 32 + ")" * 33, "a" * 1_000_000, "(" + "(!" * 500_000):
        with pytest.raises(Unreadable, match="32 deep"):
            decode(text)


@given(JSON)
def test_what_the_tag_writes_is_what_the_page_meant(value: Any) -> None:
    assert _same(decode(mincode(value)), value)


def _same(found: Any, value: Any) -> bool:
    """Equal, where a whole number may be an int or a float."""
    if isinstance(value, dict):
        return list(found) == list(value) and all(_same(found[name], value[name]) for name in value)
    if isinstance(value, list):
        return len(found) == len(value) and all(map(_same, found, value))
    return bool(found == value) and isinstance(found, bool) == isinstance(value, bool)


@given(st.text() | st.text("(a.)sdjtfn!~10-.e+zA", max_size=60))
def test_any_text_is_a_value_or_unreadable(text: str) -> None:
    try:
        value = decode(text)
    except Unreadable:
        return
    assert not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("i1t8q2b6", 1_414_499_908_146),
        ("I1T8Q2B6", 1_414_499_908_146),
        ("+a", 10),
        ("-a", -10),
        ("-ql2p2c", -1_607_518_308),
        ("1y2p0ij32e8e7", 2**63 - 1),
        ("-1y2p0ij32e8e8", -(2**63)),
        ("0000000000001", 1),
    ],
)
def test_numbers(text: str, number: int) -> None:
    assert base36(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "-", "+", "--1", "1.i", "1 ", " 1", "1_0", "1\n", "é", "\u0661", "\uff11", "1y2p0ij32e8e8", "zzzzzzzzzzzzz", "00000000000001", "1" * 9_999],
)  # fmt: skip
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(Unreadable):
        base36(text)


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_long_is_read(number: int) -> None:
    assert base36(in_base36(number)) == number == int(in_base36(number), 36)
