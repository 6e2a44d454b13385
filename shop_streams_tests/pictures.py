"""`make pictures`: docs/img/*.png out of a demo in a home of its own, taken in a real browser.

Each picture is as wide as a README shows it, times `SCALE`: letters have the size that they have on a screen.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import FloatRect as Clip
from playwright.sync_api import Locator, Page, sync_playwright
from rich.console import Console

from shop_streams.cli.demo import run_demo
from shop_streams.definitions import defs
from shop_streams.defs.community.schema import ZONES_MART
from shop_streams.defs.sales.schema import HOURLY
from shop_streams.defs.sales.streams import INGEST
from shop_streams.lake.asset import asset_key
from shop_streams.settings import REPOSITORY
from shop_streams.simulate.sales import yesterday
from shop_streams.streaming.spec import stream_key
from shop_streams_tests.harness import Stack, free_ports, running_stack, wait_for

FOLDER = REPOSITORY / "docs" / "img"
GROUPS = ("app_events", "sales")  # more of them, and their names are too small to read
SCALE = 1.5
LARGEST_BYTES = 300_000
PAST_DAYS = 6
RATES = (60, 150, 90, 220, 130, 40, 180, 100)  # shop events a second, each for RATE_SECONDS: plots have a shape
RATE_SECONDS = 15
QUIET_SECONDS = 45
REPAIR = next(
    sensor.name
    for sensor in defs.get_repository_def().sensor_defs
    if "repair" in sensor.name and HOURLY.path.replace("/", "_") in sensor.name
)
UNFINISHED = """{ runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]}) {
    ... on Runs { results { jobName } } } }"""


def simulate(*words: str) -> None:
    """Traffic, as a person sends it."""
    command = [str(Path(sys.executable).with_name("shop-streams")), "simulate", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def is_quiet(stack: Stack) -> bool:
    """Whether only streams run, for as long as a sensor needs to see something: nothing spins in the UI."""
    end = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < end:
        runs = stack.graphql(UNFINISHED)["runsOrError"]["results"]
        if not all(run["jobName"].endswith("_stream") for run in runs):
            return False
        time.sleep(2)
    return True


@contextmanager
def demo() -> Iterator[Stack]:
    """A demo after some minutes of traffic: a week of days, late events that marts were repaired for, and many reports."""
    two_months = datetime.now(UTC) - timedelta(days=62)  # the files of community begin 40 days ago
    times = {"INGEST_INTERVAL_SECONDS": "10", "REPORT_SECONDS": "15", "MART_REPAIR_SECONDS": "30"}
    shop = {"DEMO_SHOP": "true", "DEMO_SHOP_PORT": str(free_ports(1)[0]), "CLICK_EVENT_TIME": "client"}
    with running_stack(FIRST_DAY=f"{two_months:%Y-%m}-01", **times, **shop) as stack:
        if not run_demo(stack.settings, Console(stderr=True), stop_afterwards=False):
            raise SystemExit("The demo found a wrong number: no pictures are made of it.")
        for days in range(1, PAST_DAYS + 1):
            day = yesterday() - timedelta(days=days)
            simulate("sales", "--count", str(4_000 + 900 * days), "--seed", str(days), "--start", f"{day:%Y-%m-%d}")
        for seed, rate in enumerate(RATES):
            simulate("sales", "--count", str(rate * RATE_SECONDS), "--rate", str(rate), "--seed", str(seed))
        wait_for("every mart to be repaired", lambda: is_quiet(stack), 600)
        yield stack


def settle(page: Page) -> None:
    """Wait until the page has loaded what it asked for, and has drawn it."""
    page.wait_for_timeout(1500)
    page.wait_for_function("document.querySelectorAll('[class*=pinner]').length === 0", timeout=30_000)
    page.wait_for_timeout(1500)


def visit(page: Page, path: str, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(path)
    settle(page)


def lineage(page: Page, groups: Sequence[str] = GROUPS) -> Clip:
    """The graph of some groups, without what surrounds it."""
    selection = " or ".join(f'group:"{group}"' for group in groups)
    expanded = ",".join(f"global@global:{group}" for group in groups)
    visit(page, f"/asset-groups~{quote(selection)}/?expanded={quote(expanded)}", 1500, 900)
    boxes = [box for one in page.locator("foreignObject").all() if (box := one.bounding_box())]
    left, top = (min(box[side] for box in boxes) - 12 for side in ("x", "y"))
    right = max(box["x"] + box["width"] for box in boxes) + 12
    bottom = max(box["y"] + box["height"] for box in boxes) + 12
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def stream(page: Page) -> None:
    """The plots of a stream's reports."""
    visit(page, f"/assets/{'/'.join(stream_key(INGEST).path)}?view=overview", 1000, 860)
    plots(page)


def plots(page: Page) -> None:
    page.get_by_text("Plots", exact=True).first.click()
    settle(page)
    to_the_top(page.get_by_text("Metadata", exact=True).first)
    settle(page)


def to_the_top(what: Locator) -> None:
    what.evaluate("element => element.scrollIntoView({block: 'start'})")


def automation(page: Page) -> None:
    """Why the sensor of a mart has requested a run."""
    visit(page, f"/locations/shop_streams/sensors/{REPAIR}", 1000, 700)
    page.locator("tr", has_text="1 run requested").first.get_by_role("button", name="View logs").click()
    page.get_by_text("differ").first.wait_for()
    settle(page)


def partitions(page: Page) -> None:
    """The days of a mart, and what one of them was computed from."""
    visit(page, f"/assets/{HOURLY.path}?view=partitions&partition={yesterday():%Y-%m-%d}", 1000, 760)


def mart(page: Page) -> None:
    """A mart's numbers from day to day."""
    visit(page, f"/assets/{'/'.join(asset_key(HOURLY).path)}?view=overview", 1000, 860)
    plots(page)


def zones(page: Page) -> Clip:
    """The map of a date's messages."""
    visit(page, f"/assets/{ZONES_MART.path}?view=partitions&partition={yesterday():%Y-%m-%d}", 1000, 1000)
    page.get_by_text("[Show Markdown]").first.click()
    shown = page.get_by_role("dialog").locator("img")
    shown.wait_for()
    settle(page)
    box = shown.bounding_box()
    assert box is not None
    return box


def items(page: Page, api: str) -> None:
    """What shoppers looked at and ordered: the API's page."""
    visit(page, f"{api}/?hours=6", 1000, 860)


def item(page: Page, shop: str) -> None:
    """A page of the demo's shop."""
    visit(page, f"{shop}/katalog/item/101/", 1000, 620)


def take(url: str, api: str, shop: str) -> None:
    """Take every picture from the Dagster at `url`, the API and the demo's shop."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("error: Chromium is missing. Install it (Debian: apt-get install chromium) and try again.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        offline = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=chromium, args=offline)
        context = browser.new_context(
            base_url=url, device_scale_factor=SCALE, color_scheme="light", timezone_id="UTC", bypass_csp=True
        )
        context.add_init_script("localStorage.setItem('large-screen-nav-open', 'false')")  # the graph needs the room
        page = context.new_page()
        pictures: dict[str, Callable[[Page], Clip | None]] = {
            "lineage": lineage, "stream": stream, "automation": automation, "partitions": partitions, "mart": mart,
            "community": partial(lineage, groups=["community"]), "zones": zones, "items": partial(items, api=api), "item": partial(item, shop=shop),
        }  # fmt: skip
        for name, picture in pictures.items():
            clip = picture(page)
            path = FOLDER / f"{name}.png"
            page.screenshot(path=path, clip=clip)
            print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size / 1000:.0f} kB", flush=True)
            if path.stat().st_size > LARGEST_BYTES:
                raise SystemExit(f"error: {path} is larger than {LARGEST_BYTES / 1000:.0f} kB; make its page smaller.")
        browser.close()


def main() -> None:
    """With the addresses of Dagster, the API and the demo's shop, take the pictures from what runs there."""
    if len(sys.argv) > 1:
        take(*sys.argv[1:4])
        return
    with demo() as stack:
        take(stack.settings.dagster_url, stack.settings.api_url, stack.settings.demo_shop_url)


if __name__ == "__main__":
    main()
