"""Streams that live in Dagster: Kafka to Delta Lake with Spark Structured Streaming, marts as partitioned assets."""

import warnings

# Dagster warns of what it calls beta at each import; its version is pinned, and the suite runs on it.
warnings.filterwarnings("ignore", message=r"Parameter `(backfill_policy|owners)`")
