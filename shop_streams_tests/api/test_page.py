"""What a person sees at `/`: the numbers of the API, in a real browser that lets nothing past the page's policy."""

import re
import shutil
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect, sync_playwright

from shop_streams.settings import Settings
from shop_streams.web.bundles import DIST
from shop_streams_tests.api.test_database_away import stopped
from shop_streams_tests.api.test_items import insert

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; .ci/run installs it (Debian: chromium)"),
    pytest.mark.skipif(not (DIST / "items.js").exists(), reason="the pages are not built; make setup builds them"),
]


@pytest.fixture
def page(api_url: str) -> Iterator[Page]:
    """A reader in Berlin, who reads German; the test fails if a script fails or the policy forbids something."""
    problems: list[str] = []
    with sync_playwright() as playwright:
        offline = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=offline)
        context = browser.new_context(
            base_url=api_url, locale="de-DE", timezone_id="Europe/Berlin", viewport={"width": 360, "height": 800},
            color_scheme="dark",
        )  # fmt: skip
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
        page.on(
            "request", lambda request: problems.append(request.url) if not request.url.startswith(api_url) else None
        )
        yield page
        browser.close()
    assert [one for one in problems if not one.startswith("data:")] == []


def rows(page: Page) -> list[list[str]]:
    return [row.locator("th > span, td").all_inner_texts() for row in page.locator("#items tbody tr").all()]


def test_the_page_shows_filters_and_refreshes_itself(tables: Settings, page: Page) -> None:
    page.goto("/?hours=6")
    expect(page.locator("#empty")).to_contain_text("No item was viewed or ordered in the last 6 hours")
    assert page.locator("#empty a").count() == 0, "there is no demo shop"
    now = int(time.time())
    insert(
        tables,
        "users",
        (now - 60, "a.shop", "<b>chair</b>", 1200, 2.0),
        (now - 7200, "a.shop", "<b>chair</b>", 400, 4.0),
    )
    insert(tables, "users", (now - 60, "b.shop", "mug", 7, 1.25))
    insert(tables, "orders", (now - 60, "b.shop", "mug", 3, 4471.5), (now - 60, "b.shop", "spoon", 1, 2.0))
    expect(page.locator("#items tbody tr")).to_have_count(3, timeout=20_000)  # by itself
    assert rows(page) == [
        ["<b>chair</b>", "a.shop", "1.600", "2,5", "0", "0,00"],
        ["mug", "b.shop", "7", "1,3", "3", "4.471,50"],
        ["spoon", "b.shop", "0", "\N{EN DASH}", "1", "2,00"],
    ]
    assert page.locator("#totals dd").all_inner_texts() == ["3", "1.607", "2,5", "4", "4.473,50"]
    assert page.locator("#chart").bounding_box() and page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate(
        "getComputedStyle(document.body).colorScheme + getComputedStyle(document.body).backgroundColor"
    ) == ("light darkrgb(18, 21, 27)")
    when = page.locator("#status time").first
    assert (when.get_attribute("title") or "").endswith(" UTC") and (when.get_attribute("datetime") or "").endswith("Z")

    page.get_by_role("button", name="Sum").click()
    assert [row[0] for row in rows(page)] == ["mug", "spoon", "<b>chair</b>"]
    assert page.get_by_role("columnheader", name="Sum").get_attribute("aria-sort") == "descending"
    page.get_by_label("Shop").select_option("b.shop")
    assert [row[0] for row in rows(page)] == ["mug", "spoon"]
    page.get_by_label("Shop").select_option("a.shop")
    page.get_by_label("Hours").select_option("1")
    expect(page.locator("#items tbody td").first).to_have_text("1.200")
    page.reload()  # the address keeps the filters
    expect(page.locator("#items tbody tr")).to_have_count(1)
    assert page.get_by_label("Hours").input_value() == "1" and page.get_by_label("Shop").input_value() == "a.shop"

    with stopped(tables):
        expect(page.get_by_role("alert")).to_contain_text("The database does not answer", timeout=30_000)
        assert rows(page)[0][0] == "<b>chair</b>", "the last numbers stay"
    expect(page.get_by_role("alert")).to_be_hidden(timeout=30_000)


def test_the_empty_page_leads_to_the_demo_shop(page: Page, tables: Settings) -> None:
    def as_in_the_demo(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('demo-shop-port=""', 'demo-shop-port="8291"'))

    page.route("**/?hours=6", as_in_the_demo)
    page.goto("/?hours=6")
    expect(page.locator("#empty a")).to_have_attribute("href", re.compile(r":8291/$"))


def test_an_answer_that_breaks_off_is_told_and_asked_for_again(page: Page, tables: Settings) -> None:
    page.route("**/api/v1.0/users/*", lambda route: route.fulfill(status=200, body='{"contents": ['))
    page.goto("/?hours=6")
    expect(page.get_by_role("alert")).to_contain_text("broke off")
    page.unroute_all()
    expect(page.get_by_role("alert")).to_be_hidden(timeout=30_000)


def test_the_description_is_shown_without_another_host(page: Page, api_url: str) -> None:
    page.goto("/docs")
    expect(page.get_by_text("/api/v1.0/orders/{since}")).to_be_visible(timeout=30_000)
