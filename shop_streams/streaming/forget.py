"""Removal of a person's rows from streamed tables, and of dead letters that name the person. The accounting stays exact."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.encoding import JSON, Encoding
from shop_streams.lake import forget, reader
from shop_streams.lake.forget import Rows
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import metadata_without_spark
from shop_streams.streaming.dead_letters import DEAD_LETTERS, stored_columns
from shop_streams.streaming.drafts import origin_of
from shop_streams.streaming.file_letters import remove_rows
from shop_streams.streaming.forgotten import begin_removal, record_origins
from shop_streams.streaming.identity import TOPIC_IDENTITY
from shop_streams.streaming.persons import EventHour, PersonColumns, Persons, names_person
from shop_streams.streaming.spec import StreamSpec

HOUR = 3600
CHUNK = 500  # offsets in one condition


class Origin(NamedTuple):
    """Where a letter comes from: a record's place in its topic, or a row's file and line. The others are None."""

    topic: str | None = None
    kafka_partition: int | None = None
    kafka_offset: int | None = None
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        return origin_of(self._asdict())


def identity_of(spec: StreamSpec, settings: Settings) -> str | None:
    """Cluster and id of the topic that the stream's rows came from; None if its checkpoint does not say it."""
    return metadata_without_spark(spec.checkpoint(settings), TOPIC_IDENTITY)


def remove_streamed(
    spec: StreamSpec, person: PersonColumns, person_id: str, hour: EventHour | None, settings: Settings
) -> Rows:
    """Delete the person's rows from the stream's table. Before a row is deleted, its origin is recorded as forgotten.

    If there is one, the removal is noted as unfinished, until the marts are marked (`end_removal`).
    """
    table, identity = person.table, identity_of(spec, settings)
    uri, partition = table.uri(settings), table.partition_by[0]
    found = forget.find(uri, partition, person.columns, person_id)
    if found.before is None or not found.count:
        return Rows()
    begin_removal(settings.postgres, table.path, found.before)
    offset = hour.offset(settings) if hour else 0

    def record(rows: pa.Table) -> None:
        hours = hours_of(rows[hour.column], offset) if hour else None
        record_origins(settings, spec.topic.name, identity, rows, hours)

    read = ["kafka_partition", "kafka_offset", *([hour.column] if hour else [])]
    return forget.remove(uri, partition, person.columns, person_id, read, record)


def hours_of(moments: pa.ChunkedArray, offset_seconds: int) -> pa.Array:
    """The beginning of each moment's hour, epoch seconds; hours begin `offset_seconds` after the clock hour."""
    seconds = moments.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).combine_chunks().to_numpy() // 1_000_000
    return pa.array(seconds - (seconds - offset_seconds) % HOUR, pa.int64())


# -- dead letters --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Letters:
    """Origins of a domain's dead letters that name a person, and of those that can't be decoded and contain the id."""

    naming: list[Origin] = field(default_factory=list)
    undecided: list[Origin] = field(default_factory=list)


def letters_of(
    settings: Settings,
    domain: str,
    person: str,
    persons: Persons,
    encodings: Mapping[str, Encoding] = MappingProxyType({}),
) -> Letters:
    """The domain's letters that name the person; `persons` are the domain's, `encodings` those of the topics, by name."""
    wanted = {*Origin._fields, "raw", "key"}
    there = [name for name in stored_columns(settings) if name in wanted]
    contains = mention(person)
    found = Letters()
    for batch in reader.batches(DEAD_LETTERS.uri(settings), there, pc.field("domain") == domain):
        for letter in batch.to_pylist():
            origin = Origin(*map(letter.get, Origin._fields))
            parse = encodings.get(letter["topic"], JSON).parse if origin.file is None else persons.row_in_letter
            value = decoded(letter["raw"], parse)
            if names_person(persons.in_letter(value, letter.get("key")), person):
                found.naming.append(origin)
            elif not isinstance(value, Mapping) and contains.search(letter["raw"] or b""):
                found.undecided.append(origin)
    return found


def mention(person: str) -> re.Pattern[bytes]:
    """Finds the id in bytes, as a word of its own. An id in digits may have zeros before it."""
    sign, digits = ("-", person[1:]) if person.startswith("-") else ("", person)
    zeros = b"0*" if digits.isascii() and digits.isdigit() else b""
    return re.compile(rb"(?<![\w-])" + re.escape(sign.encode()) + zeros + re.escape(digits.encode()) + rb"(?![\w-])")


def decoded(raw: bytes | None, parse: Callable[[bytes], Any]) -> Any:
    """The value of a letter; None if it can't be decoded."""
    try:
        return None if raw is None else parse(raw)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None


def remove_letters(settings: Settings, domain: str, origins: Collection[Origin], specs: Collection[StreamSpec]) -> int:
    """Delete these letters of the domain, and return their number. Origins in the topics of `specs` are recorded before."""
    identities = {spec.topic.name: identity_of(spec, settings) for spec in specs}
    groups: dict[tuple[str | None, int | None], list[int | None]] = {}
    for one in origins:
        if one.file is None:
            groups.setdefault((one.topic, one.kafka_partition), []).append(one.kafka_offset)
    deleted = remove_rows(settings, domain, [(one.file, one.line) for one in origins if one.file is not None])
    for (topic, partition), offsets in groups.items():
        numbers = sorted({offset for offset in offsets if offset is not None})
        if topic in identities and partition is not None:
            places = {"kafka_partition": pa.array([partition] * len(numbers), pa.int32()), "kafka_offset": numbers}
            record_origins(settings, topic, identities[topic], pa.table(places))
        of_topic = "topic is null and file is null" if topic is None else f"topic = {forget.literal(topic)}"
        same = f"domain = {forget.literal(domain)} and {of_topic} and {_equals('kafka_partition', partition)}"
        for first in range(0, len(numbers), CHUNK):
            some = ", ".join(map(str, numbers[first : first + CHUNK]))
            deleted += forget.delete_where(DEAD_LETTERS.uri(settings), f"{same} and kafka_offset in ({some})")
        if None in offsets:
            deleted += forget.delete_where(DEAD_LETTERS.uri(settings), f"{same} and kafka_offset is null")
    return deleted


def _equals(column: str, value: int | None) -> str:
    return f"{column} is null" if value is None else f"{column} = {value}"
