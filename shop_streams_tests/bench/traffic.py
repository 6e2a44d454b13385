"""Topics full of events, the same for everybody."""

import random
import uuid
from collections.abc import Callable

from confluent_kafka import Producer
from rich.console import Console
from rich.progress import track

from shop_streams.kafka import offset_ranges
from shop_streams.settings import Settings
from shop_streams.topics import Topic, create_topics

DAY = 1_600_000_000_000 // 86_400_000 * 86_400_000
console = Console()


def fill(settings: Settings, topic: str, count: int, make: Callable[[random.Random], str]) -> None:
    """Write `count` records, the same for everybody, as fast as Kafka takes them; a topic that holds them stays as it is."""
    create_topics(settings, (Topic(topic, ""),))
    if sum(high - low for low, high in offset_ranges(settings.kafka, topic).values()) == count:
        return
    source = random.Random(7)
    config = {
        "bootstrap.servers": settings.kafka,
        "linger.ms": 50,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 1_000_000,
    }
    producer = Producer(config)
    for number in track(range(count), f"filling {topic}", console=console):
        while True:
            try:
                producer.produce(topic, make(source))
                break
            except BufferError:
                producer.poll(0.1)
        if number % 1000 == 0:
            producer.poll(0)
    producer.flush()


def app_event(source: random.Random) -> str:
    moment = f"2026-01-{source.randint(1, 3):02d}T{source.randint(0, 23):02d}:{source.randint(0, 59):02d}:07.123456Z"
    return (
        f'{{"event_id":"{uuid.UUID(int=source.getrandbits(128))}","event_time":"{moment}","user_id":{source.randint(1, 6)},'
        f'"app_name":"web_shop","event_category":"navigation","event_action":"scroll","event_value":{source.randint(0, 60)}}}'
    )


def shop_event(source: random.Random) -> str:
    uid = "null" if source.random() < 0.15 else f'"visitor-{source.randint(1, 2000)}"'
    return (
        f'{{"event_type":"{"buy" if source.random() < 0.06 else "view"}","category":"toys","item_id":"item-{source.randint(1, 300)}",'
        f'"item_price":{source.randint(1, 9999)},"uid":{uid},"timestamp":{DAY + source.randrange(86_400_000)}}}'
    )
