"""Run in the copy that the tutorial made: sends returned items to a stack, and prints what came out as JSON."""

import json
from datetime import UTC, datetime
from typing import Any

from shop_streams.lake.reader import Lake
from shop_streams_tests.harness import running_stack, wait_for
from shop_streams_tests.streaming.letters import find


def item(order: str, day: int, reason: str, amount: int) -> bytes:
    moment = int(datetime(2026, 1, day, 12, tzinfo=UTC).timestamp() * 1000)
    return json.dumps({"order_id": order, "reason": reason, "amount": amount, "timestamp": moment}).encode()


def main() -> None:
    from shop_streams.defs.returns.schema import (  # only the copy has it
        DAILY_RETURNS,
        RETURNED_ITEMS,
    )

    with running_stack() as stack:
        lake = Lake(stack.settings)

        def mart() -> dict[str, list[Any]]:
            rows = lake.scan(DAILY_RETURNS, ["returned_on", "reason", "items", "amount"])
            return {str(day): sorted([*rest] for on, *rest in _tuples(rows) if on == day) for day, *_ in _tuples(rows)}

        stack.produce("returns", [item("A-1", 1, "size", 1999), item("A-2", 2, "broken", 500), b'{"reason": "size"}'])
        wait_for("two days of the mart", lambda: len(mart()) == 2, 300)  # all streams start at once
        first, written = mart(), lake.modified_at(DAILY_RETURNS)
        stack.produce("returns", [item("A-3", 1, "size", 501)])
        wait_for("the repaired day", lambda: mart() != first, 300)
        again = [day for day, at in lake.modified_at(DAILY_RETURNS).items() if at != written[day]]
        said = {
            "streamed": sorted(lake.scan(RETURNED_ITEMS, ["order_id"])["order_id"].to_pylist()),
            "first": first,
            "repaired": mart(),
            "written_again": again,
            "refused": [letter["reason"] for letter in find(stack.settings, "returns")],
        }
    print(json.dumps(said))


def _tuples(rows: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows.to_pylist()]


if __name__ == "__main__":
    main()
