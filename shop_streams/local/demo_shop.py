"""The demo's shop (`python -m shop_streams.local.demo_shop`): static pages with the tag, for `make demo` only."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from html import escape
from string import Template
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from shop_streams.errors import in_one_line
from shop_streams.serve import serve
from shop_streams.settings import Settings, get_settings
from shop_streams.web.bundles import WEB

PAGES = WEB / "shop"


@dataclass(frozen=True)
class Item:
    """An item of the shop. The spellings of prices differ, as they do among shops; one id is not ASCII."""

    id: str
    picture: str
    name: str
    price: str
    text: str


ITEMS = (
    Item("101", "101", "Stoneware teapot", "1\u00a0490 руб.", "Holds a litre, and pours cleanly."),  # noqa: RUF001
    Item("102", "102", "Travel mug", "€ 12", "For the way to work. It does not leak, not even in a bag."),
    Item("103", "103", "Green tea, 250 g", "12.-", "Spring harvest, from the hills around Hangzhou."),
    Item("104", "104", "Electric kettle", "1,490.50", "Stops at 60, 70, 80 or 100 degrees."),
    Item("105", "105", "Copper samovar", "1.490,50 €", "Made by hand, for a long evening with many guests."),
    Item("чай-2", "106", "Gift box", "$1,490", "Six teas and two cups."),
)


@cache
def _template(name: str) -> Template:
    return Template((PAGES / name).read_text(encoding="utf-8"))


def content_security_policy(settings: Settings) -> str:
    """What a page of a shop must allow for the tag: its script, and its events by fetch or as an image."""
    collector = settings.collector_url
    return (
        f"default-src 'none'; script-src 'self' {collector}; connect-src {collector}; img-src 'self' {collector}; "
        "style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def build_app(settings: Settings) -> Starlette:
    """The shop: its home page, the list of its items and a page for each, below `settings.item_path`."""
    places = {"collector": settings.collector_url, "api": settings.api_url, "catalogue": settings.item_path}
    headers = {
        "content-security-policy": content_security_policy(settings),
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",  # `no-store` would keep pages out of the browser's back/forward cache
    }
    by_id = {item.id: item for item in ITEMS}

    def fill(template: str, /, **values: str) -> str:
        return _template(template).substitute(places | values)

    def page(title: str, body: str, status: int = 200) -> HTMLResponse:
        return HTMLResponse(fill("layout.html", title=escape(title), body=body), status, headers)

    def about(item: Item) -> dict[str, str]:
        values = {name: escape(value) for name, value in vars(item).items()}
        return values | {"address": f"{settings.item_path}{quote(item.id)}/"}

    def cards(items: tuple[Item, ...]) -> str:
        return "".join(fill("card.html", **about(item)) for item in items)

    async def home(_request: Request) -> HTMLResponse:
        return page("Leaf & Kettle", fill("home.html", cards=cards(ITEMS[:4])))

    async def catalogue(_request: Request) -> HTMLResponse:
        return page("Catalogue", fill("list.html", cards=cards(ITEMS)))

    async def one_item(request: Request) -> HTMLResponse:
        item = by_id.get(request.path_params["item"])
        return page(item.name, fill("item.html", **about(item))) if item else await missing(request)

    async def missing(_request: Request, _error: Exception | None = None) -> HTMLResponse:
        return page("Not found", fill("missing.html"), 404)

    async def livez(_request: Request) -> JSONResponse:
        return JSONResponse({"alive": True})

    return Starlette(
        routes=[
            Route("/", home),
            Route("/livez", livez),
            Route(settings.item_path, catalogue),
            Route(f"{settings.item_path}{{item}}/", one_item),
            Mount("/files", StaticFiles(directory=PAGES / "files")),
        ],
        exception_handlers={404: missing},
    )


def main() -> int:
    """Serve until SIGTERM; returns the exit code."""
    settings = get_settings()
    serve(build_app(settings), settings.bind_host, settings.demo_shop_port)
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
