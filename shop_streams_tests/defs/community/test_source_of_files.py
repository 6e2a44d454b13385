"""The landing folder as a source: rows, dead letters and counts of one pass, on a Spark of this process."""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from shop_streams.defs.community import source as module
from shop_streams.defs.community.landing import Landing
from shop_streams.defs.community.marts import LANDING, STG
from shop_streams.defs.community.output import RESULT, SCHEMA
from shop_streams.defs.community.schema import SOURCE_VERSION, STG_EVENTS
from shop_streams.defs.community.source import FolderGone, LandingSource, tasks
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts.compute import Work, computations
from shop_streams.marts.spec import SourceMissing
from shop_streams.marts.version import stamped
from shop_streams.settings import Settings
from shop_streams.streaming.drafts import origin_of
from shop_streams.streaming.forgotten import ForgottenPersons
from shop_streams_tests.defs.community.delivered import message, write_lines, write_parquet
from shop_streams_tests.streaming.letter_table import create_letters
from shop_streams_tests.streaming.letters import find


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    settings = Settings(home=tmp_path, lake_uri=str(tmp_path / "lake"), community_raw_uri=str(tmp_path / "raw"))
    (tmp_path / "raw").mkdir()
    create_letters(settings)
    monkeypatch.setattr(Table, "create", lambda *_args: None)  # this Spark has no Delta
    monkeypatch.setattr(module, "forgotten", lambda *_args: ForgottenPersons())  # there is no PostgreSQL
    yield Lake(settings)


def of(*keys: str) -> Any:
    return SimpleNamespace(keys=keys, snapshot=0)


def users(rows: DataFrame) -> list[tuple[str, int]]:
    return sorted((row.file, row.user_id) for row in rows.collect())


def letters(lake: Lake) -> dict[str, str]:
    return {origin_of(letter): letter["reason"] for letter in find(lake.settings)}


def test_the_result_has_the_columns_that_spark_is_told(spark: SparkSession) -> None:
    told = spark.createDataFrame([], RESULT).toArrow().schema
    assert told.names == SCHEMA.names
    assert [str(field.type).replace("large_", "") for field in told] == [
        str(field.type).replace("list<item", "list<element") for field in SCHEMA
    ]


def test_a_large_date_is_loaded_by_itself(lake: Lake, tmp_path: Path) -> None:
    """A run that ends in the middle keeps what it has loaded, and Spark's disk has to hold one date, not a month."""
    sizes = {"2026-01-02": 400, "2026-01-03": 2_000_000_000, "2026-01-04": 400, "2026-01-05": 700}
    for day, size in sizes.items():
        for name in ("a.json", "x/b.parquet"):
            file = tmp_path / "raw" / f"date={day}" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            os.truncate(file, size)  # it has no contents on the disk
    versions = LANDING.versions(lake, 0)
    assert LANDING.sizes(lake, [*sizes, "2026-01-06"])["2026-01-06"] == 0
    found = computations(STG, Work([*sizes], 0, versions), lake.settings, STG.sizes(lake, [*sizes]))
    assert [one.keys for one in found] == [("2026-01-02",), ("2026-01-03",), ("2026-01-04", "2026-01-05")]


def test_one_pass_gives_rows_letters_and_counts(lake: Lake, spark: SparkSession, tmp_path: Path) -> None:
    raw, source = tmp_path / "raw", LandingSource()
    write_lines(raw / "date=2026-01-02" / "a.json", [message(message_from=1), b"junk", message(message_from=2)])
    write_parquet(raw / "date=2026-01-02" / "x" / "b.parquet", [message(message_from=3)])
    write_lines(raw / "date=2026-01-02" / "torn.parquet", [b"torn"])
    write_lines(raw / "date=2026-01-03" / "c.json", [message(message_from=4), {}])
    (raw / "date=2026-01-04").mkdir()
    (raw / "date=2026-01-02" / "out.json").symlink_to("/etc/hostname")
    write_lines(raw / "date=2026-01-05" / "not asked for.json", [message(message_from=5), b"junk"])
    rows = source.read(spark, lake, of("2026-01-02", "2026-01-03", "2026-01-04"))
    assert rows.columns == [column.name for column in STG_EVENTS.columns if column != SOURCE_VERSION]
    assert users(rows) == [
        ("date=2026-01-02/a.json", 1), ("date=2026-01-02/a.json", 2), ("date=2026-01-02/x/b.parquet", 3), ("date=2026-01-03/c.json", 4)
    ]  # fmt: skip
    assert {(row.folder_date, row.event_date) for row in rows.collect()} == {
        (date(2026, 1, 2), date(2026, 1, 1)), (date(2026, 1, 3), date(2026, 1, 1))
    }  # fmt: skip
    found = letters(lake)
    assert found.keys() == {"date=2026-01-02/a.json:2", "date=2026-01-02/torn.parquet", "date=2026-01-03/c.json:2"}
    metadata = source.totals(lake, "2026-01-02")
    why = found["date=2026-01-02/torn.parquet"].removeprefix("the file can't be read: ")
    assert metadata == {
        "files": 3, "rows_read": 3, "rows_refused": 1, "files_unreadable": 1,
        "unreadable": f"date=2026-01-02/torn.parquet: {why}", "links_not_followed": "date=2026-01-02/out.json", "files_of_other_kinds": 0,
    }  # fmt: skip
    assert (source.totals(lake, "2026-01-04")["files"], source.totals(lake, "2026-01-04")) == (0, {})

    # A date that is loaded again has the letters that it has now; other dates keep theirs.
    write_lines(raw / "date=2026-01-02" / "a.json", [message(message_from=1), message(message_from=2), b"other junk"])
    (raw / "date=2026-01-02" / "torn.parquet").unlink()
    assert len(users(source.read(spark, lake, of("2026-01-02")))) == 3
    assert letters(lake).keys() == {"date=2026-01-02/a.json:3", "date=2026-01-03/c.json:2"}


def test_files_are_read_once_however_often_the_rows_are_asked_for(
    lake: Lake, spark: SparkSession, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "raw" / "date=2026-01-02" / "a.json", [message(message_from=1)])
    rows = LandingSource().read(spark, lake, of("2026-01-02"))
    file.unlink()
    assert users(rows) == users(rows) == [("date=2026-01-02/a.json", 1)]


def test_a_file_that_is_being_written_fails_its_date_and_leaves_the_letters(
    lake: Lake, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_lines(tmp_path / "raw" / "date=2026-01-02" / "a.json", [b"junk"])
    LandingSource().read(spark, lake, of("2026-01-02"))
    before = letters(lake)
    of_dates = Landing.of_dates

    def listed_too_early(self: Landing, keys: Any) -> Any:
        folders = of_dates(self, keys)
        with file.open("ab") as more:
            more.write(b"more")
        return folders

    monkeypatch.setattr(Landing, "of_dates", listed_too_early)
    with pytest.raises(PySparkException, match=r"a\.json has changed since its folder was listed"):
        LandingSource().read(spark, lake, of("2026-01-02"))
    assert letters(lake) == before != {}


def loaded(lake: Lake, versions: dict[str, int]) -> None:
    table = pa.table(
        {"folder_date": [date.fromisoformat(key) for key in versions], "source_rows": [*versions.values()]}
    )
    write_deltalake(STG_EVENTS.uri(lake.settings), table, partition_by=["folder_date"])


def test_a_vanished_date_keeps_what_was_loaded(lake: Lake, spark: SparkSession, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_lines(raw / "date=2026-01-03" / "a.json", [message()])
    loaded(lake, {"2026-01-02": 77, "2026-01-03": 78})
    for source in (LandingSource(), LandingSource(code_version=3)):
        found = {
            key: stamped(version, source.code_version)
            for key, version in source.versions(lake, source.snapshot(lake)).items()
        }
        assert found["2026-01-02"] == 77 and found["2026-01-03"] not in (0, 78)
        with pytest.raises(FolderGone, match=r"date=2026-01-02"):
            source.read(spark, lake, of("2026-01-02", "2026-01-03"))
    assert users(LandingSource().read(spark, lake, of("2026-01-01", "2026-01-03"))) == [("date=2026-01-03/a.json", 7)]


def test_a_missing_landing_folder_is_no_empty_one(lake: Lake, tmp_path: Path) -> None:
    loaded(lake, {"2026-01-02": 77})
    assert LandingSource().versions(lake, 0) == {"2026-01-02": 77}
    elsewhere = Lake(lake.settings.model_copy(update={"community_raw_uri": str(tmp_path / "nowhere")}))
    for ask in (LandingSource().snapshot, lambda lake: LandingSource().versions(lake, 0)):
        with pytest.raises(SourceMissing):
            ask(elsewhere)


@pytest.mark.parametrize(
    ("sizes", "number"),
    [
        ([], 0),
        ([5], 1),
        ([5, 5], 2),
        ([5] * 10, 2),
        ([2**30, 5], 2),
        ([2**26] * 10, 10),
        ([2**40] * 1000, 200),
        ([0] * 100_000, 149),
    ],
)
def test_files_are_spread_over_tasks(sizes: list[int], number: int) -> None:
    found = tasks(sizes)
    assert len(found) == len(sizes) and set(found) == set(range(number))


def test_the_largest_files_are_in_tasks_of_their_own() -> None:
    assert tasks([10**9, 5, 5, 5, 10**9, 5])[0] != tasks([10**9, 5, 5, 5, 10**9, 5])[4]
