"""promotions: each subscriber of a live campaign is notified once, in PostgreSQL and in Kafka, whatever happens in between."""

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from confluent_kafka import KafkaException, Producer
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shop_streams.defs.promotions import notifications, tables
from shop_streams.defs.promotions import outbox as outbox_module
from shop_streams.defs.promotions.checks import both_sinks_agree, disagreements
from shop_streams.defs.promotions.marts import MART, day_totals, report_rows
from shop_streams.defs.promotions.outbox import Outbox, OutboxForgotten, OutboxStuck
from shop_streams.defs.promotions.schema import CAMPAIGNS, REPORT, outbox_of
from shop_streams.defs.promotions.streams import STREAM
from shop_streams.defs.promotions.topic import RECENT_OFFSETS, last_number, produce
from shop_streams.kafka import read_topic
from shop_streams.lake import reader
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams.spark import open_session
from shop_streams.streaming.lease import Leases, Superseded
from shop_streams.streaming.records import RECORD_TYPES
from shop_streams.streaming.replay import find
from shop_streams.streaming.spec import StreamContext
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import Stack, wait_for
from shop_streams_tests.streaming.test_dead_letters import exact

SAMPLE = (
    '{"restaurant_id": "123e4567-e89b-12d3-a456-426614174000","adv_campaign_id": "123e4567-e89b-12d3-a456-426614174003",'
    '"adv_campaign_content": "first campaign","adv_campaign_owner": "Ivanov Ivan Ivanovich",'
    '"adv_campaign_owner_contact": "iiivanov@restaurant.ru","adv_campaign_datetime_start": 1659203516,'
    '"adv_campaign_datetime_end": 2659207116,"datetime_created": 1659131516}'
)
SAMPLE_OUT = (
    '{{"restaurant_id":"123e4567-e89b-12d3-a456-426614174000","adv_campaign_id":"123e4567-e89b-12d3-a456-426614174003",'
    '"adv_campaign_content":"first campaign","adv_campaign_owner":"Ivanov Ivan Ivanovich",'
    '"adv_campaign_owner_contact":"iiivanov@restaurant.ru","adv_campaign_datetime_start":1659203516,'
    '"adv_campaign_datetime_end":2659207116,"client_id":"{client}","datetime_created":1659131516,'
    '"trigger_datetime_created":{made}}}'
)
Row = dict[str, Any]


def message(**more: Any) -> Row:
    """A campaign that is live for an hour."""
    now = int(time.time())
    return {
        "restaurant_id": str(uuid.uuid4()),
        "adv_campaign_id": str(uuid.uuid4()),
        "adv_campaign_content": "soup",
        "adv_campaign_owner": "Meyer Anna",
        "adv_campaign_owner_contact": "anna@restaurant.example",
        "adv_campaign_datetime_start": now - 60,
        "adv_campaign_datetime_end": now + 3600,
        "datetime_created": now - 120,
    } | more


def subscribe(dsn: str, restaurant: str, *clients: str) -> None:
    with transaction(dsn) as cursor:
        for client in clients:
            cursor.execute(
                "insert into subscribers_restaurants (client_id, restaurant_id) values (%s, %s)", (client, restaurant)
            )


def rows(dsn: str, campaign: str) -> list[Row]:
    with transaction(dsn) as cursor:
        cursor.execute("select * from subscribers_feedback where adv_campaign_id = %s", (campaign,))
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def clients_of(found: list[Row]) -> list[str]:
    return sorted(row["client_id"] for row in found)


def sent(settings: Settings, campaign: str, topic: str = "promotion_notifications") -> list[Row]:
    values = [json.loads(record.value) for record in read_topic(settings.kafka, topic)]
    return [value for value in values if value["adv_campaign_id"] == campaign]


def send(stack: Stack, *messages: Row) -> None:
    stack.produce("promotions", [json.dumps(one).encode() for one in messages])


def wait_notified(stack: Stack, campaign: Row, *clients: str, seconds: float = 60) -> None:
    """Until exactly these clients have it in Kafka; and in PostgreSQL, too."""
    wait_for(
        f"{clients} to be notified",
        lambda: clients_of(sent(stack.settings, campaign["adv_campaign_id"])) == sorted(clients),
        seconds,
    )
    assert clients_of(rows(stack.settings.postgres, campaign["adv_campaign_id"])) == sorted(clients)


# -- through the real stream -------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("kcat") is None, reason="no kcat on this machine; .ci/run installs it (Debian: kcat)")
def test_the_sample_message_gives_the_sample_output(stack: Stack) -> None:
    sample = json.loads(SAMPLE)
    clients = ("023e4567-e89b-12d3-a456-426614174000", 'another: with "marks", ünïcode', "twice")
    subscribe(stack.settings.postgres, sample["restaurant_id"], *clients, "twice")
    subscribe(stack.settings.postgres, str(uuid.uuid4()), "somebody else's client")
    before = int(time.time())
    for _ in range(2):
        command = ["kcat", "-b", stack.settings.kafka, "-t", "promotions", "-P", "-K:"]
        subprocess.run(command, input=f"first_message:{SAMPLE}\n", text=True, check=True, timeout=30)
    wait_notified(stack, sample, *clients)
    wait_for("both messages to be read", lambda: exact(STREAM, stack))
    wait_notified(stack, sample, *clients)
    found = rows(stack.settings.postgres, sample["adv_campaign_id"])
    made = {row["client_id"]: row["trigger_datetime_created"] for row in found}
    assert all(before <= second <= time.time() for second in made.values())
    assert all(row["feedback"] is None for row in found)
    expected = {
        f"{sample['adv_campaign_id']}:{client}": SAMPLE_OUT.format(
            client=json.dumps(client, ensure_ascii=False)[1:-1], made=made[client]
        )
        for client in clients
    }
    records = [
        (record.key.decode(), record.value.decode())
        for record in read_topic(stack.settings.kafka, "promotion_notifications")
        if record.key.decode().startswith(sample["adv_campaign_id"])
    ]
    assert sorted(records) == sorted(expected.items())


def test_who_subscribes_later_and_what_begins_later_is_found(stack: Stack) -> None:
    live = message()
    now = int(time.time())
    soon = message(restaurant_id=live["restaurant_id"], adv_campaign_datetime_start=now + 8)
    over = message(restaurant_id=live["restaurant_id"], adv_campaign_datetime_end=now - 1)
    later = message(restaurant_id=live["restaurant_id"], adv_campaign_datetime_start=now + 3000)
    subscribe(stack.settings.postgres, live["restaurant_id"], "a")
    send(stack, live, soon, over, later)
    wait_notified(stack, live, "a")
    assert rows(stack.settings.postgres, soon["adv_campaign_id"]) == [] or time.time() >= now + 8
    subscribe(stack.settings.postgres, live["restaurant_id"], "b")
    wait_notified(stack, live, "a", "b")
    wait_notified(stack, soon, "a", "b")
    (first, _) = sorted(
        row["trigger_datetime_created"] for row in rows(stack.settings.postgres, soon["adv_campaign_id"])
    )
    assert first >= now + 8
    for campaign in (over, later):
        wait_notified(stack, campaign)


def test_an_amended_campaign_reaches_only_who_was_not_notified(stack: Stack) -> None:
    first = message(adv_campaign_content="soup")
    place = first["restaurant_id"]
    subscribe(stack.settings.postgres, place, "a")
    send(stack, first)
    wait_notified(stack, first, "a")
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute(
            "update subscribers_feedback set feedback = 'good' where adv_campaign_id = %s", (first["adv_campaign_id"],)
        )
    amended = first | {"adv_campaign_content": "soup and bread", "datetime_created": first["datetime_created"] + 1}
    send(stack, amended, first)  # the older message, sent again, changes nothing
    wait_for("the messages to be read", lambda: exact(STREAM, stack))
    subscribe(stack.settings.postgres, place, "b")
    wait_notified(stack, first, "a", "b")
    contents = {
        row["client_id"]: (row["adv_campaign_content"], row["feedback"])
        for row in rows(stack.settings.postgres, first["adv_campaign_id"])
    }
    assert contents == {"a": ("soup", "good"), "b": ("soup and bread", None)}


def test_what_is_no_campaign_is_a_dead_letter(stack: Stack) -> None:
    def without(name: str) -> Row:
        return {key: value for key, value in message().items() if key != name}

    now = int(time.time())
    cases: list[tuple[Any, str]] = [
        *[(without(name), f"{name} is missing") for name in message()],
        (message(restaurant_id="restaurant 7"), "restaurant_id is not a UUID"),
        (message(adv_campaign_id="123e4567-e89b-12d3-a456-42661417400"), "adv_campaign_id is not a UUID"),
        (
            message(adv_campaign_datetime_end=now - 60, adv_campaign_datetime_start=now - 60),
            "adv_campaign_datetime_end is not after adv_campaign_datetime_start",
        ),
        (
            message(adv_campaign_datetime_end=now - 61, adv_campaign_datetime_start=now - 60),
            "adv_campaign_datetime_end is not after adv_campaign_datetime_start",
        ),
        (message(datetime_created=now + 0.5), "datetime_created is wrong: Expected int, got float"),
        (message(datetime_created=str(now)), "datetime_created is wrong: Expected int, got str"),
        (message(adv_campaign_datetime_end=2**63), "adv_campaign_datetime_end is wrong: Expected int <= 253402300799"),
        (
            message(adv_campaign_datetime_end=now * 1000),
            "adv_campaign_datetime_end is wrong: Expected int <= 253402300799",
        ),
        (message(adv_campaign_content="a\0b"), "adv_campaign_content holds a NUL character"),
        ("first_message", "not a JSON object"),
    ]
    tag = uuid.uuid4().hex
    values = [json.dumps(one | {"tag": tag} if isinstance(one, dict) else f"{one} {tag}").encode() for one, _ in cases]
    stack.produce("promotions", values)  # type: ignore[arg-type]
    wait_for("the messages to be read", lambda: exact(STREAM, stack))
    found = {
        letter["raw"]: letter["reason"]
        for letter in find(stack.settings, "promotions")
        if tag.encode() in letter["raw"]
    }
    assert found == {value: reason for value, (_, reason) in zip(values, cases, strict=True)}


def test_the_extremes_of_a_campaign_are_taken_and_reported(stack: Stack) -> None:
    last = 253_402_300_799
    long = message(adv_campaign_datetime_start=0, adv_campaign_datetime_end=last, datetime_created=last)
    empty = message(adv_campaign_datetime_start=last - 1, adv_campaign_datetime_end=last, adv_campaign_owner="")
    long |= {"adv_campaign_content": "😀\x7f\\u0000 \n" * 1000, "adv_campaign_owner_contact": ""}
    subscribe(stack.settings.postgres, long["restaurant_id"], "a")
    subscribe(stack.settings.postgres, empty["restaurant_id"], "b")
    send(stack, long, empty)
    wait_notified(stack, long, "a")
    wait_for("the messages to be read", lambda: exact(STREAM, stack))
    [sent_row] = sent(stack.settings, long["adv_campaign_id"])
    assert sent_row["adv_campaign_content"] == long["adv_campaign_content"]
    today = datetime.now(UTC).date().isoformat()
    report = report_rows(CAMPAIGNS.read(open_session(stack.settings), stack.settings), today).collect()
    assert long["adv_campaign_id"] in {row.adv_campaign_id for row in report}


def test_capitals_make_no_other_campaign_and_no_other_restaurant(stack: Stack) -> None:
    campaign = message()
    capitals = {name: campaign[name].upper() for name in ("adv_campaign_id", "restaurant_id")}
    subscribe(stack.settings.postgres, campaign["restaurant_id"].upper(), "in capitals")
    subscribe(stack.settings.postgres, campaign["restaurant_id"], "in small letters")
    send(
        stack,
        campaign | capitals,
        campaign,
        campaign | capitals | {"datetime_created": campaign["datetime_created"] + 1},
    )
    wait_notified(stack, campaign, "in capitals", "in small letters")
    wait_for("all messages to be read", lambda: exact(STREAM, stack))
    wait_notified(stack, campaign, "in capitals", "in small letters")
    assert rows(stack.settings.postgres, capitals["adv_campaign_id"]) == []


def test_capitals_of_an_earlier_version_are_not_notified_again(stack: Stack) -> None:
    campaign = message()
    subscribe(stack.settings.postgres, campaign["restaurant_id"], "once")
    send(stack, campaign)
    wait_notified(stack, campaign, "once")
    with transaction(stack.settings.postgres) as cursor:  # as the earlier version left them
        for table in ("promotion_campaigns", "subscribers_feedback"):
            cursor.execute(
                f"update {table} set adv_campaign_id = upper(adv_campaign_id), restaurant_id = upper(restaurant_id)"
                " where adv_campaign_id = %s",
                (campaign["adv_campaign_id"],),
            )
    tables.create_tables(stack.settings.postgres)
    send(stack, campaign | {"datetime_created": campaign["datetime_created"] + 1})
    wait_for("the message to be read", lambda: exact(STREAM, stack))
    assert clients_of(rows(stack.settings.postgres, campaign["adv_campaign_id"])) == ["once"]
    assert rows(stack.settings.postgres, campaign["adv_campaign_id"].upper()) == []


def test_a_campaign_of_a_megabyte_is_sent(stack: Stack) -> None:
    large = message()
    large["adv_campaign_content"] = "x" * (1_048_500 - len(json.dumps(large)))
    subscribe(stack.settings.postgres, large["restaurant_id"], "a")
    send(stack, large)
    wait_notified(stack, large, "a")
    assert sent(stack.settings, large["adv_campaign_id"])[0]["adv_campaign_content"] == large["adv_campaign_content"]


def test_simulated_campaigns_reach_exactly_their_subscribers(stack: Stack) -> None:
    from shop_streams.simulate import promotions

    now = datetime.now(UTC)
    stack.cli("simulate", "promotions", "--count", "80", "--seed", "5", "--start", f"{now:%Y-%m-%dT%H:%M:%S}")
    live = {
        one["adv_campaign_id"]: one["restaurant_id"]
        for one in promotions.campaigns(80, 5, now)
        if one["adv_campaign_datetime_start"] <= now.timestamp() < one["adv_campaign_datetime_end"]
    }
    subscribed = set(promotions.subscriptions(5))
    expected = {
        (one, client) for one, place in live.items() for client, restaurant in subscribed if restaurant == place
    }
    assert len(live) > 20 and len(expected) > 500
    waiting = {one["adv_campaign_id"] for one in promotions.campaigns(80, 5, now)} - live.keys()

    def found() -> list[tuple[str, str]]:
        values = [json.loads(record.value) for record in read_topic(stack.settings.kafka, "promotion_notifications")]
        places = [(value["adv_campaign_id"], value["client_id"]) for value in values]
        return sorted(place for place in places if place[0] in live or place[0] in waiting)

    wait_for("every subscriber to be notified", lambda: len(found()) >= len(expected))
    assert found() == sorted(expected)
    result: Any = both_sinks_agree()
    assert result.passed and result.metadata["in_topic"].value >= len(expected)


def test_a_missing_table_is_told_with_the_statement_that_makes_it(stack: Stack) -> None:
    live = message()
    subscribe(stack.settings.postgres, live["restaurant_id"], "a")
    before = stack.wait_running(STREAM.name)

    def rename(one: str, other: str) -> None:
        with transaction(stack.settings.postgres) as cursor:
            cursor.execute(f"alter table {one} rename to {other}")

    rename("subscribers_restaurants", "elsewhere")
    try:
        send(stack, live)
        query = """query($id: ID!) { runOrError(runId: $id) { ... on Run { status eventConnection { events {
            ... on ExecutionStepFailureEvent { error { message } } } } } } }"""

        def failed() -> str | None:
            run = stack.graphql(query, id=before["run_id"])["runOrError"]
            return json.dumps(run) if run["status"] == "FAILURE" else None

        assert "create table if not exists subscribers_restaurants" in wait_for("the run to fail", failed)
    finally:
        rename("elsewhere", "subscribers_restaurants")
    stack.wait_running(STREAM.name, before["epoch"])
    wait_notified(stack, live, "a", seconds=90)


def test_the_report_says_how_many_how_soon_and_what_they_said(stack: Stack) -> None:
    campaign = message()
    clients = [f"client {number}" for number in range(9)]
    subscribe(stack.settings.postgres, campaign["restaurant_id"], *clients)
    send(stack, campaign)
    wait_notified(stack, campaign, *clients)
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute(
            "update subscribers_feedback set feedback = 'thanks' where adv_campaign_id = %s and client_id < 'client 4'",
            (campaign["adv_campaign_id"],),
        )
    found = rows(stack.settings.postgres, campaign["adv_campaign_id"])
    day = str(datetime.fromtimestamp(found[0]["trigger_datetime_created"], UTC).date())

    def report() -> list[Row]:
        table = reader.scan(REPORT.uri(stack.settings), [column.name for column in REPORT.columns])
        mine = [row for row in table.to_pylist() if row["adv_campaign_id"] == campaign["adv_campaign_id"]]
        return mine if mine and mine[0]["feedback_given"] == 4 else []

    (row,) = wait_for("the mart to follow the feedback", report)
    assert (row["clients_notified"], row["restaurant_id"], str(row["report_date"])) == (
        9,
        campaign["restaurant_id"],
        day,
    )
    seconds = [(one["made_at"] - one["message_at"]).total_seconds() for one in found]
    assert row["seconds_to_notification_p50"] == pytest.approx(median(seconds), abs=1e-3)
    assert median(seconds) <= row["seconds_to_notification_p95"] <= max(seconds) + 1e-3
    totals = day_totals(stack.settings, day)
    assert totals["clients_notified"] >= 9 and totals["feedback_given"] >= 4
    assert totals["slowest_campaign_p95_seconds"] >= row["seconds_to_notification_p95"]
    wait_for(
        "the mart to come to rest", lambda: MART.source_rows(stack.settings, None) == MART.recorded(stack.settings)
    )


def test_every_accepted_message_is_a_row_of_the_lake(stack: Stack) -> None:
    one = message(adv_campaign_content="for the lake")
    send(stack, one, one)
    wait_for("the messages to be read", lambda: exact(STREAM, stack))
    table = reader.scan(CAMPAIGNS.uri(stack.settings), list(one)).to_pylist()
    assert [row for row in table if row["adv_campaign_id"] == one["adv_campaign_id"]] == [one, one]


# -- the once-only step by itself, on a database and a topic of its own ---------------------------------------------------


@contextmanager
def own_database(stack: Stack) -> Iterator[Settings]:
    name = f"promotions_{uuid.uuid4().hex}"
    connection = psycopg2.connect(stack.settings.postgres)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"create database {name}")
    dsn = urlsplit(stack.settings.postgres)._replace(path=f"/{name}").geturl()
    try:
        yield stack.settings.model_copy(update={"postgres_dsn": dsn})
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"drop database {name} with (force)")
        connection.close()


@pytest.fixture
def alone(stack: Stack) -> Iterator[tuple[Settings, Topic]]:
    """Settings with a database of its own, and an empty topic."""
    with own_database(stack) as settings:
        tables.create_subscribers(settings.postgres)
        tables.create_tables(settings.postgres)
        Leases(settings.postgres).create_table()
        topic = Topic(f"notifications-{uuid.uuid4().hex}", "")
        create_topics(settings, (topic, outbox_of(topic)))
        yield settings, topic


def as_taken(one: Row, arrival: int = 0) -> tuple[Any, ...]:
    place = (datetime(2026, 1, 1, tzinfo=UTC), 0, arrival)
    return (*[one[name] for name in notifications.CAMPAIGN_COLUMNS], one["datetime_created"], *place)


def epoch_of(settings: Settings) -> int:
    return Leases(settings.postgres).acquire("promotions-test", "run", 1, "host", 0)


def publish(settings: Settings, topic: Topic, campaign: Row, *clients: str) -> None:
    """Run an outbox of our own until the topic has these clients, each once."""
    with Outbox(settings, "promotions-test", epoch_of(settings), topic) as outbox:

        def arrived() -> bool:
            outbox.check()
            return len(sent(settings, campaign["adv_campaign_id"], topic.name)) >= len(clients)

        wait_for("the notifications in the topic", arrived, 60)
        time.sleep(1)  # time for one too many
        assert clients_of(sent(settings, campaign["adv_campaign_id"], topic.name)) == sorted(clients)
        wait_for("PostgreSQL to know", lambda: outbox.metrics()["not_yet_in_kafka"] == 0, 10)


def raised_by(outbox: Outbox, kind: type[Exception]) -> str:
    """What `check` raises, once it does."""

    def problem() -> str | None:
        try:
            outbox.check()
        except kind as error:
            return str(error)
        return None

    return str(wait_for(f"the outbox to raise {kind.__name__}", problem, 60))


def test_a_crash_after_kafkas_commit_sends_nothing_twice(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    campaign = message()
    subscribe(settings.postgres, campaign["restaurant_id"], "a", "b")
    assert notifications.take_campaigns(settings.postgres, [as_taken(campaign)]) == 2
    publish(settings, topic, campaign, "a", "b")
    with transaction(settings.postgres) as cursor:  # the crash came before PostgreSQL was told
        cursor.execute("update promotion_topic set published = 0")
    publish(settings, topic, campaign, "a", "b")
    assert notifications.take_campaigns(settings.postgres, [as_taken(campaign)]) == 0  # the batch, repeated


def test_a_zombie_that_was_in_the_middle_of_sending_is_fenced(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    campaign = message()
    subscribe(settings.postgres, campaign["restaurant_id"], "a", "b")
    notifications.take_campaigns(settings.postgres, [as_taken(campaign)])
    zombie = Producer({"bootstrap.servers": settings.kafka, "transactional.id": outbox_of(topic).name, "log_level": 0})
    zombie.init_transactions(30)
    zombie.begin_transaction()
    for client in ("a", "b"):
        zombie.produce(topic.name, json.dumps(campaign | {"client_id": client}))
    zombie.flush(30)
    publish(settings, topic, campaign, "a", "b")
    with pytest.raises(KafkaException):
        zombie.commit_transaction(10)
    assert clients_of(sent(settings, campaign["adv_campaign_id"], topic.name)) == ["a", "b"]


def test_without_its_lease_an_outbox_sends_nothing(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    campaign = message()
    subscribe(settings.postgres, campaign["restaurant_id"], "a")
    epoch = epoch_of(settings)
    with Outbox(settings, "promotions-test", epoch, topic) as outbox:
        epoch_of(settings)  # somebody else's, from here on
        notifications.take_campaigns(settings.postgres, [as_taken(campaign)])

        raised_by(outbox, Superseded)
    assert sent(settings, campaign["adv_campaign_id"], topic.name) == []


def test_an_outbox_that_hangs_is_told(alone: tuple[Settings, Topic], monkeypatch: pytest.MonkeyPatch) -> None:
    settings, topic = alone
    monkeypatch.setattr(outbox_module, "STUCK_SECONDS", 3)
    with (
        Outbox(settings, "promotions-test", epoch_of(settings), topic) as outbox,
        transaction(settings.postgres) as cursor,
    ):
        cursor.execute("lock table promotion_outbox in access exclusive mode")
        assert "pg_stat_activity" in raised_by(outbox, OutboxStuck)


def test_a_database_that_forgot_what_it_sent_is_told(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    campaign = message()
    subscribe(settings.postgres, campaign["restaurant_id"], "a")
    notifications.take_campaigns(settings.postgres, [as_taken(campaign)])
    publish(settings, topic, campaign, "a")
    with transaction(settings.postgres) as cursor:  # as in a backup from before the campaign
        cursor.execute("update promotion_topic set published = 0")
        cursor.execute("update promotion_outbox set made = 0")
    with Outbox(settings, "promotions-test", epoch_of(settings), topic) as outbox:
        assert "update promotion_outbox set made = 1;" in raised_by(outbox, OutboxForgotten)


def test_the_last_number_is_found_however_many_came_behind_it(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    numbers = outbox_of(topic).name
    assert last_number(settings.kafka, numbers, "ours") == 0
    producer = Producer({"bootstrap.servers": settings.kafka})
    for number in (6, 7):
        producer.produce(numbers, str(number), "ours", partition=0)
    for number in range(RECENT_OFFSETS + 5):
        producer.produce(numbers, str(number), "another database's", partition=0)
    assert producer.flush(30) == 0
    assert last_number(settings.kafka, numbers, "ours") == 7
    assert last_number(settings.kafka, numbers, "another database's") == RECENT_OFFSETS + 4


def test_a_full_queue_is_waited_for(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    numbers = outbox_of(topic).name
    producer = Producer({"bootstrap.servers": settings.kafka, "queue.buffering.max.messages": 2, "linger.ms": 50})
    for number in range(30):
        produce(producer, numbers, str(number), "ours", partition=0)
    assert producer.flush(30) == 0
    values = [record.value.decode() for record in read_topic(settings.kafka, numbers)]
    assert values == [str(number) for number in range(30)]


def test_nothing_is_sent_after_the_end(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    short, long = message(adv_campaign_datetime_end=int(time.time()) + 2), message()
    for campaign in (short, long):
        subscribe(settings.postgres, campaign["restaurant_id"], "a")
        assert notifications.take_campaigns(settings.postgres, [as_taken(campaign)]) == 1
    time.sleep(2.5)  # Kafka was away until the first one had ended
    publish(settings, topic, long, "a")
    assert sent(settings, short["adv_campaign_id"], topic.name) == []
    assert rows(settings.postgres, short["adv_campaign_id"]) == []
    with transaction(settings.postgres) as cursor:
        cursor.execute("select sum(notified) from promotion_days")
        assert cursor.fetchone()[0] == 1


def test_a_table_of_feedback_that_the_shop_made_is_taken_as_it_is(stack: Stack) -> None:
    columns = ", ".join(
        f"{name} {'int8' if 'datetime' in name else 'varchar'} not null" for name in notifications.NOTIFICATION_COLUMNS
    )
    campaign = message()
    with own_database(stack) as settings:
        tables.create_subscribers(settings.postgres)
        with transaction(settings.postgres) as cursor:
            cursor.execute(f"create table subscribers_feedback (id serial primary key, {columns}, feedback varchar)")
            known = campaign | {"client_id": "a", "trigger_datetime_created": 1}
            cursor.execute(
                f"insert into subscribers_feedback ({', '.join(known)}, feedback) values ({', '.join(['%s'] * len(known))}, 'old')",
                list(known.values()),
            )
        for _ in range(2):
            tables.create_tables(settings.postgres)
        subscribe(settings.postgres, campaign["restaurant_id"], "a", "b")
        assert notifications.take_campaigns(settings.postgres, [as_taken(campaign)]) == 1
        assert [row["feedback"] for row in rows(settings.postgres, campaign["adv_campaign_id"])] == ["old", None]


def test_a_sweep_looks_at_live_campaigns_only_and_at_each_in_its_turn(alone: tuple[Settings, Topic]) -> None:
    settings, _ = alone
    live, over = message(), message(adv_campaign_datetime_end=int(time.time()) - 1)
    notifications.take_campaigns(settings.postgres, [as_taken(live), as_taken(over)])
    for campaign in (live, over):
        subscribe(settings.postgres, campaign["restaurant_id"], "a", "x" * 2000)  # too long for any index
    assert notifications.sweep(settings.postgres, 30) is None
    assert notifications.sweep(settings.postgres, 0) == 1
    assert clients_of(rows(settings.postgres, live["adv_campaign_id"])) == ["a"]
    assert rows(settings.postgres, over["adv_campaign_id"]) == []


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=8).flatmap(
        lambda messages: st.tuples(st.just(messages), st.permutations(range(len(messages))), st.integers(1, 8))
    )
)
def test_in_whatever_order_and_batches_messages_come_the_newest_counts(
    alone: tuple[Settings, Topic], case: tuple[list[tuple[int, int]], list[int], int]
) -> None:
    messages, order, size = case
    settings, _ = alone
    ids = [str(uuid.uuid4()) for _ in range(3)]
    now = int(time.time())
    all_of_them = [
        as_taken(
            message(
                adv_campaign_id=ids[campaign], adv_campaign_content=f"message {arrival}", datetime_created=now + created
            ),
            arrival,
        )
        for arrival, (campaign, created) in enumerate(messages)
    ]
    shuffled = [all_of_them[place] for place in order]
    for start in range(0, len(shuffled), size):
        notifications.take_campaigns(settings.postgres, shuffled[start : start + size])
    with transaction(settings.postgres) as cursor:
        cursor.execute(
            "select adv_campaign_id, adv_campaign_content from promotion_campaigns where adv_campaign_id = any(%s)",
            (ids,),
        )
        found = dict(cursor.fetchall())
    expected = {}
    for number, one in enumerate(ids):
        mine = [(created, arrival) for arrival, (campaign, created) in enumerate(messages) if campaign == number]
        if mine:
            expected[one] = f"message {max(mine)[1]}"
    assert found == expected


def test_disagreements_are_told() -> None:
    one = {"adv_campaign_id": "c", "client_id": "a", "adv_campaign_content": "soup"}
    known = {("c", "a"): one}
    assert disagreements(known, known, [one]) == []
    assert disagreements(known, known, []) == ["c:a is not in the topic"]
    assert disagreements(known, known, [one, one]) == ["c:a is in the topic 2 times"]
    assert disagreements({}, known, [one | {"adv_campaign_content": "tea"}]) == ["c:a differs from PostgreSQL"]
    assert disagreements({}, {}, [one]) == ["c:a differs from PostgreSQL"]


def test_a_batch_is_tried_without_leaving_anything_behind(stack: Stack) -> None:
    """How the record is found that PostgreSQL refuses although no rule does."""
    good, bad = message(), message(adv_campaign_content="poison")
    context = StreamContext(open_session(stack.settings), stack.settings, STREAM.name, STREAM.topic.name, "unused")

    def records(*messages: Row) -> Any:
        values = [
            ("promotions", 0, number, datetime.now(UTC), json.dumps(one).encode())
            for number, one in enumerate(messages)
        ]
        columns = ", ".join(f"{name} {kind}" for name, kind in RECORD_TYPES.items())
        return context.spark.createDataFrame(values, columns)

    tables.create_tables(stack.settings.postgres)
    check = "alter table promotion_campaigns add constraint odd check (adv_campaign_content <> 'poison')"
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute(check)
    try:
        STREAM.sink.attempt(records(good), context)
        with pytest.raises(psycopg2.IntegrityError, match="odd"):
            STREAM.sink.attempt(records(good, bad), context)
    finally:
        with transaction(stack.settings.postgres) as cursor:
            cursor.execute("alter table promotion_campaigns drop constraint odd")
    with transaction(stack.settings.postgres) as cursor:
        ids = (good["adv_campaign_id"], bad["adv_campaign_id"])
        cursor.execute("select from promotion_campaigns where adv_campaign_id in %s", (ids,))
        assert cursor.rowcount == 0
