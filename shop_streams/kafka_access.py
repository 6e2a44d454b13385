"""Whether Kafka lets us in: what it refuses, in one sentence with the next step, and the rights that an administrator grants."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from shop_streams.cluster import Cluster
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import ANSWER_SECONDS, READER_GROUP, admin

ACCESS_SECONDS = 8.0
_JAVA = "org.apache.kafka.common.errors."
ASK_SECONDS = 1.0
RIGHTS = {
    AclOperation.READ: "Read", AclOperation.WRITE: "Write", AclOperation.DESCRIBE: "Describe",
    AclOperation.DESCRIBE_CONFIGS: "DescribeConfigs",
}  # fmt: skip
GROUPS = (READER_GROUP, "spark-kafka-")  # of our own readers, and the beginning of the names that Spark makes
AWAY = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN)  # no broker answers


class KafkaRefused(ShopStreamsError):
    """Kafka refuses the login, the certificate or a right."""

    next_step = "The sensor tries again after a pause that grows; what has to change is in the message."


class Refused(list[KafkaError]):
    """The errors of the records that Kafka did not take. It is the producer's `on_delivery`."""

    def __call__(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self.append(error)


class _Kind(NamedTuple):
    """What librdkafka's codes and the exceptions of Java's client have in common, and what to say."""

    codes: tuple[int, ...]
    exceptions: tuple[str, ...]
    sentence: str
    step: str


LOGIN, TLS, TOPIC, GROUP, TRANSACTION, CLUSTER, PROTOCOL = (
    _Kind(
        (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError.UNSUPPORTED_SASL_MECHANISM),
        ("SaslAuthenticationException", "UnsupportedSaslMechanismException"),
        "refuses the login of {user}",
        "Correct SHOP_STREAMS_KAFKA_SASL_USERNAME, SHOP_STREAMS_KAFKA_SASL_PASSWORD (or …_FILE) or SHOP_STREAMS_KAFKA_SASL_MECHANISM.",
    ),
    _Kind(
        (KafkaError._SSL,),
        ("SslAuthenticationException",),
        "and this machine do not agree on TLS",
        "Is SHOP_STREAMS_KAFKA_SSL_CA_LOCATION the authority that signed the broker's certificate, is the certificate for this "
        "host name, and does the broker ask for a client's certificate?",
    ),
    _Kind(
        (KafkaError.TOPIC_AUTHORIZATION_FAILED,),
        ("TopicAuthorizationException",),
        "does not let {user} use {thing}",
        "Ask an administrator to run: {commands}",
    ),
    _Kind(
        (KafkaError.GROUP_AUTHORIZATION_FAILED,),
        ("GroupAuthorizationException",),
        "does not let {user} use {thing}",
        "Ask an administrator to run: {commands}",
    ),
    _Kind(
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,),
        ("TransactionalIdAuthorizationException",),
        "does not let {user} use a transactional id",
        "Ask an administrator to run: {commands}",
    ),
    _Kind(
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED,),
        ("ClusterAuthorizationException",),
        "does not let {user} do this in the cluster",
        "Ask an administrator for the rights in docs/deploy.md.",
    ),
    _Kind(
        (),
        (),
        "speaks another protocol",
        "Correct SHOP_STREAMS_KAFKA_SECURITY_PROTOCOL: this port wants another of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL.",
    ),
)
_KINDS = (LOGIN, TOPIC, GROUP, TRANSACTION, CLUSTER, TLS)
# librdkafka's hints: the code is that of a lost connection, or of TLS.
_OTHER_PROTOCOL = r"incorrect security\.protocol|connecting to a (SSL|PLAINTEXT) listener"


def refusal(
    cluster: Cluster, error: KafkaError | BaseException | str, topic: str = "", transaction: str = ""
) -> KafkaRefused | None:
    """The refusal that an error of librdkafka, or a text with an error of Java's client, means; None if it means none.

    `topic` and `transaction` (the beginning of a transactional id) are what was used, where the error does not say it.
    """
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        error = error.args[0]
    if isinstance(error, KafkaError):
        code, text = error.code(), error.str()
        kinds = [PROTOCOL] if re.search(_OTHER_PROTOCOL, text) else [kind for kind in _KINDS if code in kind.codes]
    else:
        text = str(error)
        kinds = [kind for kind in _KINDS if any(f"{_JAVA}{one}" in text for one in kind.exceptions)]
    if not kinds:
        return None
    return KafkaRefused(_message(kinds[0], cluster, text, topic, transaction))


def _message(kind: _Kind, cluster: Cluster, text: str, topic: str, transaction: str) -> str:
    named = re.search(r"access (?:topics: \[([^\]]*)\]|group: (\S+))", text)
    topics = [one.strip() for one in named[1].split(",")] if named and named[1] else [topic] * bool(topic)
    what, rights = "a topic", [f"--topic {name}" for name in topics or ["TOPIC"]]
    operations = tuple(RIGHTS.values())
    if kind is TOPIC and topics:
        what = f"the topic {topics[0]}" if len(topics) == 1 else f"the topics {', '.join(topics)}"
    elif kind is GROUP:
        what, operations = f"the consumer group {named[2]}" if named and named[2] else "a consumer group", ("Read",)
        rights = [f"--group {name} --resource-pattern-type prefixed" for name in GROUPS]
    elif kind is TRANSACTION:
        # The database's name follows: see the outbox of promotions.
        operations, rights = (
            ("Write", "Describe"),
            [f"--transactional-id {transaction or 'ID'} --resource-pattern-type prefixed"],
        )
    commands = "; ".join(acl_command(cluster, operations, right) for right in rights)
    sentence = kind.sentence.format(user=_user(cluster), thing=what)
    cause = f" ({_cause(text)})" if kind in (TLS, LOGIN, PROTOCOL) else ""
    return f"Kafka at {cluster} {sentence}{cause}. {kind.step.format(commands=commands)}"


def _user(cluster: Cluster) -> str:
    return f"user {cluster.username} ({cluster.mechanism})" if cluster.username else "this client"


def _cause(text: str) -> str:
    """The reason in a message of librdkafka or Java, without addresses, states and stack traces."""
    line = next((one for one in text.splitlines() if one.strip()), "")
    line = re.sub(r"^.*?(?:bootstrap|\d+): (?=\S)", "", line)
    line = re.sub(r" ?\((?:after|install|in state)[^)]*\)", "", line)
    line = re.sub(r"^.*Exception: ", "", line)
    return line.strip().rstrip(".")[:200]


def acl_command(cluster: Cluster, operations: Iterable[str], resource: str) -> str:
    """Kafka's command that allows our user the operations; `resource` is, for example, `--topic events`."""
    allowed = " ".join(f"--operation {one}" for one in operations)
    return (
        f"kafka-acls.sh --bootstrap-server {cluster} --command-config admin.properties --add "
        f"--allow-principal User:{cluster.username or 'USER'} {allowed} {resource}"
    )


def require_access(
    cluster: Cluster,
    topics: Sequence[str] = (),
    rights: Sequence[str] = tuple(RIGHTS.values()),
    seconds: float = ACCESS_SECONDS,
) -> None:
    """Log in, and ask whether we have the `rights` to those of the `topics` that exist.

    Raises:
        KafkaRefused: Kafka refuses; at once, with the next step.
        KafkaException: no broker answers within `seconds`.
    """
    heard: list[KafkaError] = []
    try:
        client = admin(cluster, {"error_cb": heard.append})
    except KafkaException as error:  # before any broker is asked
        said = f"Kafka's client does not take these settings: {error.args[0].str()}"
        raise KafkaRefused(f"{said}. Correct the SHOP_STREAMS_KAFKA_… that it names.") from None
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.list_topics(timeout=ASK_SECONDS)
            break
        except KafkaException as error:
            client.poll(0)  # librdkafka tells the reason to the callback only
            for one in [*heard, error.args[0]]:
                if refused := refusal(cluster, one):
                    raise refused from None
            if time.monotonic() > deadline:
                if not cluster.embedded and error.args[0].code() == KafkaError._TRANSPORT and _accepts(cluster):
                    raise KafkaRefused(_message(PROTOCOL, cluster, "it closes each connection", "", "")) from None
                raise
    if topics and "Read" in rights:
        _require_group(client, cluster)
    if missing := missing_rights(cluster, topics, rights) if topics else {}:
        commands = [acl_command(cluster, those, f"--topic {topic}") for topic, those in missing.items()]
        raise KafkaRefused(
            f"Kafka at {cluster} does not let {_user(cluster)} use {', '.join(missing)} as this project does. "
            "Ask an administrator to run:\n" + "\n".join(commands)
        )


def _accepts(cluster: Cluster) -> bool:
    """Whether something listens at one of the bootstrap servers."""
    for server in cluster.servers.split(","):
        host, _, port = server.strip().rpartition(":")
        with suppress(OSError, ValueError), socket.create_connection((host.strip("[]"), int(port)), ASK_SECONDS):
            return True
    return False


def _require_group(client: AdminClient, cluster: Cluster) -> None:
    """Our readers join no group, but librdkafka asks for the group's coordinator before it reads."""
    group = cluster.librdkafka().get("group.id", READER_GROUP)
    answer = client.describe_consumer_groups([group], request_timeout=ANSWER_SECONDS)[group]
    try:
        answer.result()
    except KafkaException as error:  # others: the group does not exist, or its coordinator is being chosen
        if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise KafkaRefused(_message(GROUP, cluster, f"access group: {group}", "", "")) from None


def missing_rights(cluster: Cluster, topics: Sequence[str], rights: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Topic -> those of the `rights` that our user does not have, where one is missing. Topics that do not exist are left out."""
    client = admin(cluster)
    answers = client.describe_topics(
        TopicCollection(list(topics)), include_authorized_operations=True, request_timeout=ANSWER_SECONDS
    )
    found: dict[str, tuple[str, ...]] = {}
    for topic, answer in answers.items():
        try:
            allowed = answer.result().authorized_operations
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                found[topic] = tuple(rights)
            elif error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
        else:
            has = (
                rights if allowed is None else [RIGHTS[one] for one in allowed if one in RIGHTS]
            )  # None: an old broker
            if missing := tuple(one for one in rights if one not in has):
                found[topic] = missing
    return found
