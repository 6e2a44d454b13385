"""A batch that is tried, and one that is killed between its two commits and repeated by other rules."""

import json
from collections.abc import Collection
from pathlib import Path

import psycopg2
import pytest
from pyspark.sql import DataFrame

from shop_streams.defs.promotions import sink, tables
from shop_streams.defs.promotions.sink import DOMAIN, CampaignBatches
from shop_streams.defs.promotions.streams import STREAM
from shop_streams.postgres import transaction
from shop_streams.spark import open_session
from shop_streams.streaming.batch_letters import BatchLetters
from shop_streams.streaming.spec import StreamContext
from shop_streams_tests.defs.promotions.campaigns import Row, message
from shop_streams_tests.defs.promotions.outboxes import own_database
from shop_streams_tests.harness import Stack, records
from shop_streams_tests.streaming.two_commits import (
    RECORDS,
    Killed,
    check_repeats,
    killed,
    letters_in,
    refusing,
    rows_in,
)


def test_a_batch_is_tried_without_leaving_anything_behind(stack: Stack) -> None:
    """How the record is found that PostgreSQL refuses although no rule does."""
    good, bad = message(), message(adv_campaign_content="poison")
    context = StreamContext(open_session(stack.settings), stack.settings, STREAM.name, STREAM.topic.name, "unused")

    def batch(*messages: Row) -> DataFrame:
        return records(context.spark, [json.dumps(one).encode() for one in messages], STREAM.topic.name)

    tables.create_tables(stack.settings.postgres)
    check = "alter table promotion_campaigns add constraint odd check (adv_campaign_content <> 'poison')"
    with transaction(stack.settings.postgres) as cursor:
        cursor.execute(check)
    try:
        STREAM.sink.attempt(batch(good), context)
        with pytest.raises(psycopg2.IntegrityError, match="odd"):
            STREAM.sink.attempt(batch(good, bad), context)
    finally:
        with transaction(stack.settings.postgres) as cursor:
            cursor.execute("alter table promotion_campaigns drop constraint odd")
    with transaction(stack.settings.postgres) as cursor:
        ids = (good["adv_campaign_id"], bad["adv_campaign_id"])
        cursor.execute("select from promotion_campaigns where adv_campaign_id in %s", (ids,))
        assert cursor.rowcount == 0


def test_a_repeated_batch_has_each_campaign_in_one_place(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate, spark = sink.validate, open_session(stack.settings)
    with own_database(stack) as own:
        settings = own.model_copy(update={"lake_uri": str(tmp_path)})
        tables.create_subscribers(settings.postgres)
        context = StreamContext(spark, settings, STREAM.name, STREAM.topic.name, STREAM.checkpoint(settings))
        STREAM.sink.prepare(context)
        letters = BatchLetters.of(DOMAIN, sink.CAMPAIGNS, context)

        def write(refused: Collection[int], letters: BatchLetters, batch: DataFrame, batch_id: int) -> None:
            monkeypatch.setattr(sink, "validate", lambda some, day: refusing(validate(some, day), refused))
            CampaignBatches(settings.postgres, settings.first_day.isoformat(), letters).write(batch, batch_id)

        batch = records(spark, [json.dumps(message()).encode() for _ in range(RECORDS)], STREAM.topic.name)
        check_repeats(write, letters, batch, "rows")

        late, known = message(), message()
        two = records(spark, [json.dumps(one).encode() for one in (late, known)], STREAM.topic.name)
        two = two.withColumn("offset", two["offset"] + 100)
        with pytest.raises(Killed):
            write({100}, killed(letters), two, 100)
        write({101}, letters, two, 100)
        assert (rows_in(letters, range(100, 102)), letters_in(letters, range(100, 102))) == ([101], [100])
        with transaction(settings.postgres) as cursor:
            ids = (late["adv_campaign_id"], known["adv_campaign_id"])
            cursor.execute("select adv_campaign_id from promotion_campaigns where adv_campaign_id in %s", (ids,))
            assert cursor.fetchall() == [(known["adv_campaign_id"],)], "a letter notifies nobody"
