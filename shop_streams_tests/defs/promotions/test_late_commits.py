"""A request to commit that arrives late does not end the next transaction.

librdkafka repeats the request after a lost connection, with the same epoch (its issue 5423). Kafka 4 gives each transaction
another epoch (KIP-890) only to clients that send version 5 of EndTxn.
"""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from shop_streams.defs.promotions.topic import REPEATED_SECONDS, commit, transactional
from shop_streams.kafka import read_topic
from shop_streams.topics import Topic
from shop_streams_tests.broker import Broker
from shop_streams_tests.faults.late_commits import run
from shop_streams_tests.harness import wait_for
from shop_streams_tests.late_commits import IN_THE_NEXT, Proxy, broker_behind_proxy

pytestmark = pytest.mark.servers

TOPIC = Topic("torn", "", partitions=1)
FENCED = {47, 90}  # INVALID_PRODUCER_EPOCH, PRODUCER_FENCED
EPOCH_OF_EACH_TRANSACTION = 5  # version of EndTxn


@pytest.fixture(scope="module")
def behind_proxy() -> Iterator[tuple[Broker, Proxy, set[int]]]:
    """A broker, the proxy, and the numbers of the EndTxn that will be late."""
    late: set[int] = set()
    with broker_behind_proxy(lambda number: IN_THE_NEXT if number in late else None, TOPIC) as (broker, proxy):
        yield broker, proxy, late


def values(broker: Broker) -> list[bytes]:
    return [record.value for record in read_topic(broker.settings.kafka, TOPIC.name)]


def write(client: Producer, value: str) -> None:
    client.produce(TOPIC.name, value)
    assert client.flush(30) == 0


def test_a_late_commit_of_one_producer_tears_its_next_transaction(
    behind_proxy: tuple[Broker, Proxy, set[int]],
) -> None:
    """Why `commit` says whether the producer may go on. If this fails, librdkafka has learned better, and `commit` may forget it."""
    broker, proxy, late = behind_proxy
    late.add(len(proxy.versions))
    with transactional(broker.settings.kafka, "torn") as client:
        client.begin_transaction()
        write(client, "first of one")
        begun = time.monotonic()
        assert not commit(client, 60), "the request was repeated"
        assert time.monotonic() - begun > REPEATED_SECONDS
        client.begin_transaction()
        write(client, "first of two")
        wait_for("the late request", lambda: proxy.answers, 30)
        assert proxy.answers.pop() == 0
        assert values(broker) == [b"first of one", b"first of two"], "the second transaction has not committed"
    assert max(proxy.versions) < EPOCH_OF_EACH_TRANSACTION


def test_a_new_producer_is_safe_from_it(behind_proxy: tuple[Broker, Proxy, set[int]]) -> None:
    broker, proxy, late = behind_proxy
    before = values(broker)
    late.add(len(proxy.versions))
    with transactional(broker.settings.kafka, "whole") as client:
        client.begin_transaction()
        write(client, "one")
        assert not commit(client, 60)
    with transactional(broker.settings.kafka, "whole") as client:
        client.begin_transaction()
        write(client, "two")
        wait_for("the late request", lambda: proxy.answers, 30)
        assert proxy.answers.pop() in FENCED
        assert values(broker) == [*before, b"one"]
        commit(client, 60)
    assert values(broker) == [*before, b"one", b"two"]


def test_an_undisturbed_producer_goes_on(behind_proxy: tuple[Broker, Proxy, set[int]]) -> None:
    broker, _, _ = behind_proxy
    with transactional(broker.settings.kafka, "quick") as client:
        quick = []
        for number in range(10):  # a busy machine may be slow at times, and is then as careful
            client.begin_transaction()
            write(client, str(number))
            quick.append(commit(client, 60))
    assert any(quick)


def test_no_notification_is_lost_or_sent_twice() -> None:
    """`make faults` sends a thousand transactions."""
    outcome = run(transactions=60, seed=1)
    assert (outcome.lost, outcome.twice) == (0, 0)
    assert outcome.numbers == list(range(1, 61))
    assert outcome.late, "requests were late: this is the case"
