"""Queries and bodies become clicks, or are dropped for a reason. The first queries and checksums are Divolte's own tests'."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.collector.divolte import (
    QUERY_CHARACTERS,
    Dropped,
    checksum,
    identifier,
    read_query,
    split_query,
)
from shop_streams_tests.collector.clients import PARTY, SESSION, VIEW, in_base36, query

DIVOLTES = (
    "p=0%3Ai1t84hgy%3A5AF359Zjq5kUy98u4wQjlIZzWGhN~GlG&s=0%3Ai1t84hgy%3A95CbiPCYln_1e0a6rFvuRkDkeNnc6KC8"
    "&v=0%3A1fF6GFGjDOQiEx_OxnTm_tl4BH91eGLF&e=0%3A1fF6GFGjDOQiEx_OxnTm_tl4BH91eGLF0&c=i1t8q2b6&n=f&f=f"
    "&l=http%3A%2F%2Flocalhost%3A8290%2F&i=1ak&j=sj&k=2&w=uq&h=qd&t=pageView"
)
SHORT = (
    "p=0%3Ai1t84hgy%3Aparty&s=0%3Ai1t84hgy%3Asession&v=0%3ApageView&e=0%3AeventId&c=i1t8q2b6&n=f&f=f"
    "&l=http%3A%2F%2Flocalhost%3A8290%2F&i=1ak&j=sj&k=2&w=uq&h=qd"
)


@pytest.mark.parametrize(
    ("text", "corrupt"),
    [
        (f"{DIVOLTES}&x=si9804", False),
        (f"{DIVOLTES}&x=SI9804", False),
        (f"{DIVOLTES}&x=si9805", True),
        (DIVOLTES, True),
        (f"{DIVOLTES}&x", True),
        (f"{DIVOLTES}&x=", True),
        (f"{DIVOLTES}&x=si9804&x=1", False),
        (f"{DIVOLTES}&x=1&x=si9804", True),
        (f"{DIVOLTES}&k=2&x=si9804", True),
        (f"{SHORT}&t=%E1%BB%A5%C3%B1%E2%9A%95%C2%A9%C2%BA%E1%B8%8C%E2%84%A8&x=-ql2p2c", False),
        (f"{SHORT}&t=sentinelEvent&x=-y99lem", False),
        (f"x=-y99lem&t=sentinelEvent&&{SHORT}&", False),
    ],
)
def test_divoltes_own_requests(text: str, corrupt: bool) -> None:
    assert read_query(text).corrupt is corrupt


def test_every_field_of_divoltes_request() -> None:
    click = read_query(f"{DIVOLTES}&r=http%3A%2F%2Flocalhost%2F&u=(sprice!1%20490!damount!2!)")
    assert (click.party_id, click.session_id, click.page_view_id, click.event_id) == (PARTY, SESSION, VIEW, f"{VIEW}0")
    assert (click.client_time, click.is_new_party, click.is_first_in_session) == (1_414_499_908_146, False, False)
    assert (click.event_type, click.location, click.referer) == (
        "pageView",
        "http://localhost:8290/",
        "http://localhost/",
    )
    assert (click.viewport, click.screen, click.pixel_ratio) == ("1106x949", "1676x1027", "2")
    assert (click.price, click.amount) == ("1 490", "2")
    assert json.loads(click.parameters or b"") == {"price": "1 490", "amount": 2}


def test_the_canonical_text_has_every_value_and_sorted_names() -> None:
    assert checksum(split_query("b=2&a=1&x=9&a=3")) == murmur3(b"a=1,3,;b=2,;")
    # JavaScript sorts U+1F600 (a surrogate pair) before U+FB01.
    assert checksum({"\ufb01": ["1"], "\U0001f600": ["2"]}) == murmur3("\U0001f600=2,;\ufb01=1,;".encode())


def murmur3(data: bytes) -> int:
    """MurmurHash3 x86 32, seed 0, after its reference."""
    mask, h = 0xFFFFFFFF, 0

    def rotated(x: int, by: int) -> int:
        return ((x << by) | (x >> (32 - by))) & mask

    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = rotated(int.from_bytes(data[at : at + 4], "little") * 0xCC9E2D51 & mask, 15) * 0x1B873593 & mask
        h = (rotated(h ^ k, 13) * 5 + 0xE6546B64) & mask
    if data[whole:]:
        h ^= rotated(int.from_bytes(data[whole:], "little") * 0xCC9E2D51 & mask, 15) * 0x1B873593 & mask
    h ^= len(data)
    for by, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> by)) * factor & mask
    h ^= h >> 16
    return h - 2**32 if h >= 2**31 else h


@given(st.dictionaries(st.text(min_size=1), st.lists(st.text(), min_size=1, max_size=3), max_size=5))
def test_a_checksum_is_murmur3_of_the_canonical_text(fields: dict[str, list[str]]) -> None:
    names = sorted(fields.keys() - {"x"}, key=lambda name: name.encode("utf-16-be"))
    text = "".join(f"{name}={''.join(f'{value},' for value in fields[name])};" for name in names)
    assert checksum(fields) == murmur3(text.encode())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (PARTY, PARTY),
        ("0:i1t84hgy:party", "0:i1t84hgy:party"),
        ("0:i1t84hgy:x!", "0:i1t84hgy:x!"),
        ("0:00I1T84HGY:Party", "0:i1t84hgy:Party"),
        ("0:+a:x", "0:a:x"),
        ("0:-a:x", "0:-a:x"),
        ("0:0:x", "0:0:x"),
        ("1:i1t84hgy:x", None),
        ("0:i1t84hgy", None),
        ("0:i1t84hgy:x:y", None),
        ("0:i1t84hgy:", None),
        ("0::x", None),
        ("0:1.i:x", None),
        ("0:1y2p0ij32e8e8:x", None),
        ("0:i1t84hgy:a b", None),
        ("0:i1t84hgy:a\0", None),
        ("0:i1t84hgy:\ufffd", None),
        (f"0:i1t84hgy:{'x' * 118}", None),
        ("", None),
    ],
)
def test_identifiers(text: str, found: str | None) -> None:
    assert identifier(text) == found


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *[({name: None}, "missing_field") for name in "psvecnf"],
        *[({name: ""}, "missing_field") for name in "psvecnf"],
        ({"p": "0:1:x:y"}, "party"),
        ({"p": "somebody"}, "party"),
        ({"s": "0:x"}, "session"),
        ({"c": "1.5"}, "client_time"),
        ({"c": "zzzzzzzzzzzzzz"}, "client_time"),
        ({"c": "zzzzzzzzzzzzz"}, "client_time"),
        ({"c": "-1"}, "client_time"),
        ({"c": in_base36(253_402_300_800_000)}, "client_time"),
        ({"l": "x" * QUERY_CHARACTERS}, "query_too_long"),
    ],
)
def test_a_click_is_dropped_for_a_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Dropped, match=f"^{reason}$"):
        read_query(query(**changes))


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"k": "1.i"}, "pixel_ratio", None),
        ({"k": "-1"}, "pixel_ratio", None),
        ({"w": "uq", "h": "?"}, "viewport", None),
        ({"w": "uq"}, "viewport", None),
        ({"w": "uq", "h": "qd"}, "viewport", "1106x949"),
        ({"i": "zzzzzzz", "j": "1"}, "screen", None),
        ({"u": "(sprice!10"}, "parameters", None),
        ({"u": "(sprice!10"}, "price", None),
        ({"u": "a" * 33 + "." * 33}, "parameters", None),
        ({"u": "sprice!"}, "parameters", b'"price"'),
        ({"u": "(dprice!16!)"}, "price", "42"),
        ({"u": "(jprice!1490.5!)"}, "price", "1490.5"),
        ({"u": "(jprice!2e+6!)"}, "price", "2000000"),
        ({"u": "(sprice!1\u00a0490 €!)"}, "price", "1\u00a0490 €"),
        ({"u": "(tprice!namount!)"}, "price", None),
        ({"u": "(tprice!namount!)"}, "amount", None),
        ({"u": "(aprice!s1!.)"}, "price", None),
        ({"t": None}, "event_type", None),
        ({"t": ""}, "event_type", None),
        ({"v": "from-the-server"}, "page_view_id", "from-the-server"),
        ({"n": "f"}, "is_new_party", False),
        ({"n": "maybe"}, "is_new_party", False),
        ({"l": "http://shop/\0"}, "location", "http://shop/\ufffd"),
        ({"u": "(sprice!1\0!)"}, "price", "1\ufffd"),
        ({"c": "0"}, "client_time", 0),
        ({"c": in_base36(253_402_300_799_999)}, "client_time", 253_402_300_799_999),
        ({"x": None}, "corrupt", True),
    ],
)  # fmt: skip
def test_what_a_field_becomes(changes: dict[str, str | None], field: str, value: Any) -> None:
    click = read_query(query(**changes))
    assert getattr(click, field) == value and click.corrupt is ("x" in changes)


def test_bytes_that_are_no_text_make_the_click_corrupt() -> None:
    click = read_query(query().replace("t=pageView", "t=%ED%A0%80%FF"))
    assert click.corrupt and click.event_type and set(click.event_type) == {"\ufffd"}
    assert read_query(query().replace("t=pageView", "t=\udcff")).corrupt


@given(st.text() | st.text("psvecnfxu=&%+0:1", max_size=200))
def test_any_query_is_a_click_or_dropped(text: str) -> None:
    for one in (text, f"{query()}&{text}", f"u={text}&{query()}"):
        try:
            click = read_query(one)
        except Dropped:
            continue
        texts = (click.event_id, click.page_view_id, click.location, click.price, click.amount, click.event_type)
        assert not any("\0" in one for one in texts if one)
