"""The whole demo on a Kafka that is locked down, with exactly the rights of docs/deploy.md.

    python -m shop_streams_tests.faults.locked_kafka

The broker's only listener for clients is SASL_SSL, its authority is made here, and our user may not create topics. First `up` meets
a wrong password. Exit status 0: it was refused with the next step, every check of the demo is true, and no file has the password.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka.admin import AclOperation, ResourceType

from shop_streams.defs.domains import TOPICS
from shop_streams.environment import PREFIX
from shop_streams.kafka import READER_GROUP
from shop_streams.topics import create_topics
from shop_streams_tests.harness import PORTS, free_ports
from shop_streams_tests.secured import (
    MECHANISM,
    PASSWORD,
    USER,
    SecuredBroker,
    running_secured_broker,
)

REFUSED_IN = 10  # seconds; the aim
WRONG = "another-secret"


def give_documented_rights(broker: SecuredBroker) -> None:
    """The topics, and the table of rights in docs/deploy.md; Create is optional, and not given."""
    administrator = broker.as_administrator
    create_topics(administrator, TOPICS)
    rights = (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
    for topic in TOPICS:
        broker.allow(ResourceType.TOPIC, topic.name, *rights)
    broker.allow(ResourceType.GROUP, READER_GROUP, AclOperation.READ)
    broker.allow(ResourceType.GROUP, "spark-kafka-", AclOperation.READ, prefix=True)
    number = (AclOperation.WRITE, AclOperation.DESCRIBE)
    broker.allow(ResourceType.TRANSACTIONAL_ID, "promotion_notifications_outbox", *number, prefix=True)


def environment(broker: SecuredBroker, home: Path, password: str) -> dict[str, str]:
    """A shell with the login and nothing else of ours but the jars."""
    given = {
        "HOME": str(home), "KAFKA_BOOTSTRAP_SERVERS": str(broker.settings.kafka), "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": MECHANISM, "KAFKA_SASL_USERNAME": USER, "KAFKA_SASL_PASSWORD": password,
        "KAFKA_SSL_CA_LOCATION": str(broker.authority), "JARS": str(broker.settings.jars),
    }  # fmt: skip
    given |= {f"{name.upper()}_PORT": str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return kept | {f"{PREFIX}{name}": value for name, value in given.items()}


def files_with(home: Path, *passwords: str) -> list[str]:
    """The files of the home that have a password, as it is or as Java's login has it."""
    texts = [one.encode() for word in passwords for one in (word, word.replace("\\", "\\\\").replace('"', '\\"'))]
    return [str(path) for path in home.rglob("*") if path.is_file() and any(one in path.read_bytes() for one in texts)]


def main() -> int:
    command = str(Path(sys.executable).parent / "shop-streams")
    with running_secured_broker() as broker, tempfile.TemporaryDirectory(prefix="shop-streams-locked-") as folder:
        give_documented_rights(broker)
        home, began = Path(folder) / "home", time.monotonic()
        wrong = environment(broker, home, WRONG)
        refused = subprocess.run([command, "up", "--detach"], env=wrong, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        said = refused.stdout + refused.stderr
        told = refused.returncode == 1 and "Correct SHOP_STREAMS_KAFKA_SASL_USERNAME" in said and WRONG not in said
        print(f"{said}refused after {seconds:.0f} s (aim {REFUSED_IN} s)")
        demo = subprocess.run([command, "demo", "--once"], env=environment(broker, home, PASSWORD), check=False)
        found = files_with(home, PASSWORD, WRONG)
    print(f"wrong password told: {told}; exit status of the demo: {demo.returncode}; files with a password: {found}")
    return 0 if told and demo.returncode == 0 and not found else 1


if __name__ == "__main__":
    sys.exit(main())
