"""The rate of an address, and whose address it is."""

from typing import Any

import pytest

from shop_streams.collector.peers import Peers, RateLimit
from shop_streams_tests.collector.clients import Client, Headers, query


@pytest.mark.parametrize("path", ["/csc-event", "/event"])
def test_an_address_has_a_rate(path: str) -> None:
    client = Client(click_rate=2)

    def send(address: str) -> Any:
        if path == "/event":
            return client.ask("POST", path, client=address)
        return client.ask(path=path, query=query(), client=address)

    answers = [send(f"203.0.113.7:{port}") for port in range(25)]
    assert [answer.status == 429 for answer in answers] == [False] * 20 + [True] * 5
    assert int(answers[-1].headers["retry-after"]) > 0
    assert send("203.0.113.8:1").status != 429
    assert {send("127.0.0.1:1").status == 429 for _ in range(25)} == {False}, "this machine has no limit"


def test_a_bucket_fills_again_and_the_number_of_addresses_is_bounded() -> None:
    now = [1_000_000.0]
    limit = RateLimit(50, 500, addresses=1_000, clock=lambda: now[0])
    assert [limit.take("a") for _ in range(501)] == [True] * 500 + [False]
    now[0] += 0.1
    assert [limit.take("a") for _ in range(6)] == [True] * 5 + [False]
    now[0] += 3_600
    assert [limit.take("a") for _ in range(501)] == [True] * 500 + [False]
    for number in range(5_000):
        limit.take(f"other-{number}")
    assert len(limit) == 1_000


@pytest.mark.parametrize(
    ("client", "forwarded", "address", "this_machine"),
    [
        ("203.0.113.7:5", None, "203.0.113.7", False),
        ("203.0.113.7:5", "198.51.100.1", "203.0.113.7", False),  # it is no proxy of ours
        ("10.0.0.1:5", "198.51.100.1", "198.51.100.1", False),
        ("10.0.0.1:5", "6.6.6.6, 198.51.100.1", "198.51.100.1", False),
        ("10.0.0.1:5", "6.6.6.6\n198.51.100.1", "198.51.100.1", False),  # two headers
        ("10.0.0.1:5", "6.6.6.6, 198.51.100.1, 10.9.9.9", "198.51.100.1", False),
        ("10.0.0.1:5", "198.51.100.1:4711", "198.51.100.1", False),
        ("10.0.0.1:5", "[2001:db8::1]:4711", "2001:db8::1", False),
        ("10.0.0.1:5", "2001:db8::1", "2001:db8::1", False),
        ("10.0.0.1:5", "6.6.6.6, unknown", "10.0.0.1", False),
        ("10.0.0.1:5", "x" * 10_000, "10.0.0.1", False),
        ("10.0.0.1:5", "", "10.0.0.1", False),
        ("10.0.0.1:5", "127.0.0.1", "127.0.0.1", False),  # somebody else's loopback
        ("[::ffff:10.0.0.1]:5", "198.51.100.1", "198.51.100.1", False),
        ("[2001:db8:5::7]:5", None, "2001:db8:5::7", False),
        ("127.0.0.1:5", None, "127.0.0.1", True),
        ("127.0.0.1:5", "198.51.100.1", "127.0.0.1", True),
        ("[::1]:5", None, "::1", True),
        ("192.0.2.1:5", "198.51.100.1", "198.51.100.1", False),
        ("192.0.2.1:5", None, "192.0.2.1", False),
    ],
)
def test_the_true_sender(client: str, forwarded: str | None, address: str, this_machine: bool) -> None:
    scope: Any = type("Scope", (), {})()
    scope.client, scope.headers = client, Headers({} if forwarded is None else {"x-forwarded-for": forwarded})
    peer, is_this_machine = Peers("10.0.0.0/8, 192.0.2.1").of(scope)
    assert (peer.address, is_this_machine) == (address, this_machine)


def test_a_proxy_on_this_machine_is_no_exemption() -> None:
    client = Client(click_rate=1, click_proxies="127.0.0.1")

    def statuses(headers: dict[str, str]) -> set[int]:
        return {client.ask(query="", headers=headers, client="127.0.0.1:1").status for _ in range(15)}

    assert statuses({"x-forwarded-for": "198.51.100.1"}) == {200, 429}
    assert statuses({"x-forwarded-for": "198.51.100.2"}) == {200, 429}
    assert statuses({}) == {200}


def test_addresses_of_one_customers_network_share_a_limit() -> None:
    client = Client(click_rate=1)
    statuses = [client.ask(query="", client=f"[2001:db8:0:1::{number:x}]:1").status for number in range(1, 13)]
    assert statuses == [200] * 10 + [429] * 2
    assert client.ask(query="", client="[2001:db8:0:2::1]:1").status == 200


def test_a_long_hop_is_not_remembered() -> None:
    peers = Peers("10.0.0.1")
    scope: Any = type("Scope", (), {})()
    for number in range(20):
        scope.client, scope.headers = "10.0.0.1:5", Headers({"x-forwarded-for": f"{number}{'x' * 60_000}"})
        assert peers.of(scope)[0].address == "10.0.0.1"
    assert peers._read.cache_info().currsize == 1


def test_a_proxy_on_this_machine_that_no_setting_names_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(click_rate=1)
    for _ in range(3):
        client.ask(query="", client="127.0.0.1:1")
    assert caplog.messages == []
    for _ in range(3):
        client.ask(query="", headers={"x-forwarded-for": "198.51.100.1"}, client="127.0.0.1:1")
    (said,) = caplog.messages
    assert "127.0.0.1" in said and "SHOP_STREAMS_CLICK_PROXIES" in said
