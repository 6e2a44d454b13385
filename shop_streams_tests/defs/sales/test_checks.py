"""What parity of topic and mart finds, and what it leaves for later."""

from typing import Any

from shop_streams.defs.sales.checks import hours_of, parity, read_by_both

ROW = {"start_ts": 3600, "end_ts": 7200, "revenue": 5, "visitors": 1, "purchases": 1, "aov": 5.0}
CURRENT = {"1970-01-01": True}


def topic(*values: dict[str, Any]) -> dict[str, dict[int, dict[str, Any]]]:
    """What the topic has of hours, all in partition 0."""
    return {str(value["start_ts"]): {0: value} for value in values}


def test_parity_finds_what_differs_and_says_it_in_words() -> None:
    assert parity(topic(ROW), [ROW], CURRENT, set(), 10_000).differences == []
    assert parity(topic(ROW | {"revenue": 6}), [ROW], CURRENT, set(), 10_000).differences == [
        "hour 1970-01-01 01:00 UTC: revenue is 5 by the mart (repeats included) and 6 by the topic"
    ]
    assert parity({}, [ROW], CURRENT, set(), 10_000).differences == [
        "hour 1970-01-01 01:00 UTC: the mart has it, the topic does not"
    ]
    assert parity(topic(ROW), [], CURRENT, set(), 10_000).differences == [
        "hour 1970-01-01 01:00 UTC: the topic has it, the mart does not"
    ]
    more = {"repeats_revenue": 10, "repeats_visitors": 2, "repeats_purchases": 1}
    counted = ROW | {"revenue": 15, "visitors": 3, "purchases": 2, "aov": 7.5}
    assert parity(topic(counted), [ROW | more], CURRENT, set(), 10_000).differences == []
    assert parity(topic(ROW), [ROW | more], CURRENT, set(), 10_000).differences, "the topic counts records"
    assert parity(topic(counted | {"visitors": 2}), [ROW | more], CURRENT, set(), 10_000).differences


def test_an_hour_in_two_partitions_is_equal_if_one_of_their_last_records_is() -> None:
    older = ROW | {"revenue": 4}
    for values in ({0: ROW, 3: older}, {0: older, 3: ROW}):
        assert parity({"3600": values}, [ROW], CURRENT, set(), 10_000).differences == []
    assert parity({"3600": {0: older, 3: older}}, [ROW], CURRENT, set(), 10_000).differences == [
        "hour 1970-01-01 01:00 UTC: revenue is 5 by the mart (repeats included) and 4 by the topic"
    ]


def test_parity_waits_for_hours_that_are_open_and_for_what_one_stream_has_not_read() -> None:
    wrong = topic(ROW | {"revenue": 6}, ROW | {"start_ts": 7200})
    two = [ROW, ROW | {"start_ts": 7200}]
    assert parity(wrong, two, CURRENT, set(), 7_000).pending == 2, "the hours are open"
    assert parity(wrong, two, {"1970-01-01": False}, set(), 20_000).pending == 2, "the mart follows soon"
    found = parity(wrong, two, CURRENT, {3600}, 20_000)
    assert (found.differences, found.compared, found.pending) == ([], 1, 1), "a late event is in one of them only"
    assert len(parity(wrong, two, CURRENT, {7200}, 20_000).differences) == 1, "another hour's late event hides nothing"


def test_parity_leaves_out_exactly_the_hours_from_which_events_were_removed() -> None:
    wrong = topic(*[ROW | {"start_ts": start, "revenue": 6} for start in (3600, 7200, 10_800)])
    mart = [ROW | {"start_ts": start} for start in (3600, 7200, 10_800)]
    found = parity(wrong, mart, CURRENT, set(), 20_000, {7200})
    assert (found.compared, found.forgotten, len(found.differences)) == (2, 1, 2)
    found = parity(wrong, mart, CURRENT, set(), 20_000, {7800})  # of windows that began ten minutes after the hour
    assert (found.compared, found.forgotten) == (1, 2)
    assert parity(wrong, mart, CURRENT, {7200}, 20_000, {7200}).pending == 1, "not read yet is said first"


def test_what_both_streams_have_read_ends_where_the_slower_one_is() -> None:
    assert read_by_both({0: 10, 1: 5}, {0: 7, 1: 9}) == {0: 7, 1: 5}
    assert read_by_both({0: 10, 1: 5}, {0: 12}) == {0: 10, 1: 0}, "a partition that one has never read"
    assert read_by_both({}, {0: 12}) == {0: 0}


def test_unread_records_lie_in_the_hours_of_their_own_times() -> None:
    values = [
        b'{"timestamp": 7199999}',
        b'{"timestamp": 7200000, "uid": "u"}',
        b"no JSON",
        b"",
        b"[]",
        b"{}",
        b'{"timestamp": null}',
        b'{"timestamp": 1e999}',
        b"[" * 100_000,
    ]
    assert hours_of(values, 0) == {3600, 7200}
    assert hours_of(values, 600) == {4200}
