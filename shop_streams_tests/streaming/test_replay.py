"""Which letters a replay takes, what it says, and each letter once; Kafka is librdkafka's own mock broker."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from deltalake import write_deltalake

from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import offset_ranges, read_topic
from shop_streams.settings import Settings
from shop_streams.streaming import choice as choice_module
from shop_streams.streaming import drafts as drafts_module
from shop_streams.streaming import replay as replay_module
from shop_streams.streaming.choice import Choice, choose, find_chosen
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.drafts import Draft, State, origin_of
from shop_streams.streaming.replay import Result, replay
from shop_streams.streaming.replay_ledger import origin_chain
from shop_streams.topics import REPLAY_OF
from shop_streams_tests.harness import free_ports
from shop_streams_tests.streaming.letters import DOMAINS, find, letter, stored

LETTERS_BEFORE = pa.schema(
    {
        "domain": pa.string(), "topic": pa.string(), "kafka_partition": pa.int32(), "kafka_offset": pa.int64(),
        "raw": pa.binary(), "reason": pa.string(), "at": pa.timestamp("us", "UTC"),
    }
)  # fmt: skip
LETTERS = [letter(0), letter(1, reason="empty value"), letter(2, domain="promotions")]


@pytest.mark.parametrize(
    ("choice", "offsets"),
    [
        (Choice(), [0, 1, 2]),
        (Choice(domain="sales"), [0, 1]),
        (Choice(domain="app_events"), []),
        (Choice(reason="price"), [0, 2]),
        (Choice(domain="sales", reason="empty"), [1]),
        (Choice(origins=("topic_promotions:0:2", "topic_sales:0:0")), [0, 2]),
        (Choice(domain="sales", reason="price", origins=("topic_sales:0:0", "topic_sales:0:1")), [0]),
        (Choice(domain="app_events", reason="anything"), []),
    ],
)
def test_letters_are_chosen_by_domain_reason_and_origin(choice: Choice, offsets: list[int], tmp_path: Path) -> None:
    letters = stored(tmp_path, LETTERS)
    assert [one["kafka_offset"] for one in letters.read(choose(letters, choice, DOMAINS))] == offsets


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (Choice(domain="slaes"), ("'slaes'", "app_events, promotions, sales")),
        (Choice(reason="no such"), ("'no such'", "'item_price is missing' (2)", "'empty value' (1)")),
        (Choice(origins=("topic_sales:0:9",)), ("'topic_sales:0:9'", "list --all")),
        (Choice(domain="sales", origins=("topic_promotions:0:2",)), ("'topic_promotions:0:2'", "domain sales")),
        (Choice(origins=("nonsense",)), ("'nonsense'", "topic:partition:offset")),
    ],
)
def test_a_name_that_fits_nothing_is_an_error_that_tells_what_there_is(
    choice: Choice, told: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(ShopStreamsError) as caught:
        choose(stored(tmp_path, LETTERS), choice, DOMAINS)
    assert all(part in str(caught.value) for part in told), caught.value


def test_an_error_lists_a_limited_number_of_reasons(tmp_path: Path) -> None:
    letters = stored(tmp_path, [letter(n, reason=f"reason {n}") for n in range(1000)])
    with pytest.raises(ShopStreamsError) as caught:
        choose(letters, Choice(reason="none"), DOMAINS)
    assert len(str(caught.value)) < 1000 and "980 more" in str(caught.value)


@pytest.mark.parametrize(
    ("replay_of", "chain"),
    [({}, []), ({"t:0:9": "t:0:4"}, ["t:0:4"]), ({"t:0:9": "t:0:4", "t:0:4": "t:1:1", "t:5:5": "t:6:6"}, ["t:0:4", "t:1:1"])],
)  # fmt: skip
def test_a_letter_knows_where_it_came_from(replay_of: dict[str, str], chain: list[str]) -> None:
    assert origin_chain("t:0:9", replay_of) == chain


@dataclass
class MemoryLedger:
    """The ledger's questions and answers, without PostgreSQL: origin -> [sent, marks, origin of the record]."""

    rows: dict[str, list[Any]] = field(default_factory=dict)

    def lock(self) -> None:
        return None

    def sent(self) -> set[str]:
        return {origin for origin, (sent, _, _) in self.rows.items() if sent}

    def replay_of(self) -> dict[str, str]:
        return {landed: origin for origin, (_, _, landed) in self.rows.items() if landed}

    def begun(self) -> dict[str, dict[int, int]]:
        return {origin: dict(marks) for origin, (sent, marks, _) in self.rows.items() if not sent}

    def begin(self, origin: str, marks: Mapping[int, int]) -> None:
        self.rows.setdefault(origin, [False, marks, None])[1] = marks

    def mark_sent(self, origin: str, landed: str) -> None:
        self.rows[origin] = [True, self.rows[origin][1], landed]


@pytest.fixture
def settings() -> Iterator[Settings]:
    broker = Producer(
        {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0}
    )  # lives as long as this
    [node] = broker.list_topics(timeout=20).brokers.values()
    broker.list_topics("topic_sales", timeout=20)  # a producer's question creates the topic there
    yield Settings(kafka_bootstrap_servers=f"{node.host}:{node.port}")


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> MemoryLedger:
    ledger = MemoryLedger()

    @contextmanager
    def opened(_settings: Settings) -> Iterator[MemoryLedger]:
        yield ledger

    for module in (replay_module, choice_module):
        monkeypatch.setattr(module, "open_ledger", opened)
    return ledger


def draft(offset: int, after: bytes | None = b"mended", **more: Any) -> Draft:
    return Draft(letter(offset), b"before", after, **more)


def topic_holds(settings: Settings) -> list[tuple[bytes, bytes]]:
    """Value and origin of each record."""
    records = read_topic(settings.kafka, "topic_sales")
    return sorted((record.value, record.headers[REPLAY_OF]) for record in records)  # type: ignore[misc]


def states(results: Iterator[Result]) -> dict[int, State]:
    return {result.draft.letter["kafka_offset"]: result.state for result in results}


def test_a_replay_sends_each_good_letter_once_and_knows_its_new_origin(
    settings: Settings, ledger: MemoryLedger
) -> None:
    drafts = [draft(0), draft(1, refused="bad"), draft(2, None, failed="no"), draft(3, None, refused="empty value")]
    expected = {0: State.SENT, 1: State.REFUSED, 2: State.FIX_FAILED, 3: State.REFUSED}
    assert states(replay(drafts, settings)) == expected
    assert topic_holds(settings) == [(b"mended", b"topic_sales:0:0")]
    assert states(replay(drafts, settings)) == expected | {0: State.ALREADY}
    assert states(replay(drafts, settings, send_refused=True)) == {
        0: State.ALREADY, 1: State.SENT, 2: State.FIX_FAILED, 3: State.SENT,
    }  # fmt: skip
    assert [origin for _, origin in topic_holds(settings)] == [
        b"topic_sales:0:3",
        b"topic_sales:0:0",
        b"topic_sales:0:1",
    ]
    records = read_topic(settings.kafka, "topic_sales")
    lies = {f"topic_sales:{record.partition}:{record.offset}": record.headers[REPLAY_OF] for record in records}
    assert {landed: origin.encode() for landed, origin in ledger.replay_of().items()} == lies


def test_a_replayed_record_keeps_its_key_and_headers(settings: Settings, ledger: MemoryLedger) -> None:
    headers = [{"key": "event_id", "value": b"e1"}, {"key": "via_collector", "value": b""}]
    [result] = replay([Draft(letter(0, key=b"0:a:b", headers=headers), b"before", b"mended")], settings)
    [record] = read_topic(settings.kafka, "topic_sales")
    assert result.state is State.SENT and (record.key, record.value) == (b"0:a:b", b"mended")
    assert record.headers == {"event_id": b"e1", REPLAY_OF: b"topic_sales:0:0"}, "the collector took no other record"


def test_letters_of_a_table_of_an_earlier_version_have_neither_key_nor_headers(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert find(settings) == []
    old = {name: value for name, value in letter(7).items() if name not in ("key", "headers")}
    rows = pa.Table.from_pylist([old]).cast(LETTERS_BEFORE)
    write_deltalake(DEAD_LETTERS.uri(settings), rows, partition_by=["domain"])
    [found] = find(settings, "sales")
    assert found == old | dict.fromkeys(("key", "headers", "file", "line"))


def test_a_letter_that_was_refused_again_can_start_from_its_first_value(
    settings: Settings, ledger: MemoryLedger, tmp_path: Path
) -> None:
    first = letter(99, b"first value")
    [_] = replay([Draft(first, first["raw"], b"", refused="empty value")], settings, send_refused=True)
    [landed] = ledger.replay_of()
    _, partition, offset = landed.split(":")
    again = letter(99, b"") | {"kafka_partition": int(partition), "kafka_offset": int(offset)}
    settings = settings.model_copy(update={"lake_uri": str(tmp_path)})
    stored(tmp_path / DEAD_LETTERS.path, [first, again])
    found = find_chosen(settings, Choice(), DOMAINS)
    assert [origin_of(one) for one in found.open] == [landed] and found.firsts == {landed: b"first value"}
    asked = find_chosen(settings, Choice(origins=(origin_of(first), landed)), DOMAINS)
    assert asked.replayed == {origin_of(first)} and asked.records == {origin_of(first): landed}


def test_a_replay_that_was_killed_half_way_is_looked_for_in_the_topic(settings: Settings, ledger: MemoryLedger) -> None:
    marks = {number: high for number, (_, high) in offset_ranges(settings.kafka, "topic_sales").items()}
    [sent] = replay([draft(0)], settings)
    for offset in (0, 1):  # as a killed replay leaves them: begun, and not known to be sent
        ledger.rows[f"topic_sales:0:{offset}"] = [False, marks, None]
    assert states(replay([draft(0), draft(1)], settings)) == {0: State.ALREADY, 1: State.SENT}
    assert len(topic_holds(settings)) == 2
    assert ledger.replay_of()[sent.detail.removeprefix("now at ")] == "topic_sales:0:0"


@pytest.mark.parametrize("chunk", [1000, 1_000_000])
def test_a_record_that_kafka_does_not_take_holds_up_no_other_and_stays_open(
    settings: Settings, ledger: MemoryLedger, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(drafts_module, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(replay_module, "MAX_REPLAY_BYTES", 2000)
    results = list(replay([draft(0, b"x" * 5000), draft(1)], settings))
    assert [result.state for result in results] == [State.NOT_TAKEN, State.SENT]
    assert "size" in results[0].detail.lower() and ledger.sent() == {"topic_sales:0:1"}


@pytest.mark.servers
def test_without_kafka_nothing_is_begun(ledger: MemoryLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = free_ports(1)
    with pytest.raises(ShopStreamsError, match=r"Kafka at 127.*topic_sales.*status"):
        list(replay([draft(0)], Settings(kafka_bootstrap_servers=f"127.0.0.1:{port}")))
    assert not ledger.rows
