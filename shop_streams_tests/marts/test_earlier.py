"""Of a long history, all rows with one of a few ids are found, and hardly any other."""

import uuid

import pytest
from pyspark.sql import DataFrame, SparkSession

from shop_streams.marts import earlier
from shop_streams.marts.earlier import BITS, may_repeat


def table(spark: SparkSession, ids: list[str | None]) -> DataFrame:
    return spark.createDataFrame([(one, number) for number, one in enumerate(ids)], "id string, n int")


@pytest.mark.parametrize("bits", [64, 4096, BITS])
def test_no_repeat_is_missed_however_many_ids_share_a_bit(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    monkeypatch.setattr(earlier, "BITS", bits)
    history = [str(uuid.UUID(int=number)) for number in range(5_000)]
    new = [*history[::50], *history[::50], "", "é\x00", None]
    found = may_repeat(table(spark, [*history, "", None, None]), table(spark, new), "id").collect()
    kept = [row.id for row in found]
    assert len(kept) == len(set(kept)) and {*history[::50], ""} <= set(kept) and None not in kept
    assert all(row.n == history.index(row.id) for row in found if row.id), "the other columns stay"
    if bits == BITS:
        assert set(kept) == {*history[::50], ""}, "of 4,900 other ids, one in 700,000 would be here"


def test_a_few_ids_let_hardly_any_other_row_pass(spark: SparkSession) -> None:
    """1,000 of 2**26 bits: a row of the history passes by chance once in 67,000."""
    history = spark.range(200_000).selectExpr("uuid() as id")
    assert may_repeat(history, spark.range(1_000).selectExpr("uuid() as id"), "id").count() < 30


def test_nothing_is_found_for_no_ids(spark: SparkSession) -> None:
    history = table(spark, ["a", None])
    assert may_repeat(history, history.where("false"), "id").count() == 0
