"""The demo's shop as people use it, with its own policy and snippet."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page

from shop_streams.local.demo_shop import ITEMS
from shop_streams_tests.web.sites import Collector, demo_shop_process

pytestmark = pytest.mark.servers


@pytest.fixture
def demo_shop(collector: Collector) -> Iterator[str]:
    """The address of the shop's process, whose collector is the test's."""
    with demo_shop_process({"SHOP_STREAMS_COLLECTOR_PORT": collector.address.rpartition(":")[2]}) as url:
        yield url


def test_orders_arrive_as_the_page_shows_them(
    context: BrowserContext, page: Page, demo_shop: str, collector: Collector
) -> None:
    messages: list[str] = []
    context.on("console", lambda message: messages.append(message.text))
    page.goto(demo_shop)
    page.click("text=See the catalogue")
    for number, item in enumerate(ITEMS):
        page.click(f"text={item.name}")
        page.fill(".product-item-amount-field", str(number + 1))
        page.click(".product-item-detail-buy-button")
        page.get_by_role("status").get_by_text(f"In your basket: {number + 1} × {item.name}").wait_for()  # noqa: RUF001
        page.go_back(wait_until="commit")
    orders = collector.events(len(ITEMS), "buy_button_click")
    assert [order.parameters for order in orders] == [
        {"price": item.price, "amount": str(number + 1)} for number, item in enumerate(ITEMS)
    ]
    views = collector.events(2 + 2 * len(ITEMS), "pageView")
    assert {order.view for order in orders} < {view.view for view in views}
    assert len({event.session for event in (*orders, *views)}) == 1
    assert messages == [], "nothing is against the shop's policy"


@pytest.mark.parametrize("answer", [None, 404, 500])
def test_the_shop_works_without_the_tag(answer: int | None, page: Page, demo_shop: str, collector: Collector) -> None:
    page.route("**/divolte.js", lambda route: route.fulfill(status=answer) if answer else route.abort())
    page.goto(f"{demo_shop}/katalog/item/101/")
    page.click(".product-item-detail-buy-button")
    page.get_by_text("In your basket: 1 × Stoneware teapot").wait_for()  # noqa: RUF001
    assert collector.events(0) == []


@pytest.mark.parametrize("path", ["/", "/katalog/item/", "/katalog/item/101/"])
def test_the_pages_fit_a_small_phone(path: str, page: Page, demo_shop: str) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(demo_shop + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
