"""How a stream is, in words: the same in Dagster's check `alive` and in `shop-streams status`."""

from dataclasses import replace

import dagster as dg
import pytest

from shop_streams.defs.sales.streams import INGEST
from shop_streams.streaming.checks import alive_key, alive_result
from shop_streams.streaming.condition import Unread, condition, duration
from shop_streams.streaming.keep_alive import CursorState, Decision, dead_stream
from shop_streams.streaming.lease import Lease

TTL = 15.0
RUNS = Lease("s", "run", 1, "host", 7, 0, {}, 0, False, 1.0, 840.0)
ENDED = replace(RUNS, released=True, beat_age=30.0)
NO_SPARK = "no Spark server answers. The sensor starts the stream again once Spark is back."
FAILED = replace(ENDED, failures=4, problem=NO_SPARK, beat_age=5.0)
SOME, NONE = Unread(112, 14.2), Unread(0, 0.0)
OK, FAULT, WARNING = (True, True), (False, True), (False, False)  # (alive, wanted)

# lease, switch on, unread, seconds since a run without a lease was requested; words, (alive, wanted)
CASES: dict[str, tuple[Lease | None, bool, Unread | None, float | None, str, tuple[bool, bool]]] = {
    "runs": (RUNS, True, SOME, None, "running for 14 min, 112 records = 14 s behind", OK),
    "runs, one record": (RUNS, True, Unread(1, 0.4), None, "running for 14 min, 1 record = 0 s behind", OK),
    "runs, idle": (RUNS, True, NONE, None, "running for 14 min, nothing waits", OK),
    "runs without Kafka": (replace(RUNS, lag=None), True, None, None, "running for 14 min, Kafka does not answer", OK),
    "runs by hand": (
        RUNS, False, NONE, None, "running for 14 min, nothing waits; a person started it while its switch is off", OK,
    ),
    "first batch": (replace(RUNS, lag=None, held_for=12), True, SOME, None, "starting since 12 s, 112 records wait", OK),
    "requested": (ENDED, True, NONE, 12.0, "starting since 12 s", OK),
    "requested for the first time": (None, True, SOME, 3.0, "starting since 3 s, 112 records wait", OK),
    "never": (None, True, None, None, "has never run", FAULT),
    "never, switched off": (None, False, SOME, None, "has never run; its switch is off, 112 records wait", WARNING),
    "off": (ENDED, False, Unread(449, 3600), None, "switched off by a person, 449 records wait", WARNING),
    "off while it starts": (ENDED, False, NONE, 12.0, "switched off by a person", WARNING),
    "off after a failure": (
        FAILED, False, NONE, None,
        "switched off by a person; its last run failed: no Spark server answers", WARNING,
    ),
    "waits after failures": (
        FAILED, True, NONE, None, "failed 4 times: no Spark server answers; next try in 35 s", FAULT,
    ),
    "next step in backticks": (
        replace(FAILED, failures=1, problem="The table is older. `shop-streams recover s` continues."), True, NONE, None,
        "failed once: The table is older; next try now", FAULT,
    ),
    "a long sentence": (
        replace(FAILED, failures=1, problem="word " * 80), True, NONE, None, f"failed once: {'word ' * 39}…; next try now", FAULT,
    ),
    "failed, tries now": (replace(FAILED, failures=1, problem="no. Wait."), True, SOME, None, "failed once: no; next try now, 112 records wait", FAULT),
    "killed": (replace(ENDED, failures=2), True, NONE, None, "failed 2 times: its process died or hung; next try now", FAULT),
    "its lease has just run out": (
        replace(RUNS, beat_age=25), True, NONE, None, "silent for 25 s: its process died or hangs; its switch starts it again", FAULT,
    ),
    "between two runs": (ENDED, True, NONE, None, "between two runs: stopped 30 s ago; its switch starts it again", OK),
    "ended, and no run followed": (
        replace(ENDED, beat_age=90.0), True, NONE, None, "stopped 90 s ago; its switch starts it again", FAULT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_words_of_each_condition(case: str) -> None:
    lease, on, unread, starting, says, kind = CASES[case]
    found = condition(lease, TTL, on, unread, starting)
    assert (found.says, (found.alive, found.wanted)) == (says, kind)
    result = alive_result(found)
    warns = dg.AssetCheckSeverity.ERROR if found.wanted else dg.AssetCheckSeverity.WARN
    assert (result.passed, result.description, result.severity) == (found.alive, says, warns)


def test_a_cause_is_one_sentence_in_one_line() -> None:
    told = condition(replace(FAILED, problem="division\nby zero " + "x" * 900), TTL, True, None).says
    assert told.startswith("failed 4 times: division; next") and len(told) < 300


def test_durations() -> None:
    assert [duration(seconds) for seconds in (-1, 0.4, 119, 120, 7199, 7200, 3 * 86400)] == [
        "0 s", "0 s", "119 s", "2 min", "120 min", "2 h", "3 days",
    ]  # fmt: skip


def test_the_sensor_says_at_once_why_a_stream_is_dead() -> None:
    decision = Decision(True, "starting: epoch 7 is stale", CursorState(failures=2), ("run",))
    said = dead_stream(INGEST, replace(RUNS, beat_age=25), decision, TTL)
    assert said.asset_check_key == alive_key(INGEST)
    assert (said.passed, said.description) == (False, "failed 2 times: its process died or hung; next try now")
    assert dead_stream(INGEST, None, decision, TTL).description == "starting: epoch 7 is stale"
