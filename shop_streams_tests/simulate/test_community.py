"""Files of the simulated messenger: the same arguments write the same bytes, and they have what the marts must cope with."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from shop_streams.settings import Settings
from shop_streams.simulate import community
from shop_streams.simulate.community import people
from shop_streams_tests.defs.community import oracle

FIRST = date(2026, 7, 1)
COUNT = 6000


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    assert community.days_of(Settings(home=folder), COUNT, 5, FIRST, 40) == COUNT
    return folder


@pytest.fixture(scope="module")
def raw(home: Path) -> Path:
    return home / "lake" / "community" / "raw"


@pytest.fixture(scope="module")
def judged(raw: Path) -> tuple[list[oracle.Valid], list[oracle.Refused]]:
    return oracle.verdicts(oracle.raw_rows(raw), now=datetime(2026, 8, 15, tzinfo=UTC))


def test_the_same_arguments_write_the_same_bytes_and_another_seed_other_files(home: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    community.days_of(settings, COUNT, 5, FIRST, 40)
    once = contents(tmp_path)
    assert once == contents(home) and len(once) > 80
    community.days_of(settings, COUNT, 5, FIRST, 40)
    assert contents(tmp_path) == once, "a repeated command changes nothing"
    community.days_of(settings, COUNT, 6, FIRST, 40)
    both = contents(tmp_path)
    assert both.items() > once.items() and len(both) > 1.8 * len(once)


def test_each_date_has_several_files_of_both_formats_at_several_depths(raw: Path) -> None:
    files = [path.relative_to(raw).parts for path in raw.rglob("*") if path.is_file()]
    assert {parts[0] for parts in files} == {f"date={FIRST + timedelta(days=day)}" for day in range(40)}
    per_date = Counter(parts[0] for parts in files)
    assert min(per_date.values()) >= 2 and max(per_date.values()) >= 4
    assert {len(parts) for parts in files} >= {2, 3, 4}
    assert {parts[-1].rpartition(".")[2] for parts in files} == {"json", "jsonl", "ndjson", "parquet"}
    for day in per_date:
        assert len({parts[-1].endswith(".parquet") for parts in files if parts[0] == day}) == 2
    assert not [parts for parts in files if any(part[0] in "_." for part in parts)], "nothing is left half written"


def test_what_is_wrong_with_a_few_rows(raw: Path, judged: tuple[list[oracle.Valid], list[oracle.Refused]]) -> None:
    valid, refused = judged
    unreadable = [one for one in refused if one.line is None]
    assert [Path(one.file).name.partition("seed5-")[2] for one in unreadable] == ["cut-off.parquet"]
    bad = [one for one in refused if one.line is not None]
    assert len(valid) + len(bad) == COUNT and len(bad) == COUNT // 200
    assert {one.reason for one in bad} == {
        "not JSON", "not an object", "event_type", "user", "time", "before the first day", "ahead of now", "event.message_id",
    }  # fmt: skip


def test_late_and_repeated_deliveries(judged: tuple[list[oracle.Valid], list[oracle.Refused]]) -> None:
    valid, _ = judged
    late = Counter((one.folder - one.time.date()).days for one in valid)
    assert min(late) == 0 and max(late) > 10 and 0.85 * len(valid) < late[0] < 0.97 * len(valid)
    copies: dict[Any, list[oracle.Valid]] = defaultdict(list)
    for one in valid:
        copies[one.values].append(one)
    repeated = [many for many in copies.values() if len(many) > 1]
    assert 0.015 * COUNT < sum(len(many) - 1 for many in repeated) < 0.025 * COUNT
    formats = [{one.file.endswith("parquet") for one in many} for many in repeated]
    folders = [{one.folder for one in many} for many in repeated]
    assert any(len(one) > 1 for one in formats) and any(len(one) > 1 for one in folders)
    assert any(len(form) > 1 and len(folder) > 1 for form, folder in zip(formats, folders, strict=True))


def test_a_missing_latitude_may_be_nan_but_not_in_a_row_that_is_delivered_twice(
    raw: Path, judged: tuple[list[oracle.Valid], list[oracle.Refused]]
) -> None:
    delivered = Counter(one.values for one in judged[0])
    values = {(one.file, one.line): one.values for one in judged[0]}
    nan = [
        row
        for row in oracle.raw_rows(raw)
        if isinstance(row.value, dict) and row.value.get("lat") != row.value.get("lat")
    ]
    assert len(nan) > 100 and {row.file.endswith(".parquet") for row in nan} == {True}
    assert {delivered[values[row.file, row.line]] for row in nan} == {1}, "NaN and nothing may be two different rows"


def test_ids_are_spelled_as_numbers_and_as_texts(raw: Path) -> None:
    def values() -> Iterator[dict[str, Any]]:
        for path in raw.rglob("*json*"):
            for line in path.read_text().splitlines() if path.is_file() else ():
                if line.endswith("}") and "{user}" not in line:
                    yield json.loads(line)["event"]

    events = list(values())
    for name in ("message_id", "message_from", "user", "reaction_from", "subscription_user", "message_to"):
        assert {type(event.get(name)) for event in events} >= {int, str}, name
    types = {str(pq.read_schema(path).field("event").type.field("message_id").type) for path in raw.rglob("*/*/*.parquet")
             if pq.read_schema(path).field("event").type.get_field_index("message_id") >= 0}  # fmt: skip
    assert types == {"int64", "string"}


def test_people_live_somewhere_travel_and_move(judged: tuple[list[oracle.Valid], list[oracle.Refused]]) -> None:
    events = oracle.dds(judged[0], oracle.read_cities(people.cities_file()))
    kinds = Counter(event["event_type"] for event in events)
    assert kinds["message"] > kinds["reaction"] > kinds["subscription"] > kinds["registration"] > 50
    cities: dict[int, set[Any]] = defaultdict(set)
    for event in events:
        cities[event["user_id"]].add(event["zone_id"])
    never = [user for user, zones in cities.items() if zones == {None}]
    travelled = [user for user, zones in cities.items() if len(zones - {None}) > 1]
    assert never and 0.2 * len(cities) < len(travelled) < 0.9 * len(cities)
    of_zone = Counter(event["zone_id"] for event in events if event["zone_id"])
    assert of_zone.most_common(1)[0][0] == 1 and len(of_zone) > 12
    channels = Counter(event["channel"] for event in events if event["event_type"] == "subscription")
    (big, most), (_, next_most) = channels.most_common(2)
    assert big == 1 and most > 2 * next_most > 2
    assert {event["position_source"] for event in events} == {"own", "earlier_message", "later_message", None}
    registered = {event["user_id"] for event in events if event["event_type"] == "registration"}
    assert 0.6 * len(cities) < len(registered) < len(cities)
    end = FIRST + timedelta(days=39)
    users = oracle.users(events, oracle.read_cities(people.cities_file()), end, 30)
    homes = sum(user["home_city"] is not None for user in users)
    assert 0.2 * len(users) < homes < len(users)
    assert len(oracle.friends(events, oracle.read_cities(people.cities_file()), end, 30)) >= 5


def test_the_oracle_finds_the_same_whatever_the_order_of_the_rows(
    judged: tuple[list[oracle.Valid], list[oracle.Refused]],
) -> None:
    cities, day = oracle.read_cities(people.cities_file()), FIRST + timedelta(days=35)
    one, other = (oracle.dds(rows, cities) for rows in (judged[0], judged[0][::-1]))
    for mart in (oracle.users, oracle.zones, oracle.friends):
        found = mart(one, cities, day, 30)
        assert found and found == mart(other, cities, day, 30)


def test_people_are_the_same_on_all_days_whatever_else_is_simulated() -> None:
    users, day = np.arange(1, 400), np.full(399, 20_000)
    assert (people.city(users, day) == people.city(users[::-1], day)[::-1]).all()
    same = (people.city(users, day) == people.city(users, day + 1)).mean()
    later = (people.city(users, day) == people.city(users, day + 400)).mean()
    assert later < 0.5 < 0.9 < same < 1
    where = people.city(users, day)
    (lats, lons), (wide, _) = (people.positions(users, day, users, population) for population in (399, 40_000))
    from_middle, wider = (np.abs(some - people.places().lats[where]) for some in (lats, wide))
    assert from_middle.max() < 0.15 and np.isfinite(lons).all()
    assert 1.9 < (wider / from_middle).mean() < 2.1, "four times a crowd live twice as wide, and as dense"
    assert people.draw("x", 1, np.arange(10_000)).mean() == pytest.approx(0.5, abs=0.01)
    assert people.draw("x", 1, 2)[0] != people.draw("x", 2, 1)[0] != people.draw("y", 2, 1)[0]
