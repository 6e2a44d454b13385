"""PostgreSQL and Kafka agree."""

import json
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from psycopg2.extras import execute_values

from shop_streams.defs.promotions import checks
from shop_streams.defs.promotions.checks import both_sinks_agree, digest, digests, disagreements, key, parsed
from shop_streams.defs.promotions.notifications import NOTIFICATION_COLUMNS
from shop_streams.defs.promotions.tables import create_own_tables
from shop_streams.kafka import producer
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.defs.promotions.campaigns import Row, message
from shop_streams_tests.local.test_database import execute, machine, server

NOW = int(time.time())


def told(wanted: Sequence[Row], known: Sequence[Row], sent: Sequence[Row]) -> list[str]:
    names = {digest(key(one)): ":".join(key(one)) for one in (*wanted, *known, *sent)}
    count, first = disagreements(digests(wanted), digests(known), digests(sent))
    assert count == len(first)
    return [f"{names[number]} {problem}" for number, problem in first]


def test_disagreements_are_told() -> None:
    one = {"adv_campaign_id": "c", "client_id": "a", "adv_campaign_content": "soup"}
    assert told([one], [one], [one]) == []
    assert told([one], [one], []) == ["c:a is not in the topic"]
    assert told([one], [one], [one, one]) == ["c:a is in the topic 2 times"]
    assert told([], [one], [one | {"adv_campaign_content": "tea"}]) == ["c:a differs from PostgreSQL"]
    assert told([], [], [one]) == ["c:a differs from PostgreSQL"]


def test_all_are_counted_and_few_are_told() -> None:
    many = [{"adv_campaign_id": "c", "client_id": str(number)} for number in range(1000)]
    count, first = disagreements(digests(many), digests(many), digests([]))
    assert count == 1000 and len(first) == checks.SHOWN


def notification(client: str, made: int = NOW, **more: Any) -> Row:
    return {
        **message(adv_campaign_id="c", restaurant_id="r", datetime_created=NOW - 120),
        "adv_campaign_datetime_start": NOW, "adv_campaign_datetime_end": NOW + 60,
        "client_id": client, "trigger_datetime_created": made, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def database() -> Iterator[Settings]:
    with machine("UTC") as settings, server(settings):
        create_own_tables(settings.postgres)
        execute(settings.postgres, "update promotion_topic set published = 5")
        yield settings


def insert(dsn: str, rows: Sequence[Mapping[str, Any]], sequence: int = 5) -> None:
    names = (*NOTIFICATION_COLUMNS, "outbox")
    with transaction(dsn) as cursor:
        cursor.execute("delete from subscribers_feedback where outbox = %s", (sequence,))
        values = [(*[row[name] for name in NOTIFICATION_COLUMNS], sequence) for row in rows]
        execute_values(cursor, f"insert into subscribers_feedback ({', '.join(names)}) values %s", values)


OLD = NOW - 7200
UNPUBLISHED = notification("unpublished")
EQUAL = [notification("a"), notification("b", adv_campaign_content="ü \U0001f372 \"'")]


@pytest.mark.parametrize(
    ("rows", "sent", "problems", "metadata"),
    [
        (EQUAL, EQUAL, [], (2, 2, 0, 0)),
        (EQUAL, EQUAL[:1], ["c:b is not in the topic"], (2, 1, 1, 0)),
        (EQUAL, [*EQUAL, EQUAL[0]], ["c:a is in the topic 2 times"], (2, 3, 1, 0)),
        (EQUAL, [EQUAL[0], EQUAL[1] | {"restaurant_id": "s"}], ["c:b differs from PostgreSQL"], (2, 2, 1, 0)),
        (EQUAL, [*EQUAL, notification("unknown")], ["c:unknown differs from PostgreSQL"], (2, 3, 1, 0)),
        # The topic is read from ten minutes before the hour on, and may have newer ones.
        ([*EQUAL, notification("o", OLD)], [*EQUAL, notification("o", OLD), UNPUBLISHED], [], (2, 4, 0, 0)),
        ([*EQUAL, notification("o", OLD)], EQUAL, [], (2, 2, 0, 0)),
        ([notification("o", OLD)], 2 * [notification("o", OLD)], ["c:o is in the topic 2 times"], (0, 2, 1, 0)),
        (EQUAL, [*EQUAL, *2 * [notification("forgotten")]], [], (2, 4, 0, 1)),
        (EQUAL, [], ["c:a is not in the topic", "c:b is not in the topic"], (2, 0, 2, 0)),
    ],
)  # fmt: skip
def test_the_check_compares_both_sinks(
    rows: list[Row], sent: list[Row], problems: list[str], metadata: tuple[int, ...], database: Settings,
    kafka: Settings, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    settings = database.model_copy(
        update={"kafka_bootstrap_servers": kafka.kafka_bootstrap_servers, "kafka_port": kafka.kafka_port}
    )
    topic = Topic(f"notifications-{uuid4().hex}", "")
    create_topics(settings, (topic,))
    monkeypatch.setattr(checks, "NOTIFICATIONS_TOPIC", topic)
    monkeypatch.setattr(checks, "LOOKED_UP", 2)
    insert(settings.postgres, rows)
    insert(settings.postgres, [UNPUBLISHED], sequence=6)
    secret = "(select secret from forgotten_key)"
    execute(
        settings.postgres,
        f"insert into promotion_forgotten values ('c', sha256({secret} || convert_to('forgotten', 'UTF8'))) on conflict do nothing",
    )
    client = producer(settings.kafka)
    for value in (b"", b"no JSON", b"{}"):  # of somebody else
        client.produce(topic.name, value)
    for one in sent:
        client.produce(topic.name, json.dumps(one, ensure_ascii=False).encode())
    client.flush(30)
    result: Any = both_sinks_agree(settings=settings)
    assert result.metadata["records_ignored"].value == 3
    assert sorted((result.description or "").split("; ")) == (problems or [""]) and result.passed == (not problems)
    names = ("in_postgres", "in_topic", "disagreements", "of_forgotten_clients")
    assert tuple(result.metadata[name].value for name in names) == metadata


def test_rows_come_from_a_cursor_of_the_server(database: Settings) -> None:
    insert(database.postgres, [notification(str(number)) for number in range(3 * checks.READ_ROWS)])
    rows = checks._rows(database, checks.RECENT, 0)
    next(rows)
    asked = execute(database.postgres, "select query from pg_stat_activity where state = 'idle in transaction'")
    assert asked == [(f'FETCH FORWARD {checks.READ_ROWS} FROM "notifications"',)], "the other rows are still there"
    assert len(list(rows)) == 3 * checks.READ_ROWS - 1


@pytest.mark.parametrize("made", ["in this hour", "before"])
def test_of_each_notification_little_is_kept(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    template = notification("")

    def one(client: str) -> Row:
        return template | {"client_id": client, "adv_campaign_content": f"{client:1000}"}

    def many(count: int) -> Iterator[Row]:
        return (one(f"{number:036}") for number in range(count))

    def peak(count: int) -> int:
        """The most bytes while both sinks have so many notifications. If they are made `before`, each one is looked up."""

        def rows(_settings: Settings, where: str, value: Any) -> Iterator[Row]:
            if where == checks.RECENT:
                return many(count if made == "in this hour" else 0)
            return (one(client) for _, client in value)

        values = (SimpleNamespace(value=json.dumps(made)) for made in many(count))
        monkeypatch.setattr(checks, "_rows", rows)
        monkeypatch.setattr(checks, "each_record", lambda *_given: values)
        tracemalloc.start()
        result: Any = both_sinks_agree(settings=Settings())
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert result.passed and result.metadata["in_topic"].value == count
        return used

    monkeypatch.setattr(checks, "offsets_at", lambda *_given: [{0: 0}])
    monkeypatch.setattr(checks, "LOOKED_UP", 100)
    peak(1)  # what the first call alone needs
    used = (peak(6_000) - peak(1_000)) / 5_000
    assert used < 500, used


@pytest.mark.parametrize(
    "value",
    [
        b"", b"no JSON", b"\xff", b"null", b"[]", b"{}", b'{"adv_campaign_id": "c"}', b'{"adv_campaign_id": "c", "client_id": []}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_others_write_to_the_topic_is_no_notification(value: bytes) -> None:
    assert parsed(value) is None
    one = {"adv_campaign_id": "c", "client_id": "a"}
    assert parsed(b'{"client_id": "a", "adv_campaign_id": "c"}') == one
