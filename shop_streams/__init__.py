"""Streams that live in Dagster: Kafka to Delta Lake with Spark Structured Streaming, marts as partitioned assets."""

import warnings

# Dagster warns at each import about parameters in beta. Its version is pinned, and the tests use it.
warnings.filterwarnings("ignore", message=r"Parameter `(backfill_policy|owners|allow_nonexistent_upstream_partitions)`")
