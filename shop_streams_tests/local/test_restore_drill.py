"""A restore drill: a backup, more traffic, and then a table, a checkpoint and PostgreSQL are each restored from that backup.

Two streams say what is wrong and start nothing. After `shop-streams recover`, each record that was ever sent is there once.
"""

import json
import shutil
import subprocess
import uuid
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from shop_streams.defs.app_events.schema import EVENTS
from shop_streams.defs.app_events.streams import INGEST as PRODUCT_EVENTS
from shop_streams.defs.sales.schema import SHOP_EVENTS
from shop_streams.defs.sales.streams import HOURLY
from shop_streams.defs.sales.streams import INGEST as SALES
from shop_streams.lake import reader
from shop_streams.lake.table import Table
from shop_streams.streaming.accounting import topic_account
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.spec import StreamSpec
from shop_streams_tests.harness import Stack, exact, wait_for
from shop_streams_tests.local.restarts import restart, restart_cleanly

STREAMS = (SALES, PRODUCT_EVENTS)
SALE = {
    "event_type": "buy",
    "category": "c",
    "item_id": "i",
    "item_price": 6,
    "uid": "drill",
    "timestamp": 1577865600000,
}


def send(stack: Stack, count: int) -> dict[str, list[str]]:
    """Send records to both topics, some of them broken; returns stream -> the ids of the good ones, once they are rows."""
    ids = {spec.name: [str(uuid.uuid4()) for _ in range(count)] for spec in STREAMS}
    sales: list[bytes | None] = [json.dumps(SALE | {"event_id": one}).encode() for one in ids[SALES.name]]
    stack.produce(SALES.topic.name, [*sales[:3], f"broken {uuid.uuid4().hex}".encode(), *sales[3:]])
    for one in ids[PRODUCT_EVENTS.name]:
        body = {"user_id": 5, "app_name": "drill", "event_category": "c", "event_id": one}
        assert stack.post("/track", json=body).status_code == 200
    for spec in STREAMS:
        wait_for(f"all records of {spec.topic.name}", partial(exact, spec, stack), 120)
    return ids


def rows(stack: Stack, table: Table, ids: set[str]) -> Counter[str]:
    """Each of the ids -> how often the table has it."""
    found = reader.scan(table.uri(stack.settings), ["event_id"])["event_id"].to_pylist()
    return Counter(one for one in found if one in ids)


def letters(stack: Stack) -> Counter[bytes]:
    found = reader.scan(DEAD_LETTERS.uri(stack.settings), ["raw"])["raw"].to_pylist()
    return Counter(one for one in found if one and one.startswith(b"broken "))


def copy(source: Path, target: Path) -> None:
    """With owners and rights: PostgreSQL's files are its user's."""
    if target.exists():
        shutil.rmtree(target)
    subprocess.run(["cp", "-a", source, target], check=True)


def refused(stack: Stack, spec: StreamSpec, words: str) -> None:
    """The stream's run fails, the command names the problem, and does what it says."""
    stack.switch(spec.name, on=False)
    wait_for(f"{spec.name} to rest", lambda: stack.stream(spec.name)["state"] != "running", 120)
    plan = stack.cli("recover", spec.name).stdout
    assert words in plan and f"`shop-streams recover {spec.name} --yes` does it" in plan
    told = wait_for("the recovery", lambda: recovered(stack, spec), 120)
    assert "Nothing is lost" in told and stack.stream(spec.name)["problem"] is None
    stack.switch(spec.name, on=True)


def recovered(stack: Stack, spec: StreamSpec) -> str | None:
    """What the command said; None while a run that fails still holds the lease."""
    done = stack.cli("recover", spec.name, "--yes", check=False)
    assert done.returncode == 0 or "Switch the stream off first" in done.stderr, done.stderr
    return None if done.returncode else done.stdout


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_each_part_is_restored_alone_and_no_record_is_lost_or_twice(stack: Stack, tmp_path: Path) -> None:
    home, lake = stack.settings.home, Path(stack.settings.lake)
    sales, checkpoint = Path(SHOP_EVENTS.uri(stack.settings)), Path(PRODUCT_EVENTS.checkpoint(stack.settings))
    for spec in STREAMS:
        stack.wait_running(spec.name)
    first = send(stack, 20)

    def back_up() -> None:
        copy(lake, tmp_path / "lake")
        copy(home / "postgres", tmp_path / "postgres")

    restart_cleanly(stack, between=back_up)
    for spec in STREAMS:
        stack.wait_running(spec.name)
    second = send(stack, 30)

    def restore() -> None:
        for one in (sales, checkpoint):
            copy(tmp_path / "lake" / one.relative_to(lake), one)
        copy(tmp_path / "postgres", home / "postgres")

    restart(stack, restore)
    stack.wait_running(HOURLY.name)  # nothing of it was restored
    refused(stack, SALES, "lacks record")
    refused(stack, PRODUCT_EVENTS, "is older")
    third = send(stack, 10)
    for spec, table in ((SALES, SHOP_EVENTS), (PRODUCT_EVENTS, EVENTS)):
        wanted = [*first[spec.name], *second[spec.name], *third[spec.name]]
        assert rows(stack, table, set(wanted)) == Counter(wanted)
        assert topic_account(spec, stack.settings).lost == 0
    assert sorted(letters(stack).values()) == [1, 1, 1]
