"""A query that gets on or has nothing to do is alive; one that stands still while something waits is not."""

import pytest

from shop_streams.streaming.stall import StallWatch

# Each look: seconds since the last one, batch, committed offset, waiting records (None: no broker), in a batch?
LOOKS: dict[str, tuple[list[tuple[float, int | None, int, int | None, bool]], float, bool]] = {
    "nothing to do for hours": ([(7200, 3, 10, 0, False)] * 2, 0, True),
    "a batch commits each time": ([(500, 3, 10, 9, True), (500, 4, 20, 9, True)], 0, True),
    "records wait": ([(5, 3, 10, 9, False), (300, 3, 10, 9, False), (400, 3, 10, 12, False)], 700, True),
    "all is read and a batch goes on": ([(5, 3, 10, 0, True), (700, 3, 10, 0, True)], 700, True),
    "the broker is away": ([(5, 3, 10, 0, False), (700, 3, 10, None, False)], 700, True),
    "no report since the start": ([(5, None, 0, 9, False), (700, None, 0, 9, True)], 705, False),
    "nor a broker": ([(5, None, 0, None, False), (700, None, 0, None, False)], 705, False),
    "a rest, then a first record": ([(7200, 3, 10, 0, False), (2, 3, 10, 1, False)], 2, True),
    "a new batch of the same offsets": ([(5, 3, 10, 9, False), (700, 4, 10, 9, False)], 0, True),
}


@pytest.mark.parametrize("case", LOOKS)
def test_how_long_a_query_has_stood_still(case: str) -> None:
    looks, expected, sound = LOOKS[case]
    now = 0.0
    watch = StallWatch(lambda: now)
    stood_still = -1.0
    for seconds, batch_id, end, waiting, in_batch in looks:
        now += seconds
        stood_still = watch.stood_still(batch_id, {"0": end} if end else {}, waiting, in_batch)
    assert (stood_still, watch.sound) == (expected, sound)
