"""Where a stream continues, decided from offsets alone; and how far a table reaches, from its log."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams.lake import facts, origins
from shop_streams.lake.write import append_small_batch
from shop_streams.streaming.continuation import plan_partition
from shop_streams.streaming.narrowing import Span, outside
from shop_streams.streaming.recover import generation_of
from shop_streams.streaming.spans import between, length

OFFSETS = st.sets(st.integers(0, 40))


def array(offsets: set[int]) -> np.ndarray:
    return np.array(sorted(offsets), np.int64)


@settings(deadline=None)
@given(st.integers(0, 30), OFFSETS, OFFSETS, OFFSETS)
def test_a_stream_that_continues_reads_each_record_that_the_lake_lacks_and_no_other(
    low: int, held: set[int], rows: set[int], letters: set[int]
) -> None:
    letters -= rows
    held = {offset for offset in held if offset >= low} | {41}  # one that is new
    in_lake = rows | letters
    absent = {offset for offset in held - in_lake if offset < max(in_lake, default=-1) + 1}
    plan = plan_partition(3, (low, 42), max(rows, default=-1) + 1, array(letters), array(absent))
    left_out = {offset for first, end in plan.present for offset in range(first, end)}
    read = {offset for offset in held if offset >= plan.start} - left_out
    assert read == held - in_lake
    assert plan.start >= low
    assert plan.refilled == len(absent)
    gone = {offset for first, end in plan.gaps for offset in range(first, end)}
    assert gone == {offset for offset in range(low) if offset > max(rows, default=-1)} - letters
    assert plan.lost == len(gone)


def test_spans_count_each_offset_once() -> None:
    assert length([(4, 6), (0, 3), (2, 5)]) == 6
    assert length([]) == 0
    assert between(2, 9, np.array([1, 2, 5, 9])) == ((3, 5), (6, 9))


@pytest.mark.parametrize(
    ("found", "pinned", "pinned_generation", "remembered", "any_remembered", "newest", "expected"),
    [
        ("A/1", "A/1", 0, None, False, 0, (0, False)),
        ("A/1", "A/1", 2, 2, True, 2, (2, False)),
        ("A/2", "A/1", 0, None, True, 0, (1, True)),
        ("A/2", "A/1", 1, None, True, 1, (2, True)),
        ("A/1", None, 0, 1, True, 1, (1, False)),  # the checkpoint is lost, and the table knows the topic
        ("A/2", None, 0, None, True, 1, (2, True)),  # it is lost, and the topic is another one
        ("A/1", None, 0, None, False, 0, (0, False)),  # of a version that noted nothing
        ("A/1", "A/2", 1, 0, True, 1, (0, False)),  # an earlier cluster is back
    ],
)
def test_the_generation_of_a_topic(
    found: str, pinned: str | None, pinned_generation: int, remembered: int | None, any_remembered: bool, newest: int,
    expected: tuple[int, bool],
) -> None:  # fmt: skip
    assert generation_of(found, pinned, pinned_generation, remembered, any_remembered, newest) == expected


def places(*rows: tuple[int, int]) -> pa.Table:
    partitions, offsets = zip(*rows, strict=True)
    return pa.table(
        {"kafka_partition": pa.array(partitions, pa.int32()), "kafka_offset": pa.array(offsets, pa.int64())}
    )


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), min_size=1, max_size=6), min_size=1, max_size=6)
)
def test_a_table_tells_how_far_it_reaches_however_its_files_mix_partitions(files: list[list[tuple[int, int]]]) -> None:
    true = {number: max(o for one in files for p, o in one if p == number) + 1 for one in files for number, _ in one}
    with TemporaryDirectory() as folder:
        for file in files:
            write_deltalake(folder, places(*file), mode="append")
        assert origins.ends(folder) == true
        assert origins.ends(folder) == true, "as remembered"
        asked = {number: end for number, end in true.items() if 1 <= number < 3}
        assert origins.ends(folder, 1, 3) == asked and origins.highest_partition(folder) == max(true)


def test_a_table_tells_how_far_it_reaches(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    assert origins.ends(uri) == {}
    write_deltalake(uri, places((0, 5), (0, 7)))
    write_deltalake(uri, places((1, 3)), mode="append")
    assert origins.ends(uri) == {0: 8, 1: 4}
    write_deltalake(uri, places((0, 6), (1, 9), (2, 1)), mode="append")  # one file, as compaction writes it
    assert origins.ends(uri) == {0: 8, 1: 10, 2: 2}


def test_a_partition_of_the_table_may_have_any_name(tmp_path: Path) -> None:
    uri = str(tmp_path / "a b%")
    write_deltalake(uri, places((0, 6), (1, 9)).append_column("day", pa.array(["x y:z/%"] * 2)), partition_by=["day"])
    assert origins.ends(uri) == {0: 7, 1: 10}


def test_a_file_that_mixes_partitions_is_opened_once_and_only_if_it_may_reach_further(tmp_path: Path) -> None:
    """A new partition of the topic is behind the others for ever, and each day's compaction mixes them."""
    uri = str(tmp_path / "table")
    for day in range(5):
        first = 1000 * day
        write_deltalake(uri, places((0, first), (0, first + 999), (1, 10 * day)), mode="append")
    mixed = sorted(Path(uri).glob("*.parquet"))
    write_deltalake(uri, places((0, 5500)), mode="append")
    write_deltalake(uri, places((1, 4500)), mode="append")
    newest = [path for path in mixed if pq.read_table(path)["kafka_offset"].to_pylist()[0] == 4000]
    for path in set(mixed) - set(newest):
        path.rename(path.with_suffix(".away"))
    assert origins.ends(uri) == {0: 5501, 1: 4501}, "only one file has offsets from 4501 on"
    newest[0].unlink()
    assert origins.ends(uri) == {0: 5501, 1: 4501}


def test_a_closed_writer_writes_nothing_more_and_the_tables_log_keeps_facts(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    facts.remember(uri, {"topic:A/1": 3})
    assert facts.recall(uri, "topic:A/1") is None, "there is no table"
    write_deltalake(uri, places((0, 0)))
    append_small_batch(places((0, 1)), uri, "writer", 0)
    facts.close_writer(uri, "writer")
    append_small_batch(places((0, 2)), uri, "writer", 1)
    append_small_batch(places((0, 2)), uri, "next writer", 0)
    facts.remember(uri, {"topic:A/1": 0, "known": 1})
    assert (facts.recall(uri, "topic:A/1"), facts.recall(uri, "topic:A/2"), origins.ends(uri)) == (0, None, {0: 3})


intervals = st.lists(
    st.builds(lambda number, first, size: Span(number, first, first + size), *map(st.integers, (0,) * 3, (2, 30, 9)))
)


@given(intervals, intervals)
def test_what_the_table_has_is_outside(whole: list[Span], others: list[Span]) -> None:
    def places(some: list[Span]) -> list[tuple[int, int]]:
        return [(number, offset) for number, first, end in some for offset in range(first, end)]

    there = set(places(others))
    assert sorted(places(outside(whole, others))) == sorted(one for one in places(whole) if one not in there)
    assert all(one.end > one.first for one in outside(whole, others) if one not in whole)
