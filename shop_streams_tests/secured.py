"""A broker whose only listener for clients is SASL_SSL, with users, rights and a certificate of its own authority."""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr

from shop_streams.kafka import admin
from shop_streams.local import prepare
from shop_streams.local.jars import require_java
from shop_streams.settings import Settings
from shop_streams_tests.broker import Broker, ending, unmarked
from shop_streams_tests.harness import free_ports, wait_for

ADMIN, ADMIN_PASSWORD = "admin", "admin-secret"
# Characters that need an escape in Java's logins, in shells, in `.env` files or in JSON.
USER, PASSWORD = "shop", "pa\"ss\\wo'rd; $x #1 é"
MECHANISM = "SCRAM-SHA-512"


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)


def make_authority(folder: Path, name: str) -> Path:
    """A new authority's certificate, `<name>.pem`; its key is beside it."""
    subject = ["-subj", f"/CN={name}", "-days", "2"]
    openssl(
        folder,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.pem",
        *subject,
    )
    return folder / f"{name}.pem"


def make_certificate(folder: Path, authority: Path, name: str) -> tuple[Path, Path]:
    """A certificate for this machine by the authority, and its key in the format PKCS#8."""
    key, request, certificate = folder / f"{name}.key", folder / f"{name}.csr", folder / f"{name}.pem"
    openssl(
        folder,
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(request),
        "-subj",
        f"/CN={name}",
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signer = ["-CA", str(authority), "-CAkey", str(authority.with_suffix(".key")), "-CAcreateserial"]
    openssl(
        folder,
        "x509",
        "-req",
        "-in",
        str(request),
        *signer,
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        str(certificate),
    )
    return certificate, key


@dataclass(frozen=True)
class SecuredBroker:
    """A running broker; `settings` log in as `USER`, who has no rights at first."""

    settings: Settings
    process: "subprocess.Popen[bytes]"
    authority: Path

    def as_user(self, **given: Any) -> Settings:
        """Settings with other values, read anew."""
        return Settings(**{name: getattr(self.settings, name) for name in self.settings.model_fields_set} | given)

    @property
    def as_administrator(self) -> Settings:
        """Settings that log in as `ADMIN`, who may do everything."""
        return self.as_user(kafka_sasl_username=ADMIN, kafka_sasl_password=SecretStr(ADMIN_PASSWORD))

    @property
    def administrator(self) -> AdminClient:
        return admin(self.as_administrator.kafka)

    @property
    def of_collector(self) -> Broker:
        """The same for `running_collector`, whose log is in the home."""
        self.settings.home.mkdir(exist_ok=True)
        return Broker(self.settings, self.process)

    def allow(self, kind: ResourceType, name: str, *operations: AclOperation, prefix: bool = False) -> None:
        """Give `USER` rights; the broker knows them when this returns."""
        pattern = ResourcePatternType.PREFIXED if prefix else ResourcePatternType.LITERAL
        rules = [
            AclBinding(kind, name, pattern, f"User:{USER}", "*", operation, AclPermissionType.ALLOW)
            for operation in operations
        ]
        client = self.administrator  # it must exist until the answer is there
        for future in client.create_acls(rules, request_timeout=20).values():
            future.result()


SECURED = """
listeners=SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=SASL_SSL://127.0.0.1:{port}
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
username="{admin}" password="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{admin};User:ANONYMOUS
{more}
"""


@contextmanager
def running_secured_broker(more: Sequence[str] = ()) -> Iterator[SecuredBroker]:
    """A broker in a new folder on free ports; `more` are lines of its configuration."""
    with tempfile.TemporaryDirectory(prefix="shop-streams-secured-") as name:
        folder = Path(name)
        authority = make_authority(folder, "authority")
        certificate, key = make_certificate(folder, authority, "broker")
        (folder / "keystore.pem").write_text(key.read_text() + certificate.read_text())
        port, controller = free_ports(2)
        embedded = Settings(home=folder / "kafka-home", kafka_port=port, kafka_controller_port=controller)
        embedded.home.mkdir()
        prepare._write_kafka_configuration(embedded)
        properties = embedded.home / "kafka.properties"
        with properties.open("a") as file:
            file.write(
                SECURED.format(
                    port=port, controller=controller, admin=ADMIN, password=ADMIN_PASSWORD,
                    keystore=folder / "keystore.pem", authority=authority, more="\n".join(more),
                )
            )  # fmt: skip
        java = [require_java(), "-cp", prepare.kafka_classpath(embedded)]
        user = f"{MECHANISM}=[name={ADMIN},password={ADMIN_PASSWORD}]"
        storage = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAA", "-c", str(properties)]
        subprocess.run([*java, *storage, "--add-scram", user], check=True, capture_output=True, timeout=120, cwd=folder)
        log = folder / "kafka.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*java, "-Xmx512m", "kafka.Kafka", str(properties)], env=unmarked(), stdout=file, stderr=file
            )
        settings = Settings(
            home=folder / "home", kafka_bootstrap_servers=f"127.0.0.1:{port}", kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism=MECHANISM, kafka_sasl_username=USER, kafka_sasl_password=SecretStr(PASSWORD),
            kafka_ssl_ca_location=str(authority),
        )  # fmt: skip
        broker = SecuredBroker(settings, process, authority)
        with ending(process):
            wait_for("the broker's administrator", lambda: _ready(broker), 180, lambda: log.read_text()[-2000:])
            credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
            made = UserScramCredentialUpsertion(USER, credential, PASSWORD.encode())
            client = broker.administrator  # it must exist until the answer is there
            for future in client.alter_user_scram_credentials([made], request_timeout=20).values():
                future.result()
            yield broker


def _ready(broker: SecuredBroker) -> bool:
    try:
        return bool(broker.administrator.list_topics(timeout=2).brokers)
    except KafkaException:
        return False
