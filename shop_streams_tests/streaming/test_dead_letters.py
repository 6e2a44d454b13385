"""No record vanishes and no stream dies of one: each bad record becomes a dead letter with its reason."""

import json
import time
from typing import Any

import pytest
from dagster_graphql import DagsterGraphQLClient
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from shop_streams.cli.dead_letters import dead_letters_app
from shop_streams.defs.app_events.streams import INGEST as APP_EVENTS
from shop_streams.defs.domains import LAKE_STREAMS
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.defs.sales.streams import INGEST as SALES
from shop_streams.errors import ShopStreamsError
from shop_streams.kafka import offset_ranges
from shop_streams.lake import reader
from shop_streams.spark import open_session
from shop_streams.streaming.accounting import accounts
from shop_streams.streaming.drafts import Draft, Letter, State, origin_of, validate_with
from shop_streams.streaming.replay import Choice, Found, find, find_chosen, replay
from shop_streams.streaming.replay_ledger import open_ledger
from shop_streams_tests.harness import Stack, wait_for

NOW = int(time.time() * 1000)
SHOP: dict[str, Any] = {
    "event_type": "view",
    "category": "c",
    "item_id": "i",
    "item_price": 5,
    "uid": "u",
    "timestamp": NOW,
}
EVENT: dict[str, Any] = {
    "event_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "user_id": 1, "app_name": "a", "event_category": "c",
}  # fmt: skip
CAMPAIGN = {
    "restaurant_id": "123e4567-e89b-12d3-a456-426614174000", "adv_campaign_id": "123e4567-e89b-12d3-a456-426614174003",
    "adv_campaign_content": "c", "adv_campaign_owner": "o", "adv_campaign_owner_contact": "o@example.org",
    "adv_campaign_datetime_start": 1659203516, "adv_campaign_datetime_end": 2659207116, "datetime_created": 1659131516,
}  # fmt: skip
OUTPUT_METADATA = """query($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
  ... on HandledOutputEvent { metadataEntries { label ... on TableMetadataEntry { table { records } } } }
  ... on ExecutionStepOutputEvent { metadataEntries { label ... on TableMetadataEntry { table { records } } } } } } } }"""
YEAR_2100 = 4_102_444_800_000

SHOP_CASES: list[tuple[bytes | None, str]] = [
    (b'{"event_type":"view","cat', "not JSON"),
    (b"", "empty value"),
    (None, "empty value"),
    (b"\xff\xfe\xfd", "invalid UTF-8"),
    (b"   ", "not JSON"),
    (b"5", "not a JSON object"),
    (json.dumps([SHOP]).encode(), "not a JSON object"),
    (json.dumps(SHOP).encode() + b"\n" + json.dumps(SHOP).encode(), "not JSON"),
    (json.dumps(SHOP | {"item_price": "5"}).encode(), "item_price is wrong"),
    (json.dumps(SHOP | {"item_price": 10**12 + 1}).encode(), "item_price is wrong"),
    (json.dumps(SHOP | {"item_price": None}).encode(), "item_price is missing"),
    (json.dumps(SHOP | {"uid": 12345}).encode(), "uid is wrong"),
    (json.dumps(SHOP | {"event_type": "look"}).encode(), "event_type is none of view, buy"),
    (json.dumps(SHOP | {"timestamp": NOW // 1000}).encode(), "timestamp is before 2015-01-01"),
    (json.dumps(SHOP | {"timestamp": YEAR_2100}).encode(), "timestamp is more than an hour ahead"),
    (json.dumps(SHOP | {"timestamp": 2**62}).encode(), "timestamp is wrong"),
]
EVENT_CASES: list[tuple[bytes | None, str]] = [
    (json.dumps(EVENT | {"user_id": 2**31}).encode(), "user_id is wrong"),
    (json.dumps(EVENT | {"user_id": None, "app_name": ""}).encode(), "user_id is missing; app_name is empty"),
    (json.dumps(EVENT | {"event_id": "x"}).encode(), "event_id is not a UUID"),
    (json.dumps(EVENT | {"event_time": "2100-01-01T00:00:00Z"}).encode(), "event_time is more than an hour ahead"),
    (json.dumps(EVENT | {"event_time": "yesterday"}).encode(), "event_time is wrong"),
]
GOOD_BUT_UNUSUAL: list[bytes] = [
    b"  " + json.dumps(SHOP).encode() + b"\n",
    json.dumps(SHOP | {"item_id": "a } and { b"}).encode(),
    json.dumps({name: value for name, value in SHOP.items() if name not in ("uid", "category", "item_id")}).encode(),
    json.dumps(SHOP | {"category": "", "item_price": 10**12}).encode(),
    json.dumps(SHOP | {"uid": None, "more": {"nested": [1, {}]}}).encode(),
    json.dumps(SHOP | {"category": "тёплое"}, ensure_ascii=False).encode(),
]


def exact(spec: Any, stack: Stack) -> bool:
    per_partition = accounts(spec, stack.settings)
    return all(account.exact for account in per_partition) and sum(account.in_flight for account in per_partition) == 0


@pytest.mark.parametrize(
    ("spec", "cases"), [(SALES, SHOP_CASES), (APP_EVENTS, EVENT_CASES)], ids=["sales", "app_events"]
)
def test_every_bad_record_is_a_dead_letter_with_its_reason(
    stack: Stack, spec: Any, cases: list[tuple[bytes | None, str]]
) -> None:
    before = len(find(stack.settings, spec.domain))
    stack.produce(spec.topic.name, [value for value, _ in cases])
    wait_for("the dead letters", lambda: len(find(stack.settings, spec.domain)) >= before + len(cases))
    letters = [(letter["raw"], letter["reason"]) for letter in find(stack.settings, spec.domain)]
    for value, reason in cases:
        assert any(raw == value and reason in words for raw, words in letters), (value, reason)
    wait_for("the accounting to be exact", lambda: exact(spec, stack))


def test_unusual_but_good_records_are_rows(stack: Stack) -> None:
    before = len(find(stack.settings, "sales"))
    rows = sum(account.rows for account in accounts(SALES, stack.settings))
    stack.produce("shop_events", list(GOOD_BUT_UNUSUAL))
    wait_for(
        "the rows",
        lambda: sum(account.rows for account in accounts(SALES, stack.settings)) >= rows + len(GOOD_BUT_UNUSUAL),
    )
    assert len(find(stack.settings, "sales")) == before


def test_a_value_of_10_megabytes_is_refused_without_harm(stack: Stack) -> None:
    from confluent_kafka.admin import (
        AdminClient,
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    entry = ConfigEntry("max.message.bytes", "20000000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, "shop_events", incremental_configs=[entry])
    client = AdminClient({"bootstrap.servers": stack.settings.kafka})
    for future in client.incremental_alter_configs([resource]).values():
        future.result()
    stack.produce("shop_events", [json.dumps(SHOP | {"item_id": "x" * 10_000_000}).encode()])
    wait_for(
        "its dead letter",
        lambda: any("larger than" in letter["reason"] for letter in find(stack.settings, "sales")),
    )
    wait_for("the accounting to be exact", lambda: exact(SALES, stack))


def rows_of(stack: Stack, item_id: str) -> int:
    items = reader.scan(SHOP_EVENTS.uri(stack.settings), ["item_id"])["item_id"].to_pylist()
    return sum(item == item_id for item in items)


def chosen(stack: Stack, *origins: str) -> Found:
    return find_chosen(stack.settings, Choice(origins=origins), [])


def open_places(stack: Stack) -> set[str]:
    return {origin_of(letter) for letter in chosen(stack).open}


def send_broken(stack: Stack, item_id: str) -> Letter:
    broken = json.dumps(SHOP | {"event_type": "bux", "item_id": item_id}).encode()
    stack.produce("shop_events", [broken])

    def found() -> Letter | None:
        return next((letter for letter in find(stack.settings, "sales") if letter["raw"] == broken), None)

    return wait_for("the dead letter", found)


def mended(letter: Letter) -> Draft:
    return Draft(letter, letter["raw"], letter["raw"].replace(b"bux", b"buy"))


def replayed(stack: Stack, *words: str) -> tuple[int, str]:
    """Exit status and output of `dead-letters replay`, in this process: a command of its own loads Dagster for 3 s."""
    done = CliRunner(env={"COLUMNS": "300"}).invoke(dead_letters_app, ["replay", *words])
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done.exit_code, done.output


@pytest.fixture
def session(stack: Stack) -> SparkSession:
    return open_session(stack.settings)


def test_the_verdict_before_sending_is_the_streams_own(stack: Stack, session: SparkSession) -> None:
    validate = validate_with(LAKE_STREAMS, stack.settings, lambda: session)
    for spec, cases in ((SALES, SHOP_CASES), (APP_EVENTS, EVENT_CASES)):
        values = [(spec.topic.name, value) for value, _ in cases]
        verdicts = validate(spec.domain, values)
        assert all(verdict and reason in verdict for verdict, (_, reason) in zip(verdicts, cases, strict=True)), (
            verdicts
        )
    assert validate("sales", [("shop_events", value) for value in GOOD_BUT_UNUSUAL]) == [None] * len(GOOD_BUT_UNUSUAL)
    [broken, good] = validate("promotions", [("promotions", b"{}"), ("promotions", json.dumps(CAMPAIGN).encode())])
    assert broken is not None and good is None


def test_a_replay_loses_no_letter_whatever_the_fix_makes_of_it(stack: Stack) -> None:
    letter, unreadable = send_broken(stack, "replayed"), send_broken(stack, "unreadable")
    origin, other = origin_of(letter), origin_of(unreadable)
    fix = "sed 's/bux/buy/; /unreadable/q7'"  # ends with status 7 where it meets the other letter

    status, told = replayed(stack, origin, "--fix", "true", "--yes")
    assert status == 1 and "1 would be refused." in told
    assert origin in open_places(stack), "an empty record was not sent, and the letter is open"

    status, told = replayed(stack, origin, "--fix", "true", "--yes", "--send-refused")
    assert status == 0 and "1 sent" in told
    assert origin not in open_places(stack)

    def refused_again() -> str | None:
        found = chosen(stack)
        return next((new for one in found.open if found.replay_of.get(new := origin_of(one)) == origin), None)

    again = wait_for("the letter that was refused again, with its origin", refused_again)
    assert chosen(stack, again).letters[0]["raw"] in (b"", None)
    listed = json.loads(stack.cli("dead-letters", "list", "--domain", "sales", "--json").stdout)
    assert {one["place"]: one["came_from"] for one in listed}[again] == origin

    # The letter that was sent, the one that came of it, and one that the fix can't read: each gets its own answer.
    words = (origin, again, other, "--from-origin", "--fix", fix)
    ends = offset_ranges(stack.settings.kafka, "shop_events")
    status, told = replayed(stack, *words, "--dry-run")
    assert status == 1 and "1 would be sent, 1 fix failed, 1 already replayed" in told and "exit status 7" in told
    assert '"bux"' in told and '"buy"' in told and offset_ranges(stack.settings.kafka, "shop_events") == ends
    status, told = replayed(stack, *words, "--yes")
    assert status == 1 and "1 sent, 1 fix failed, 1 already replayed" in told
    status, told = replayed(stack, origin, again, "--from-origin", "--fix", fix, "--yes")
    assert status == 0 and "2 already replayed" in told
    assert other in open_places(stack) and not {origin, again} & open_places(stack)
    wait_for("the mended record as a row", lambda: rows_of(stack, "replayed") == 1)
    wait_for("the accounting to be exact", lambda: exact(SALES, stack))
    assert rows_of(stack, "replayed") == 1


def test_the_command_line_shows_values_as_they_are_and_names_what_there_is(stack: Stack) -> None:
    nasty = b"[/red] \x1b[2J"
    stack.produce("shop_events", [nasty])
    letter = wait_for(
        "the dead letter", lambda: next((one for one in find(stack.settings) if one["raw"] == nasty), None)
    )
    run = CliRunner().invoke
    listed = stack.cli("dead-letters", "list", "--limit", "10000").stdout
    assert r"[/red] \x1b[2J" in listed and "\x1b[2J" not in listed
    shown = run(dead_letters_app, ["show", origin_of(letter)])
    assert shown.stdout_bytes == nasty and letter["reason"] in shown.stderr
    for words, told in (
        (["list", "--domain", "slaes"], "app_events, promotions, sales"),
        (["replay", "--domain", "slaes", "--yes"], "app_events, promotions, sales"),
        (["replay", origin_of(letter), "--reason", "no such reason"], letter["reason"]),
        (["replay", "shop_events:0:999999"], "list --all"),
        (["show", "[/red]"], "list --all"),
        (["replay", "--named-fix", "sed"], "seconds_to_milliseconds"),
        (["replay", "--named-fix", "trim", "--fix", "cat"], "choose one"),
    ):
        refused = run(dead_letters_app, words)
        assert isinstance(refused.exception, ShopStreamsError) and told in str(refused.exception), words


def test_a_replay_that_was_cut_off_is_looked_for_in_the_topic(stack: Stack) -> None:
    sent, unsent = send_broken(stack, "cut-off-after"), send_broken(stack, "cut-off-before")
    marks = {number: high for number, (_, high) in offset_ranges(stack.settings.kafka, "shop_events").items()}
    [result] = replay([mended(sent)], stack.settings)
    landed = result.detail.removeprefix("now at ")
    with open_ledger(stack.settings) as ledger:
        # As a killed replay leaves them: begun, and not known to be sent, nor where.
        ledger.cursor.execute(
            "update dead_letter_replays set sent = false, landed = null where origin = %s", (origin_of(sent),)
        )
        ledger.begin(origin_of(unsent), marks)
    again = list(replay([mended(sent), mended(unsent)], stack.settings))
    assert {result.draft.origin: result.state for result in again} == {
        origin_of(sent): State.ALREADY,
        origin_of(unsent): State.SENT,
    }
    assert chosen(stack).replay_of[landed] == origin_of(sent), "where it lies was found too"
    wait_for("both rows", lambda: rows_of(stack, "cut-off-after") == rows_of(stack, "cut-off-before") == 1)
    wait_for("the accounting to be exact", lambda: exact(SALES, stack))
    assert rows_of(stack, "cut-off-after") == rows_of(stack, "cut-off-before") == 1


def test_a_letter_that_kafka_does_not_take_is_told_and_stays_open(stack: Stack) -> None:
    letter, sound = send_broken(stack, "too-large"), send_broken(stack, "beside-it")
    huge = Draft(letter, letter["raw"], b"x" * 30_000_000)
    results = {result.draft.origin: result for result in replay([huge, mended(sound)], stack.settings)}
    assert results[origin_of(letter)].state is State.NOT_TAKEN and "size" in results[origin_of(letter)].detail.lower()
    assert results[origin_of(sound)].state is State.SENT
    assert origin_of(letter) in open_places(stack)


def test_the_replay_job_of_the_ui_is_a_dry_run_until_told_otherwise(stack: Stack) -> None:
    late = json.dumps(SHOP | {"timestamp": NOW // 1000, "item_id": "by-job"}).encode()
    stack.produce("shop_events", [late])
    letter = wait_for("the letter", lambda: next((one for one in find(stack.settings) if one["raw"] == late), None))
    client = DagsterGraphQLClient("127.0.0.1", port_number=stack.settings.dagster_port)
    config: dict[str, Any] = {"domain": "sales", "origins": [origin_of(letter)], "fix": "seconds_to_milliseconds"}

    def launch(**more: Any) -> str:
        run_config = {"ops": {"replay_open_dead_letters": {"config": config | more}}}
        run_id: str = client.submit_job_execution("replay_dead_letters", run_config=run_config)
        wait_for("the run", lambda: client.get_run_status(run_id).value in ("SUCCESS", "FAILURE"))
        assert client.get_run_status(run_id).value == "SUCCESS"
        events = stack.graphql(OUTPUT_METADATA, run=run_id)["logsForRun"]["events"]
        table, *_ = [
            entry["table"] for event in events for entry in event.get("metadataEntries", []) if "table" in entry
        ]
        [row] = [json.loads(record) for record in table["records"]]
        assert row["before"] != row["after"] and row["after"].endswith("}") and row["place"] == origin_of(letter)
        return str(row["state"])

    assert launch() == "would be sent" and origin_of(letter) in open_places(stack)
    assert launch(dry_run=False) == "sent" and origin_of(letter) not in open_places(stack)
    wait_for("the mended record as a row", lambda: rows_of(stack, "by-job") == 1)
