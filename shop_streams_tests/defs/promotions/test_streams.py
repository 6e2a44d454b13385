"""Each subscriber of a live campaign is notified once, in PostgreSQL and in Kafka, through the real stream."""

import json
import shutil
import subprocess
import time
import uuid

import pytest

from shop_streams.defs.promotions.schema import CAMPAIGNS
from shop_streams.defs.promotions.streams import STREAM
from shop_streams.kafka import read_topic
from shop_streams.lake import reader
from shop_streams.postgres import transaction
from shop_streams_tests.defs.promotions.campaigns import message, rows, send, sent, subscribe, wait_notified
from shop_streams_tests.harness import Stack, exact, wait_for

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


@pytest.mark.skipif(shutil.which("kcat") is None, reason="no kcat on this machine; .ci/run installs it (Debian: kcat)")
def test_the_sample_message_gives_the_sample_output(stack: Stack) -> None:
    sample = json.loads(SAMPLE)
    clients = ("023e4567-e89b-12d3-a456-426614174000", 'another: with "marks", ünïcode', "twice")
    subscribe(stack.settings.postgres, sample["restaurant_id"], *clients, "twice")
    subscribe(stack.settings.postgres, str(uuid.uuid4()), "somebody else's client")
    before = int(time.time())
    for _ in range(2):
        command = ["kcat", "-b", str(stack.settings.kafka), "-t", "promotions", "-P", "-K:"]
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


def test_later_subscribers_and_later_campaigns_are_notified(stack: Stack) -> None:
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


def test_an_amended_campaign_reaches_only_clients_not_notified_before(stack: Stack) -> None:
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


def test_a_campaign_of_a_megabyte_is_sent(stack: Stack) -> None:
    large = message()
    large["adv_campaign_content"] = "x" * (1_048_500 - len(json.dumps(large)))
    subscribe(stack.settings.postgres, large["restaurant_id"], "a")
    send(stack, large)
    wait_notified(stack, large, "a")
    assert sent(stack.settings, large["adv_campaign_id"])[0]["adv_campaign_content"] == large["adv_campaign_content"]


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


def test_every_accepted_message_is_a_row_of_the_lake(stack: Stack) -> None:
    one = message(adv_campaign_content="for the lake")
    send(stack, one, one)
    wait_for("the messages to be read", lambda: exact(STREAM, stack))
    table = reader.scan(CAMPAIGNS.uri(stack.settings), list(one)).to_pylist()
    assert [row for row in table if row["adv_campaign_id"] == one["adv_campaign_id"]] == [one, one]
