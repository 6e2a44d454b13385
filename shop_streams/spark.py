"""The Spark Connect session, for the command line and as a Dagster resource."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import PrivateAttr
from pyspark.sql import SparkSession

from shop_streams.settings import Settings, get_settings

CALL_RETRIES = 4  # after 0.05, 0.2, 0.8 and 3.2 s
STOP_TIMEOUT = "10s"
REDACTED = "(?i)url|jaas|keystore|password|secret|token"


def open_session(settings: Settings) -> SparkSession:
    """A session on the server in the settings.

    It sets the options that a stateful query's checkpoint depends on, because a foreign server may have others.
    """
    # pyspark's client imports pandas, so it is not imported at the top.
    from pyspark.sql.connect.client.retries import DefaultPolicy

    session: SparkSession = LazyPySparkResource(
        spark_config={
            "spark.remote": settings.spark_with_token,
            "spark.sql.session.timeZone": "UTC",
            # Spark's plans and messages then have no login at Kafka, on a foreign server too. Its own pattern is `(?i)url`.
            "spark.sql.redaction.options.regex": REDACTED,
            "spark.sql.shuffle.partitions": str(settings.state_partitions),
            # By default, `stop` waits without limit for the interrupted batch.
            "spark.sql.streaming.stopTimeout": STOP_TIMEOUT,
            "spark.sql.streaming.stateStore.providerClass": (
                "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
            ),
        }
    ).spark_session
    # By default, a call is repeated for 10 minutes when the server is dead.
    session.client.set_retry_policies([DefaultPolicy(max_retries=CALL_RETRIES)])
    return session


class SparkConnect(dg.ConfigurableResource):
    """The Spark session, opened at the first use."""

    _session: Any = PrivateAttr(default=None)

    @property
    def spark_session(self) -> SparkSession:
        """The session; the first access connects."""
        if self._session is None:
            self._session = open_session(get_settings())
        return self._session
