"""A domain is a folder of defs/ and one line in defs/domains.py: what the rest of the project knows of it is this."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from shop_streams.lake.table import Table
from shop_streams.marts.factory import build_mart
from shop_streams.marts.spec import Mart
from shop_streams.streaming.factory import build_stream, topic_asset
from shop_streams.streaming.spec import StreamSpec
from shop_streams.topics import Topic


@dataclass(frozen=True)
class Domain:
    """What one part of the shop's data is made of.

    Attributes:
        name: also the group of its assets, and the first part of its tables' paths.
        owners: as Dagster shows them, `team:…` or a mail address.
        more_topics: topics that no stream reads or fills.
        more_assets: what the lineage shows beside topics, streams, tables and marts.
    """

    name: str
    owners: tuple[str, ...]
    streams: tuple[StreamSpec, ...]
    marts: tuple[Mart, ...] = ()
    more_topics: tuple[Topic, ...] = ()
    more_assets: tuple[dg.AssetSpec, ...] = ()

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Its topics, each once: those that its streams read, those that they fill, and more."""
        read = [stream.topic for stream in self.streams]
        filled = [stream.sink.output_topic for stream in self.streams if stream.sink.table is None]
        return tuple({topic.name: topic for topic in (*read, *filled, *self.more_topics)}.values())

    @property
    def lake_streams(self) -> tuple[StreamSpec, ...]:
        """Its streams that fill a table."""
        return tuple(stream for stream in self.streams if stream.sink.table is not None)

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its tables in the lake, streamed ones first."""
        streamed = [stream.sink.table for stream in self.lake_streams if stream.sink.table is not None]
        return (*streamed, *(mart.table for mart in self.marts))

    def definitions(self) -> dg.Definitions:
        """All that Dagster shows of it but for the checks of its checks.py, which Dagster finds there."""
        sources = {stream.topic.name: stream.topic for stream in self.streams}.values()
        return dg.Definitions.merge(
            dg.Definitions(
                assets=[*[topic_asset(topic, self.name, self.owners) for topic in sources], *self.more_assets]
            ),
            *[build_stream(stream, self.owners) for stream in self.streams],
            *[build_mart(mart, self.owners) for mart in self.marts],
        )
