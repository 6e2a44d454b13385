"""The login at a Kafka elsewhere: settings become the clients' configuration, and secrets stay out of texts and files."""

import ast
import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from shop_streams.cluster import Cluster, Secret
from shop_streams.errors import ShopStreamsError
from shop_streams.local.stack import stack_env
from shop_streams.settings import Settings, get_settings
from shop_streams_tests.test_structure import modules

LOGIN = {"kafka_bootstrap_servers": "k:9093", "kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "shop"}


def settings(**given: object) -> Settings:
    return Settings(**(LOGIN | {"kafka_sasl_mechanism": "SCRAM-SHA-512", "kafka_sasl_password": "hush"} | given))  # type: ignore[arg-type]


def test_without_a_login_a_client_gets_the_address_alone() -> None:
    for cluster in (Settings(kafka_port=4711).kafka, Cluster("127.0.0.1:4711")):
        assert cluster.librdkafka() == {"bootstrap.servers": "127.0.0.1:4711"}
        assert cluster.spark() == {"kafka.bootstrap.servers": "127.0.0.1:4711"}
        assert str(cluster) == "127.0.0.1:4711"


@pytest.mark.parametrize(
    ("mechanism", "module"),
    [
        ("PLAIN", "plain.PlainLoginModule"),
        ("SCRAM-SHA-256", "scram.ScramLoginModule"),
        ("SCRAM-SHA-512", "scram.ScramLoginModule"),
    ],
)
def test_a_login_with_a_password(mechanism: str, module: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    cluster = settings(kafka_sasl_mechanism=mechanism, kafka_ssl_ca_location=str(tmp_path / "ca.pem")).kafka
    assert cluster.librdkafka() == {
        "bootstrap.servers": "k:9093", "security.protocol": "SASL_SSL", "sasl.mechanism": mechanism,
        "sasl.username": "shop", "sasl.password": "hush", "ssl.ca.location": str(tmp_path / "ca.pem"),
    }  # fmt: skip
    assert cluster.spark() == {
        "kafka.bootstrap.servers": "k:9093", "kafka.security.protocol": "SASL_SSL", "kafka.sasl.mechanism": mechanism,
        "kafka.sasl.jaas.config": f'org.apache.kafka.common.security.{module} required username="shop" password="hush";',
        "kafka.ssl.truststore.type": "PEM", "kafka.ssl.truststore.certificates": "-----BEGIN CERTIFICATE-----\n",
    }  # fmt: skip


def test_a_password_for_java_is_quoted() -> None:
    options = settings(kafka_sasl_password='a"b\\c').kafka.spark()
    assert options["kafka.sasl.jaas.config"].endswith('password="a\\"b\\\\c";')


def test_a_clients_certificate(tmp_path: Path) -> None:
    names = ("certificate", "key")
    paths = {name: tmp_path / name for name in names}
    paths["certificate"].write_text("CERTIFICATE")
    paths["key"].write_text("-----BEGIN PRIVATE KEY-----")
    given = {f"kafka_ssl_{name}_location": str(paths[name]) for name in names}
    cluster = Settings(kafka_bootstrap_servers="k:1", kafka_security_protocol="SSL", **given).kafka  # type: ignore[arg-type]
    assert cluster.librdkafka()["ssl.key.location"] == str(paths["key"])
    assert cluster.spark()["kafka.ssl.keystore.certificate.chain"] == "CERTIFICATE"
    assert cluster.spark()["kafka.ssl.keystore.key"] == "-----BEGIN PRIVATE KEY-----"
    paths["key"].write_text("-----BEGIN RSA PRIVATE KEY-----")
    with pytest.raises(
        ShopStreamsError, match=r"KAFKA_SSL_KEY_LOCATION=.* not in the format PKCS#8.*openssl pkcs8 -topk8"
    ):
        cluster.spark()


def test_more_properties_win_and_reach_their_client_alone() -> None:
    """What MSK IAM needs: another login for each of the two clients, and no mechanism in the settings."""
    for_java = {"kafka.sasl.mechanism": "AWS_MSK_IAM", "kafka.security.protocol": "SASL_SSL", "minPartitions": 4}
    for_c = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "enable.sasl.oauthbearer.unsecure.jwt": True,
    }
    cluster = Settings(
        kafka_bootstrap_servers="k:1", kafka_security_protocol="PLAINTEXT", kafka_properties=SecretStr(json.dumps(for_c)),
        spark_kafka_options=SecretStr(json.dumps(for_java)),
    ).kafka  # fmt: skip
    assert cluster.librdkafka() == {"bootstrap.servers": "k:1", **for_c}
    assert cluster.spark() == {"kafka.bootstrap.servers": "k:1", **for_java, "minPartitions": "4"}


def test_a_function_that_gets_tokens_is_named() -> None:
    def cluster(name: str) -> Cluster:
        more = SecretStr(json.dumps({"oauth_cb": name}))
        return Settings(kafka_bootstrap_servers="k:1", kafka_properties=more).kafka

    assert cluster("json:loads").librdkafka()["oauth_cb"] is json.loads
    for name in ("no_such_module:token", "json:token", ""):
        with pytest.raises(
            ShopStreamsError, match=f"oauth_cb={name} in SHOP_STREAMS_KAFKA_PROPERTIES can't be imported"
        ):
            cluster(name).librdkafka()


def test_oauth_needs_no_user() -> None:
    cluster = Settings(
        kafka_bootstrap_servers="k:1", kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism="OAUTHBEARER"
    ).kafka
    assert cluster.spark()["kafka.sasl.jaas.config"].endswith("OAuthBearerLoginModule required;")


def test_a_secret_in_a_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "password"
    cluster = settings(kafka_sasl_password="", kafka_sasl_password_file=str(file)).kafka
    with pytest.raises(ShopStreamsError, match=r"KAFKA_SASL_PASSWORD_FILE=.*/password can't be read: No such file"):
        cluster.librdkafka()
    for password in ("one", "two "):
        file.write_text(f"{password}\n")
        assert cluster.librdkafka()["sasl.password"] == password
    (tmp_path / "more").write_text('{"client.id": "shop"}')
    more = settings(kafka_properties_file=str(tmp_path / "more")).kafka
    assert more.librdkafka()["client.id"] == "shop"
    (tmp_path / "more").write_text("hush")
    with pytest.raises(ShopStreamsError, match="SHOP_STREAMS_KAFKA_PROPERTIES: must be a JSON object") as problem:
        more.librdkafka()
    assert "hush" not in str(problem.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_bootstrap_servers": ""}, "the embedded Kafka has no login: set SHOP_STREAMS_KAFKA_BOOTSTRAP_SERVERS"),
        ({"kafka_security_protocol": ""}, "must be SASL_SSL or SASL_PLAINTEXT with SHOP_STREAMS_KAFKA_SASL_MECHANISM"),
        ({"kafka_security_protocol": "SSL"}, "must be SASL_SSL or SASL_PLAINTEXT with"),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ssl_ca_location": "/ca"},
            "must be SASL_SSL or SSL with SHOP_STREAMS_KAFKA_SSL_CA_LOCATION",
        ),
        ({"kafka_sasl_username": ""}, "SCRAM-SHA-512 needs SHOP_STREAMS_KAFKA_SASL_USERNAME"),
        ({"kafka_sasl_password_file": "/x"}, "SHOP_STREAMS_KAFKA_SASL_PASSWORD_FILE are both set; unset one"),
        ({"kafka_sasl_mechanism": "AWS_MSK_IAM"}, "for others, such as MSK IAM, use SHOP_STREAMS_KAFKA_PROPERTIES"),
        ({"kafka_properties": "hush"}, "must be a JSON object of names and values"),
        ({"kafka_properties": '{"a": {"hush": 1}}'}, "must be a JSON object of names and values"),
        ({"spark_kafka_options": '{"sasl.mechanism": "hush"}'}, "write kafka.sasl.mechanism"),
    ],
)
def test_settings_that_do_not_fit_are_refused_without_a_secret(
    given: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=r"Value error|Input should"):
        settings(**given)
    monkeypatch.chdir(tmp_path)
    for name, value in (settings().environment() | {f"SHOP_STREAMS_{k.upper()}": v for k, v in given.items()}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ShopStreamsError) as problem:
        get_settings()
    assert said in str(problem.value) and "hush" not in str(problem.value)


def test_no_secret_is_in_the_home_or_in_a_text() -> None:
    """Services inherit the secrets from their parent's environment."""
    secrets = {
        "kafka_sasl_password": "hush-1", "kafka_ssl_key_password": "hush-2", "kafka_properties": '{"a": "hush-3"}',
        "spark_kafka_options": '{"kafka.a": "hush-4"}',
    }  # fmt: skip
    given = settings(**secrets)
    written = f"{stack_env(given)} {given!r} {given} {given.kafka!r} {given.kafka} {given.model_dump_json()}"
    assert "hush" not in written and "SHOP_STREAMS_KAFKA_SASL_USERNAME='shop'" in written
    assert {given.environment()[f"SHOP_STREAMS_{name.upper()}"] for name in secrets} == set(secrets.values())


def test_a_shell_without_the_password_can_stop_the_stack_and_is_told_what_is_missing(
    fresh_shell: Path,
) -> None:
    (fresh_shell / "home").mkdir()
    (fresh_shell / "home/stack.env").write_text(stack_env(settings()))
    kafka = get_settings().kafka
    for render in (kafka.librdkafka, kafka.spark):
        with pytest.raises(
            ShopStreamsError, match=r"Set SHOP_STREAMS_KAFKA_SASL_PASSWORD or SHOP_STREAMS_KAFKA_SASL_PASSWORD_FILE"
        ):
            render()


def test_a_secret_has_no_value_in_its_text() -> None:
    assert "hush" not in repr(Secret("NAME", "hush"))


def test_clients_get_kafkas_address_and_login_from_one_place() -> None:
    """librdkafka's clients are in one room; Spark's source and sink are named by a word that others may write too."""
    of_spark, addresses = {}, set()
    for name, tree in modules().items():
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        readers = [one for one in calls if ast.unparse(one).endswith(".format('kafka')")]
        logins = [one for one in calls if re.search(r"\.options\(\*\*[\w.]+\.spark\(\)\)$", ast.unparse(one))]
        if readers:
            of_spark[name] = (len(readers), len(logins))
        words = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        if any(word.endswith("bootstrap.servers") for word in words):
            addresses.add(name)
    assert of_spark.keys() == {"streaming.records", "streaming.sinks", "defs.sales.aggregate"}
    assert all(readers == logins for readers, logins in of_spark.values()), of_spark
    assert addresses == {"cluster"}
