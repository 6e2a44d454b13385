"""The Spark Connect session, as a Dagster resource and for the command line."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import PrivateAttr
from pyspark.sql import SparkSession

from shop_streams.settings import Settings, get_settings

CALL_RETRIES = 4  # after 0.05, 0.2, 0.8 and 3.2 s
STOP_TIMEOUT = "10s"


def open_session(settings: Settings) -> SparkSession:
    """A session on the server that the settings name.

    What a stateful query's checkpoint depends on is set here too, so that it is right on a foreign server.
    """
    from pyspark.sql.connect.client.retries import DefaultPolicy  # brings pandas; the graph is loaded without it

    session: SparkSession = LazyPySparkResource(
        spark_config={
            "spark.remote": settings.spark_with_token,
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": str(settings.state_partitions),
            # By default Spark waits without limit for a batch to be interrupted, and so never stops the worker that it waits for.
            "spark.sql.streaming.stopTimeout": STOP_TIMEOUT,
            "spark.sql.streaming.stateStore.providerClass": (
                "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
            ),
        }
    ).spark_session
    # The default keeps calling a server that died for 10 minutes; a call that waits for 5 s has told enough.
    session.client.set_retry_policies([DefaultPolicy(max_retries=CALL_RETRIES)])
    return session


class SparkConnect(dg.ConfigurableResource):
    """dagster-pyspark's session on the address of the settings, opened when it is first used."""

    _session: Any = PrivateAttr(default=None)

    @property
    def spark_session(self) -> SparkSession:
        """The session; the first call connects."""
        if self._session is None:
            self._session = open_session(get_settings())
        return self._session
