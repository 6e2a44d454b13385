"""Bare Spark as a user would run it: a session of its own, the JVM's own defaults, and no promise kept.

A program of its own (see worker.py): needs pyspark, and nothing of this project. The session has our server's memory, and
as many shuffle partitions: Spark's 200 would decide the comparison alone.
"""

import json
import sys
import time
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def read(spark: SparkSession, servers: str, topic: str, fields: str) -> Any:
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", servers)
    records = source.option("subscribe", topic).option("startingOffsets", "earliest").load()
    return records.select(F.from_json(F.col("value").cast("string"), fields).alias("e")).select("e.*")


def ingest(spark: SparkSession, job: dict[str, str]) -> Any:
    """Topic to Delta's own sink."""
    writer = read(spark, job["servers"], job["topic"], job["fields"]).writeStream.format("delta")
    return writer.option("path", job["out"])


def aggregate(spark: SparkSession, job: dict[str, str]) -> Any:
    """Topic to topic, a record for each hour."""
    is_buy = F.col("event_type") == "buy"
    events = read(spark, job["servers"], job["topic"], job["fields"])
    hours = events.groupBy(F.window(F.timestamp_millis("timestamp"), "1 hour")).agg(
        F.sum(F.when(is_buy, F.col("item_price"))), F.count("uid"), F.count(F.when(is_buy, 1))
    )
    writer = hours.select(F.to_json(F.struct("*")).alias("value")).writeStream.format("kafka").outputMode("update")
    return writer.option("kafka.bootstrap.servers", job["servers"]).option("topic", job["out"])


def main() -> None:
    class_path, memory, folder, partitions = sys.argv[1:]
    spark = (
        SparkSession.builder.master("local[*]")
        .config("spark.driver.extraClassPath", class_path)
        .config("spark.driver.memory", memory)
        .config("spark.local.dir", folder)
        .config("spark.sql.shuffle.partitions", partitions)
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    for line in sys.stdin:
        job = json.loads(line)
        write = {"ingest": ingest, "aggregate": aggregate}[job["name"]](spark, job)
        query = write.option("checkpointLocation", job["checkpoint"]).trigger(availableNow=True).start()
        started = time.monotonic()
        query.awaitTermination()
        print(f"SECONDS {time.monotonic() - started}", flush=True)


if __name__ == "__main__":
    main()
