"""Streams that live in Dagster: Kafka to Delta Lake with Spark Structured Streaming, marts as partitioned assets."""
