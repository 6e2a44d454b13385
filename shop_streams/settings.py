"""Typed settings, each an environment variable `SHOP_STREAMS_…`; the only reader of the environment.

Defaults serve the embedded stack. Naming an address (Kafka, PostgreSQL, Spark) means that the embedded
service of that kind is not started. A running stack leaves its settings in `<home>/stack.env`, so that
`SHOP_STREAMS_HOME` alone is enough to talk to it from another shell.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SUPERVISED_MARK = "SHOP_STREAMS_SUPERVISED_BY"  # tells a home's own processes from a developer's shell
# On two cores the JVM's optimizing compiler takes a quarter of Spark's start-up, which everything else waits for. Without it
# streams are back a quarter sooner, and take in less at the most.
# The room for compiled code is as large as with it: Java would cut it to 48 MB, and a full one kills the server.
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"
REPOSITORY = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Everything that a person can set. Ports are TCP ports on 127.0.0.1, durations are seconds."""

    model_config = SettingsConfigDict(env_prefix="SHOP_STREAMS_", extra="ignore", validate_default=True)

    home: Path = Path(".shop_streams")
    jars: Path = REPOSITORY / ".jars"
    lake_uri: str = ""

    kafka_bootstrap_servers: str = ""
    postgres_dsn: str = ""
    spark_remote: str = ""

    kafka_port: int = Field(9092, ge=1, le=65535)
    kafka_controller_port: int = Field(9093, ge=1, le=65535)
    postgres_port: int = Field(5432, ge=1, le=65535)
    spark_port: int = Field(15002, ge=1, le=65535)
    bind_host: str = "127.0.0.1"
    collector_port: int = Field(8290, ge=1, le=65535)
    api_port: int = Field(5001, ge=1, le=65535)
    dagster_port: int = Field(3000, ge=1, le=65535)
    spark_memory: str = "3g"
    spark_java_options: str = Field(default_factory=lambda: QUICK_START if (os.cpu_count() or 1) <= 2 else "")
    kafka_memory: str = "512m"

    track_token: str = "shop-streams-dev-token"
    body_limit_bytes: int = Field(1_048_576, ge=1024)

    topic_partitions: int = Field(2, ge=1)
    topic_replication: int = Field(3, ge=1)  # copies of a new topic, where the cluster has as many brokers
    max_offsets_per_trigger: int = Field(3_000_000, ge=1)
    state_partitions: int = Field(2, ge=1)
    ingest_interval_seconds: int = Field(60, ge=1)
    promotion_interval_seconds: float = Field(0.1, ge=0)
    promotion_sweep_seconds: float = Field(30, gt=0)

    lease_seconds: float = Field(15, gt=2)
    beat_seconds: float = Field(2, gt=0)
    report_seconds: float = Field(60, ge=1)
    mart_refresh_seconds: float = Field(300, ge=0)
    mart_repair_seconds: float = Field(60, ge=0)
    dead_letter_days: int = Field(90, ge=1)
    history_days: int = Field(30, ge=1)
    lag_alarm_offsets: int = Field(1_000_000, ge=1)

    first_day: date = Field(date(2015, 1, 1), ge=date(1970, 1, 1))
    sales_window_anchor: Literal["hour", "first_event"] = "hour"

    @field_validator("home", "jars")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @property
    def kafka(self) -> str:
        """Bootstrap servers of the broker in use."""
        return self.kafka_bootstrap_servers or f"127.0.0.1:{self.kafka_port}"

    @property
    def postgres(self) -> str:
        """libpq connection URI of the database in use."""
        return self.postgres_dsn or f"postgresql://postgres@127.0.0.1:{self.postgres_port}/postgres"

    @property
    def spark(self) -> str:
        """Spark Connect address in use."""
        return self.spark_remote or f"sc://127.0.0.1:{self.spark_port}"

    @property
    def spark_address(self) -> tuple[str, int]:
        """Host and port behind `spark`, for a TCP probe."""
        parsed = urlparse(self.spark)
        return parsed.hostname or "127.0.0.1", parsed.port or 15002

    @property
    def lake(self) -> str:
        """Root of the lake, without a last slash: a folder or an object store's URI."""
        return (self.lake_uri or str(self.home / "lake")).rstrip("/")

    @property
    def checkpoints(self) -> str:
        """Root of the streams' checkpoints: beside the lake's tables, so that both live and die together."""
        return f"{self.lake}/_checkpoints"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def embedded(self) -> dict[str, bool]:
        """Which of the three replaceable services this home starts by itself."""
        return {
            "kafka": not self.kafka_bootstrap_servers,
            "postgres": not self.postgres_dsn,
            "spark": not self.spark_remote,
        }

    def environment(self) -> dict[str, str]:
        """The settings as environment variables, for the services' processes."""
        return {f"SHOP_STREAMS_{name.upper()}": str(value) for name, value in self.model_dump(mode="json").items()}


def get_settings() -> Settings:
    """Read the settings: real environment first, then `.env` in this folder, then the running stack's own."""
    home = Path(os.environ.get("SHOP_STREAMS_HOME", ".shop_streams")).expanduser()
    return Settings(_env_file=(home / "stack.env", ".env"))  # type: ignore[call-arg]


def process_environment(settings: Settings) -> dict[str, str]:
    """The whole environment for a service's process: this process's own, the settings, and Dagster's home."""
    return {
        **os.environ,
        **settings.environment(),
        "DAGSTER_HOME": str(settings.dagster_home),
        "SHOP_STREAMS_DAGSTER_POSTGRES": settings.postgres,
        "PYTHONUNBUFFERED": "1",
        SUPERVISED_MARK: str(settings.home),
    }
