"""`shop-streams recover` shows its plan, changes nothing without --yes, and never touches a stream that runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from shop_streams.cli.main import app
from shop_streams.cli.recover import line, show, what_is_not_there
from shop_streams.errors import ShopStreamsError
from shop_streams.streaming import recover
from shop_streams.streaming.continuation import PartitionPlan
from shop_streams.streaming.lease import LeaseHeld, Leases
from shop_streams.streaming.recover import Plan

NAME = "shop_events_ingest"
LOST = Plan(
    NAME, "shop_events", "A/1", "RecordsLost: gone", 0, False, (PartitionPlan(0, 6, 9, 2, 6, (), ((2, 4), (5, 6)), 0),)
)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was carried out, with a plan that has losses and a stream that rests."""
    carried_out: list[str] = []

    @contextmanager
    def hold(*_: Any) -> Iterator[Any]:
        class Held:
            @contextmanager
            def beating(self, *_: float) -> Iterator[None]:
                carried_out.append("held")
                yield

            def beat(self, _lag: None, _progress: None, sound: bool) -> None:
                carried_out.append("its last problem is solved" if sound else "it beats")

        yield Held()

    def carry_out(*_: Any) -> tuple[Plan, str]:
        carried_out.append("recovered")
        return LOST, "checkpoints/aside"

    monkeypatch.setattr(recover, "make_plan", lambda *_: LOST)
    monkeypatch.setattr(recover, "recover", carry_out)
    monkeypatch.setattr(Leases, "hold", hold)
    return carried_out


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["recover", *words], env={"COLUMNS": "200"})


def test_a_plan_is_shown_and_nothing_is_done(done: list[str]) -> None:
    shown = run(NAME)
    assert shown.exit_code == 0 and done == []
    assert "RecordsLost: gone" in shown.output and "Partition 0: 3 offsets are lost: 2 to 3, 5 to 5." in shown.output
    assert f"`shop-streams recover {NAME} --yes` does it" in shown.output


def test_with_yes_it_is_done_under_the_streams_lease_and_the_old_checkpoint_is_named(done: list[str]) -> None:
    shown = run(NAME, "--yes")
    assert done == ["held", "recovered", "its last problem is solved"]
    assert "checkpoints/aside" in shown.output and "3 offsets are lost" in shown.output


def test_what_will_be_read_is_what_the_lake_lacks_from_the_start_on() -> None:
    """Of offsets 100 to 900, the lake has 300 to 500 and 600; Kafka has all up to 1,000."""
    found = PartitionPlan(0, 0, 1000, 900, 100, present=((300, 500), (600, 601)), refilled=599)
    assert found.to_read == 200 + 100 + 399
    assert line(found)[4] == "699"
    assert list(what_is_not_there(found)) == [
        "Partition 0: 599 records before 900 are not in the lake: the stream will read them."
    ]


@pytest.mark.parametrize("width", [80, 60])
def test_no_digit_of_offsets_in_the_billions_is_cut(width: int) -> None:
    out, billion = StringIO(), 1_000_000_000
    one = PartitionPlan(9, billion + 1, 9 * billion + 2, 3 * billion + 3, 2 * billion + 4, gaps=((5, 7 * billion),))
    show(Console(file=out, width=width), Plan(NAME, "shop_events", "A/1", None, 0, False, (one,)))
    assert "…" not in out.getvalue() and "partition" in out.getvalue() and "Nothing is lost" not in out.getvalue()
    for number in (one.low, one.high, one.reached, one.start, one.to_read, one.lost) if width == 80 else ():
        assert f"{number:,}" in out.getvalue()


def test_a_running_stream_is_refused_with_its_switch(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def running(*_: Any) -> None:
        raise LeaseHeld(f"{NAME} is held by run abc")

    monkeypatch.setattr(Leases, "hold", running)
    failed = run(NAME, "--yes")
    assert done == [] and isinstance(failed.exception, ShopStreamsError)
    assert "is held by run abc" in str(failed.exception) and f"turn keep_{NAME}_alive off" in str(failed.exception)


def test_nothing_is_done_where_nothing_is_wrong(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fine = Plan(NAME, "shop_events", "A/1", None, 0, False, (PartitionPlan(0, 0, 9, 2, 2),))
    monkeypatch.setattr(recover, "make_plan", lambda *_: fine)
    shown = run(NAME, "--yes").output
    assert "Nothing is lost." in shown and "Nothing to recover" in shown and done == []


def test_an_unknown_stream_is_refused_with_the_known_ones() -> None:
    said = str(run("nobody").exception)
    assert said.startswith("There is no stream 'nobody'. There are: ") and NAME in said and "hourly_metrics" in said
