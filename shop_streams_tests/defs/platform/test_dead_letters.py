"""The replay job of the UI."""

import json
from typing import Any

from shop_streams.streaming.drafts import origin_of
from shop_streams_tests.defs.sales.events import NOW, SHOP
from shop_streams_tests.harness import Stack, wait_for
from shop_streams_tests.streaming.bad_records import open_places, rows_of
from shop_streams_tests.streaming.letters import find

OUTPUT_METADATA = """query($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
  ... on HandledOutputEvent { metadataEntries { label ... on TableMetadataEntry { table { records } } } }
  ... on ExecutionStepOutputEvent { metadataEntries { label ... on TableMetadataEntry { table { records } } } } } } } }"""


def test_the_replay_job_of_the_ui_is_a_dry_run_until_told_otherwise(stack: Stack) -> None:
    late = json.dumps(SHOP | {"timestamp": NOW // 1000, "item_id": "by-job"}).encode()
    stack.produce("shop_events", [late])
    letter = wait_for("the letter", lambda: next((one for one in find(stack.settings) if one["raw"] == late), None))
    config: dict[str, Any] = {"domain": "sales", "origins": [origin_of(letter)], "fix": "seconds_to_milliseconds"}

    def launch(**more: Any) -> str:
        run_config = {"ops": {"replay_open_dead_letters": {"config": config | more}}}
        run_id = stack.run_job("replay_dead_letters", run_config=run_config)
        events = stack.graphql(OUTPUT_METADATA, run=run_id)["logsForRun"]["events"]
        table, *_ = [
            entry["table"] for event in events for entry in event.get("metadataEntries", []) if "table" in entry
        ]
        [row] = [json.loads(record) for record in table["records"]]
        assert row["before"] != row["after"] and row["after"].endswith("}") and row["origin"] == origin_of(letter)
        return str(row["state"])

    assert launch() == "would be sent" and origin_of(letter) in open_places(stack)
    assert launch(dry_run=False) == "sent" and origin_of(letter) not in open_places(stack)
    wait_for("the mended record as a row", lambda: rows_of(stack, "by-job") == 1)
