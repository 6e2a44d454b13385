"""Traffic goes to the stack that was meant, in a stream, and what goes wrong is said with the right next step."""

import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from shop_streams.cli import simulate
from shop_streams.cli.show import where_else
from shop_streams.defs.domains import STREAMS
from shop_streams.errors import ShopStreamsError
from shop_streams.local import supervision
from shop_streams.settings import Settings, get_settings
from shop_streams.simulate import promotions, sales
from shop_streams.streaming.spec import accounting_key, stream_key

DAY = datetime(2026, 7, 1, tzinfo=UTC)


pytestmark = pytest.mark.usefixtures("fresh_shell")


@pytest.mark.parametrize(
    ("domain", "name"),
    [("sales", "COLLECTOR_PORT"), ("app_events", "COLLECTOR_PORT"), ("promotions", "KAFKA_BOOTSTRAP_SERVERS")],
)
def test_a_home_whose_stack_is_not_up_sends_nothing_to_the_default_addresses(
    domain: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ShopStreamsError) as refused:
        simulate.simulate(domain, 1)
    said = str(refused.value)
    assert f"The stack of {tmp_path / 'home'} is not up" in said and f"SHOP_STREAMS_{name}" in said
    assert "`shop-streams up`" in said and "\n" not in said
    monkeypatch.setenv(f"SHOP_STREAMS_{name}", "4711")
    simulate.require_own_endpoint(domain, get_settings())  # an address that somebody named is meant
    monkeypatch.delenv(f"SHOP_STREAMS_{name}")
    monkeypatch.setattr(supervision, "is_up", lambda _settings: True)
    simulate.require_own_endpoint(domain, get_settings())


def test_a_beginning_that_would_have_no_effect_is_refused() -> None:
    with pytest.raises(ShopStreamsError, match="the collector gives each of these events its time"):
        simulate.simulate("app_events", 1, start=DAY)


class Refusing(BaseHTTPRequestHandler):
    """A collector that finds the event wrong."""

    def do_POST(self) -> None:
        self.send_response(422)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_an_event_that_the_collector_refuses_is_no_reason_to_look_for_the_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        monkeypatch.setenv("SHOP_STREAMS_COLLECTOR_PORT", str(collector.server_address[1]))
        with pytest.raises(ShopStreamsError, match="The collector answered 422 to ") as refused:
            simulate.simulate("sales", 5)
        collector.shutdown()
    assert "Is the collector up?" not in str(refused.value)


@pytest.mark.timeout(120)
def test_events_are_made_one_after_the_other() -> None:
    assert len(list(islice(sales.events(10**12, 1, DAY), 3))) == 3
    assert len(list(islice(promotions.campaigns(10**12, 1, DAY), 3))) == 3


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_a_day_of_the_shop_has_each_event_in_its_order_of_hours(count: int) -> None:
    made = list(sales.events(count, 1, DAY))
    hours = [(event["timestamp"] - int(DAY.timestamp() * 1000)) // 3_600_000 for event in made]
    assert len(made) == count and hours == sorted(hours) and set(hours) <= set(range(24))
    assert made == list(sales.events(count, 1, DAY)) != list(sales.events(count, 2, DAY))
    if count == 1000:
        assert len(set(hours)) == 24 and hours.count(20) > 3 * hours.count(4)


def test_a_slow_kafka_slows_the_campaigns_down(monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowProducer:
        waiting = most = 0

        def __len__(self) -> int:
            return self.waiting

        def produce(self, *_: Any, **_more: Any) -> None:
            self.waiting += 1
            self.most = max(self.most, self.waiting)

        def poll(self, seconds: float) -> None:
            self.waiting -= bool(seconds)

        def flush(self, _seconds: float) -> int:
            return 0

    slow = SlowProducer()
    monkeypatch.setattr(promotions, "subscribe", lambda *_: None)
    monkeypatch.setattr(promotions, "require_access", lambda *_: None)
    monkeypatch.setattr(promotions.kafka, "producer", lambda *_: slow)
    monkeypatch.setattr(promotions, "IN_FLIGHT", 10)
    assert promotions.send(Settings(), 50, 1, DAY) == 50 and slow.most == 10


def test_show_says_where_an_asset_is_that_is_no_table() -> None:
    said = where_else("postgres/subscribers_feedback", Settings())
    assert said is not None and "it is in PostgreSQL" in said and "/assets/postgres/subscribers_feedback" in said
    for key in (stream_key(STREAMS[0]), accounting_key(STREAMS[0].topic)):  # they are in Dagster alone
        found = where_else(key.to_user_string(), Settings())
        assert found is not None and "it is in" not in found
    assert where_else("sales/hourly_metrics", Settings()) is None, "a table that is not there yet"
    assert where_else("no/asset", Settings()) is None
