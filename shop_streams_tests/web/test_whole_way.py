"""From a click in a real browser to the answer of the API: the tag, the collector, Kafka, Spark, Dagster and PostgreSQL."""

from typing import Any

import httpx
from playwright.sync_api import Page

from shop_streams_tests.harness import Stack, wait_for
from shop_streams_tests.web.sites import demo_shop_process


def test_what_is_clicked_in_the_demo_shop_is_what_the_api_says(stack: Stack, page: Page) -> None:
    with demo_shop_process(stack.settings.environment()) as shop:

        def visit(path: str) -> None:
            with page.expect_response("**/csc-event?*") as answer:
                page.goto(shop + path)
            assert answer.value.status == 200

        def buy(amount: int) -> None:
            page.fill(".product-item-amount-field", str(amount))
            with page.expect_response("**/csc-event?*") as answer:
                page.click(".product-item-detail-buy-button")
            assert answer.value.status == 200

        visit("/")  # the first page view of the visit
        visit("/katalog/item/101/")  # the second
        buy(2)  # at 1 490 roubles
        visit("/katalog/item/105/")  # the third
        buy(1)  # at 1.490,50 euros
        visit("/katalog/item/101/?again#price")  # the fourth
        visit("/katalog/item/")  # no item

    host = shop.removeprefix("http://")

    def answer(of: str) -> list[dict[str, Any]]:
        url = f"{stack.settings.api_url}/api/v1.0/{of}"
        found = httpx.get(url, params={"url": host}, trust_env=False).json()
        assert found["check"] is True
        contents: list[dict[str, Any]] = found["contents"]
        return contents

    views = [
        {"url": host, "id_item": "101", "count": 2, "deep": 3.0},
        {"url": host, "id_item": "105", "count": 1, "deep": 3.0},
    ]
    orders = [
        {"url": host, "id_item": "101", "count": 2, "sum": 2980.0},
        {"url": host, "id_item": "105", "count": 1, "sum": 1490.5},
    ]
    wait_for("the views", lambda: answer("users") == views, shown=lambda: answer("users"))
    wait_for("the orders", lambda: answer("orders") == orders, shown=lambda: answer("orders"))
