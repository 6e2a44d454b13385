"""A recovery beside what else changes the lake and the topic: forgotten persons, expired records, a query that still writes."""

import json
import shutil

import pytest
from deltalake import DeltaTable

from shop_streams.lake import facts
from shop_streams.settings import Settings
from shop_streams.streaming import agreement
from shop_streams.streaming.agreement import CheckpointOlder
from shop_streams.streaming.checkpoint import write_metadata
from shop_streams.streaming.forgotten import record_origins
from shop_streams.streaming.recover import NotRecoverable, make_plan
from shop_streams_tests.streaming.recovered import Pretended, places


@pytest.mark.parametrize("known", [True, False])
def test_a_forgotten_record_is_not_read_again(kafka: Settings, known: bool) -> None:
    """Also if it was forgotten while the stream had no checkpoint, so that nobody knew the topic's identity."""
    stream = Pretended.new(kafka)
    stream.send(b"0", b"1", b"2")
    stream.ingest()
    identity = make_plan(stream.spec, stream.settings).identity if known else None
    record_origins(stream.settings, stream.spec.topic.name, identity, places([(0, 1)]))
    DeltaTable(stream.uri).delete("kafka_offset = 1")
    assert not make_plan(stream.spec, stream.settings).needed
    shutil.rmtree(stream.folder)
    stream.recover()
    stream.ingest()
    assert stream.rows() == [(0, 0), (0, 2)]


def test_what_was_gone_before_the_first_start_is_not_lost(kafka: Settings) -> None:
    stream = Pretended.new(kafka, partitions=2)
    stream.send(b"0", b"1", b"2", partition=1)
    stream.delete_before(3, partition=1)
    stream.send(b"0")
    stream.ingest()
    (stream.folder / "sources" / "0").mkdir(parents=True)
    started = json.dumps({stream.spec.topic.name: {"0": 0, "1": 3}})
    (stream.folder / "sources" / "0" / "0").write_text(f"\0v1\n{started}")
    stream.send(b"1", b"2")
    stream.delete_before(3)
    assert stream.recover().lost == 2, "of partition 0 alone"


def test_a_writer_that_was_closed_is_told_though_nothing_was_written_yet(kafka: Settings) -> None:
    stream = Pretended.new(kafka)
    stream.start()
    write_metadata(str(stream.folder), "writer_id", "closed")
    facts.close_writer(stream.uri, "closed")
    with pytest.raises(CheckpointOlder, match="was replaced by a recovery"):
        stream.start()


@pytest.mark.parametrize("between", ["last_planned", "recall"])
def test_a_query_that_still_writes_makes_no_checkpoint_old(
    kafka: Settings, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    """Such as that of a killed run: it plans a batch and commits it between the two looks."""
    stream = Pretended.new(kafka)
    stream.send(b"0")
    stream.ingest()
    place = agreement if between == "last_planned" else facts
    real = getattr(place, between)

    def meanwhile(*given: object) -> object:
        monkeypatch.setattr(place, between, real)
        stream.send(b"1")
        stream.ingest()
        return real(*given)

    monkeypatch.setattr(place, between, meanwhile)
    stream.start()
    assert stream.rows() == [(0, 0), (0, 1)]


def test_dead_letters_of_an_earlier_topic_are_not_taken_for_records_of_this_one(kafka: Settings) -> None:
    stream = Pretended.new(kafka)
    stream.send(b"0", b"bad", b"bad")
    stream.ingest()
    shutil.rmtree(stream.uri)  # somebody moved table and checkpoint away, and the letters stay
    shutil.rmtree(stream.folder)
    stream.make_topic_again()
    stream.send(b"0")
    with pytest.raises(NotRecoverable, match=r"earlier topic of this name\. Move .*dead_letters away"):
        make_plan(stream.spec, stream.settings)
