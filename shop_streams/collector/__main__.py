"""The collector's process."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

from confluent_kafka import KafkaException
from granian.constants import Interfaces

from shop_streams.collector.access import require_token
from shop_streams.collector.app import Collector
from shop_streams.collector.durable import DurableProducer
from shop_streams.collector.models import endpoints
from shop_streams.collector.workers import WORKER, end_with_parent, run_workers
from shop_streams.defs.clickstream.schema import CLICKS_TOPIC
from shop_streams.errors import in_one_line
from shop_streams.kafka_access import require_access
from shop_streams.serve import serve
from shop_streams.settings import get_settings

KAFKA_SECONDS = 2.0


def main() -> int:
    """Serve until SIGTERM; returns the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    settings = get_settings()
    require_token(settings)
    if WORKER in sys.argv[1:]:
        end_with_parent()
    elif settings.collector_workers > 1:
        return run_workers(settings.collector_workers)
    topics = [*(one.topic.name for one in endpoints(settings.first_day)), CLICKS_TOPIC.name]
    with suppress(KafkaException):  # without a broker, the collector starts and answers 503
        require_access(settings.kafka, topics, ("Write", "Describe"), KAFKA_SECONDS)
    producer = DurableProducer(settings.kafka, topics)
    serve(
        Collector(settings, producer), settings.bind_host, settings.collector_port, interface=Interfaces.RSGI,
        lifespan=producer, peer_connections=settings.collector_peer_connections,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
