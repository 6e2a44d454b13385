"""A mart's sensor recomputes exactly the partitions whose source has other rows than they were computed from."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shop_streams.defs.automation import contiguous, plan

DAYS = [f"2026-01-{day:02d}" for day in range(1, 31)]
counts = st.dictionaries(st.sampled_from(DAYS), st.integers(1, 5))


def never(_key: str) -> bool:
    return False


def test_only_what_differs_is_recomputed_and_the_words_say_so() -> None:
    todo = plan({"a": 5, "b": 7, "c": 1}, {"a": 5, "b": 6}, never, False)
    assert todo.partitions == ["b", "c"]
    assert todo.why == "compared 3 partitions: 2 differ (b: 6 -> 7 rows, c: 0 -> 1 rows)"


def test_a_live_partition_waits_until_it_may_be_refreshed() -> None:
    waiting = plan({"a": 5, "b": 7}, {}, lambda key: key == "b", False)
    assert (waiting.partitions, waiting.waiting) == (["a"], ["b"])
    assert plan({"a": 5, "b": 7}, {}, lambda key: key == "b", True).partitions == ["a", "b"]


def test_a_partition_that_dagster_does_not_have_yet_is_left_alone() -> None:
    assert plan({"2026-01-01": 1, "2999-01-01": 1}, {}, never, True, lambda key: key < "2999").partitions == [
        "2026-01-01"
    ]


@given(counts, counts)
def test_recomputing_the_plan_leaves_nothing_to_do(current: dict[str, int], recorded: dict[str, int]) -> None:
    todo = plan(current, recorded, never, True)
    repaired = recorded | {key: current[key] for key in todo.partitions}
    assert plan(current, repaired, never, True).partitions == []
    assert all(current[key] != recorded.get(key, 0) for key in todo.partitions)


@given(st.sets(st.sampled_from(DAYS)))
def test_ranges_hold_exactly_the_keys_and_never_touch(keys: set[str]) -> None:
    ranges = contiguous(sorted(keys), DAYS)
    covered = [DAYS[i] for first, last in ranges for i in range(DAYS.index(first), DAYS.index(last) + 1)]
    assert covered == sorted(keys)
    assert all(DAYS.index(b[0]) - DAYS.index(a[1]) > 1 for a, b in pairwise(ranges))
