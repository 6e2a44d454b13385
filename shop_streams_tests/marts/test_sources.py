"""A mart's sources: what their versions tell, and what they say when there is nothing yet."""

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from shop_streams.defs.app_events import marts as app_events
from shop_streams.defs.app_events.marts import MART as ENRICHED_MART
from shop_streams.defs.app_events.marts import versions_of
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.defs.app_events.window_files import count_windows
from shop_streams.defs.domains import DOMAINS
from shop_streams.defs.promotions.marts import MART as REPORT_MART
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Column, Table
from shop_streams.marts.sources import LakeSource, PostgresSource
from shop_streams.marts.spec import Mart, SourceMissing
from shop_streams.marts.version import rows_of, version_of
from shop_streams.marts.window import WindowSource
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams_tests.harness import Stack

TABLE = Table("tests/source", (Column("day", "string"), Column("n", "int")), ("day",), "")


def write(lake: Lake, table: Table, rows: list[dict[str, object]], **more: object) -> None:
    write_deltalake(table.uri(lake.settings), pa.Table.from_pylist(rows), partition_by=list(table.partition_by), **more)  # type: ignore[call-overload]


def test_a_streamed_partitions_version_is_its_rows_at_a_snapshot(tmp_path: Path) -> None:
    lake, source = Lake(Settings(lake_uri=str(tmp_path))), LakeSource(TABLE)
    write(lake, TABLE, [{"day": "a", "n": 1}, {"day": "a", "n": 2}, {"day": "b", "n": 1}])
    before = source.snapshot(lake)
    write(lake, TABLE, [{"day": "b", "n": 2}], mode="append")
    assert source.versions(lake, before) == {"a": 2, "b": 1}
    assert source.versions(lake, source.snapshot(lake)) == {"a": 2, "b": 2}


def test_a_missing_source_differs_from_an_empty_one(tmp_path: Path) -> None:
    lake = Lake(Settings(lake_uri=str(tmp_path)))
    with pytest.raises(SourceMissing, match="app_events/events does not exist yet: its stream has not written a batch"):
        ENRICHED_MART.versions(lake)


MARTS = [mart for domain in DOMAINS for mart in domain.marts if isinstance(mart.source, LakeSource | WindowSource)]


@pytest.mark.parametrize("mart", MARTS, ids=[mart.name for mart in MARTS])
def test_a_missing_table_is_said_to_be_filled_by_what_fills_it(mart: Mart, tmp_path: Path) -> None:
    lake, source = Lake(Settings(lake_uri=str(tmp_path))), mart.source
    assert isinstance(source, LakeSource | WindowSource)
    table = source.table if isinstance(source, LakeSource) else source.upstream.table
    streamed = [stream.sink.table for domain in DOMAINS for stream in domain.lake_streams]
    with pytest.raises(SourceMissing) as error:
        source.snapshot(lake)
    assert str(error.value).startswith(f"{table.path} does not exist yet: ")
    assert ("stream" in str(error.value)) == (table in streamed), str(error.value)
    assert any(step in str(error.value) for step in ("the Automation page", "Run the job community_initial_load"))


def test_only_days_that_are_not_covered_by_windows_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(Settings(lake_uri=str(tmp_path)))
    monkeypatch.setattr(Lake, "row_counts", lambda *_: {"2026-01-01": 3, "2026-01-02": 2})
    monkeypatch.setattr(
        Lake,
        "source_versions",
        lambda *_: {
            "2026-01-01-00:00": version_of(1, 1, 0),
            "2026-01-01-21:00": version_of(2, 1, 1),
            "2026-01-02-00:00": 1,
            "2026-01-03-00:00": 4,  # its day vanished from the source
        },
    )
    for moment in (datetime(2026, 1, 2, 0, 1), datetime(2026, 1, 2, 3)):  # a file each: the log tells their windows
        write(lake, EVENTS, [{"event_time": moment.replace(tzinfo=UTC), "event_date": moment.date()}], mode="append")
    counted: list[set[str]] = []

    def count(lake: Lake, snapshot: int, days: Collection[str]) -> dict[str, int]:
        counted.append(set(days))
        return count_windows(lake, snapshot, days)

    monkeypatch.setattr(app_events, "count_windows", count)
    versions = versions_of(lake, 1)
    assert {window: rows_of(version) for window, version in versions.items()} == {
        "2026-01-01-00:00": 1,
        "2026-01-01-21:00": 2,
        "2026-01-02-00:00": 1,
        "2026-01-02-03:00": 1,
    }
    assert counted == [{"2026-01-02", "2026-01-03"}]
    assert (ENRICHED_MART.source.table, ENRICHED_MART.table) == (EVENTS, ENRICHED)  # type: ignore[attr-defined]


def test_a_postgresql_source_has_versions_and_names_missing_tables(stack: Stack) -> None:
    lake = Lake(stack.settings)
    source = PostgresSource(deps=(dg.AssetKey("x"),), versions_sql="select * from no_such", rows_sql="", columns=())
    with pytest.raises(SourceMissing, match="no_such"):
        source.versions(lake, 0)
    numbers = "select * from (values ('a', 3, 0), ('b', 3, 2)) t"
    counted = PostgresSource(deps=(), versions_sql=numbers, rows_sql="", columns=())
    assert counted.versions(lake, 0) == {"a": 3, "b": version_of(3, 2)}


def test_a_notification_that_is_deleted_unsent_changes_the_version_of_its_day(stack: Stack) -> None:
    """5 notifications, of which 2 are taken back and 2 others made, are 5 again: another report, so another version."""
    day, lake = "2026-01-05", Lake(stack.settings)
    versions = []
    try:
        for notified, taken_back in ((5, 0), (3, 2), (5, 2)):
            with transaction(stack.settings.postgres) as cursor:
                cursor.execute("delete from promotion_days where day = %s", (day,))
                cursor.execute("insert into promotion_days values (%s, %s, %s)", (day, notified, taken_back))
            versions.append(REPORT_MART.versions(lake)[day])
    finally:
        with transaction(stack.settings.postgres) as cursor:
            cursor.execute("delete from promotion_days where day = %s", (day,))
    assert versions[0] == 5 and len(set(versions)) == 3


def test_a_source_of_another_kind_needs_nothing_more_than_the_protocol() -> None:
    class Folder:
        deps = (dg.AssetKey("folder"),)

        def snapshot(self, lake: Lake) -> int:
            return 0

        def versions(self, lake: Lake, snapshot: int) -> dict[str, int]:
            return {"2026-01-01": version_of(2, 99)}

        def read(self, spark: object, lake: Lake, computation: object) -> object:
            raise NotImplementedError

    mart = Mart(table=TABLE, source=Folder(), partitions=REPORT_MART.partitions)  # type: ignore[arg-type]
    assert mart.versions(Lake(Settings())) == {"2026-01-01": version_of(2, 99)}
