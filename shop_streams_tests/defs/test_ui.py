"""What a person sees: Dagster's own UI in a real browser."""

import shutil
import subprocess
from pathlib import Path

import pytest

from shop_streams_tests.harness import Stack

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OFFLINE = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")


def rendered(url: str, profile: Path) -> str:
    """The page's DOM once its scripts have come to rest."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", *OFFLINE, f"--user-data-dir={profile}"]
    answer = subprocess.run(
        [*command, "--virtual-time-budget=30000", "--dump-dom", url], capture_output=True, text=True, timeout=180
    )
    return answer.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; .ci/run installs it (Debian: chromium)")
@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("/asset-groups", ["Global asset lineage", "app_events", "sales", "operations"]),
        (
            "/automation",
            ["keep_app_events_ingest_alive", "repair_sales_hourly_metrics", "all_checks_every_quarter_hour"],
        ),
        ("/assets/sales/hourly_metrics", ["One row is one hour of the shop", "repair_sales_hourly_metrics"]),
    ],
)
def test_the_ui_shows(stack: Stack, tmp_path: Path, page: str, words: list[str]) -> None:
    dom = rendered(f"http://127.0.0.1:{stack.settings.dagster_port}{page}", tmp_path)
    assert [word for word in words if word not in dom] == []
