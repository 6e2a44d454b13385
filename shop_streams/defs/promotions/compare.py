"""Whether PostgreSQL and Kafka agree on the last published sequence number. A restored database is an older one."""

from __future__ import annotations

from uuid import uuid4

from shop_streams.defs.promotions.notifications import PLACE
from shop_streams.defs.promotions.topic import Sequence, last_sequence
from shop_streams.errors import ShopStreamsError
from shop_streams.postgres import transaction
from shop_streams.settings import Settings


class OutboxForgotten(ShopStreamsError):
    """Kafka has notifications that PostgreSQL does not have."""


def compare(settings: Settings, topic: str, sequence_topic: str) -> tuple[str, int]:
    """This database's name, and its last sequence number in Kafka, which may be newer than PostgreSQL's `published`.

    A database that has started makes no new number before this (`notifications.NotCompared`), so a number that it forgot is
    never given to other notifications, which would then count as sent.

    Raises:
        OutboxForgotten: PostgreSQL has not made that number, or has made another one of the same value; how to continue.
        TopicSilent: the topic can't be read yet.
    """
    with transaction(settings.postgres) as cursor:
        cursor.execute("select name::text, published from promotion_outbox, promotion_topic")
        name, published = cursor.fetchone()
    last = last_sequence(settings.kafka, sequence_topic, name)
    with transaction(settings.postgres) as cursor:
        cursor.execute("select made from promotion_outbox for update")
        (made,) = cursor.fetchone()
        cursor.execute("select stamp::text from promotion_numbers where number = %s", (last.number,))
        stamps = [row[0] for row in cursor.fetchall()]
        if last.number > made:
            raise OutboxForgotten(forgotten(topic, last, made))
        if last.stamp and last.stamp not in stamps:
            raise OutboxForgotten(made_again(topic, last, published))
        cursor.execute(f"update promotion_outbox set compared = {PLACE}")
    return name, max(published, last.number)


def forgotten(topic: str, last: Sequence, made: int) -> str:
    """PostgreSQL is of a time before the number; what to do."""
    number, stamp = last.number, last.stamp or uuid4()
    return (
        f"Topic {topic} holds notifications up to sequence number {number}, but PostgreSQL has made only {made}: was it restored from a "
        "backup? It does not know whom it has notified since, and would notify them again. To continue: "
        f"update promotion_outbox set made = {number}; insert into promotion_numbers values ({number}, '{stamp}');"
    )


def made_again(topic: str, last: Sequence, published: int) -> str:
    """PostgreSQL has given the number to other notifications; what to do."""
    number = last.number
    return (
        f"Sequence number {number} of topic {topic} is not the one that PostgreSQL has made: was it restored from a backup, and has it "
        f"made notifications since? Those from number {published + 1} on may not be in Kafka. To send them, also those that Kafka has: "
        f"update subscribers_feedback set outbox = outbox + {number} where outbox > {published}; "
        f"update promotion_outbox set made = made + {number}; delete from promotion_numbers; "
        f"insert into promotion_numbers values ({number}, '{last.stamp}');"
    )
