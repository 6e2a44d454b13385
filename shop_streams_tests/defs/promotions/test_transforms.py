"""Records in, rows and reasons out."""

import json

from pyspark.sql import SparkSession

from shop_streams.defs.promotions import transforms
from shop_streams_tests.defs.promotions.campaigns import REFUSED, Row
from shop_streams_tests.harness import records

UUID = "123e4567-e89b-12d3-a456-426614174000"
LAST = 253_402_300_799
CAMPAIGN: Row = {
    "restaurant_id": UUID, "adv_campaign_id": UUID, "adv_campaign_content": "soup", "adv_campaign_owner": "Meyer Anna",
    "adv_campaign_owner_contact": "anna@restaurant.example", "adv_campaign_datetime_start": 1_659_203_516,
    "adv_campaign_datetime_end": 2_659_207_116, "datetime_created": 1_659_131_516,
}  # fmt: skip
# A good record, and where its row differs from CAMPAIGN.
ROWS: list[tuple[Row, Row]] = [
    (CAMPAIGN, {}),
    (CAMPAIGN | {"restaurant_id": UUID.upper(), "adv_campaign_id": UUID.upper()}, {}),
    (CAMPAIGN | {"more": [1, {}]}, {}),
    (CAMPAIGN | {"adv_campaign_content": ""}, {"adv_campaign_content": ""}),
    (CAMPAIGN | {"adv_campaign_owner": "😀\x7f \n"}, {"adv_campaign_owner": "😀\x7f \n"}),
    (
        CAMPAIGN | {"adv_campaign_datetime_start": 0, "adv_campaign_datetime_end": LAST, "datetime_created": LAST},
        {"adv_campaign_datetime_start": 0, "adv_campaign_datetime_end": LAST, "datetime_created": LAST},
    ),
]


def test_a_record_is_a_row_or_has_a_reason(spark: SparkSession) -> None:
    values = [*(json.dumps(record).encode() for record, _ in ROWS), *(value for value, _ in REFUSED)]
    found = transforms.project(transforms.validate(records(spark, values), "2015-01-01")).orderBy("kafka_offset")
    rows = found.withColumn("message_at", found.message_at.cast("string")).collect()
    good, bad = rows[: len(ROWS)], rows[len(ROWS) :]
    for row, (value, words) in zip(bad, REFUSED, strict=True):
        assert words in row.reason and row.restaurant_id is None, value
    assert [{name: row[name] for name in CAMPAIGN} for row in good] == [CAMPAIGN | change for _, change in ROWS]
    assert [row.reason for row in good] == [None] * len(ROWS)
    assert [row.kafka_offset for row in good] == list(range(len(ROWS)))
    assert all(row.message_at.startswith(str(row.message_date)) and row.kafka_partition == 0 for row in rows)
