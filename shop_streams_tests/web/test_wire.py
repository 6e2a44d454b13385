"""The tag's wire format in Node, against decoders and hashes that are not its own."""

import json
import string
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import mmh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams_tests.web.events import base36, checksum, unmincode

Wire = Callable[..., Any]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = (
    st.integers(-(2**70), 2**70).map(float)
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    st.none() | st.booleans() | TEXTS | NUMBERS,
    lambda one: st.lists(one, max_size=4) | st.dictionaries(TEXTS, one, max_size=4),
    max_leaves=20,
)
FIELDS = st.dictionaries(st.sampled_from(string.ascii_lowercase.replace("x", "")), TEXTS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"price": "1 490 руб.", "amount": "2"}, "(sprice!1 490 руб.!samount!2!)"),  # noqa: RUF001
        ({"amount": 2, "sum": 2980, "rate": 0.5, "debt": -37}, "(damount!2!dsum!2as!jrate!0.5!ddebt!-11!)"),
        ({"a!b~": "x~!y"}, "(sa~!b~~!x~~~!y!)"),
        ({"t": True, "f": False, "n": None}, "(tt!ff!nn!)"),
        ({"list": [1, "a", [], {}, None]}, "(alist!d1!sa!a.()n.)"),
        ({"in": {"side": {"x": ""}}}, "((in!(side!sx!!)))"),
        (1e21, "j1e+21!"),
        (2**53 - 1, "d2gosa7pa2gv!"),
        ("text", "stext!"),
    ],
)
def test_mincode_of(value: Any, expected: str, wire: Wire) -> None:
    assert wire("mincode", value) == expected


def as_in_javascript(value: Any) -> str:
    """JSON with every number a double, which has no negative zero here, and sorted names."""

    def number(text: str) -> float:
        return float(text) + 0.0

    return json.dumps(json.loads(json.dumps(value), parse_int=number, parse_float=number), sort_keys=True)


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_a_decoder_reads_what_mincode_says(wire: Wire, value: Any) -> None:
    assert as_in_javascript(unmincode(wire("mincode", value))) == as_in_javascript(value)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_the_hash_is_murmur3(wire: Wire, text: str) -> None:
    assert wire("murmur3", text) == mmh3.hash(text.encode(), 0, signed=True)


@given(FIELDS)
@settings(max_examples=200, deadline=None)
def test_a_query_has_its_fields_and_their_checksum(wire: Wire, fields: dict[str, str]) -> None:
    found = parse_qs(wire("query", fields), keep_blank_values=True, strict_parsing=True, errors="strict")
    assert found == {name: [value] for name, value in (fields | {"x": checksum(fields)}).items()}


@given(st.integers(-(2**53) + 1, 2**53 - 1))
@settings(deadline=None)
def test_numbers_are_base_36(wire: Wire, number: int) -> None:
    assert parse_qs(wire("query", {"c": number}))["c"] == [base36(number)]


def test_what_is_unknown_is_left_out(wire: Wire) -> None:
    assert parse_qs(wire("query", {"r": None, "t": "pageView"})).keys() == {"t", "x"}


def test_half_a_character_is_replaced(wire: Wire) -> None:
    """A page that cuts a text may cut an emoji in two; that has no UTF-8, and the checksum must be that of what is sent."""
    found = parse_qs(wire("query", {"t": "\ud83d", "l": "a\udc00b\ud83d\ude00"}), errors="strict")
    fields = {"t": "\ufffd", "l": "a\ufffdb\U0001f600"}
    assert found == {name: [value] for name, value in (fields | {"x": checksum(fields)}).items()}


@pytest.mark.parametrize(
    ("referer", "query", "parameter", "kept"),
    [
        (10, 10, 10, {"r", "l", "u", "?"}),
        (7000, 10, 10, {"l", "u", "?"}),
        (10, 7000, 10, {"l", "u"}),
        (10, 10, 7000, {"l"}),
    ],
)
def test_a_long_event_is_shortened(referer: int, query: int, parameter: int, kept: set[str], wire: Wire) -> None:
    """The collector takes addresses of 7,000 characters: the item's path counts more than the rest."""
    page = "https://shop.example/katalog/item/5/"
    fields = {"r": "r" * referer, "l": f"{page}?{'q' * query}", "u": f"s{'u' * parameter}!", "t": "pageView"}
    text = wire("shortQuery", fields, 6800)
    found = {name: values[0] for name, values in parse_qs(text).items()}
    assert len(text) <= 6800 and found["l"].partition("?")[0] == page and found["x"] == checksum(found)
    assert found.keys() & set("rlu") | ({"?"} if "?" in found["l"] else set()) == kept
