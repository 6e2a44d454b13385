"""What the lineage of a running stack says."""

import json

import pytest

from shop_streams_tests.harness import Stack, wait_for

LATEST = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
    assetMaterializations(limit: 1) { description runId } } } }"""


@pytest.mark.parametrize(
    ("path", "words"),
    [(["dead_letters"], "dead letters are open"), (["kafka", "events_topic"], "offsets in 2 partitions")],
)
def test_the_lineage_says_what_there_is(stack: Stack, path: list[str], words: str) -> None:
    def reported() -> bool:
        found = stack.graphql(LATEST, key={"path": path})["assetOrError"]
        return words in json.dumps(found.get("assetMaterializations", []))

    wait_for(f"a report of {path}", reported)
