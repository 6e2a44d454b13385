"""A domain: a folder of defs/ and one line in defs/domains.py. `Domain` is all that the rest of the project uses of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from shop_streams.lake.table import Table
from shop_streams.marts.factory import build_mart
from shop_streams.marts.spec import Mart
from shop_streams.streaming.factory import build_stream, topic_asset
from shop_streams.streaming.persons import NOBODY, Persons
from shop_streams.streaming.spec import StreamSpec
from shop_streams.topics import Topic


@dataclass(frozen=True)
class Domain:
    """The streams, marts, topics and tables of one domain.

    Attributes:
        name: the group of its assets, and the first part of its tables' paths.
        owners: as Dagster shows them, `team:…` or a mail address.
        more_topics: topics that no stream of the domain reads or fills.
        more_assets: further assets for the lineage, beside topics, streams, tables and marts.
        persons: where it has rows of people, for `forget-user`.
        create_shop_tables: creates the shop's own tables behind a DSN, for a PostgreSQL that no shop uses yet.
    """

    name: str
    owners: tuple[str, ...]
    streams: tuple[StreamSpec, ...]
    marts: tuple[Mart, ...] = ()
    more_topics: tuple[Topic, ...] = ()
    more_assets: tuple[dg.AssetSpec, ...] = ()
    persons: Persons = NOBODY
    create_shop_tables: Callable[[str], None] = lambda _dsn: None

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Topics that its streams read, topics that they fill, and `more_topics`; each once."""
        read = [stream.topic for stream in self.streams]
        filled = [topic for stream in self.streams if (topic := stream.sink.output_topic)]
        return tuple({topic.name: topic for topic in (*read, *filled, *self.more_topics)}.values())

    @property
    def lake_streams(self) -> tuple[StreamSpec, ...]:
        """Streams that fill a table."""
        return tuple(stream for stream in self.streams if stream.sink.table is not None)

    @property
    def tables(self) -> tuple[Table, ...]:
        """Tables in the lake, streamed tables first."""
        streamed = [table for stream in self.streams if (table := stream.sink.table)]
        return (*streamed, *(mart.table for mart in self.marts))

    def definitions(self) -> dg.Definitions:
        """The domain's definitions, without the checks of its checks.py: Dagster loads those from the file."""
        sources = {stream.topic.name: stream.topic for stream in self.streams}.values()
        return dg.Definitions.merge(
            dg.Definitions(
                assets=[*[topic_asset(topic, self.name, self.owners) for topic in sources], *self.more_assets]
            ),
            *[build_stream(stream, self.owners) for stream in self.streams],
            *[build_mart(mart, self.owners) for mart in self.marts],
        )
