"""The rows of a long history that may have an id of a few new rows, found without sorting the history."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

BITS = 1 << 26  # of the filter: a broadcast table of at most a million rows, whatever the number of ids
WORD = 64  # bits of a bigint


def may_repeat(earlier: DataFrame, rows: DataFrame, column: str) -> DataFrame:
    """The rows of `earlier` whose `column` may be one of `rows`: all that are, and a few that are not. Never a null.

    A week of ids is many times what a window or a day has, and a join would sort all of it. So each id of `rows` sets one bit,
    and of the week only rows with a set bit go on: of 2 million ids, 3 in 100 of the others do.
    """
    place = F.pmod(F.xxhash64(column), F.lit(BITS))
    word, bit = F.shiftright(place, WORD.bit_length() - 1), place.bitwiseAND(F.lit(WORD - 1)).cast("int")
    one = F.call_function("shiftleft", F.lit(1).cast("bigint"), bit)
    words = rows.where(F.col(column).isNotNull()).groupBy(word.alias("_word")).agg(F.bit_or(one).alias("_bits"))
    return (
        earlier.where(F.col(column).isNotNull())
        .withColumn("_word", word)
        .join(F.broadcast(words), "_word")
        .where(_has(F.col("_bits"), bit))
        .drop("_word", "_bits")
    )


def _has(bits: Column, bit: Column) -> Column:
    """Whether the bit is set."""
    return F.call_function("shiftrightunsigned", bits, bit).bitwiseAND(F.lit(1)) == 1
