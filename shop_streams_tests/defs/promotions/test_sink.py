"""A batch that is tried."""

import json

import psycopg2
import pytest
from pyspark.sql import DataFrame

from shop_streams.defs.promotions import tables
from shop_streams.defs.promotions.streams import STREAM
from shop_streams.postgres import transaction
from shop_streams.spark import open_session
from shop_streams.streaming.spec import StreamContext
from shop_streams_tests.defs.promotions.campaigns import Row, message
from shop_streams_tests.harness import Stack, records


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
