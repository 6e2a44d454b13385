"""The collector's baseline: the endpoint that one writes with FastAPI, which validates and awaits one delivery.

    python -m shop_streams_tests.bench.fastapi_endpoint SERVERS TOPIC PORT

The producer is the one of Confluent's own asyncio example: a thread polls, and hands each delivery to the loop.
"""

import asyncio
import sys
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import uvicorn
from confluent_kafka import Producer
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

TOKEN = "shop-streams-dev-token"


class Event(BaseModel):
    user_id: int = Field(ge=-(2**31), lt=2**31)
    app_name: str = Field(min_length=1)
    event_category: str = Field(min_length=1)
    event_action: str | None = None
    event_value: int | None = Field(None, ge=-(2**31), lt=2**31)
    event_id: uuid.UUID = Field(default_factory=uuid.uuid4)


class Stored(Event):
    event_time: datetime


class Acknowledged(BaseModel):
    detail: str
    event_id: uuid.UUID


def build(servers: str, topic: str) -> FastAPI:
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 2,
            "compression.type": "lz4",
        }
    )
    ended = threading.Event()

    def poll() -> None:
        while not ended.is_set():
            producer.poll(0.1)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        thread = threading.Thread(target=poll)
        thread.start()
        yield
        ended.set()
        thread.join()
        producer.flush(5)

    app = FastAPI(lifespan=lifespan)

    @app.post("/track")
    async def track(event: Event, x_token: str = Header()) -> Acknowledged:
        if x_token != TOKEN:
            raise HTTPException(401)
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[None] = loop.create_future()

        def on_delivery(error: object, _message: object) -> None:
            if error is None:
                loop.call_soon_threadsafe(delivered.set_result, None)
            else:
                loop.call_soon_threadsafe(delivered.set_exception, RuntimeError(str(error)))

        stored = Stored(**event.model_dump(), event_time=datetime.now(UTC))
        producer.produce(topic, stored.model_dump_json().encode(), str(event.user_id), on_delivery=on_delivery)
        await delivered
        return Acknowledged(detail="Event created", event_id=event.event_id)

    return app


if __name__ == "__main__":
    uvicorn.run(
        build(sys.argv[1], sys.argv[2]), port=int(sys.argv[3]), loop="uvloop", http="httptools", access_log=False,
        log_level="warning",
    )  # fmt: skip
