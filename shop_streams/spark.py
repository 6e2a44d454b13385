"""The Spark Connect session, as a Dagster resource and for the command line."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster_pyspark import LazyPySparkResource
from pydantic import PrivateAttr
from pyspark.sql import SparkSession

from shop_streams.settings import Settings, get_settings


def open_session(settings: Settings) -> SparkSession:
    """A session on the server that the settings name.

    What a stateful query's checkpoint depends on is set here too, so that it is right on a foreign server.
    """
    return LazyPySparkResource(
        spark_config={
            "spark.remote": settings.spark,
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": str(settings.state_partitions),
            "spark.sql.streaming.stateStore.providerClass": (
                "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
            ),
        }
    ).spark_session


class SparkConnect(dg.ConfigurableResource):
    """dagster-pyspark's session on the address of the settings, opened when it is first used."""

    _session: Any = PrivateAttr(default=None)

    @property
    def spark_session(self) -> SparkSession:
        """The session; the first call connects."""
        if self._session is None:
            self._session = open_session(get_settings())
        return self._session
