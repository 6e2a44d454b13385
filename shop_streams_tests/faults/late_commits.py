"""`make faults`, second part: transactions of the outbox, whose requests to commit arrive late, in the next transaction or elsewhere.

    python -m shop_streams_tests.faults.late_commits --transactions 1000 --seed 1

A real broker behind a proxy, a real PostgreSQL, the real outbox; the database answers slowly, so that transactions take a while.
Exit status 0: each notification is in Kafka once, for readers of committed records.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shop_streams.defs.promotions import notifications, tables
from shop_streams.defs.promotions.outbox import Outbox
from shop_streams.defs.promotions.schema import outbox_of
from shop_streams.defs.promotions.topic import Sequence
from shop_streams.kafka import read_topic
from shop_streams.settings import Settings
from shop_streams.streaming.lease import Leases
from shop_streams.topics import Topic
from shop_streams_tests.defs.promotions.campaigns import message, subscribe
from shop_streams_tests.defs.promotions.outboxes import as_taken, epoch_of
from shop_streams_tests.harness import free_ports, wait_for
from shop_streams_tests.late_commits import IN_THE_NEXT, broker_behind_proxy
from shop_streams_tests.local.test_database import server

CLIENTS = ("a", "b", "c")
LATE = 0.15  # of the requests to commit
LONGEST_DELAY = 1.5  # seconds
PAUSE = 0.02
TOPIC = Topic("notifications", "", partitions=2)


@dataclass(frozen=True)
class Outcome:
    """What the topics hold in the end: `lost` and `twice` are notifications, `numbers` the published sequence numbers.

    `late`: the broker's error code for each late request to commit.
    """

    lost: int
    twice: int
    numbers: list[int]
    late: list[int]
    seconds: float


class SlowOutbox(Outbox):
    """An outbox whose database pauses between two rows."""

    def _rows(self, number: int) -> Iterator[dict[str, Any]]:
        for row in super()._rows(number):
            yield row
            time.sleep(PAUSE)


def run(transactions: int, seed: int) -> Outcome:
    """Send so many transactions of three notifications each."""
    chance = random.Random(seed)

    def delay(_number: int) -> float | None:
        if chance.random() > LATE:
            return None
        return IN_THE_NEXT if chance.random() < 0.5 else chance.uniform(0, LONGEST_DELAY)

    with (
        tempfile.TemporaryDirectory(prefix="shop-streams-late-") as folder,
        broker_behind_proxy(delay, TOPIC, outbox_of(TOPIC)) as (broker, proxy),
    ):
        database = Settings(home=Path(folder), postgres_port=free_ports(1)[0])
        with server(database):
            settings = broker.settings.model_copy(update={"postgres_dsn": database.postgres})
            campaigns = _campaigns(settings, transactions)
            begun = time.monotonic()
            with SlowOutbox(settings, "promotions-test", epoch_of(settings), TOPIC) as outbox:

                def done() -> bool:
                    outbox.check()
                    return outbox.metrics()["not_yet_in_kafka"] == 0

                wait_for("the notifications to be in Kafka", done, 60 + 2 * transactions)
            took = time.monotonic() - begun
        found = Counter(
            (value["adv_campaign_id"], value["client_id"])
            for value in (json.loads(record.value) for record in read_topic(settings.kafka, TOPIC.name))
        )
        published = [record.value.decode() for record in read_topic(settings.kafka, outbox_of(TOPIC).name)]
        numbers = [Sequence.parse(one).number for one in published]
    expected = {(campaign, client) for campaign in campaigns for client in CLIENTS}
    return Outcome(len(expected - found.keys()), sum(found.values()) - len(found), numbers, proxy.answers, took)


def _campaigns(settings: Settings, count: int) -> list[str]:
    """Campaigns with three subscribers each; each is a transaction of the outbox. Their ids."""
    tables.create_subscribers(settings.postgres)
    tables.create_tables(settings.postgres)
    Leases(settings.postgres).create_table()
    ids = []
    for _ in range(count):
        campaign = message()
        subscribe(settings.postgres, campaign["restaurant_id"], *CLIENTS)
        notifications.write_campaigns(settings.postgres, [as_taken(campaign)])
        ids.append(campaign["adv_campaign_id"])
    return ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="the same seed delays the same requests (default: 1)")
    options = parser.parse_args()
    outcome = run(options.transactions, options.seed)
    print(
        f"{options.transactions} transactions in {outcome.seconds:.0f} s, {len(outcome.late)} late requests to commit: "
        f"{outcome.lost} notifications lost, {outcome.twice} twice"
    )
    sys.exit(1 if outcome.lost or outcome.twice else 0)


if __name__ == "__main__":
    main()
