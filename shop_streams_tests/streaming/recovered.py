"""A stream without Spark, on a real topic and a real table: it starts, reads and commits as a managed stream does."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import write_deltalake

from shop_streams.defs.sales.streams import INGEST
from shop_streams.kafka import offset_ranges, read_topic
from shop_streams.lake import reader
from shop_streams.lake.table import Column, Table
from shop_streams.lake.write import append_small_batch
from shop_streams.settings import Settings
from shop_streams.streaming import agreement
from shop_streams.streaming.checkpoint import (
    Start,
    committed_offsets,
    last_planned,
    metadata_without_spark,
    partition_shift,
    write_metadata,
)
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.identity import TOPIC_IDENTITY, require_unchanged, topic_identity, way_out
from shop_streams.streaming.recover import Plan, recover
from shop_streams.streaming.sinks import LakeSink
from shop_streams.streaming.spec import StreamSpec
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import wait_for

COLUMNS = (Column("kafka_partition", "int"), Column("kafka_offset", "bigint"))


@dataclass(frozen=True)
class Notes:
    """A checkpoint's metadata without Spark."""

    folder: str

    def find(self, name: str) -> str | None:
        return metadata_without_spark(self.folder, name)

    def get(self, name: str, first: object) -> str:
        if self.find(name) is None:
            write_metadata(self.folder, name, first())  # type: ignore[operator]
        return str(self.find(name))


@dataclass(frozen=True)
class Pretended:
    """The stream `spec`, whose records b"bad" become dead letters."""

    settings: Settings
    spec: StreamSpec

    @classmethod
    def new(cls, settings: Settings, partitions: int = 1) -> "Pretended":
        topic = Topic(f"recover-{uuid4().hex}", "", partitions=partitions)
        create_topics(settings, (topic,))
        wait_for("the topic's leaders", lambda: led(settings, topic.name), 60)
        table = Table(f"tests/{topic.name}", COLUMNS, (), "")
        sink = LakeSink(table, "sales", lambda x, _: x, lambda x: x)
        lake = {"lake_uri": f"{settings.lake}/{topic.name}"}  # with letters of its own
        return cls(settings.model_copy(update=lake), replace(INGEST, name=topic.name, topic=topic, sink=sink))

    @property
    def folder(self) -> Path:
        return Path(self.spec.checkpoint(self.settings))

    @property
    def uri(self) -> str:
        assert self.spec.sink.table is not None
        return self.spec.sink.table.uri(self.settings)

    def send(self, *values: bytes, partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self.settings.kafka})
        for value in values:
            producer.produce(self.spec.topic.name, value, partition=partition)
        assert producer.flush(30) == 0

    def start(self) -> None:
        """The checks of a start, in its order."""
        agreement.require_checkpoint(self.spec, self.settings)
        committed = committed_offsets(str(self.folder), self.spec.topic.name)
        notes = Notes(str(self.folder))
        if notes.find(TOPIC_IDENTITY) is None:
            agreement.note_recoveries(notes, self.spec, self.settings)  # type: ignore[arg-type]
        require_unchanged(notes, self.settings.kafka, self.spec.topic.name, committed, way_out(self.spec.name))  # type: ignore[arg-type]
        agreement.require_table(self.spec, self.settings)
        if reader.open_table(self.uri) is None:
            write_deltalake(self.uri, places([]))
        agreement.remember_topic(self.spec, self.settings)

    def ingest(self) -> None:
        """Start, and read the topic to its end in one batch."""
        self.start()
        folder, topic = str(self.folder), self.spec.topic.name
        batch = 0 if (last := last_planned(folder)) is None else last + 1
        writer = Notes(folder).get("writer_id", lambda: uuid4().hex)
        present = (Start.of(folder) or Start({})).present
        ends = {number: high for number, (_, high) in offset_ranges(self.settings.kafka, topic).items()}
        self._log("offsets", batch, {topic: {str(number): end for number, end in ends.items()}})
        shift = partition_shift(folder)
        records = [
            one
            for one in read_topic(self.settings.kafka, topic, committed_offsets(folder, topic))
            if not any(first <= one.offset < end for first, end in present.get(one.partition, ()))
        ]
        good = [(one.partition + shift, one.offset) for one in records if one.value != b"bad"]
        append_small_batch(places(good), self.uri, writer, batch)
        if bad := [(one.partition + shift, one.offset) for one in records if one.value == b"bad"]:
            self.refuse(bad)
        self._log("commits", batch, {})

    def _log(self, kind: str, batch: int, source: object) -> None:
        path = self.folder / kind / str(batch)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"v1\n{{}}\n{json.dumps(source)}")

    def refuse(self, origins: list[tuple[int, int]]) -> None:
        count = len(origins)
        letters = places(origins).append_column("domain", pa.array(["sales"] * count))
        letters = letters.append_column("topic", pa.array([self.spec.topic.name] * count))
        letters = letters.append_column("reason", pa.array(["not JSON"] * count))
        write_deltalake(DEAD_LETTERS.uri(self.settings), letters, mode="append", partition_by=["domain"])

    def rows(self) -> list[tuple[int, int]]:
        found = reader.scan(self.uri, ["kafka_partition", "kafka_offset"]).to_pylist()
        return sorted((row["kafka_partition"], row["kafka_offset"]) for row in found)

    def letters(self) -> list[int]:
        found = reader.scan(DEAD_LETTERS.uri(self.settings), ["topic", "kafka_offset"]).to_pylist()
        return sorted(row["kafka_offset"] for row in found if row["topic"] == self.spec.topic.name)

    def recover(self) -> Plan:
        return recover(self.spec, self.settings, lambda _: None)[0]

    def delete_before(self, offset: int, partition: int = 0) -> None:
        client = AdminClient({"bootstrap.servers": str(self.settings.kafka)})
        for future in client.delete_records([TopicPartition(self.spec.topic.name, partition, offset)]).values():
            future.result(30)

    def make_topic_again(self) -> None:
        name, servers = self.spec.topic.name, self.settings.kafka
        client = AdminClient({"bootstrap.servers": str(servers)})
        client.delete_topics([name])[name].result(30)
        wait_for("the topic to be gone", lambda: topic_identity(servers, name) is None, 30)
        create_topics(self.settings, (self.spec.topic,))
        wait_for("the topic's leader", lambda: led(self.settings, name), 60)


def led(settings: Settings, topic: str) -> bool:
    """Whether the topic is known, and each partition has a leader."""
    try:
        return bool(offset_ranges(settings.kafka, topic))
    except KafkaException:
        return False


def places(origins: list[tuple[int, int]]) -> pa.Table:
    return pa.table(
        {
            "kafka_partition": pa.array([number for number, _ in origins], pa.int32()),
            "kafka_offset": pa.array([offset for _, offset in origins], pa.int64()),
        }
    )
