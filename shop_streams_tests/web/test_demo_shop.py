"""The demo's shop: its pages are what the documentation shows to shop owners."""

import asyncio
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import httpx
import pytest

from shop_streams.local.demo_shop import ITEMS, build_app, content_security_policy
from shop_streams.local.services import services
from shop_streams.settings import REPOSITORY, Settings
from shop_streams.web.bundles import WEB

SETTINGS = Settings(collector_port=8190, api_port=5101, demo_shop_port=8191)


class Page(HTMLParser):
    """Tags with their attributes, and whether a script stands in the page itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def values(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]

    def of_class(self, name: str) -> list[str]:
        return [tag for tag, attributes in self.tags if name in attributes.get("class", "").split()]


class Shop:
    """The shop, asked without a server."""

    def get(self, path: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(build_app(SETTINGS))
            async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
                return await client.get(path)

        return asyncio.run(ask())


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_the_catalogue_leads_to_each_items_page(shop: Shop) -> None:
    page = Page(shop.get("/katalog/item/").text)
    found = [unquote(one) for one in page.values("href") if re.fullmatch(r"/katalog/item/[^/]+/", one)]
    assert found == [f"/katalog/item/{item.id}/" for item in ITEMS] and len(found) >= 4
    for item in ITEMS:
        answer = shop.get(f"/katalog/item/{item.id}/")
        assert answer.status_code == 200 and item.price in answer.text
        page = Page(answer.text)
        assert page.of_class("product-item-detail-buy-button") == ["button"]
        assert page.of_class("product-item-detail-price-current") == ["p"]
        assert page.of_class("product-item-amount-field") == ["input"]
    assert len({re.sub(r"\d+", "1", item.price) for item in ITEMS}) == len(ITEMS), "each price is spelled differently"


@pytest.mark.parametrize("path", ["/", "/katalog/item/", "/katalog/item/101/", "/katalog/item/none/", "/nothing"])
def test_a_page_has_the_tag_a_link_to_the_numbers_and_nothing_inline(path: str, shop: Shop) -> None:
    answer = shop.get(path)
    assert answer.status_code == (404 if path in ("/katalog/item/none/", "/nothing") else 200)
    page = Page(answer.text)
    assert "http://127.0.0.1:8190/divolte.js" in page.values("src") and "http://127.0.0.1:5101" in page.values("href")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert all("src" in attributes for tag, attributes in page.tags if tag == "script")
    assert page.values("style") == [] and not [
        name for _, names in page.tags for name in names if name.startswith("on")
    ]
    for file in [one for one in [*page.values("src"), *page.values("href")] if one.startswith("/files/")]:
        assert shop.get(file).status_code == 200, file


def test_the_documentation_shows_the_shops_snippet_and_policy() -> None:
    text = (REPOSITORY / "docs" / "clickstream.md").read_text()
    assert (WEB / "shop" / "files" / "snippet.js").read_text() in text
    policy = content_security_policy(SETTINGS)
    for name in ("script-src", "connect-src", "img-src"):
        shown = re.search(rf"{name} [^;`]*https://collect\.shop\.example", text)
        assert shown and re.search(rf"{name} [^;]*http://127\.0\.0\.1:8190", policy), name


@pytest.mark.parametrize("on", [False, True])
def test_the_shop_is_served_where_its_setting_is_on(on: bool) -> None:
    names = [service.name for service in services(SETTINGS.model_copy(update={"demo_shop": on}))]
    assert ("demo_shop" in names) is on
