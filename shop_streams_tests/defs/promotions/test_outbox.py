"""The outbox sends each notification once, whatever happens in between."""

import json
import secrets
import time
import uuid

import pytest
from confluent_kafka import KafkaException, Producer

from shop_streams.defs.promotions import notifications
from shop_streams.defs.promotions import outbox as outbox_module
from shop_streams.defs.promotions.compare import OutboxForgotten
from shop_streams.defs.promotions.notifications import NotCompared
from shop_streams.defs.promotions.outbox import Outbox, OutboxStuck
from shop_streams.defs.promotions.schema import outbox_of
from shop_streams.defs.promotions.topic import transactional_id
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Superseded
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.defs.promotions.campaigns import clients_of, message, rows, sent, subscribe
from shop_streams_tests.defs.promotions.outboxes import as_taken, epoch_of, publish, raised_by

pytestmark = pytest.mark.with_stack


def test_a_crash_after_kafkas_commit_sends_nothing_twice(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    campaign = message()
    subscribe(settings.postgres, campaign["restaurant_id"], "a", "b")
    assert notifications.write_campaigns(settings.postgres, [as_taken(campaign)]) == 2
    publish(settings, topic, campaign, "a", "b")
    with transaction(settings.postgres) as cursor:  # the crash came before PostgreSQL was told
        cursor.execute("update promotion_topic set published = 0")
    publish(settings, topic, campaign, "a", "b")
    assert notifications.write_campaigns(settings.postgres, [as_taken(campaign)]) == 0  # the batch, repeated


def test_a_zombie_that_was_in_the_middle_of_sending_is_fenced(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    campaign = message()
    subscribe(settings.postgres, campaign["restaurant_id"], "a", "b")
    notifications.write_campaigns(settings.postgres, [as_taken(campaign)])
    with transaction(settings.postgres) as cursor:
        cursor.execute("select name::text from promotion_outbox")
        name = transactional_id(outbox_of(topic).name, cursor.fetchone()[0])
    zombie = Producer({"bootstrap.servers": settings.kafka, "transactional.id": name, "log_level": 0})
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
        notifications.write_campaigns(settings.postgres, [as_taken(campaign)])

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


def test_a_transaction_that_never_commits_is_told(
    alone: tuple[Settings, Topic], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rows are handed to the client at each try, and that is no progress: Kafka takes none of them."""
    settings, _ = alone
    topic = Topic(f"notifications-{uuid.uuid4().hex}", "", config={"max.message.bytes": "1000"})
    create_topics(settings, (topic, outbox_of(topic)))
    campaign = message(adv_campaign_content=secrets.token_hex(2_000))  # what can be compressed would fit
    subscribe(settings.postgres, campaign["restaurant_id"], "a")
    notifications.write_campaigns(settings.postgres, [as_taken(campaign)])
    monkeypatch.setattr(outbox_module, "PATIENCE_SECONDS", 3)
    with Outbox(settings, "promotions-test", epoch_of(settings), topic) as outbox:
        assert "too large" in raised_by(outbox, KafkaException)
    tries = [line for line in capfd.readouterr().err.splitlines() if "the publisher tries again" in line]
    assert len(tries) == 1, "one line, not one for each try"


def test_a_database_that_forgot_what_it_sent_is_told(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    campaign = message()
    subscribe(settings.postgres, campaign["restaurant_id"], "a")
    notifications.write_campaigns(settings.postgres, [as_taken(campaign)])
    publish(settings, topic, campaign, "a")
    with transaction(settings.postgres) as cursor:  # as in a backup from before the campaign
        cursor.execute("update promotion_topic set published = 0")
        cursor.execute("update promotion_outbox set made = 0")
        cursor.execute("delete from promotion_numbers")
    with Outbox(settings, "promotions-test", epoch_of(settings), topic) as outbox:
        told = raised_by(outbox, OutboxForgotten)
    follow(settings, told)
    later = message()
    subscribe(settings.postgres, later["restaurant_id"], "b")
    notifications.write_campaigns(settings.postgres, [as_taken(later)])
    publish(settings, topic, later, "b")
    assert clients_of(sent(settings, campaign["adv_campaign_id"], topic.name)) == ["a"]


def follow(settings: Settings, told: str) -> None:
    """Run the statements that the message ends with."""
    statements = told[told.index("update ") :]
    with transaction(settings.postgres) as cursor:
        cursor.execute(statements)


def test_a_restored_database_that_has_made_the_number_again_is_told(alone: tuple[Settings, Topic]) -> None:
    """Its new notifications have a number that Kafka holds already: they would count as sent."""
    settings, topic = alone
    first, second = message(), message()
    for campaign, client in ((first, "a"), (second, "b")):
        subscribe(settings.postgres, campaign["restaurant_id"], client)
    notifications.write_campaigns(settings.postgres, [as_taken(first)])
    publish(settings, topic, first, "a")
    with transaction(settings.postgres) as cursor:  # a backup from before the first campaign
        for statement in (
            "update promotion_topic set published = 0", "update promotion_outbox set made = 0",
            "delete from promotion_numbers", "delete from subscribers_feedback", "delete from promotion_campaigns",
        ):  # fmt: skip
            cursor.execute(statement)
    notifications.write_campaigns(settings.postgres, [as_taken(second)])
    with Outbox(settings, "promotions-test", epoch_of(settings), topic) as outbox:
        told = raised_by(outbox, OutboxForgotten)
    assert "is not the one that PostgreSQL has made" in told
    follow(settings, told)
    publish(settings, topic, second, "b")


@pytest.mark.parametrize("restored", ["the files", "a dump"])
def test_a_database_that_was_restored_makes_no_number_before_it_was_compared(
    alone: tuple[Settings, Topic], restored: str
) -> None:
    settings, topic = alone
    campaign = message()
    subscribe(settings.postgres, campaign["restaurant_id"], "a")
    assert notifications.write_campaigns(settings.postgres, [as_taken(campaign)]) == 1, (
        "a new one has nothing to compare"
    )
    publish(settings, topic, campaign, "a")
    with transaction(settings.postgres) as cursor:
        if restored == "the files":  # the server was started again
            cursor.execute("update promotion_outbox set compared = replace(compared, '20', '19')")
        else:
            cursor.execute("create table again (like promotion_outbox including all)")
            cursor.execute("insert into again select * from promotion_outbox")
            cursor.execute("drop table promotion_outbox")
            cursor.execute("alter table again rename to promotion_outbox")
    later = message()
    subscribe(settings.postgres, later["restaurant_id"], "b")
    with pytest.raises(NotCompared):
        notifications.write_campaigns.__wrapped__(settings.postgres, [as_taken(later)])
    notifications.try_campaigns(settings.postgres, [as_taken(later)])  # it is rolled back
    with Outbox(settings, "promotions-test", epoch_of(settings), topic):
        assert notifications.write_campaigns(settings.postgres, [as_taken(later)]) == 1, "it waits for the comparison"
    publish(settings, topic, later, "b")


def test_nothing_is_sent_after_the_end(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    short, long = message(adv_campaign_datetime_end=int(time.time()) + 2), message()
    for campaign in (short, long):
        subscribe(settings.postgres, campaign["restaurant_id"], "a")
        assert notifications.write_campaigns(settings.postgres, [as_taken(campaign)]) == 1
    time.sleep(2.5)  # Kafka was away until the first one had ended
    publish(settings, topic, long, "a")
    assert sent(settings, short["adv_campaign_id"], topic.name) == []
    assert rows(settings.postgres, short["adv_campaign_id"]) == []
    with transaction(settings.postgres) as cursor:
        cursor.execute("select sum(notified), sum(taken_back) from promotion_days")
        assert cursor.fetchone() == (1, 1)
