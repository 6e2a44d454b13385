"""`forget-user` as the tests of this folder run it, and the rows of their tables."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from shop_streams.defs.domains import DOMAINS
from shop_streams.defs.platform.forget import Outcome, Request, remove
from shop_streams.domain import Domain
from shop_streams.lake import reader
from shop_streams.lake.table import Table
from shop_streams.settings import Settings

NOON = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)
KINDS = {
    "int": pa.int32(), "bigint": pa.int64(), "double": pa.float64(), "date": pa.date32(), "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"), "decimal(38,0)": pa.decimal128(38, 0), "decimal(27,9)": pa.decimal128(27, 9),
}  # fmt: skip


def write(settings: Settings, table: Table, *rows: dict[str, Any]) -> None:
    """Append rows; columns that they lack are null."""
    schema = pa.schema([(one.name, KINDS.get(one.type, pa.string())) for one in table.columns if "<" not in one.type])
    data = pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in rows], schema=schema)
    write_deltalake(table.uri(settings), data, mode="append", partition_by=list(table.partition_by))


def content(settings: Settings, *tables: Table) -> list[dict[str, Any]]:
    found = [
        row
        for table in tables
        if reader.open_table(table.uri(settings)) is not None
        for row in DeltaTable(table.uri(settings)).to_pyarrow_table().to_pylist()
    ]
    return sorted(found, key=str)


def event(user: int, offset: int, at: datetime = NOON) -> dict[str, Any]:
    return {
        "event_id": f"e{offset}", "user_id": user, "app_name": "a", "event_time": at, "event_date": at.date(),
        "kafka_partition": 0, "kafka_offset": offset,
    }  # fmt: skip


def sale(uid: str | None, offset: int, at: datetime = NOON, event_id: str | None = None) -> dict[str, Any]:
    return {
        "event_type": "buy", "uid": uid, "item_price": 5, "event_time": at, "event_date": at.date(),
        "kafka_partition": 0, "kafka_offset": offset, "event_id": event_id,
    }  # fmt: skip


def run(settings: Settings, person: str, *domains: Domain, **more: Any) -> Outcome:
    return remove(Request(settings, domains or DOMAINS, person, **more), lambda _domains: set(), stream_seconds=0)


def removed(outcome: Outcome) -> dict[str, int]:
    return {one.where: one.rows for one in outcome.removed}
