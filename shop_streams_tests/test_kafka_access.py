"""What Kafka refuses is one sentence with the next step, within 10 s: wrong passwords, authorities, protocols and rights."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AclOperation, ResourceType
from pydantic import SecretStr

from shop_streams.cluster import Cluster
from shop_streams.defs.promotions.topic import transactional, transactional_id
from shop_streams.kafka import offset_ranges, producer, read_topic
from shop_streams.kafka_access import KafkaRefused, refusal, require_access
from shop_streams.local.probes import RefusesUs, probe_kafka
from shop_streams.settings import Settings
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import wait_for
from shop_streams_tests.secured import (
    PASSWORD,
    SecuredBroker,
    make_authority,
    running_secured_broker,
)

SHOP = Cluster("k:9093", username="shop", mechanism="PLAIN")
JAVA = "org.apache.kafka.common.errors."


@pytest.mark.parametrize(
    ("error", "said", "step"),
    [
        (KafkaError(KafkaError._AUTHENTICATION), "refuses the login of user shop", "SHOP_STREAMS_KAFKA_SASL_PASSWORD"),
        (KafkaError(KafkaError._SSL), "do not agree on TLS", "SHOP_STREAMS_KAFKA_SSL_CA_LOCATION"),
        (KafkaError(KafkaError._TRANSPORT, "might be caused by incorrect security.protocol configuration"), "another protocol", "SHOP_STREAMS_KAFKA_SECURITY_PROTOCOL"),
        (KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), "user shop (PLAIN) use the topic t", "--operation Read --operation Write --operation Describe --operation DescribeConfigs --topic t"),
        (KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), "use a consumer group", "--operation Read --group shop_streams_reader"),
        (KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED), "use a transactional id", "--operation Write --operation Describe --transactional-id x"),
        (KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED), "do this in the cluster", "docs/deploy.md"),
        (f"Query terminated: {JAVA}SaslAuthenticationException: Authentication failed", "refuses the login", "SASL_PASSWORD"),
        (f"{JAVA}TopicAuthorizationException: Not authorized to access topics: [a, b]", "use the topics a, b", "--topic a; kafka-acls.sh"),
        (f"{JAVA}GroupAuthorizationException: Not authorized to access group: spark-kafka-source-1", "consumer group spark-kafka-source-1", "--group spark-kafka-"),
        (RuntimeError(f"{JAVA}SslAuthenticationException: SSL handshake failed"), "do not agree on TLS", "SSL_CA_LOCATION"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do(error: Any, said: str, step: str) -> None:
    found = refusal(SHOP, error, topic="t", transaction="x")
    assert found is not None and found.next_step
    text = str(found)
    assert text.startswith("Kafka at k:9093 ") and said in text and step in text and "\n" not in text


@pytest.mark.parametrize(
    "error",
    [KafkaError(KafkaError._TRANSPORT), KafkaError(KafkaError._TIMED_OUT), KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART),
     f"{JAVA}TimeoutException: 60 s", RuntimeError("password"), ValueError("SSL")],
)  # fmt: skip
def test_other_errors_are_no_refusals(error: Any) -> None:
    assert refusal(SHOP, error) is None


ONE, OTHER = Topic("one", ""), Topic("other", "")


@pytest.fixture(scope="module")
def broker() -> Iterator[SecuredBroker]:
    """A broker with the topic `one`; its user has no rights."""
    with running_secured_broker() as running:
        create_topics(admins(running), [ONE])
        yield running


def admins(broker: SecuredBroker) -> Settings:
    return broker.as_administrator


def refused(call: Callable[[], Any]) -> str:
    started = time.monotonic()
    with pytest.raises(KafkaRefused) as problem:
        call()
    assert time.monotonic() - started < 10
    assert PASSWORD not in str(problem.value)
    return str(problem.value)


def test_the_right_login_is_let_in(broker: SecuredBroker) -> None:
    """The password has quotes, a backslash and a semicolon, the certificate is of the test's own authority."""
    require_access(broker.settings.kafka)
    probe_kafka(broker.settings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_sasl_password": SecretStr("wrong")}, "refuses the login of user shop (SCRAM-SHA-512)"),
        ({"kafka_sasl_username": "nobody"}, "refuses the login of user nobody"),
        ({"kafka_sasl_mechanism": "PLAIN"}, "broker's supported mechanisms: SCRAM-SHA-512"),
        ({"kafka_ssl_ca_location": ""}, "certificate verify failed"),
        ({"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ssl_ca_location": ""}, "speaks another protocol"),
        ({"kafka_security_protocol": "PLAINTEXT", "kafka_ssl_ca_location": "", "kafka_sasl_mechanism": ""}, "speaks another protocol"),
    ],
)  # fmt: skip
def test_a_wrong_login_is_refused_within_seconds(given: dict[str, Any], said: str, broker: SecuredBroker) -> None:
    other = broker.as_user(**given)
    assert said in refused(lambda: require_access(other.kafka))
    with pytest.raises(RefusesUs):
        probe_kafka(other)


@pytest.mark.parametrize("name", ["ca", "certificate", "key"])
def test_a_file_that_is_missing_is_named_at_once(name: str, broker: SecuredBroker) -> None:
    other = broker.as_user(**{f"kafka_ssl_{name}_location": "/no/such/file.pem"})
    with pytest.raises(RefusesUs, match=r"/no/such/file\.pem can't be read: No such file.*KAFKA_SSL_…_LOCATION"):
        probe_kafka(other)


def test_what_kafkas_client_does_not_take_is_refused_at_once(broker: SecuredBroker) -> None:
    (broker.authority.parent / "empty.pem").write_text("")
    for given in (
        {"kafka_properties": SecretStr('{"no.such.property": "1"}')},
        {"kafka_ssl_ca_location": str(broker.authority.parent / "empty.pem")},
    ):
        with pytest.raises(
            RefusesUs, match=r"Kafka's client does not take these settings: .*(no\.such\.property|ssl\.ca)"
        ):
            probe_kafka(broker.as_user(**given))


def test_a_certificate_of_another_authority_is_refused(broker: SecuredBroker) -> None:
    other = broker.as_user(kafka_ssl_ca_location=str(make_authority(broker.authority.parent, "another")))
    said = refused(lambda: require_access(other.kafka))
    assert "certificate verify failed" in said and "SHOP_STREAMS_KAFKA_SSL_CA_LOCATION" in said


def test_who_may_not_create_topics_gets_the_commands(broker: SecuredBroker) -> None:
    said = refused(lambda: create_topics(broker.settings, [OTHER])).splitlines()
    servers = broker.settings.kafka.servers
    assert "create topics" in said[0] and "other" in said[0]
    assert said[1:] == [
        f"kafka-topics.sh --bootstrap-server {servers} --command-config admin.properties --create --if-not-exists --topic other "
        "--partitions 2 --replication-factor 1 --config min.insync.replicas=1",
        f"kafka-acls.sh --bootstrap-server {servers} --command-config admin.properties --add --allow-principal User:shop "
        "--operation Read --operation Write --operation Describe --operation DescribeConfigs --topic other",
    ]


def test_each_missing_right_is_named_until_all_are_there(broker: SecuredBroker) -> None:
    kafka = broker.settings.kafka
    every = (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)

    def said(rights: Sequence[str] = ("Read", "Write", "Describe", "DescribeConfigs")) -> str:
        return refused(lambda: require_access(kafka, ["one"], rights))

    with pytest.raises(KafkaException, match="Topic authorization failed"):
        offset_ranges(kafka, "one")
    assert "--group shop_streams_reader" in said()
    broker.allow(ResourceType.GROUP, "shop_streams_reader", AclOperation.READ)
    wait_for("the right to the group", lambda: "--group" not in said(), 10)
    assert "--operation Read --operation Write --operation Describe --operation DescribeConfigs --topic one" in said()
    broker.allow(ResourceType.TOPIC, "one", AclOperation.DESCRIBE)
    wait_for("the right to describe", lambda: "--operation Describe " not in said(), 10)
    with pytest.raises(KafkaException, match="Topic authorization failed"):
        send(kafka)
    broker.allow(ResourceType.TOPIC, "one", *every)
    require_access(kafka, ["one"])
    send(kafka)
    assert [record.value for record in read_topic(kafka, "one")] == [b"hello"]


def send(kafka: Cluster) -> None:
    """Send a record to the topic `one`.

    Raises:
        KafkaException: it was not taken.
    """
    errors: list[KafkaError] = []
    client = producer(kafka)
    client.produce("one", "hello", on_delivery=lambda error, _message: errors.append(error) if error else None)
    client.flush(20)
    if errors:
        raise KafkaException(errors[0])


def test_a_transactional_id_without_a_right_is_refused_at_once(broker: SecuredBroker) -> None:
    started = time.monotonic()
    kafka, name = broker.settings.kafka, transactional_id("sequence", "the database's name")
    with pytest.raises(KafkaException) as problem, transactional(kafka, name):
        pass
    assert time.monotonic() - started < 10
    refused = str(refusal(kafka, problem.value, transaction="sequence"))
    assert "--transactional-id sequence --resource-pattern-type prefixed" in refused
    broker.allow(ResourceType.TRANSACTIONAL_ID, "sequence", AclOperation.WRITE, AclOperation.DESCRIBE, prefix=True)

    def is_allowed() -> bool:
        with suppress(KafkaException), transactional(kafka, name):
            return True
        return False

    wait_for("the right to arrive", is_allowed, 20)
