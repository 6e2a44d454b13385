"""A record of the topic is a click, or has every reason why it is none."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.defs.clickstream.rules import Click, click_rules
from shop_streams.rules import Refused, times_at
from shop_streams_tests.defs.clickstream.clicks import BUY, CLICK_MS, PAGE, REFUSED, VIEW, written

RULES = click_rules("/katalog/item/")
TIMES = times_at("2015-01-01", datetime.now(UTC))
ELSEWHERE = "https://shop.example/katalog/"
# A record, and the shop, item, price and amount that are derived from it.
GOOD: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    (VIEW, ("shop.example", "5", None, None)),
    (VIEW | {"price": "free", "amount": "x"}, ("shop.example", "5", None, None)),
    (BUY, ("shop.example", "5", "1490", 2)),
    (BUY | {"price": "0"}, ("shop.example", "5", "0", 2)),
    (BUY | {"price": "0.000000001"}, ("shop.example", "5", "0.000000001", 2)),
    (BUY | {"amount": "2147483647"}, ("shop.example", "5", "1490", 2147483647)),
    (BUY | {"location": ELSEWHERE, "price": "free"}, ("shop.example", None, None, None)),
    (BUY | {"location": None, "amount": None}, (None, None, None, None)),
    (BUY | {"location": "junk", "price": None}, (None, None, None, None)),
    (BUY | {"eventType": "Buy_Button_Click", "price": "free"}, ("shop.example", "5", None, None)),
    ({"timestamp": CLICK_MS}, (None, None, None, None)),
    (VIEW | {"eventType": "", "sessionId": "", "location": ""}, (None, None, None, None)),
]


@pytest.mark.parametrize(("record", "derived"), GOOD)
def test_a_good_record_has_its_shop_item_and_order(record: dict[str, Any], derived: tuple[Any, ...]) -> None:
    click = RULES.validate(written(record), TIMES)
    found = msgspec.to_builtins(click)
    assert {name: found[name] for name in record} == record
    assert (click.shop, click.item_id, click.order_price, click.order_amount) == derived


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_a_wrong_record_has_a_reason(value: bytes | None, words: str) -> None:
    with pytest.raises(Refused) as refused:
        RULES.validate(value, TIMES)
    assert words in str(refused.value) and str(refused.value).isprintable() and len(str(refused.value)) <= 500


def test_the_first_moment_that_clicks_have() -> None:
    first = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
    assert RULES.validate(written(VIEW | {"timestamp": first}), TIMES).timestamp == first
    with pytest.raises(Refused, match=r"before 2026-07-01, the setting FIRST_DAY"):
        RULES.validate(written(VIEW | {"timestamp": first}), times_at("2026-07-01", datetime.now(UTC)))


def test_a_record_as_divolte_writes_it() -> None:
    """The bytes of a record that Apache's Java library wrote: timestamp 1770000000000, no price, no amount."""
    value = bytes.fromhex("8090c5c38367") + b"\x02\x10pageView\x02F" + PAGE.encode() + b"\x02\x0a0:s:1\x00\x00"
    assert RULES.validate(value, TIMES) == Click(
        1_770_000_000_000, "pageView", PAGE, "0:s:1", shop="shop.example", item_id="5"
    )


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda rest: written(BUY)[:20] + rest))
def test_any_bytes_are_a_click_or_have_a_reason(value: bytes) -> None:
    try:
        click = RULES.validate(value, TIMES)
    except Refused as refused:
        assert str(refused)
    else:
        assert written(msgspec.to_builtins(click)) == value


TEXT = st.none() | st.text(max_size=40)


@given(price=TEXT, location=TEXT | st.just(PAGE), amount=TEXT, kind=TEXT | st.just("buy_button_click"))
def test_any_texts_are_a_click_or_have_a_reason(
    price: str | None, location: str | None, amount: str | None, kind: str | None
) -> None:
    record = {"timestamp": CLICK_MS, "eventType": kind, "location": location, "price": price, "amount": amount}
    try:
        click = RULES.validate(written(record), TIMES)
    except Refused as refused:
        assert (kind, location) == ("buy_button_click", PAGE)
        assert "is no" in str(refused) or "is missing" in str(refused)
    else:
        assert (click.order_price is None) == (click.order_amount is None)
