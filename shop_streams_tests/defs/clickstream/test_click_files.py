"""The files of clicks: which of them are opened, by the log's statistics."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from shop_streams.defs.clickstream import click_files, versions
from shop_streams.defs.clickstream.click_files import ClickFiles, half_hours_of_files
from shop_streams.defs.clickstream.schema import CLICKS
from shop_streams.defs.clickstream.visits import Threads
from shop_streams.lake.reader import Lake
from shop_streams.settings import Settings
from shop_streams_tests.defs.clickstream.shoppers import (
    DAY,
    HALF_HOUR,
    HOUR,
    MIDNIGHT,
    MINUTE,
    Click,
    append,
    random_clicks,
    table_of,
)

MICROSECOND, MILLISECOND = 1, 1000


@pytest.mark.parametrize(
    ("times", "opened"),
    [
        ([0, HALF_HOUR - 2 * MILLISECOND], False),
        ([5 * MINUTE], False),
        ([0, HALF_HOUR - MICROSECOND], True),  # the log says ....999, which may be a rounded time of the next half hour
        ([0, HALF_HOUR], True),
        ([10 * MINUTE, 70 * MINUTE], True),
    ],
)
def test_a_file_within_one_half_hour_is_counted_from_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: list[int], opened: bool
) -> None:
    lake = Lake(Settings(lake_uri=str(tmp_path)))
    clicks = [Click(MIDNIGHT + time) for time in times]
    append(lake, clicks)
    append(lake, [Click(MIDNIGHT + DAY), Click(MIDNIGHT + DAY + HOUR)])
    files, read = ClickFiles(lake, CLICKS), list[str]()
    real = click_files.count_clicks

    def spy(clicks: Any) -> dict[int, int]:
        read.extend(clicks.files)
        return real(clicks)

    monkeypatch.setattr(click_files, "count_clicks", spy)
    assert files.counts(1, [versions.day_of(clicks[0].half)]) == Counter(one.half for one in clicks)
    assert [versions.day_of(clicks[0].half) in name for name in read] == [True] * opened, (
        "the other day's file is not opened"
    )


@pytest.mark.parametrize("column", ["num_records", "min.clicked_at", "max.clicked_at"])
def test_a_file_without_statistics_is_opened(column: str) -> None:
    at = pa.array([MIDNIGHT], pa.timestamp("us", "UTC"))
    good = pa.table({"num_records": [1], "min.clicked_at": at, "max.clicked_at": at})
    assert half_hours_of_files(good).tolist() == [MIDNIGHT // HALF_HOUR]
    empty = pa.array([None], good[column].type)
    assert half_hours_of_files(good.set_column(good.column_names.index(column), column, empty)).tolist() == [-1]
    assert half_hours_of_files(good.drop_columns([column])).tolist() == [-1]


# A file of one session, one with a click without a session too, and one of another session; all of one half hour.
FILES = (
    [Click(MIDNIGHT, session="0:b:s")],
    [Click(MIDNIGHT, session="0:d:s"), Click(MIDNIGHT, session=None, identity="x")],
    [Click(MIDNIGHT, session="0:d:s"), Click(MIDNIGHT, session="0:e:s")],
)


@pytest.mark.parametrize(
    ("sessions", "opened"),
    [
        ([], []),
        (["0:b:s"], [0]),
        (["0:a:s", "0:c:s"], [0]),  # a range has it
        (["0:d:s"], [1, 2]),
        (["0:e:s"], [2]),
        (["0:f:s"], []),
        ([None], [1]),
        ([None, "0:b:s"], [0, 1]),
    ],
)
def test_only_files_that_may_have_the_threads_are_opened(
    tmp_path: Path, sessions: list[str | None], opened: list[int]
) -> None:
    lake, written = Lake(Settings(lake_uri=str(tmp_path))), list[set[str]]()
    for clicks in FILES:
        append(lake, clicks)
        written.append({path.name for path in tmp_path.rglob("*.parquet")} - set().union(*written))
    wanted = [Click(MIDNIGHT, session=one, identity="x") for one in sessions]
    threads = Threads.of(table_of(wanted).to_batches())
    found = ClickFiles(lake, CLICKS).open(2, MIDNIGHT, MIDNIGHT + HALF_HOUR, threads).files
    assert {Path(file).name for file in found} == set().union(*(written[number] for number in opened))


@pytest.mark.parametrize("seed", range(3))
def test_files_without_the_wanted_clicks_are_left_out(tmp_path: Path, seed: int) -> None:
    lake, chance = Lake(Settings(lake_uri=str(tmp_path))), random.Random(seed)
    clicks = sorted(random_clicks(chance, 60, 100), key=lambda one: one.at)
    for first in range(0, 60, 6):
        append(lake, clicks[first : first + 6])
    files, session = ClickFiles(lake, CLICKS), 24 * HOUR
    for half in {one.half for one in clicks}:
        start, end = (half - 20) * HALF_HOUR, (half + 1) * HALF_HOUR
        threads = versions.own_threads(files, 9, [half])
        for some, wanted in (
            (None, versions.between(start, end)),
            (threads, versions.between(start, end) & threads.may_have),
        ):
            opened = files.open(9, start, end, some)
            everything = files.at(9).to_pyarrow_dataset()
            names = ["kafka_partition", "kafka_offset", "clicked_on"]
            rows = [one.to_table(columns=names, filter=wanted).to_pylist() for one in (opened, everything)]
            assert sorted(map(str, rows[0])) == sorted(map(str, rows[1]))
            assert some is None or len(opened.files) < len(everything.files)
    assert versions.advance(versions.State("b"), lake.row_counts(CLICKS, 9), files, 9, session).whole
