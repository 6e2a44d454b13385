"""A stream's own query reads and writes a Kafka with a login, and neither its messages nor its checkpoint has the password."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation, ResourceType
from pydantic import SecretStr
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from shop_streams.kafka import READER_GROUP, producer, read_topic
from shop_streams.kafka_access import KafkaRefused
from shop_streams.settings import Settings
from shop_streams.spark import REDACTED
from shop_streams.streaming.query import QueryEnded, in_plain_words
from shop_streams.streaming.spec import StreamContext, topic_stream
from shop_streams.streaming.start import begin_query, require_kafka
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.secured import (
    PASSWORD,
    USER,
    SecuredBroker,
    make_authority,
    running_secured_broker,
)

IN, OUT = Topic("into_spark", "", partitions=1), Topic("out_of_spark", "", partitions=1)
# As it is, and as Java's login has it.
TEXTS = (PASSWORD, PASSWORD.replace("\\", "\\\\").replace('"', '\\"'))


def copied(records: DataFrame, _context: Any) -> DataFrame:
    return records.selectExpr("cast(offset as string) as key", "upper(cast(value as string)) as value")


SPEC = topic_stream(name="copied", domain="tests", topic=IN, output=OUT, transform=copied)


@pytest.fixture(scope="module")
def broker() -> Iterator[SecuredBroker]:
    with running_secured_broker() as running:
        create_topics(running.as_administrator, [IN, OUT])
        yield running


def run(settings: Settings, spark: SparkSession, checkpoint: Path) -> Exception | None:
    """Run the stream's query until it has read the topic; its error in plain words."""
    spark.conf.set("spark.sql.redaction.options.regex", REDACTED)  # as `open_session` does
    context = StreamContext(spark, settings, SPEC.name, IN.name, str(checkpoint))
    query = begin_query(SPEC, context, availableNow=True)
    with suppress(PySparkException):  # `exception` has it
        query.awaitTermination(120)
    error = query.exception()
    return in_plain_words(QueryEnded(str(error)), settings, IN.name) if error else None


def test_spark_reads_and_writes_with_the_rights_that_are_documented(
    broker: SecuredBroker, spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kafka = broker.settings.kafka
    with pytest.raises(KafkaRefused, match="--topic into_spark"):
        broker.allow(ResourceType.GROUP, "shop_streams_reader", AclOperation.READ)
        require_kafka(SPEC, broker.settings)
    error = run(broker.settings, spark, tmp_path / "refused")
    assert isinstance(error, KafkaRefused) and "--topic into_spark" in str(error)

    rights = (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE)
    for topic in (IN, OUT):
        broker.allow(ResourceType.TOPIC, topic.name, *rights)
    broker.allow(ResourceType.GROUP, "spark-kafka-", AclOperation.READ, prefix=True)
    require_kafka(SPEC, broker.settings)
    client = producer(kafka)
    client.produce(IN.name, "hello")
    assert client.flush(20) == 0
    checkpoint = tmp_path / "checkpoint"
    assert run(broker.settings, spark, checkpoint) is None
    assert [(one.key, one.value) for one in read_topic(kafka, OUT.name)] == [(b"0", b"HELLO")]

    texts = {
        str(path): path.read_bytes().decode("utf-8", "replace") for path in checkpoint.rglob("*") if path.is_file()
    }
    texts["what Spark logged"] = "".join(capfd.readouterr())
    assert len(texts) > 3 and not [name for name, text in texts.items() if any(one in text for one in TEXTS)]


@pytest.mark.parametrize("wrong", ["password", "authority"])
def test_spark_refused(
    wrong: str, broker: SecuredBroker, spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The message is the same as that of our own clients."""
    if wrong == "password":
        given: dict[str, Any] = {"kafka_sasl_password": SecretStr("another-secret")}
    else:
        given = {"kafka_ssl_ca_location": str(make_authority(broker.authority.parent, "java's"))}
    error = run(broker.as_user(**given), spark, tmp_path)
    assert isinstance(error, KafkaRefused)
    step = {"password": "SHOP_STREAMS_KAFKA_SASL_PASSWORD", "authority": "SHOP_STREAMS_KAFKA_SSL_CA_LOCATION"}[wrong]
    assert step in str(error)
    logged = "".join(capfd.readouterr()) + str(error)
    assert "another-secret" not in logged and not any(one in logged for one in TEXTS)


TOKEN_LOGIN = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub"
)


def test_oauthbearer_comes_from_the_properties_of_both_clients(spark: SparkSession, tmp_path: Path) -> None:
    """The tokens of this broker are not signed, which Kafka allows for tests; the way of the settings is the same."""
    both = "sasl.enabled.mechanisms=SCRAM-SHA-512,OAUTHBEARER"
    with running_secured_broker(
        [both, f'listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={TOKEN_LOGIN}="admin";']
    ) as one:
        create_topics(one.as_administrator, [IN, OUT])
        rights = (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE)
        for topic in (IN, OUT):
            one.allow(ResourceType.TOPIC, topic.name, *rights)
        one.allow(ResourceType.GROUP, READER_GROUP, AclOperation.READ)
        one.allow(ResourceType.GROUP, "spark-kafka-", AclOperation.READ, prefix=True)
        tokens = {"enable.sasl.oauthbearer.unsecure.jwt": "true", "sasl.oauthbearer.config": f"principal={USER}"}
        settings = Settings(
            kafka_bootstrap_servers=str(one.settings.kafka), kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism="OAUTHBEARER", kafka_ssl_ca_location=str(one.authority),
            kafka_properties=SecretStr(json.dumps(tokens)),
            spark_kafka_options=SecretStr(json.dumps({"kafka.sasl.jaas.config": f'{TOKEN_LOGIN}="{USER}";'})),
        )  # fmt: skip
        require_kafka(SPEC, settings)
        client = producer(settings.kafka)
        client.produce(IN.name, "hello")
        assert client.flush(20) == 0
        assert run(settings, spark, tmp_path / "checkpoint") is None
        assert [one.value for one in read_topic(settings.kafka, OUT.name)] == [b"HELLO"]
        nobody = settings.model_copy(
            update={"kafka_properties": SecretStr(json.dumps(tokens | {"sasl.oauthbearer.config": "principal=nobody"}))}
        )
        with pytest.raises(KafkaRefused, match="does not let this client use the consumer group"):
            require_kafka(SPEC, nobody)
