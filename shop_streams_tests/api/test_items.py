"""What readers of the API rely on: the numbers, the pages of them, and what happens at the edges. A real PostgreSQL answers."""

import asyncio
import json
import time
from fractions import Fraction
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg2.extras import execute_values
from starlette.testclient import TestClient

from shop_streams.api.database import Database
from shop_streams.api.items import USERS, Items, Selection
from shop_streams.postgres import transaction
from shop_streams.settings import Settings
from shop_streams_tests.api.conftest import create_tables, new_home, prepare, serving
from shop_streams_tests.local.test_database import execute, server

pytestmark = pytest.mark.servers
HALF = 1800
Row = tuple[int, str, str, int, float]


def insert(settings: Settings, table: str, *rows: Row) -> None:
    with transaction(settings.postgres) as cursor:
        execute_values(cursor, f"insert into {table} values %s", rows)


def contents(api: TestClient, path: str) -> list[dict[str, Any]]:
    answer = api.get(f"/api/v1.0/{path}")
    assert answer.status_code == 200 and answer.json()["check"] is True, answer.text
    found: list[dict[str, Any]] = answer.json()["contents"]
    return found


def test_views_are_summed_and_depth_weighs_as_much_as_its_views(tables: Settings, api: TestClient) -> None:
    insert(
        tables, "users",
        (HALF, "a.shop", "chair", 3, 2.0), (2 * HALF, "a.shop", "chair", 1, 6.0),  # (3 x 2 + 1 x 6) / 4 = 3
        (2 * HALF, "b.shop:8443", "chair", 2, 1.5), (2 * HALF, "a.shop", "стол/1 +%", 1, 1.0),
    )  # fmt: skip
    assert api.get("/api/v1.0/users/0").json() == {
        "timestamp": 0,
        "contents": [
            {"url": "a.shop", "id_item": "chair", "count": 4, "deep": 3.0},
            {"url": "a.shop", "id_item": "стол/1 +%", "count": 1, "deep": 1.0},
            {"url": "b.shop:8443", "id_item": "chair", "count": 2, "deep": 1.5},
        ],
        "check": True,
    }
    assert contents(api, "orders/0") == []


def test_orders_are_summed_beyond_int4(tables: Settings, api: TestClient) -> None:
    most = 2**31 - 1
    insert(
        tables, "orders", (HALF, "s", "1", most, 1490.5), (2 * HALF, "s", "1", most, 0.25), (HALF, "s", "2", 1, 12.0)
    )
    assert api.get("/api/v1.0/orders/1").json() == {
        "timestamp": 1,
        "contents": [
            {"url": "s", "id_item": "1", "count": 2 * most, "sum": 1490.75},
            {"url": "s", "id_item": "2", "count": 1, "sum": 12.0},
        ],
        "check": True,
    }


@pytest.mark.parametrize(
    ("since", "count"),
    [
        ("0", 3), ("1800", 3), ("1801", 2), ("3600", 2), ("3601", 0), ("00003600", 2),
        ("-1", 3), ("-0", 3), ("-9223372036854775809", 3), (f"-{'9' * 500}", 3),
        ("2147483647", 0), ("2147483648", 0), ("9223372036854775808", 0), ("9" * 1000, 0),
    ],
)  # fmt: skip
def test_since_is_any_whole_number(tables: Settings, api: TestClient, since: str, count: int) -> None:
    insert(tables, "users", (1800, "s", "1", 1, 1.0), (3600, "s", "1", 2, 1.0))
    answer = api.get(f"/api/v1.0/users/{since}")
    assert answer.status_code == 200
    assert answer.json()["timestamp"] == int(since) and answer.json()["check"] is True
    assert sum(item["count"] for item in answer.json()["contents"]) == count


def test_the_latest_half_hour_of_int4_is_found(tables: Settings, api: TestClient) -> None:
    insert(tables, "users", (2**31 - 1, "s", "1", 1, 1.0))
    assert len(contents(api, f"users/{2**31 - 1}")) == 1 and contents(api, f"users/{2**31}") == []


@pytest.mark.parametrize(
    "path",
    ["abc", "1.5", "1e9", "+1", "%201", "1_0", "0x10", "%00", "٣", "--1", "NaN", "1" * 1001,
     "0?limit=-1", "0?offset=-1", "0?limit=x", "0?limit=", "0?offset=1.0", "0?limit=null"],
)  # fmt: skip
def test_what_is_no_whole_number_is_422(api: TestClient, path: str) -> None:
    answer = api.get(f"/api/v1.0/users/{path}")
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"][1] in ("since", "limit", "offset")


def test_without_since_it_is_the_last_hour(tables: Settings, api: TestClient) -> None:
    now = int(time.time())
    insert(tables, "users", (now - 3500, "s", "in", 1, 1.0), (now - 3700, "s", "out", 1, 1.0))
    answer = api.get("/api/v1.0/users").json()
    assert [item["id_item"] for item in answer["contents"]] == ["in"]
    assert now - 3600 <= answer["timestamp"] <= now - 3590


@pytest.mark.parametrize(
    ("url", "items"),
    [("a.shop", ["1", "2"]), ("b.shop", ["1"]), ("A.shop", []), ("", []), ("a", []), ("%25", []), ("a.shop%00", []),
     ("%00", []), ("%ff", []), ("%ed%a0%80", []), ("a.shop'--", []), ("x" * 5000, [])],
)  # fmt: skip
@pytest.mark.parametrize("path", ["users/0", "orders/0"])
def test_url_selects_one_shop_exactly(tables: Settings, api: TestClient, path: str, url: str, items: list[str]) -> None:
    rows = [(HALF, "a.shop", "1", 1, 1.0), (HALF, "a.shop", "2", 1, 1.0), (HALF, "b.shop", "1", 1, 1.0)]
    insert(tables, path.split("/")[0], *rows)
    assert [item["id_item"] for item in contents(api, f"{path}?url={url}")] == items


def test_pages_are_the_whole_in_the_order_of_bytes(tables: Settings, api: TestClient) -> None:
    names = ["B", "a", "Z", "é", "10", "9", "", "я"]
    insert(tables, "users", *[(HALF, shop, name, 1, 1.0) for name in names for shop in ("b", "B")])
    everything = contents(api, "users/0")
    assert [(item["url"], item["id_item"]) for item in everything] == [
        (shop, name) for shop in ("B", "b") for name in sorted(names, key=str.encode)
    ]
    pages = [contents(api, f"users/0?limit=5&offset={offset}") for offset in (0, 5, 10, 15)]
    assert [len(page) for page in pages] == [5, 5, 5, 1] and list(chain(*pages)) == everything
    assert contents(api, "users/0?offset=14") == everything[14:]
    assert contents(api, "users/0?limit=0") == contents(api, f"users/0?offset={2**63}") == []
    assert contents(api, f"users/0?limit={10**30}") == everything


CHANGES = (
    "update users set count = 5", "delete from users where item_id = '2'", "truncate users",
    "insert into users values (9000, 's', '3', 1, 1)", "insert into users values (1800, 's', '0', 1, 1)",
    "begin; drop table users; create table users as select 1800 as ts, 's' as url, '7' as item_id, 1 as count, 1.0::float8 as deep; commit",
    "alter table users disable trigger user; update users set count = 6",
)  # fmt: skip


@pytest.mark.parametrize("known", [True, False], ids=["embedded", "a database without our triggers"])
def test_every_change_is_in_the_next_answer(known: bool) -> None:
    with new_home() as settings, server(settings):
        if known:
            prepare(settings)
        else:
            settings = settings.model_copy(update={"api_postgres_dsn": settings.postgres})
        with serving(settings) as api:
            assert contents(api, "users/0") == [], "no half hour is computed yet, so there is no table"
            create_tables(settings)
            assert contents(api, "users/0") == []
            insert(settings, "users", (HALF, "s", "1", 1, 1.0), (HALF, "s", "2", 2, 2.0))
            for change in CHANGES:
                before = contents(api, "users/0")
                assert contents(api, "users/0") == before
                execute(settings.postgres, change)
                sql = "select url, item_id, sum(count) from users group by 1, 2 order by 1, 2"
                right = [
                    {"url": url, "id_item": item, "count": count}
                    for url, item, count in execute(settings.postgres, sql)
                ]
                after = [
                    {name: item[name] for name in ("url", "id_item", "count")} for item in contents(api, "users/0")
                ]
                assert after == right != before, change
            execute(settings.postgres, "drop table users")
            assert contents(api, "users/0") == []


def test_a_change_is_not_seen_before_its_transaction_ends(tables: Settings, api: TestClient) -> None:
    insert(tables, "users", (HALF, "s", "1", 1, 1.0))
    with transaction(tables.postgres) as cursor:
        cursor.execute("update users set count = 2")
        assert contents(api, "users/0")[0]["count"] == 1
    assert contents(api, "users/0")[0]["count"] == 2


def test_an_answer_is_not_copied_for_each_request(tables: Settings) -> None:
    """A copy of 10,000 items for each of 50 clients takes longer than the rest of their requests."""
    insert(tables, "users", (HALF, "s", "1", 1, 1.0))

    async def scenario() -> None:
        database = Database(tables.api_postgres, 1, 5)
        try:
            items = Items(database)
            first, again, other = [await items.answer(USERS, Selection(since)) for since in (5, 5, 6)]
            assert first is again
            assert [json.loads(one)["timestamp"] for one in (first, other)] == [5, 6]
            insert(tables, "users", (HALF, "s", "2", 1, 1.0))
            assert len(json.loads(await items.answer(USERS, Selection(6)))["contents"]) == 2
        finally:
            database.close()

    asyncio.run(scenario())


keys = st.tuples(
    st.integers(1, 4).map(lambda n: n * HALF), st.sampled_from(["a", "b"]), st.sampled_from(["1", "2", "é"])
)
numbers = st.tuples(st.integers(1, 1000), st.floats(1, 100, width=32))


@given(rows=st.dictionaries(keys, numbers, max_size=24), since=st.integers(-1, 5 * HALF))
@hypothesis_settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_rows_are_summed_as_by_hand(tables: Settings, api: TestClient, rows: Any, since: int) -> None:
    execute(tables.postgres, "truncate users")
    insert(tables, "users", (1, "out", "0", 1, 1.0), *[(*key, *number) for key, number in rows.items()])
    expected: dict[tuple[str, str], tuple[int, Fraction]] = {}
    for (ts, url, item), (count, deep) in (rows | {(1, "out", "0"): (1, 1.0)}).items():
        if ts >= since:
            views, depth = expected.get((url, item), (0, Fraction()))
            expected[url, item] = views + count, depth + count * Fraction(deep)
    found = {(item["url"], item["id_item"]): item for item in contents(api, f"users/{since}")}
    assert found.keys() == expected.keys()
    for key, (views, depth) in expected.items():
        assert found[key]["count"] == views and found[key]["deep"] == pytest.approx(float(depth / views), rel=1e-12)
