"""Addresses of pages: which shop, and which item."""

# ruff: noqa: RUF001  (pages have texts in many scripts)

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop_streams.defs.clickstream.items import item_page

PAGES: list[tuple[str | None, tuple[str | None, str | None]]] = [
    ("https://shop.example/katalog/item/5", ("shop.example", "5")),
    ("https://shop.example/katalog/item/5/", ("shop.example", "5")),
    ("https://shop.example/katalog/item/5?utm=1/2#top/3", ("shop.example", "5")),
    ("https://shop.example/katalog/item/", ("shop.example", None)),
    ("https://shop.example/katalog/item", ("shop.example", None)),
    ("https://shop.example/katalog/item/?id=5", ("shop.example", None)),
    ("https://shop.example/katalog/item/5/reviews", ("shop.example", None)),
    ("https://shop.example/KATALOG/item/5", ("shop.example", None)),
    ("https://shop.example/katalog/items/5", ("shop.example", None)),
    ("https://shop.example/ru/katalog/item/5", ("shop.example", None)),
    ("https://shop.example", ("shop.example", None)),
    ("https://shop.example/?next=/katalog/item/5", ("shop.example", None)),
    ("https://shop.example//katalog///item//5//", ("shop.example", "5")),
    # the shop
    ("HTTPS://Shop.EXAMPLE/katalog/item/5", ("shop.example", "5")),
    ("http://shop.example:80/katalog/item/5", ("shop.example", "5")),
    ("https://shop.example:443/katalog/item/5", ("shop.example", "5")),
    ("https://shop.example:/katalog/item/5", ("shop.example", "5")),
    ("http://shop.example:443/katalog/item/5", ("shop.example:443", "5")),
    ("https://shop.example:80/katalog/item/5", ("shop.example:80", "5")),
    ("http://127.0.0.1:8291/katalog/item/5", ("127.0.0.1:8291", "5")),
    ("http://[2001:DB8::1]/katalog/item/5", ("[2001:db8::1]", "5")),
    ("http://[2001:DB8::1]:8080/katalog/item/5", ("[2001:db8::1]:8080", "5")),
    ("https://user:pass@shop.example/katalog/item/5", ("shop.example", "5")),
    ("https://other.example@shop.example/katalog/item/5", ("shop.example", "5")),
    ("https://other.example\\@shop.example/katalog/item/5", ("other.example", None)),
    ("https://xn--80aswg.xn--p1ai/katalog/item/5", ("xn--80aswg.xn--p1ai", "5")),
    ("https://САЙТ.рф/katalog/item/5", ("сайт.рф", "5")),
    ("//shop.example/katalog/item/5", ("shop.example", "5")),
    ("  https://shop.example/katalog/item/5\n", ("shop.example", "5")),
    # the item
    ("https://shop.example/katalog/item/%D1%87%D0%B0%d0%B9", ("shop.example", "чай")),
    ("https://shop.example/katalog/item/чай", ("shop.example", "чай")),
    ("https://shop.example/%6Batalog/item/5", ("shop.example", "5")),
    ("https://shop.example/katalog/item/a+b%2Bc%20d", ("shop.example", "a+b+c d")),
    ("https://shop.example/katalog/item/a%252Fb", ("shop.example", "a%2Fb")),
    ("https://shop.example/katalog/item/a%2Fb%2fc", ("shop.example", "a/b/c")),
    ("https://shop.example/katalog/item/a%5Cb", ("shop.example", "a\\b")),
    ("https://shop.example/katalog/item/50%", ("shop.example", "50%")),
    ("https://shop.example/katalog/item/%zz%4", ("shop.example", "%zz%4")),
    ("https://shop.example/katalog/item/a%FFb", ("shop.example", "a\ufffdb")),
    ("https://shop.example/katalog/item/a%00b", ("shop.example", "a\ufffdb")),
    ("https://shop.example/katalog/item/a\ud800b", ("shop.example", "a\ufffdb")),
    ("https://shop.example/katalog/item/5;v=2", ("shop.example", "5;v=2")),
    ("https://shop.example/katalog/item/5&6=7:8@9", ("shop.example", "5&6=7:8@9")),
    ("https://shop.example/katalog\\item\\5", ("shop.example", "5")),
    ("https://shop.example/katalog/item/5?a=\\b", ("shop.example", "5")),
    ("https://shop.example/katalog/./item/x/../5", ("shop.example", "5")),
    ("https://shop.example/katalog/item/x/%2E%2e/5", ("shop.example", "5")),
    ("https://shop.example/../katalog/item/5", ("shop.example", "5")),
    ("https://shop.example/katalog/item/..", ("shop.example", None)),
    ("https://shop.example/katalog/item/...", ("shop.example", "...")),
    ("https://shop.example/katalog/item/" + "я" * 200, ("shop.example", "я" * 200)),
    ("https://shop.example/katalog/item/" + "%D1%8F" * 200, ("shop.example", "я" * 200)),
    ("https://shop.example/katalog/item/" + "a" * 201, ("shop.example", None)),
    # no shop, no item
    (None, (None, None)),
    ("", (None, None)),
    ("/katalog/item/5", (None, None)),
    ("shop.example/katalog/item/5", (None, None)),
    ("https:/katalog/item/5", (None, None)),
    ("https:///katalog/item/5", (None, None)),
    ("file:///katalog/item/5", (None, None)),
    ("file://host/katalog/item/5", (None, None)),
    ("chrome-extension://shop.example/katalog/item/5", (None, None)),
    ("about:blank", (None, None)),
    ("https://shop.example:99999/katalog/item/5", (None, None)),
    ("https://shop.example:http/katalog/item/5", (None, None)),
    ("https://[::1/katalog/item/5", (None, None)),
    ("https://shop example/katalog/item/5", (None, None)),
    ("https://shop%2eexample/katalog/item/5", (None, None)),
    ("https://shop\0.example/katalog/item/5", (None, None)),
    ("https://shop.example\u2100/katalog/item/5", (None, None)),
    ("https://shop\ud800.example/katalog/item/5", (None, None)),
    ("https://" + "a" * 261 + "/katalog/item/5", (None, None)),
]


@pytest.mark.parametrize(("location", "page"), PAGES)
def test_a_page_has_its_shop_and_its_item(location: str | None, page: tuple[str | None, str | None]) -> None:
    assert item_page(location, "/katalog/item/") == page


@pytest.mark.parametrize(
    ("item_path", "path", "item"),
    [
        ("/", "/5", "5"),
        ("/", "/", None),
        ("/", "/a/5", None),
        ("/p/", "/p/5", "5"),
        ("/товар/", "/%D1%82%D0%BE%D0%B2%D0%B0%D1%80/5", "5"),
        ("/%D1%82%D0%BE%D0%B2%D0%B0%D1%80/", "/товар/5", "5"),
        ("/katalog/item/", "/p/5", None),
    ],
)
def test_the_path_of_items_is_a_setting(item_path: str, path: str, item: str | None) -> None:
    assert item_page(f"https://shop.example{path}", item_path) == ("shop.example", item)


PIECES = st.sampled_from(
    ["https:", "//", "/", "katalog", "item", "shop.example", ":", "@", "[", "]", "%", "\\", "?", "#", "..", "\0", "５"]
)


@given(st.text() | st.lists(PIECES | st.text(max_size=3)).map("".join))
def test_any_text_has_a_shop_and_an_item_that_can_be_stored_or_none(location: str) -> None:
    shop, item = item_page(location, "/katalog/item/")
    for found, most in ((shop, 260), (item, 200)):
        assert found is None or (found and len(found) <= most and "\0" not in found and found.encode())
    assert shop is not None or item is None


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200))
def test_an_encoded_id_is_read_back(item: str) -> None:
    expected = None if item in (".", "..") else item
    assert item_page(f"https://shop.example/katalog/item/{quote(item, safe='')}", "/katalog/item/")[1] == expected
