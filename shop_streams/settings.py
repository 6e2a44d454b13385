"""Typed settings, each an environment variable `SHOP_STREAMS_…`; the only reader of the environment.

The defaults fit the embedded stack. If an address is set (Kafka, PostgreSQL, Spark), the embedded service of that kind
is not started. A running stack writes its settings to `<home>/stack.env`, so another shell needs `SHOP_STREAMS_HOME` only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlparse

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from shop_streams import addresses
from shop_streams.environment import PREFIX, adapt, check_names, java_options
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka_settings import KAFKA_SECRETS, KafkaSettings

SECRET_SETTINGS = ("track_token", "postgres_dsn", "api_postgres_dsn", "spark_remote", *KAFKA_SECRETS)
API_ROLE, API_PASSFILE = "shop_streams_api", "postgres_api.pass"
REPOSITORY = Path(__file__).resolve().parent.parent


class Settings(KafkaSettings):
    """All settings. Ports are TCP ports on 127.0.0.1, durations are seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", validate_default=True)

    home: Annotated[Path, AfterValidator(addresses.absolute), AfterValidator(addresses.plain)] = Path(".shop_streams")
    jars: Annotated[Path, AfterValidator(addresses.absolute)] = REPOSITORY / ".jars"
    lake_uri: Annotated[str, AfterValidator(addresses.lake_address)] = ""

    postgres_dsn: Annotated[str, AfterValidator(addresses.postgres_address)] = ""
    api_postgres_dsn: Annotated[str, AfterValidator(addresses.postgres_address)] = ""  # of a user that may only read
    spark_remote: Annotated[str, AfterValidator(addresses.spark_address)] = ""

    postgres_port: int = Field(5432, ge=1, le=65535)
    spark_port: int = Field(15002, ge=1, le=65535)
    bind_host: str = "127.0.0.1"
    collector_port: int = Field(8290, ge=1, le=65535)
    api_port: int = Field(5001, ge=1, le=65535)
    dagster_port: int = Field(3000, ge=1, le=65535)
    spark_memory: Annotated[str, AfterValidator(addresses.memory)] = "3g"
    spark_java_options: str = Field(default_factory=java_options)

    track_token: str = "shop-streams-dev-token"
    body_limit_bytes: int = Field(1_048_576, ge=1024)
    collector_workers: int = Field(1, ge=1)
    collector_peer_connections: int = Field(512, ge=1)  # of one client address, for each worker; a proxy needs more

    click_event_time: Literal["received", "client"] = "received"  # `client`: the browser's clock, where it is plausible
    click_hosts: Annotated[str, AfterValidator(addresses.hosts)] = (
        ""  # hosts of the shops, separated by commas; empty: all
    )
    # Origins of pages that may read the answers (CORS), such as https://shop.example
    click_origins: Annotated[str, AfterValidator(addresses.origins)] = ""
    click_rate: int = Field(50, ge=1)  # clicks a second from one address, ten times as many at once
    # Addresses and networks whose X-Forwarded-For is believed.
    click_proxies: Annotated[str, AfterValidator(addresses.networks)] = ""
    click_honor_dnt: bool = False  # drop the clicks of browsers that send Do-Not-Track or Global Privacy Control
    click_keep_addresses: bool = False  # store the address of the browser
    click_interval_seconds: float = Field(10, ge=0)
    # The path of an item's page begins with it; one segment follows, the item's id.
    item_path: Annotated[str, AfterValidator(addresses.page_path)] = "/katalog/item/"
    session_hours: int = Field(24, ge=1, le=168)  # a session's earlier clicks are searched for so long
    demo_shop: bool = False  # also serve the demo's shop; `demo` sets it for a stack that it starts
    demo_shop_port: int = Field(8291, ge=1, le=65535)
    api_connections: int = Field(6, ge=1, le=100)  # to PostgreSQL, for the items; health and streams have two more
    api_query_seconds: float = Field(10, gt=0, le=600)

    topic_partitions: int = Field(2, ge=1)
    topic_replication: int = Field(3, ge=1)  # copies of a new topic, at most the number of brokers
    max_offsets_per_trigger: int = Field(3_000_000, ge=1)
    state_partitions: int = Field(2, ge=1)
    ingest_interval_seconds: int = Field(60, ge=1)
    promotion_interval_seconds: float = Field(0.1, ge=0)
    promotion_sweep_seconds: float = Field(30, gt=0)

    lease_seconds: float = Field(15, gt=2)
    stall_seconds: float = 600  # a stream fails if records wait and no batch commits for so long
    beat_seconds: float = Field(2, gt=0)
    report_seconds: float = Field(60, ge=1)
    # A stream's run ends after so long, and the next one continues: a run's page shows a day of reports. 0: it never ends.
    run_hours: float = Field(24, ge=0)
    restart_unhealthy_seconds: float = Field(180, ge=1)
    mart_refresh_seconds: float = Field(300, ge=0)
    mart_repair_seconds: float = Field(60, ge=0)
    dead_letter_days: int = Field(90, ge=1)
    history_days: int = Field(30, ge=1)  # runs in Dagster, except those with newest materializations
    lag_alarm_seconds: float = Field(300, gt=0)
    lag_alarm_offsets: int = Field(0, ge=0)  # a second limit; 0 means none
    first_day: date = Field(date(2015, 1, 1), ge=date(1970, 1, 1))
    sales_window_anchor: Literal["hour", "first_event"] = "hour"
    # Community's landing folder and its file of cities; by default in the lake.
    community_raw_uri: Annotated[str, AfterValidator(addresses.folder_address)] = ""
    community_geo_uri: Annotated[str, AfterValidator(addresses.folder_address)] = ""
    # The number of dates that a mart of community reads; `full` or 0 for all.
    community_depth_days: Annotated[int, BeforeValidator(addresses.depth_days)] = 30

    @field_validator("home", "jars", mode="before")
    @classmethod
    def _given(cls, value: Any, info: ValidationInfo) -> Any:
        return value if str(value).strip() else cls.model_fields[str(info.field_name)].default  # empty is the default

    @field_validator("stall_seconds")
    @classmethod
    def _longer_than_a_lease(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("lease_seconds", 0):
            raise ValueError("must be more than SHOP_STREAMS_LEASE_SECONDS")
        return value

    @property
    def local_host(self) -> str:
        """The host of the collector, the API and the demo's shop for clients on this machine, as in a URL."""
        if self.bind_host in ("0.0.0.0", "::", "localhost"):
            return "127.0.0.1"
        return f"[{self.bind_host}]" if ":" in self.bind_host else self.bind_host

    @property
    def collector_url(self) -> str:
        return f"http://{self.local_host}:{self.collector_port}"

    @property
    def api_url(self) -> str:
        return f"http://{self.local_host}:{self.api_port}"

    @property
    def demo_shop_url(self) -> str:
        return f"http://{self.local_host}:{self.demo_shop_port}"

    @property
    def dagster_url(self) -> str:
        return f"http://127.0.0.1:{self.dagster_port}"

    @property
    def postgres(self) -> str:
        """libpq connection URI of the database in use. For the embedded one it has no secret: libpq reads it from a file."""
        passfile = quote(str(self.postgres_passfile), safe="")
        return self.postgres_dsn or f"postgresql://postgres@127.0.0.1:{self.postgres_port}/postgres?passfile={passfile}"

    @property
    def api_postgres(self) -> str:
        """As `postgres`, for the API: in the embedded database it is `API_ROLE`, which may only read."""
        embedded = f"{API_ROLE}@127.0.0.1:{self.postgres_port}/postgres?passfile={quote(str(self.home / API_PASSFILE), safe='')}"
        return self.api_postgres_dsn or self.postgres_dsn or f"postgresql://{embedded}"

    @property
    def postgres_passfile(self) -> Path:
        """libpq's password file with the embedded database's secret."""
        return self.home / "postgres.pass"

    @property
    def spark(self) -> str:
        """Spark Connect address in use. Without TLS, its client sends a token only to the name `localhost`."""
        return self.spark_remote or f"sc://localhost:{self.spark_port}"

    @property
    def spark_token_file(self) -> Path:
        """The file with the embedded server's token."""
        return self.home / "spark.token"

    @property
    def spark_with_token(self) -> str:
        """`spark` with the embedded server's token. Never print it."""
        if not self.embedded["spark"] or not self.spark_token_file.exists():
            return self.spark
        return f"{self.spark}/;token={self.spark_token_file.read_text().strip()}"

    @property
    def spark_address(self) -> tuple[str, int]:
        """Host and port behind `spark`, for a TCP probe."""
        parsed = urlparse(self.spark)
        return parsed.hostname or "127.0.0.1", parsed.port or 15002

    @property
    def lake(self) -> str:
        """The folder of the lake, without a trailing slash."""
        return (self.lake_uri or str(self.home / "lake")).rstrip("/")

    @property
    def community_raw(self) -> str:
        return self.community_raw_uri or f"{self.lake}/community/raw"

    @property
    def community_geo(self) -> str:
        return self.community_geo_uri or f"{self.lake}/community/geo.csv"

    @property
    def checkpoints(self) -> str:
        """Root of the streams' checkpoints, in the lake, so that tables and checkpoints are moved and deleted together."""
        return f"{self.lake}/_checkpoints"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def embedded(self) -> dict[str, bool]:
        """For each of the three replaceable services, whether this home starts it."""
        return {
            "kafka": not self.kafka_bootstrap_servers,
            "postgres": not self.postgres_dsn,
            "spark": not self.spark_remote,
        }

    def environment(self) -> dict[str, str]:
        """The settings as environment variables, for the services' processes."""
        values = self.model_dump(mode="json") | self._revealed()
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items()}

    def _revealed(self) -> dict[str, str]:
        return {name: one.get_secret_value() for name, one in self if isinstance(one, SecretStr)}


def get_settings() -> Settings:
    """Read the settings. Precedence: environment, `.env` in this folder, `<home>/stack.env`, `<home>/home.env`.

    Also changes this process's environment (`environment.adapt`).

    Raises:
        ShopStreamsError: a name is no setting, or a value is invalid; one line for all problems.
    """
    written = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    check_names([*os.environ, *written], Settings.model_fields)
    home = Path(os.environ.get(f"{PREFIX}HOME") or written.get(f"{PREFIX}HOME") or ".shop_streams").expanduser()
    try:
        # `extra="ignore"`: a stack.env of an earlier version may have settings that no longer exist.
        settings = Settings(_env_file=(home / "home.env", home / "stack.env", ".env"))
    except ValidationError as error:
        raise ShopStreamsError(" ".join(_problem(problem) for problem in error.errors())) from None
    adapt(os.environ, settings)
    time.tzset()
    return settings


def _problem(error: Mapping[str, Any]) -> str:
    """One line for an error of pydantic; without the value if it may be a secret."""
    field = str(error["loc"][0]) if error["loc"] else "settings"
    message = str(error["msg"]).removeprefix("Value error, ")
    value = "" if field in SECRET_SETTINGS else f"={str(error['input'])!r}"
    return f"{PREFIX}{field.upper()}{value}: {message[:1].lower()}{message[1:]}. Correct or unset it."
