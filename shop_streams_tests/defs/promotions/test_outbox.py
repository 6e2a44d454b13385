"""The outbox sends each notification once, whatever happens in between."""

import json
import time

import pytest
from confluent_kafka import KafkaException, Producer

from shop_streams.defs.promotions import notifications
from shop_streams.defs.promotions import outbox as outbox_module
from shop_streams.defs.promotions.outbox import Outbox, OutboxForgotten, OutboxStuck
from shop_streams.defs.promotions.schema import outbox_of
from shop_streams.defs.promotions.topic import transactional_id
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Superseded
from shop_streams.topics import Topic
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


def test_a_database_that_forgot_what_it_sent_is_told(alone: tuple[Settings, Topic]) -> None:
    settings, topic = alone
    campaign = message()
    subscribe(settings.postgres, campaign["restaurant_id"], "a")
    notifications.write_campaigns(settings.postgres, [as_taken(campaign)])
    publish(settings, topic, campaign, "a")
    with transaction(settings.postgres) as cursor:  # as in a backup from before the campaign
        cursor.execute("update promotion_topic set published = 0")
        cursor.execute("update promotion_outbox set made = 0")
    with Outbox(settings, "promotions-test", epoch_of(settings), topic) as outbox:
        assert "update promotion_outbox set made = 1;" in raised_by(outbox, OutboxForgotten)


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
