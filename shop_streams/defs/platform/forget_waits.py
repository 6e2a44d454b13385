"""What `forget-user` waits for: records that no stream has read yet, and runs that compute marts from older rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg2
from confluent_kafka import KafkaException

from shop_streams.domain import Domain
from shop_streams.kafka import offset_ranges
from shop_streams.settings import Settings
from shop_streams.streaming.checkpoint import committed_offsets
from shop_streams.streaming.lease import Leases
from shop_streams.streaming.spec import StreamSpec

LOOK_SECONDS = 1.0


def unread(settings: Settings, domains: Sequence[Domain], say: Callable[[str], None], seconds: float) -> Iterator[str]:
    """Wait until the running streams have read what their topics hold now; yields what stays unread, in words."""
    ends: dict[str, dict[int, tuple[int, int]]] = {}
    specs = [spec for one in domains for spec in one.lake_streams if spec.topic in one.persons.topics]
    for spec in specs:
        try:
            ends[spec.name] = offset_ranges(settings.kafka, spec.topic.name)
        except KafkaException as error:
            words = error.args[0].str() if error.args else error
            yield f"Kafka does not tell what topic {spec.topic.name} holds ({words}), perhaps records that are not read yet"
    asked = [spec for spec in specs if spec.name in ends]
    told, began = False, time.monotonic()
    while waiting := {one.name: number for one in asked if (number := _unread_by(one, settings, ends[one.name]))}:
        if time.monotonic() - began > seconds or not _running(settings, waiting):
            break
        if not told:
            say(f"Waiting until {', '.join(waiting)} has read what its topic holds …")
            told = True
        time.sleep(LOOK_SECONDS)
    for name, number in waiting.items():
        yield (
            f"stream {name} has not read {number} records of its topic: their rows would come after this removal. Switch the stream "
            "on, or wait until it has read them"
        )


def _unread_by(spec: StreamSpec, settings: Settings, ranges: Mapping[int, tuple[int, int]]) -> int:
    read = committed_offsets(spec.checkpoint(settings), spec.topic.name)
    return sum(max(0, high - max(low, read.get(number, low))) for number, (low, high) in ranges.items())


def _running(settings: Settings, streams: Mapping[str, Any]) -> bool:
    """Whether one of the streams is running."""
    with suppress(psycopg2.errors.UndefinedTable):  # no stream has ever run
        leases = Leases(settings.postgres).read()
        return any(name in leases and leases[name].fresh(settings.lease_seconds) for name in streams)
    return False


def wait_for_runs(running: Callable[[], set[str]], say: Callable[[str], None], seconds: float) -> set[str]:
    """Wait until the runs that are unfinished now have ended; returns those that have not."""
    left, began, told = running(), time.monotonic(), False
    while left and time.monotonic() - began < seconds:
        if not told:
            say(f"Waiting for {len(left)} runs of marts to end …")
            told = True
        time.sleep(LOOK_SECONDS)
        left &= running()
    return left
