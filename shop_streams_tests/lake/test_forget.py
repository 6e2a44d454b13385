"""A person's rows go, and nothing else: while others write, after a crash, and without a trace of the id in Delta's log."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from shop_streams.lake import forget, reader
from shop_streams.lake.forget import STALE, StillWritten, find, groups, mark_stale, remove, value_for

PERSON = "4242424242"
OTHER = 17
EVENT = pa.struct([("tags", pa.list_(pa.string())), ("more", pa.struct([("x", pa.int64())]))])
DAY_1, DAY_2, DAY_3 = (date(2026, 1, day) for day in (1, 2, 3))


def people(*ids: int | None, day: date = DAY_1, first: int = 0) -> pa.Table:
    """A row for each id, with nested columns and nulls, as tables of the lake have them."""
    count = len(ids)
    return pa.table(
        {
            "user": pa.array(ids, pa.int64()),
            "friend": pa.array([None] * count, pa.int64()),
            "name": pa.array(["it's me"] * count, pa.string()),
            "event": pa.array([{"tags": ["a", None], "more": {"x": number}} for number in range(count)], EVENT),
            "kafka_offset": pa.array(range(first, first + count), pa.int64()),
            "source_rows": pa.array([2**40] * count, pa.int64()),
            "day": pa.array([day] * count, pa.date32()),
        }
    )


def write(uri: str, rows: pa.Table, batch: int | None = None) -> None:
    committed = CommitProperties(app_transactions=[Transaction("stream", batch)]) if batch is not None else None
    write_deltalake(uri, rows, mode="append", partition_by=["day"], commit_properties=committed)


def rows_of(uri: str) -> list[dict[str, Any]]:
    return sorted(
        DeltaTable(uri).to_pyarrow_table().to_pylist(), key=lambda row: (str(row["day"]), row["kafka_offset"])
    )


@pytest.mark.parametrize(
    ("kind", "person", "value"),
    [
        ("integer", "17", 17),
        ("long", "-5", -5),
        ("integer", "2147483647", 2**31 - 1),
        ("integer", "2147483648", None),
        ("long", "9223372036854775808", None),
        ("long", "007", None),
        ("long", "1.0", None),
        ("long", "0:abc:xyz", None),
        ("long", "\u0661\u0667", None),
        ("string", "007", "007"),
        ("string", "0:abc:xyz", "0:abc:xyz"),
        ("double", "17", None),
        ("date", "2026-01-01", None),
    ],
)
def test_only_columns_that_can_hold_the_id_are_asked(kind: str, person: str, value: int | str | None) -> None:
    assert value_for(kind, person) == value


def test_the_persons_rows_go_and_all_else_stays_as_it_was(tmp_path: Path) -> None:
    uri, me = str(tmp_path / "t"), int(PERSON)
    write(uri, people(OTHER, me, None, me), batch=1)
    write(uri, people(OTHER, None, day=DAY_2, first=4), batch=2)
    write(uri, people(me, day=DAY_3, first=6), batch=3)
    before, files = rows_of(uri), {path.name for path in Path(uri).rglob("day=2026-01-02/*")}
    kind = DeltaTable(uri).schema()
    assert find(uri, "day", ["user", "friend"], PERSON).partitions == {"2026-01-01": 2, "2026-01-03": 1}
    last = DeltaTable(uri).version()

    done = remove(uri, "day", ["user", "friend", "of_a_later_version"], PERSON)

    assert (done.partitions, done.before) == ({"2026-01-01": 2, "2026-01-03": 1}, last)
    assert rows_of(uri) == [row for row in before if row["user"] != me]
    assert {Path(path).name for path in DeltaTable(uri).file_uris() if "2026-01-02" in path} == files
    assert DeltaTable(uri).transaction_version("stream") == 3, "the stream's place is in the log still"
    assert DeltaTable(uri).schema() == kind
    assert reader.row_counts(uri, "day") == {"2026-01-01": 2, "2026-01-02": 2}
    assert reader._per_partition(uri, "day", "max.source_rows", "max") == {"2026-01-01": 2**40, "2026-01-02": 2**40}
    for commit in sorted((Path(uri) / "_delta_log").glob("*.json"))[last + 1 :]:
        assert PERSON not in commit.read_text(), "the log keeps a commit for a month"
    assert remove(uri, "day", ["user"], PERSON).count == 0
    assert DeltaTable(uri).version() == last + 1, "nothing is written when nothing is left"


def test_any_of_several_columns_may_name_the_person(tmp_path: Path) -> None:
    uri, me = str(tmp_path / "t"), int(PERSON)
    rows = people(OTHER, OTHER, me, None)
    friends = pa.array([me, OTHER, None, None], pa.int64())
    write(uri, rows.set_column(rows.column_names.index("friend"), "friend", friends))
    assert remove(uri, "day", ["user", "friend"], PERSON).count == 2
    assert [(row["user"], row["friend"]) for row in rows_of(uri)] == [(OTHER, OTHER), (None, None)]


def test_a_text_with_a_quote_is_compared_as_it_is(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    write(uri, people(1, 2))
    assert remove(uri, "day", ["name"], "its me' or 'a' = 'a").count == 0
    assert remove(uri, "day", ["name"], "it's me").count == 2


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, None]), st.sampled_from([DAY_1, DAY_2]))),
    st.sampled_from(["1", "2", "3"]),
)
@settings(max_examples=20, deadline=None)
def test_for_any_rows_what_stays_is_what_is_not_the_persons(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int | None, date]], person: str
) -> None:
    uri = str(tmp_path_factory.mktemp("any") / "t")
    write(uri, people())
    for number, (user, day) in enumerate(rows):
        write(uri, people(user, day=day, first=number))
    assert remove(uri, "day", ["user"], person).count == sum(str(user) == person for user, _ in rows)
    assert sorted(row["kafka_offset"] for row in rows_of(uri)) == [
        number for number, (user, _) in enumerate(rows) if str(user) != person
    ]


def recorder(at_first: Callable[[], None]) -> tuple[list[list[int]], Callable[[pa.Table], None]]:
    """The offsets that each call recorded, and the function; the first call also does `at_first`."""
    recorded: list[list[int]] = []

    def record(rows: pa.Table) -> None:
        recorded.append(sorted(rows["kafka_offset"].to_pylist()))
        if len(recorded) == 1:
            at_first()

    return recorded, record


def test_a_row_that_arrives_meanwhile_is_recorded_before_it_is_deleted(tmp_path: Path) -> None:
    uri, me = str(tmp_path / "t"), int(PERSON)
    write(uri, people(OTHER, me))
    write(uri, people(OTHER, me, day=DAY_2, first=2))
    recorded, record = recorder(lambda: write(uri, people(OTHER, me, day=DAY_2, first=4)))
    done = remove(uri, "day", ["user"], PERSON, ["kafka_offset"], record)
    assert done.partitions == {"2026-01-01": 1, "2026-01-02": 2}
    assert [row["kafka_offset"] for row in rows_of(uri)] == [0, 2, 4]
    assert recorded[0] == [1, 3] and sorted(recorded[1] + recorded[2]) == [1, 3, 5]


def test_rows_of_other_partitions_that_arrive_meanwhile_delay_nothing(tmp_path: Path) -> None:
    uri, me = str(tmp_path / "t"), int(PERSON)
    write(uri, people(OTHER, me))
    recorded, record = recorder(lambda: write(uri, people(me, day=DAY_2, first=2)))
    assert remove(uri, "day", ["user"], PERSON, ["kafka_offset"], record).count == 1
    assert recorded == [[1]] and [row["kafka_offset"] for row in rows_of(uri)] == [0, 2]


def test_an_interrupted_removal_has_recorded_all_that_it_deleted_and_is_completed(tmp_path: Path) -> None:
    uri, me = str(tmp_path / "t"), int(PERSON)
    write(uri, people(OTHER, me))
    before = rows_of(uri)

    def killed() -> None:
        raise KeyboardInterrupt

    recorded, record = recorder(killed)
    with pytest.raises(KeyboardInterrupt):
        remove(uri, "day", ["user"], PERSON, ["kafka_offset"], record)
    assert recorded == [[1]] and rows_of(uri) == before
    assert remove(uri, "day", ["user"], PERSON, ["kafka_offset"], record).count == 1
    assert [row["kafka_offset"] for row in rows_of(uri)] == [0]


def test_a_partition_that_is_written_to_all_the_time_is_an_error_with_a_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "t")
    write(uri, people(int(PERSON)))
    monkeypatch.setattr(forget, "ATTEMPTS", 3)
    with pytest.raises(StillWritten, match=r"2026-01-01.*Run the command again"):
        remove(uri, "day", ["user"], PERSON, ["kafka_offset"], lambda _rows: write(uri, people(OTHER)))


def test_a_table_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    assert find(none, "day", ["user"], PERSON).count == remove(none, "day", ["user"], PERSON).count == 0
    assert list(forget.distinct(none, "name", ["user"], PERSON)) == []
    mark_stale(none, "day", {"2026-01-01"})


def test_large_partitions_are_written_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forget, "GROUP_ROWS", 10)
    assert groups(["c", "a", "b", "d", "e"], {"a": 4, "b": 6, "c": 1, "d": 99}) == [["a", "b"], ["c"], ["d"], ["e"]]
    assert groups([], {}) == []


def test_marked_partitions_have_a_version_that_no_source_has_and_the_same_rows(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    write(uri, people(1, 2))
    write(uri, people(3, day=DAY_2))
    before = rows_of(uri)
    mark_stale(uri, "day", {"2026-01-01", "2026-01-09"})
    assert reader._per_partition(uri, "day", "max.source_rows", "max") == {"2026-01-01": STALE, "2026-01-02": 2**40}
    assert [row | {"source_rows": 0} for row in rows_of(uri)] == [row | {"source_rows": 0} for row in before]
    version = DeltaTable(uri).version()
    mark_stale(uri, "day", set())
    assert DeltaTable(uri).version() == version
