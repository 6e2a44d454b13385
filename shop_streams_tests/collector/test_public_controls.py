"""The controls of the public endpoints, each with a test that fails without it. Bytes and depths are in test_public and test_mincode."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.cluster import Cluster
from shop_streams.collector.durable import DurableProducer, NotDurable
from shop_streams.defs.clickstream.items import item_page
from shop_streams.defs.clickstream.schema import MAX_ITEM_ID
from shop_streams.errors import ShopStreamsError
from shop_streams.settings import get_settings
from shop_streams_tests.collector.clients import EVENT, Client, query
from shop_streams_tests.harness import free_ports

BODY = json.dumps(EVENT).encode()
SHOP = "https://shop.example"


@pytest.mark.parametrize(
    ("location", "outcome"),
    [
        ("https://shop.example/", "recorded"),
        ("http://SHOP.example:80/katalog/item/1/", "recorded"),
        ("https://shop.example:443", "recorded"),
        ("https://user@shop.example/", "recorded"),
        ("http://other.example:8080/", "recorded"),
        (None, "recorded"),  # it counts for no item
        ("https://shop.example:8443/", "dropped: host"),
        ("https://shop.example.evil.example/", "dropped: host"),
        ("https://shop.example@evil.example/", "dropped: host"),
        ("https://evil.example\\katalog\\item\\x\\@shop.example/..", "dropped: host"),
        ("https://evil.example/?shop.example", "dropped: host"),
        ("https://other.example/", "dropped: host"),
        ("http://[", "dropped: host"),
        ("about:blank", "dropped: host"),
        ("shop.example", "dropped: host"),
    ],
)
def test_only_clicks_of_our_shops_are_recorded(location: str | None, outcome: str) -> None:
    client = Client(click_hosts="Shop.example, other.example:8080")
    assert client.ask(query=query(l=location)).status == 200
    assert client.clicks() == {outcome: 1} and len(client.producer.sent) == (outcome == "recorded")


@given(
    st.lists(st.sampled_from(["https:", "//", "/", "\\", "@", ":", "?", "#", "443", "shop.example", "evil.example"]))
)
def test_no_click_that_passes_counts_for_another_shop(parts: list[str]) -> None:
    location = "".join(parts)
    client = Client(click_hosts="shop.example")
    client.ask(query=query(l=location))
    if client.producer.sent and location:
        assert item_page(location, "/katalog/item/")[0] in ("shop.example", None)


@pytest.mark.parametrize(
    ("location", "outcome"),
    [
        (f"{SHOP}/katalog/item/{'x' * MAX_ITEM_ID}/", "recorded"),
        (f"{SHOP}/katalog/item/{'%41' * MAX_ITEM_ID}/", "recorded"),
        (f"{SHOP}/katalog/item/{'x' * (MAX_ITEM_ID + 1)}/", "dropped: item_id"),
        (f"{SHOP}//katalog//item/{'x' * (MAX_ITEM_ID + 1)}", "dropped: item_id"),
        (f"{SHOP}/katalog/item/{'%41' * (MAX_ITEM_ID + 1)}/", "dropped: item_id"),
        (f"{SHOP}/katalog/item/1/?{'x' * 2_000}", "recorded"),
        (f"{SHOP}/katalog/{'x' * 2_000}/", "recorded"),
        (f"https://{'x' * 300}/katalog/item/1/", "dropped: host"),
    ],
)
def test_an_items_id_and_a_host_have_a_length(location: str, outcome: str) -> None:
    client = Client()
    client.ask(query=query(l=location))
    assert client.clicks() == {outcome: 1}


ORIGINS = "https://shop.example,http://localhost:8291"


@pytest.mark.parametrize(
    ("origin", "listed"),
    [
        ("https://shop.example", True),
        ("http://localhost:8291", True),
        ("http://shop.example", False),
        ("https://shop.example.evil.example", False),
        ("https://evil.example", False),
        ("null", False),
    ],
)
def test_answers_are_read_by_pages_of_listed_origins_alone(origin: str, listed: bool) -> None:
    client = Client(click_origins=ORIGINS)
    ask = {"origin": origin}
    allowed = origin if listed else None
    preflight = client.ask("OPTIONS", "/event", headers={**ask, "access-control-request-method": "POST"})
    assert preflight.status == (204 if listed else 403)
    assert preflight.headers.get("access-control-allow-origin") == allowed
    assert (preflight.headers.get("access-control-allow-methods") == "POST") is listed
    for answer in (
        client.ask(query=query(), headers=ask),
        client.post(BODY, origin=origin),
        client.post(b"", origin=origin),
    ):
        assert answer.headers.get("access-control-allow-origin") == allowed and answer.headers["vary"] == "origin"
    nobody = Client().ask("OPTIONS", "/event", headers={**ask, "access-control-request-method": "POST"})
    assert nobody.status == 403 and "access-control-allow-origin" not in nobody.headers


@pytest.mark.parametrize("headers", [{"dnt": "1"}, {"sec-gpc": "1"}])
def test_do_not_track_is_honored_by_a_setting(headers: dict[str, str]) -> None:
    for honored in (False, True):
        client = Client(click_honor_dnt=honored)
        assert client.ask(query=query(), headers=headers).status == 200
        assert client.post(BODY, **{name.replace("-", "_"): value for name, value in headers.items()}).status == 204
        assert client.clicks() == ({"dropped: do_not_track": 2} if honored else {"recorded": 2})
        assert len(client.producer.sent) == (0 if honored else 2)
        assert client.ask(query=query(), headers={"dnt": "0"}).status == 200 and client.clicks()["recorded"]


def test_an_address_is_stored_by_a_setting_alone(caplog: pytest.LogCaptureFixture) -> None:
    proxied = {"x-forwarded-for": "198.51.100.1"}
    client = Client(click_proxies="203.0.113.7", click_rate=1)
    client.ask(query=query(), headers=proxied)
    for _ in range(15):
        client.ask(query=query(), headers=proxied)
    assert "429" in caplog.text
    for trace in (repr(client.producer.sent), caplog.text, client.ask(path="/metrics").body.decode()):
        assert "198.51.100.1" not in trace and "203.0.113.7" not in trace
    client = Client(click_proxies="203.0.113.7", click_keep_addresses=True)
    client.ask(query=query(), headers=proxied)
    [(_, _, _, headers)] = client.producer.sent
    assert headers["address"] == b"198.51.100.1"


def test_headers_of_every_public_answer(tmp_path: Path) -> None:
    client = Client(click_rate=1)
    answers = [
        client.ask(query=text, headers=headers) for text in ("", query()) for headers in ({}, {"if-none-match": "*"})
    ]
    answers += [client.post(BODY), client.post(b""), client.ask("HEAD"), client.ask("GET", "/event")]
    answers += [client.ask(query=query()) for _ in range(12)]
    assert {answer.status for answer in answers} == {200, 304, 204, 400, 405, 429}
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"


def test_memory_is_bounded_when_kafka_is_away() -> None:
    """Records that Kafka does not acknowledge are refused above a limit of records, and of bytes with their headers."""

    async def refused(count: int, header: bytes, **limits: int) -> list[str]:
        (nothing,) = free_ports(1)
        async with DurableProducer(Cluster(f"127.0.0.1:{nothing}"), ["online_store"], **limits) as producer:
            with pytest.raises(NotDurable, match="does not answer"):
                await producer.send("online_store", [(b"k", b"v")], [("referer", header)])
            producer._topics["online_store"]._failed = 0  # it is noticed a moment later only
            sending = [
                asyncio.create_task(producer.send("online_store", [(b"k", b"v")], [("referer", header)]))
                for _ in range(count)
            ]
            await asyncio.sleep(0.1)
            ended = [str(one.exception()) for one in sending if one.done()]
            for one in sending:
                one.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            producer._topics["online_store"]._producer.purge()
            return ended

    assert len(asyncio.run(refused(25, b"", queue_records=10))) == 15
    assert asyncio.run(refused(25, b"x" * 991, queue_bytes=10_000)) == ["Too much is in flight"] * 15


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CLICK_PROXIES", "10.0.0.1/8", "host bits set"),
        ("CLICK_PROXIES", "10.0.0.1, proxy", "'proxy' does not appear to be"),
        ("CLICK_ORIGINS", "*", "\\* is no origin"),
        ("CLICK_ORIGINS", "https://a.example,b.example", "b.example is no origin"),
        ("CLICK_ORIGINS", "https://a.example/", "is no origin"),
        ("CLICK_ORIGINS", "https://a.example:443", "is no origin"),
        ("CLICK_HOSTS", "https://a.example", "is no host"),
        ("CLICK_HOSTS", "*.example", "is no host"),
        ("CLICK_HOSTS", "shop.example:443", "without https://, a default port"),
        ("CLICK_RATE", "0", "greater than or equal"),
    ],
)
def test_a_wrong_setting_is_an_error_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_STREAMS_HOME", str(tmp_path))
    monkeypatch.setenv(f"SHOP_STREAMS_{name}", value)
    with pytest.raises(ShopStreamsError, match=f"SHOP_STREAMS_{name}.*{words}"):
        get_settings()
