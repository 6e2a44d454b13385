"""`aggregate` says what it did not do: another topic's checkpoint, another anchor, an empty topic, nothing new."""

import json
import uuid
from pathlib import Path
from typing import Any, cast

import pytest
from pyspark.sql import SparkSession

from shop_streams.cluster import Cluster
from shop_streams.defs.sales.aggregate import AnotherCheckpoint, require_same_topic, window_offset
from shop_streams.kafka import admin
from shop_streams.topics import Topic, create_topics
from shop_streams_tests.harness import Stack, wait_for

NO_SPARK = cast(SparkSession, None)  # the notes of a checkpoint in a folder need none


def test_a_checkpoint_of_another_topic_is_refused_with_both_names(tmp_path: Path) -> None:
    folder = str(tmp_path)
    require_same_topic(NO_SPARK, "one", folder)
    require_same_topic(NO_SPARK, "one", folder)
    with pytest.raises(AnotherCheckpoint, match="is of topic one, not two"):
        require_same_topic(NO_SPARK, "two", folder)


def test_a_checkpoint_without_topic_metadata_is_known_by_its_offsets(tmp_path: Path) -> None:
    (tmp_path / "offsets").mkdir()
    (tmp_path / "offsets" / "0").write_text('v1\n{"batchWatermarkMs":0}\n{"one":{"0":5,"1":7}}')
    with pytest.raises(AnotherCheckpoint, match="is of topic one, not two"):
        require_same_topic(NO_SPARK, "two", str(tmp_path))


def test_another_anchor_is_refused(tmp_path: Path) -> None:
    assert window_offset(NO_SPARK, Cluster(""), "one", "hour", str(tmp_path), "2015-01-01") == 0
    with pytest.raises(AnotherCheckpoint, match="begin at hour, not first_event"):
        window_offset(NO_SPARK, Cluster(""), "one", "first_event", str(tmp_path), "2015-01-01")


def test_what_was_not_aggregated_is_reported(stack: Stack, tmp_path: Path) -> None:
    topics = {name: f"{name}-{uuid.uuid4().hex}" for name in ("full", "other", "empty", "wrong")}
    create_topics(stack.settings, [Topic(name, "") for name in topics.values()])
    sale: dict[str, Any] = {"event_type": "buy", "category": "c", "item_id": "i", "item_price": 1, "uid": "u"}
    sale["timestamp"] = 1_577_865_600_000
    for name in ("full", "other"):
        stack.produce(topics[name], [json.dumps(sale).encode()])
    stack.produce(topics["wrong"], [b"{"])

    def aggregate(name: str, checkpoint: str) -> tuple[int, str]:
        words = ("--in-topic", topics[name], "--out-topic", f"out-{topics['full']}", "--until-caught-up")
        done = stack.cli("aggregate", *words, "--checkpoint", str(tmp_path / checkpoint), check=False)
        return done.returncode, done.stdout + done.stderr

    code, said = aggregate("full", "checkpoint")
    assert code == 0 and "1 events read, 1 taken" in said and "Nothing was sent" not in said
    code, said = aggregate("full", "checkpoint")
    assert code == 0 and "Nothing was sent: there was no event that the checkpoint had not read" in said
    code, said = aggregate("other", "checkpoint")
    assert code == 1 and f"is of topic {topics['full']}, not {topics['other']}" in said and "made again" not in said
    code, said = aggregate("empty", "empty")
    assert code == 1 and f"Topic {topics['empty']} holds no event. Send some" in said
    code, said = aggregate("wrong", "wrong")
    assert code == 1 and "Nothing was sent: every event was refused" in said

    client = admin(stack.settings.kafka)
    client.delete_topics([topics["full"]])[topics["full"]].result(30)
    wait_for("the topic to be gone", lambda: topics["full"] not in client.list_topics(timeout=10).topics, 30)
    create_topics(stack.settings, [Topic(topics["full"], "")])
    stack.produce(topics["full"], [json.dumps(sale).encode()] * 3)
    code, said = aggregate("full", "checkpoint")
    assert code == 1 and "was deleted and created again" in said
    assert "Give another --checkpoint folder" in said and "shop-streams recover" not in said, "it is of no stream"
