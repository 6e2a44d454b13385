"""The tutorial is true: a copy of the project, changed as it says, streams the new domain's records and repairs its mart."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shop_streams.settings import get_settings

pytestmark = pytest.mark.own_stack
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-domain.md").read_text()
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE, flags=re.DOTALL))
EDITS = dict(re.findall(r"<!-- edit: (\S+) -->\n```diff\n(.*?)```", PAGE, flags=re.DOTALL))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the tutorial's steps done."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("shop_streams", "shop_streams_tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    for name, diff in EDITS.items():
        text = (root / name).read_text()
        added = [line[1:] for line in diff.splitlines() if line.startswith("+")]
        removed = [line[1:] for line in diff.splitlines() if line.startswith("-")]
        (imported, listed), (before,) = added, removed
        assert before in text, f"{name} has no line {before!r}"
        text = text.replace(before, listed)
        (root / name).write_text(text.replace("\nDOMAINS", f"\n{imported}\n\nDOMAINS", 1))
    return root


def run(root: Path, *command: str, seconds: float) -> str:
    environment = os.environ | {"PYTHONPATH": str(root), "SHOP_STREAMS_JARS": str(get_settings().jars)}
    done = subprocess.run(
        [sys.executable, *command], cwd=root, env=environment, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


def test_it_is_as_short_as_it_says_and_changes_one_file_outside() -> None:
    assert len(FILES) == 7
    assert sum(len(text.splitlines()) for text in FILES.values()) <= 120
    assert [Path(name).parts[:3] for name in FILES] == [("shop_streams", "defs", "returns")] * 7
    assert list(EDITS) == ["shop_streams/defs/domains.py"]


def test_dagster_shows_the_new_domain(copy: Path) -> None:
    script = """
from shop_streams.definitions import defs
repository = defs.get_repository_def()
print(*(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys() if "returns" in key.to_user_string()))
print(*(sensor.name for sensor in repository.sensor_defs))
"""
    assets, sensors = run(copy, "-c", script, seconds=120).splitlines()
    assert {"returns/returned_items", "returns/daily_returns", "kafka/returns_topic"} <= set(assets.split())
    assert {"streams/returns_ingest_stream", "accounting/returns_account"} <= set(assets.split())
    assert {"keep_returns_ingest_alive", "repair_returns_daily_returns"} <= set(sensors.split())


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.timeout(3000)
def test_its_first_row_and_its_first_repaired_partition_come_out(copy: Path) -> None:
    said = run(copy, "-m", "shop_streams_tests.docs.returns", seconds=1400).splitlines()[-1]
    assert json.loads(said) == {
        "streamed": ["A-1", "A-2", "A-3"],
        "first": {"2026-01-01": [["size", 1, 1999]], "2026-01-02": [["broken", 1, 500]]},
        "repaired": {"2026-01-01": [["size", 2, 2500]], "2026-01-02": [["broken", 1, 500]]},
        "written_again": ["2026-01-01"],
        "refused": ["order_id is missing; amount is missing; timestamp is missing"],
    }
