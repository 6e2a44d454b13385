"""`forget-user` over all domains, on a real PostgreSQL and small tables of the lake. Kafka is away: nothing is read from it."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from shop_streams.defs.app_events.domain import DOMAIN as APP_EVENTS
from shop_streams.defs.app_events.marts import MART as ENRICHED_MART
from shop_streams.defs.app_events.schema import ENRICHED, EVENTS
from shop_streams.defs.clickstream.domain import DOMAIN as CLICKSTREAM
from shop_streams.defs.community import schema as community
from shop_streams.defs.community.persons import PERSONS as COMMUNITY_PERSONS
from shop_streams.defs.domains import DOMAINS
from shop_streams.defs.platform import forget_waits
from shop_streams.defs.platform.copies import copies_of
from shop_streams.defs.platform.forget import Request, remove, survey
from shop_streams.defs.platform.forget_waits import wait_for_runs
from shop_streams.defs.sales.domain import DOMAIN as SALES
from shop_streams.defs.sales.marts import MART as HOURLY_MART
from shop_streams.defs.sales.schema import HOURLY, SHOP_EVENTS
from shop_streams.domain import Domain
from shop_streams.lake import forget as lake_forget
from shop_streams.lake.forget import STALE
from shop_streams.lake.reader import Lake
from shop_streams.lake.table import Table
from shop_streams.marts.compare import difference
from shop_streams.settings import Settings
from shop_streams.streaming import forget as streaming_forget
from shop_streams.streaming.forgotten import FORGOTTEN, forgotten, unfinished_removals
from shop_streams_tests.defs.platform.forgetting import DAY, NOON, content, event, removed, run, sale, write

pytestmark = pytest.mark.servers


def windows(settings: Settings) -> None:
    """The enriched events, as computed from the events that are there."""
    for window, version in ENRICHED_MART.versions(Lake(settings)).items():
        day = window[:10]
        mine = [row for row in content(settings, EVENTS) if str(row["event_date"]) == day]
        mine = [row for row in mine if f"{row['event_time']:%H}" >= window[11:13]]
        columns = {column.name for column in ENRICHED.columns}
        rows = [
            {name: row[name] for name in columns & row.keys()} | {"window": window, "source_rows": version}
            for row in mine
        ]
        write(settings, ENRICHED, *rows)


def test_a_users_rows_go_from_streamed_table_and_mart_and_the_account_can_tell_why(home: Settings) -> None:
    write(home, EVENTS, event(17, 0), event(5, 1), event(17, 2, NOON - DAY), event(117, 3, NOON - 2 * DAY))
    windows(home)
    before = content(home, EVENTS, ENRICHED)
    request = Request(home, DOMAINS, "17")
    expected = {"app_events/events": 2, "app_events/enriched_events": 2}
    assert {one.where: one.rows for one in survey(request)} == expected
    assert content(home, EVENTS, ENRICHED) == before, "a survey changes nothing"
    assert not Path(FORGOTTEN.uri(home)).exists()

    outcome = run(home, "17")

    assert (removed(outcome), outcome.unfinished) == (expected, [])
    assert next(one for one in outcome.removed if one.where == "app_events/events").partitions == (
        "2026-11-19",
        "2026-11-20",
    )
    kept = [row for row in before if row["user_id"] != 17]
    assert [row | {"source_rows": 0} for row in content(home, EVENTS, ENRICHED)] == [
        row | {"source_rows": 0} for row in kept
    ]
    origins = content(home, FORGOTTEN)
    assert sorted((one["topic"], one["kafka_offset"], one["hour"]) for one in origins) == [
        ("events", 0, None), ("events", 2, None),
    ]  # fmt: skip
    assert removed(run(home, "17")) == {} and content(home, FORGOTTEN) == origins
    assert survey(request) == []


def test_touched_partitions_are_marked_so_that_a_row_that_arrives_cannot_hide_the_removal(home: Settings) -> None:
    write(home, EVENTS, event(17, 0), event(5, 1), event(5, 2, NOON - 9 * DAY))
    windows(home)
    lake = Lake(home)
    recorded = ENRICHED_MART.recorded(lake)
    run(home, "17")
    write(home, EVENTS, event(6, 3))  # as many rows as before
    assert ENRICHED_MART.versions(lake) == recorded, "by its number of rows, the window has not changed"
    assert ENRICHED_MART.recorded(lake) == {"2026-11-20-12:00": STALE, "2026-11-11-12:00": recorded["2026-11-11-12:00"]}
    assert difference(STALE, 2) == "a person's rows were removed, 2 rows are left"


def test_sales_marks_the_days_that_read_the_removed_events_and_keeps_their_hours(home: Settings) -> None:
    write(
        home, SHOP_EVENTS, sale("17", 0, event_id="x"), sale("5", 1), sale("5", 2, NOON + DAY), sale("5", 3, NOON - DAY)
    )
    for key, version in HOURLY_MART.versions(Lake(home)).items():
        write(home, HOURLY, {"event_date": datetime.fromisoformat(key).date(), "start_ts": 0, "source_rows": version})
    before = HOURLY_MART.recorded(Lake(home))
    assert removed(run(home, "17", SALES)) == {"sales/shop_events": 1}
    # The day after reads event_ids of the days before it, to know repeats.
    marked = {"2026-11-20": STALE, "2026-11-21": STALE}
    assert HOURLY_MART.recorded(Lake(home)) == before | marked and before.keys() == marked.keys() | {"2026-11-19"}
    hour = NOON.replace(minute=0).timestamp()
    assert [(one["kafka_offset"], one["hour"]) for one in content(home, FORGOTTEN)] == [(0, hour)]


def test_only_the_named_domains_are_asked(home: Settings) -> None:
    write(home, EVENTS, event(17, 0))
    write(home, SHOP_EVENTS, sale("17", 0))
    assert removed(run(home, "17", SALES)) == {"sales/shop_events": 1}
    assert len(content(home, EVENTS)) == 1
    assert forgotten(home.postgres, "sales") and not forgotten(home.postgres, "app_events")


class Killed(BaseException):
    """Stands for a process that was killed."""


@pytest.mark.parametrize("step", ["record_origins", "delete_rows", "mark_stale"])
def test_a_killed_command_is_completed_by_the_next_one(
    home: Settings, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, EVENTS, event(17, 0), event(5, 1))
    windows(home)

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    where: Any = streaming_forget if step == "record_origins" else lake_forget
    with monkeypatch.context() as patch:
        patch.setattr(where, "write_deltalake" if step == "delete_rows" else step, killed)
        with pytest.raises(Killed):
            run(home, "17", APP_EVENTS)
    rows, origins = content(home, EVENTS), content(home, FORGOTTEN)
    assert len(rows) + len({one["kafka_offset"] for one in origins}) >= 2, "no row is gone without its origin"
    assert forgotten(home.postgres, "app_events"), "loaders leave its rows out from the first step on"
    assert unfinished_removals(home.postgres).keys() == {EVENTS.path}

    outcome = run(home, "17", APP_EVENTS)
    assert "app_events/enriched_events" in removed(outcome) and outcome.unfinished == []
    assert [row["user_id"] for row in content(home, EVENTS, ENRICHED)] == [5, 5]
    assert set(ENRICHED_MART.recorded(Lake(home)).values()) == {STALE}
    assert {one["kafka_offset"] for one in content(home, FORGOTTEN)} == {0}
    assert unfinished_removals(home.postgres) == {} and removed(run(home, "17")) == {}


def test_what_a_mart_run_writes_meanwhile_is_removed_and_one_that_does_not_end_is_told(home: Settings) -> None:
    write(home, EVENTS, event(17, 0), event(5, 1))
    windows(home)
    request, looks = Request(home, [APP_EVENTS], "17"), 0

    def running(_domains: Sequence[Domain]) -> set[str]:
        nonlocal looks
        looks += 1
        if looks == 2:  # a run that had read the old rows ends, and has written them
            write(home, ENRICHED, {"user_id": 17, "window": "2026-11-20-12:00", "source_rows": 2})
        return {"run-1"} if looks == 1 else set()

    outcome = remove(request, running, stream_seconds=0)
    assert removed(outcome)["app_events/enriched_events"] == 2 and outcome.unfinished == []
    assert [row["user_id"] for row in content(home, ENRICHED)] == [5]

    write(home, EVENTS, event(17, 2))
    outcome = remove(request, lambda _domains: {"0123456789"}, stream_seconds=0, run_seconds=0)
    assert outcome.unfinished == ["1 runs of marts have not ended: 01234567"]
    assert unfinished_removals(home.postgres).keys() == {EVENTS.path}, "the next command marks again"


def test_runs_that_begin_later_are_not_waited_for() -> None:
    answers = iter([{"a", "b"}, {"b", "c"}, {"c"}])
    said: list[str] = []
    assert wait_for_runs(lambda: next(answers), said.append, 60) == set()
    assert said == ["Waiting for 2 runs of marts to end …"]


def test_records_that_no_stream_has_read_are_told(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forget_waits, "offset_ranges", lambda _servers, _topic: {0: (2, 5), 1: (0, 1)})
    (words,) = run(home, "17", APP_EVENTS).unfinished
    assert words.startswith("stream app_events_ingest has not read 4 records")
    assert words.endswith("Switch the stream on, or wait until it has read them")


def test_a_party_is_no_number_and_clicks_have_their_origins(home: Settings) -> None:
    party = "0:kd3nrzj4:Xy9"
    clicks = [
        {"party_id": one, "clicked_at": NOON, "clicked_on": NOON.date(), "kafka_partition": 1, "kafka_offset": number}
        for number, one in enumerate([party, "0:other:1", party, None])
    ]
    (columns,) = CLICKSTREAM.persons.lake
    write(home, columns.table, *clicks)
    write(home, EVENTS, event(0, 0))
    assert removed(run(home, party)) == {"clickstream/clicks": 2}
    assert [one["kafka_offset"] for one in content(home, columns.table)] == [1, 3]
    assert sorted(one["kafka_offset"] for one in content(home, FORGOTTEN)) == [0, 2]


def test_a_user_of_community_goes_from_each_layer_and_others_who_name_the_user_stay(home: Settings) -> None:
    def row(table: Table, **values: Any) -> None:
        write(home, table, values | {table.partition_by[0]: NOON.date(), "source_rows": 7})

    domain = Domain("community", (), (), persons=COMMUNITY_PERSONS)
    tables = [one.table for one in COMMUNITY_PERSONS.lake]
    for user in (17, 5):
        row(community.STG_EVENTS, user_id=user, file=f"date=2026-11-20/{user}.parquet")
        row(community.EVENTS, user_id=user, message_to=22 - user)
        row(community.USER_FACTS, user_id=user, other=22 - user)
        row(community.USERS_MART, user_id=user)
    for left, right in ((5, 17), (17, 30), (5, 30)):
        row(community.FRIEND_RECOMMENDATIONS, user_left=left, user_right=right)
    before = content(home, *tables)
    request = Request(home, [domain], "17")
    told = [one.what for one in copies_of(request, survey(request))]
    assert "1 files of the landing folder: date=2026-11-20/17.parquet" in told
    assert "1 rows of others in community/events that name this id" in told

    assert sum(removed(run(home, "17", domain)).values()) == 6
    people = ("user_id", "user_left", "user_right")
    assert content(home, *tables) == [row for row in before if 17 not in [row.get(name) for name in people]]


def test_each_table_with_a_column_of_persons_is_declared() -> None:
    names = {"user_id", "uid", "party_id", "client_id", "user_left", "user_right"}
    persons = [(domain.tables, domain.persons) for domain in DOMAINS]
    persons.append(
        (
            (
                community.STG_EVENTS,
                community.EVENTS,
                community.USER_FACTS,
                community.USERS_MART,
                community.ZONES_MART,
                community.FRIEND_RECOMMENDATIONS,
            ),
            COMMUNITY_PERSONS,
        )
    )
    for tables, found in persons:
        declared = {one.table.path: set(one.columns) for one in found.lake}
        for table in tables:
            assert declared.get(table.path, set()) == names & {column.name for column in table.columns}, table.path


def test_nothing_is_a_place_to_look_in_for_nobody(home: Settings) -> None:
    assert survey(Request(home, DOMAINS, "17")) == [] and removed(run(home, "17")) == {}
    told = {one.what: one.until for one in copies_of(Request(home, DOMAINS, "17"), [])}
    assert {"Kafka topic events", "Kafka topic online_store", "Kafka topic promotion_notifications"} <= told.keys()
    assert told["Kafka topic events"].endswith("UTC at the latest: retention.ms is 3 days, and segment.ms 7 more")
