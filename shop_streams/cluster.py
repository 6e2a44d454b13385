"""A Kafka cluster: its address and how to log in there, for librdkafka and for Spark. Every client gets its settings here.

Keep the import light: Spark's workers import this file, and `aggregate` runs without the rest of the project.
"""

from __future__ import annotations

import json
import pkgutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shop_streams.errors import ShopStreamsError

LOGIN_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "OAUTHBEARER": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
}
WITH_PASSWORD = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True)
class Secret:
    """A secret, or the path of the file that has it. `setting` is its name in messages."""

    setting: str
    value: str = field(default="", repr=False)
    file: str = ""

    def read(self) -> str:
        """The secret; "" if there is none. A file is read anew, so that a new password needs no new process.

        Raises:
            ShopStreamsError: the file can't be read.
        """
        if not self.file:
            return self.value
        try:
            return Path(self.file).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ShopStreamsError(
                f"{self.setting}_FILE={self.file} can't be read: {_why(error)}. Correct the path or its rights."
            ) from None

    def options(self) -> dict[str, Any]:
        """The secret as a JSON object.

        Raises:
            ShopStreamsError: it is none. The message does not quote it.
        """
        try:
            return options_of(self.read())
        except ValueError as error:
            raise ShopStreamsError(f"{self.setting}: {error}.") from None


def options_of(text: str) -> dict[str, Any]:
    """The names and values of a JSON object; none for an empty text.

    Raises:
        ValueError: it is no object, or a value in it is no string, number or boolean.
    """
    try:
        found = json.loads(text) if text.strip() else {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or any(not isinstance(one, str | int | float) for one in found.values()):
        raise ValueError('must be a JSON object of names and values, such as {"client.id": "shop"}')
    return found


@dataclass(frozen=True)
class Cluster:
    """A cluster's bootstrap servers, and the login. `ca`, `certificate` and `key` are paths of PEM files on this machine.

    `properties` are librdkafka's, `spark_options` are options of Spark's Kafka source and sink; both as JSON, and both win over
    what the other fields say. As text it is the servers.
    """

    servers: str
    embedded: bool = False
    protocol: str = ""
    mechanism: str = ""
    username: str = ""
    password: Secret = Secret("SHOP_STREAMS_KAFKA_SASL_PASSWORD")
    ca: str = ""
    certificate: str = ""
    key: str = ""
    key_password: Secret = Secret("SHOP_STREAMS_KAFKA_SSL_KEY_PASSWORD")
    properties: Secret = Secret("SHOP_STREAMS_KAFKA_PROPERTIES")
    spark_options: Secret = Secret("SHOP_STREAMS_SPARK_KAFKA_OPTIONS")

    def __str__(self) -> str:
        return self.servers

    @property
    def no_answer(self) -> str:
        """What to say, and the next step, if no broker answers."""
        return f"Kafka does not answer at {self}. Is it up? See `shop-streams status`."

    def librdkafka(self) -> dict[str, Any]:
        """The configuration of a client of librdkafka. It holds secrets: never print it.

        Raises:
            ShopStreamsError: a secret is missing, or a file can't be read.
        """
        found = {
            "bootstrap.servers": self.servers,
            "security.protocol": self.protocol,
            "sasl.mechanism": self.mechanism,
            "sasl.username": self.username,
            "sasl.password": self._password(),
            "ssl.ca.location": _readable(self.ca),
            "ssl.certificate.location": _readable(self.certificate),
            "ssl.key.location": _readable(self.key),
            "ssl.key.password": self.key_password.read(),
        }
        more = self.properties.options()
        if "oauth_cb" in more:
            more["oauth_cb"] = _function(str(more["oauth_cb"]))
        return {name: value for name, value in found.items() if value} | more

    def spark(self) -> dict[str, str]:
        """The options of Spark's Kafka source and sink. They hold secrets: never print them.

        Certificates and keys are in the options themselves, because Spark may run on machines that do not have the files.

        Raises:
            ShopStreamsError: a secret is missing, or a file can't be read.
        """
        certificate, key = _pem(self.certificate), _pem(self.key)
        if key and "BEGIN PRIVATE KEY" not in key and "BEGIN ENCRYPTED PRIVATE KEY" not in key:
            raise ShopStreamsError(
                f"SHOP_STREAMS_KAFKA_SSL_KEY_LOCATION={self.key} is not in the format PKCS#8, the only one that Java reads. "
                f"Convert it: openssl pkcs8 -topk8 -nocrypt -in {self.key} -out key.pem"
            )
        ca = _pem(self.ca)
        found = {
            "bootstrap.servers": self.servers,
            "security.protocol": self.protocol,
            "sasl.mechanism": self.mechanism,
            "sasl.jaas.config": self._jaas(),
            "ssl.truststore.type": "PEM" if ca else "",
            "ssl.truststore.certificates": ca,
            "ssl.keystore.type": "PEM" if certificate else "",
            "ssl.keystore.certificate.chain": certificate,
            "ssl.keystore.key": key,
            "ssl.key.password": self.key_password.read(),
        }
        more = {name: _as_java(value) for name, value in self.spark_options.options().items()}
        return {f"kafka.{name}": value for name, value in found.items() if value} | more

    def _password(self) -> str:
        password = self.password.read() if self.mechanism in WITH_PASSWORD else ""
        if self.mechanism in WITH_PASSWORD and not password:
            raise ShopStreamsError(
                f"Kafka at {self.servers} asks for a password, and this shell has none: a running stack does not write it to the "
                f"home. Set {self.password.setting} or {self.password.setting}_FILE."
            )
        return password

    def _jaas(self) -> str:
        """The login for Java; "" without one."""
        if self.mechanism not in LOGIN_MODULES:
            return ""
        login = {"username": self.username, "password": self._password()} if self.mechanism in WITH_PASSWORD else {}
        return (
            " ".join([LOGIN_MODULES[self.mechanism], "required", *(f"{k}={_quoted(v)}" for k, v in login.items())])
            + ";"
        )


def _quoted(text: str) -> str:
    """A word in Java's format of logins."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _pem(path: str) -> str:
    try:
        return Path(path).read_text() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ShopStreamsError(
            f"The certificate or key {path} can't be read: {_why(error)}. Correct SHOP_STREAMS_KAFKA_SSL_…_LOCATION or its rights."
        ) from None


def _readable(path: str) -> str:
    """The path of a PEM file. librdkafka's own message about a file that is missing names no setting."""
    _pem(path)
    return path


def _function(name: str) -> Any:
    """The Python function `module:function` that gets librdkafka a token, which JSON can only name."""
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ShopStreamsError(
            f"oauth_cb={name} in SHOP_STREAMS_KAFKA_PROPERTIES can't be imported: {error}."
        ) from None


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is no text"


def _as_java(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
