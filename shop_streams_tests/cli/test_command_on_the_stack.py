"""Commands on a running stack: a refused login, the shape of `status`, and a person's rows that go."""

import json
import time
import uuid
from pathlib import Path

import pyarrow.compute as pc

from shop_streams.cli.status import COUNTED
from shop_streams.defs.app_events.marts import MART
from shop_streams.defs.app_events.schema import EVENTS
from shop_streams.defs.app_events.streams import INGEST
from shop_streams.lake.reader import Lake
from shop_streams.streaming.accounting import topic_account
from shop_streams_tests.cli.test_errors import run
from shop_streams_tests.harness import Stack, exact, wait_for


def test_a_login_that_postgresql_refuses_ends_prepare_at_once(stack: Stack, tmp_path: Path) -> None:
    refused = {
        "SHOP_STREAMS_HOME": str(tmp_path),
        "SHOP_STREAMS_KAFKA_BOOTSTRAP_SERVERS": str(stack.settings.kafka),
        "SHOP_STREAMS_POSTGRES_DSN": f"postgresql://postgres:wrong@127.0.0.1:{stack.settings.postgres_port}/postgres",
    }
    answer = run("prepare", **refused)  # within its 60 s; it waits 180 s for a server that does not answer
    assert answer.returncode == 1 and "PostgreSQL refuses us" in answer.stderr, answer.stderr
    assert "SHOP_STREAMS_POSTGRES_DSN" in answer.stderr and "wrong" not in answer.stderr


def test_status_has_the_shape_that_others_build_on(stack: Stack) -> None:
    state = json.loads(stack.cli("status", "--json").stdout)
    assert set(state) == {"services", "endpoints", "streams", "topics"}
    assert {"kafka", "postgres", "spark", "collector", "api", "dagster_webserver", "dagster_daemon"} <= set(
        state["services"]
    )
    assert all(service["state"] == "healthy" and service["pid"] for service in state["services"].values())
    assert state["endpoints"]["collector_url"] == f"http://127.0.0.1:{stack.settings.collector_port}"
    assert set(state["topics"]["events"]) == {"offsets", "records", "problem", *COUNTED}
    assert set(state["streams"]["app_events_ingest"]) == {
        "state", "run_id", "pid", "epoch", "lag", "beat_age_seconds", "batch_id", "problem", "says",
    }  # fmt: skip


def test_a_users_rows_go_while_the_stream_runs_and_do_not_come_back(stack: Stack) -> None:
    user, other = (int(time.time()) % 10**8 * 10 + number for number in (1, 2))
    lake = Lake(stack.settings)

    def send(*users: int) -> None:
        for one in users:
            body = {"user_id": one, "app_name": "forget", "event_category": "c", "event_id": str(uuid.uuid4())}
            assert stack.post("/track", json=body).status_code == 200

    def users() -> list[int]:
        return [one for one in lake.scan(EVENTS, ["user_id"])["user_id"].to_pylist() if one in (user, other)]

    send(user, other, user)
    stack.produce("events", [f'{{"user_id": {user}, "app_name": 5}}'.encode()])
    wait_for("all to have arrived", lambda: exact(INGEST, stack))
    before = topic_account(INGEST, stack.settings)
    rows = lake.scan(EVENTS, [column.name for column in EVENTS.columns], pc.field("user_id") != user)
    shown = stack.cli("forget-user", str(user), "--domain", "app_events", "--dry-run").stdout
    assert "app_events/events" in shown and "2 rows" in shown and "Kafka topic events" in shown
    assert sorted(users()) == [user, user, other]

    send(user)  # the stream has perhaps not read it yet: the command waits for it
    told = stack.cli("forget-user", str(user), "--domain", "app_events", "--yes").stdout
    assert "3 rows" in told and "dead_letters of app_events" in told

    send(other)
    wait_for("all to have arrived", lambda: exact(INGEST, stack))
    assert sorted(users()) == [other, other]
    after = topic_account(INGEST, stack.settings)
    assert after.exact and after.sums["forgotten"] == before.sums["forgotten"] + 4
    assert after.sums["records"] == before.sums["records"] + 2
    stays = lake.scan(EVENTS, rows.column_names, pc.field("user_id") != user)
    assert set(map(str, rows.to_pylist())) <= set(map(str, stays.to_pylist()))
    assert user not in lake.scan(MART.table, ["user_id"])["user_id"].to_pylist() if lake.version(MART.table) else True
    again = stack.cli("forget-user", str(user), "--domain", "app_events", "--yes").stdout
    assert "Nothing removed" in again
