"""The collector with a login at Kafka: it starts if Kafka lets it in, and otherwise says in one line why it does not."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation, ResourceType
from pydantic import SecretStr

from shop_streams.defs.app_events.schema import EVENTS_TOPIC
from shop_streams.defs.clickstream.schema import CLICKS_TOPIC
from shop_streams.defs.sales.schema import SHOP_EVENTS_TOPIC
from shop_streams.topics import create_topics
from shop_streams_tests.broker import running_collector, unmarked
from shop_streams_tests.harness import free_ports
from shop_streams_tests.secured import PASSWORD, SecuredBroker, running_secured_broker

TOPICS = (EVENTS_TOPIC, SHOP_EVENTS_TOPIC, CLICKS_TOPIC)


@pytest.fixture(scope="module")
def broker() -> Iterator[SecuredBroker]:
    """A broker with the collector's topics; its user may write to all of them but the clicks'."""
    with running_secured_broker() as running:
        admins = running.as_administrator
        create_topics(admins, TOPICS)
        for topic in (EVENTS_TOPIC, SHOP_EVENTS_TOPIC):
            running.allow(ResourceType.TOPIC, topic.name, AclOperation.WRITE)
        yield running


def start(broker: SecuredBroker, **given: Any) -> tuple[int, str]:
    """The exit code and the messages of a collector that ends by itself."""
    settings = broker.as_user(collector_port=free_ports(1)[0], **given)
    done = subprocess.run(
        [sys.executable, "-m", "shop_streams.collector"], env=unmarked() | settings.environment(), capture_output=True, text=True,
        timeout=90,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_a_collector_that_is_refused_ends_with_one_line(broker: SecuredBroker) -> None:
    code, said = start(broker, kafka_sasl_password=SecretStr("wrong-secret"))
    assert code == 1 and said.startswith("error: Kafka at ") and "refuses the login of user shop" in said
    assert said.count("\n") == 1 and "wrong-secret" not in said


def test_a_collector_writes_once_it_may(broker: SecuredBroker) -> None:
    code, said = start(broker)
    assert code == 1 and f"--topic {CLICKS_TOPIC.name}" in said and f"--topic {EVENTS_TOPIC.name}" not in said
    broker.allow(ResourceType.TOPIC, CLICKS_TOPIC.name, AclOperation.WRITE)
    event = {"user_id": 1, "app_name": "web", "event_category": "nav", "event_action": "scroll", "event_value": 1}
    with running_collector(broker.of_collector) as collector:
        answer = collector.post(json=event)
        assert answer.status_code == 200, answer.text
        assert (
            collector.ask(
                "GET", "/csc-event?p=0:1:a&s=0:1:b&v=c&e=d&t=pageView&n=t&f=t&l=x&i=1&j=1&k=1&w=1&h=1"
            ).status_code
            == 200
        )
    log = collector.log.read_text()
    assert PASSWORD not in log and "refuses" not in log
