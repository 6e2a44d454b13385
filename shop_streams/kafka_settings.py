"""Kafka's settings: the embedded broker's, or the address of a cluster of your own and how to log in there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from shop_streams import addresses
from shop_streams.cluster import LOGIN_MODULES, WITH_PASSWORD, Cluster, Secret, options_of
from shop_streams.environment import PREFIX, java_options

# A running stack does not write them to its home.
KAFKA_SECRETS = ("kafka_sasl_password", "kafka_ssl_key_password", "kafka_properties", "spark_kafka_options")
_FILES = ("kafka_ssl_ca_location", "kafka_ssl_certificate_location", "kafka_ssl_key_location")


def _mechanism(value: str) -> str:
    if value and value not in LOGIN_MODULES:
        raise ValueError(
            f"must be one of {', '.join(LOGIN_MODULES)}; for others, such as MSK IAM, use {PREFIX}KAFKA_PROPERTIES and "
            f"{PREFIX}SPARK_KAFKA_OPTIONS"
        )
    return value


def _file(value: str) -> str:
    return str(Path(value).expanduser().resolve()) if value else value


def _properties(value: SecretStr) -> SecretStr:
    options_of(value.get_secret_value())
    return value


def _spark_options(value: SecretStr) -> SecretStr:
    names = options_of(value.get_secret_value())
    if wrong := sorted(name for name in names if "." in name and not name.startswith("kafka.")):
        raise ValueError(f"Spark gives Kafka only names that begin with `kafka.`: write kafka.{wrong[0]}")
    return value


NO_SECRET = SecretStr("")


class KafkaSettings(BaseSettings):
    """The part of `Settings` that concerns Kafka."""

    kafka_bootstrap_servers: str = ""
    kafka_port: int = Field(9092, ge=1, le=65535)
    kafka_controller_port: int = Field(9093, ge=1, le=65535)
    kafka_memory: Annotated[str, AfterValidator(addresses.memory)] = "512m"
    kafka_java_options: str = Field(default_factory=java_options)

    # The login at a Kafka of your own. Instead of a secret, `…_FILE` is the path of the file that has it.
    kafka_sasl_mechanism: Annotated[str, AfterValidator(_mechanism)] = ""
    kafka_sasl_username: str = ""
    kafka_sasl_password: SecretStr = NO_SECRET
    kafka_sasl_password_file: Annotated[str, AfterValidator(_file)] = ""
    kafka_ssl_ca_location: Annotated[str, AfterValidator(_file)] = ""  # PEM, as the next two
    kafka_ssl_certificate_location: Annotated[str, AfterValidator(_file)] = ""
    kafka_ssl_key_location: Annotated[str, AfterValidator(_file)] = ""
    kafka_ssl_key_password: SecretStr = NO_SECRET
    kafka_ssl_key_password_file: Annotated[str, AfterValidator(_file)] = ""
    # JSON: more properties of librdkafka, and options of Spark's Kafka source and sink (`kafka.…`). They win over the others.
    kafka_properties: Annotated[SecretStr, AfterValidator(_properties)] = NO_SECRET
    kafka_properties_file: Annotated[str, AfterValidator(_file)] = ""
    spark_kafka_options: Annotated[SecretStr, AfterValidator(_spark_options)] = NO_SECRET
    spark_kafka_options_file: Annotated[str, AfterValidator(_file)] = ""
    kafka_security_protocol: Literal["", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = (
        ""  # last: it checks the others
    )

    @field_validator("kafka_security_protocol")
    @classmethod
    def _fits_the_others(cls, value: str, info: ValidationInfo) -> str:
        given = {
            name for name, one in info.data.items() if (one.get_secret_value() if isinstance(one, SecretStr) else one)
        }
        login = {
            name
            for name in given
            if "_sasl_" in name or "_ssl_" in name or "_properties" in name or "kafka_options" in name
        }
        if (value or login) and "kafka_bootstrap_servers" in info.data.keys() - given:
            raise ValueError(
                f"the embedded Kafka has no login: set {PREFIX}KAFKA_BOOTSTRAP_SERVERS for a Kafka of your own, or unset "
                + ", ".join(sorted(f"{PREFIX}{name.upper()}" for name in login) or ["it"])
            )
        if "kafka_sasl_mechanism" in given and not value.startswith("SASL_"):
            raise ValueError(f"must be SASL_SSL or SASL_PLAINTEXT with {PREFIX}KAFKA_SASL_MECHANISM")
        if (files := given.intersection(_FILES)) and not value.endswith("SSL"):
            raise ValueError(f"must be SASL_SSL or SSL with {PREFIX}{min(files).upper()}")
        if info.data.get("kafka_sasl_mechanism") in WITH_PASSWORD and "kafka_sasl_username" not in given:
            raise ValueError(f"a login with {info.data['kafka_sasl_mechanism']} needs {PREFIX}KAFKA_SASL_USERNAME")
        if twice := [name for name in KAFKA_SECRETS if {name, f"{name}_file"} <= given]:
            raise ValueError(f"{PREFIX}{twice[0].upper()} and {PREFIX}{twice[0].upper()}_FILE are both set; unset one")
        return value

    @property
    def kafka(self) -> Cluster:
        """The cluster in use; as text, its bootstrap servers."""
        if not self.kafka_bootstrap_servers:
            return Cluster(f"127.0.0.1:{self.kafka_port}", embedded=True)
        return Cluster(
            servers=self.kafka_bootstrap_servers,
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_sasl_username,
            password=self._secret("kafka_sasl_password"),
            ca=self.kafka_ssl_ca_location,
            certificate=self.kafka_ssl_certificate_location,
            key=self.kafka_ssl_key_location,
            key_password=self._secret("kafka_ssl_key_password"),
            properties=self._secret("kafka_properties"),
            spark_options=self._secret("spark_kafka_options"),
        )

    def _secret(self, name: str) -> Secret:
        value: SecretStr = getattr(self, name)
        return Secret(f"{PREFIX}{name.upper()}", value.get_secret_value(), getattr(self, f"{name}_file"))
