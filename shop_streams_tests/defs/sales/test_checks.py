"""What parity of topic and mart finds."""

from shop_streams.defs.sales.checks import parity


def test_parity_finds_what_differs_and_waits_for_what_is_open() -> None:
    row = {"start_ts": 3600, "end_ts": 7200, "revenue": 5, "visitors": 1, "purchases": 1, "aov": 5.0}
    day = {"1970-01-01": True}
    assert parity({"3600": row}, [row], day, 10_000).differences == []
    assert parity({"3600": row | {"revenue": 6}}, [row], day, 10_000).differences
    assert parity({}, [row], day, 10_000).differences and parity({"3600": row}, [], day, 10_000).differences
    assert parity({"3600": row | {"revenue": 6}}, [row], day, 7_000).pending == 1
    assert parity({"3600": row | {"revenue": 6}}, [row], {"1970-01-01": False}, 10_000).pending == 1
    more = {"repeats_revenue": 10, "repeats_visitors": 2, "repeats_purchases": 1}
    topic = row | {"revenue": 15, "visitors": 3, "purchases": 2, "aov": 7.5}
    assert parity({"3600": topic}, [row | more], day, 10_000).differences == []
    assert parity({"3600": row}, [row | more], day, 10_000).differences, "the topic counts records"
    assert parity({"3600": topic | {"visitors": 2}}, [row | more], day, 10_000).differences
