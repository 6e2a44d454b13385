"""What fails around the tag does not reach the page: the fixture `context` fails a test whose page has an uncaught error."""

import pytest
from playwright.sync_api import Page

from shop_streams_tests.web.sites import Collector, Shop

pytestmark = pytest.mark.servers
STRICT = "default-src 'none'; script-src {collector}; "


@pytest.mark.parametrize(
    ("policy", "arrives"),
    [
        ("connect-src {collector}", True),
        ("img-src {collector}", True),
        ("connect-src {collector}; img-src {collector}", True),
        ("img-src 'none'", False),
    ],
)
def test_a_strict_policy(policy: str, arrives: bool, page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    policy = (STRICT + policy).format(collector=collector.address)
    page.goto(shop.page("/", tag, Content_Security_Policy=policy))
    assert page.evaluate("divolte.signal('look')") == page.evaluate("divolte.pageViewId") + "1"
    events = collector.events(2 * arrives)
    assert sorted(event.kind for event in events) == ["look", "pageView"] * arrives


@pytest.mark.parametrize(
    "script",
    [
        "delete Request.prototype.keepalive",
        "delete window.fetch",
        "window.fetch = () => { throw new Error('replaced') }",
        "window.fetch = () => Promise.reject(new Error('replaced'))",
    ],
)
def test_an_image_where_fetch_cannot_go(script: str, page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    page.add_init_script(script)
    kinds: list[str] = []
    page.on("request", lambda one: kinds.append(one.resource_type) if "csc-event" in one.url else None)
    page.goto(shop.page("/", tag))
    collector.events(1)
    assert kinds == ["image"]


def test_blocked_cookies(page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    """In a sandbox, reading and writing `document.cookie` throws."""
    page.goto(shop.page("/", tag, Content_Security_Policy="sandbox allow-scripts"))
    assert page.evaluate("try { document.cookie } catch (error) { error.name }") == "SecurityError"
    collector.events(1)
    page.evaluate("divolte.signal('look')")
    one, two = collector.events(2)
    assert (one.party, one.session, one.view) == (two.party, two.session, two.view)
    assert [one.begins, two.begins] == [(True, True), (False, False)]


@pytest.mark.parametrize("value", ["", "1", "0:a", "0:mc1:", "0:MC1:abc", "0:mc1:a:b", "0:" + "z" * 14 + ":abc"])
def test_a_cookie_that_the_collector_would_refuse(
    value: str, page: Page, shop: Shop, collector: Collector, tag: str
) -> None:
    cookies = "".join(f"document.cookie = '{name}={value}; path=/';" for name in ("_dvp", "_dvs"))
    page.goto(shop.page("/", f"<script>{cookies}</script>{tag}"))
    (event,) = collector.events(1)
    assert value not in (event.party, event.session) and event.begins == (True, True)


def test_the_cookies_of_a_divolte_tag_go_on(page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    cookies = "document.cookie = '_dvp=0:i1axkf3b:aB~_!; path=/'; document.cookie = 'a_dvs=1'; document.cookie = '_dvs=0:jd0:x'"
    page.goto(shop.page("/", f"<script>{cookies}</script>{tag}"))
    (event,) = collector.events(1)
    assert (event.party, event.session, event.begins) == ("0:i1axkf3b:aB~_!", "0:jd0:x", (False, False))


@pytest.mark.parametrize(
    ("domain", "stored"), [("shop.example", ".shop.example"), ("other.example", "www.shop.example")]
)
def test_a_domain_of_cookies_and_one_that_the_browser_refuses(
    domain: str, stored: str, page: Page, shop: Shop, collector: Collector, tag: str
) -> None:
    marked = tag.replace("<script", f'<script data-cookie-domain="{domain}"')
    page.goto(shop.page("/", marked).replace("127.0.0.1", "www.shop.example"))
    (event,) = collector.events(1)
    found = {cookie["value"]: cookie["domain"] for cookie in page.context.cookies()}
    assert found == {event.party: stored, event.session: stored}


def test_parameters_that_are_no_data(page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    page.goto(shop.page("/", tag))
    page.evaluate(
        """() => {
        const circle = {}; circle.circle = circle;
        divolte.signal('circle', circle);
        divolte.signal('big', { big: 10n });
        divolte.signal('throws', { toJSON() { throw new Error('no'); } });
        divolte.signal('partly', { f: () => 1, u: undefined, n: NaN, d: new Date(0), e: 'x' });
        divolte.signal('function', () => 1);
        divolte.signal('symbol', Symbol('s'));
        divolte.signal(17, null);
        }"""
    )
    found = {event.kind: event.parameters for event in collector.events(8)}
    partly = {"n": None, "d": "1970-01-01T00:00:00.000Z", "e": "x"}
    nothing = dict.fromkeys(("pageView", "circle", "big", "throws", "function", "symbol", "17"))
    assert found == nothing | {"partly": partly}


def test_an_event_without_a_type_is_none(page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    page.goto(shop.page("/", tag))
    assert page.evaluate("[divolte.signal() === undefined, divolte.signal('') === undefined]") == [True, True]
    collector.events(1)


def test_a_collector_that_is_away(page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    page.route("**/csc-event*", lambda route: route.abort())
    page.goto(shop.page("/", tag))
    page.evaluate("new Promise(resolve => divolte.whenCommitted(resolve))")
    page.unroute("**/csc-event*")
    assert page.evaluate("divolte.signal('look')") == page.evaluate("divolte.pageViewId") + "1"
    assert [event.kind for event in collector.events(1)] == ["look"]


def test_a_page_with_an_element_of_the_same_name(page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    page.goto(shop.page("/", "", f'<p id="divolte"></p>{tag}'))
    (event,) = collector.events(1)
    assert page.evaluate("divolte.pageViewId") == event.view


@pytest.mark.parametrize("loaded", [True, False])
def test_a_page_with_a_loader_of_modules(loaded: bool, page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    """RequireJS marks the scripts that it loads; an anonymous `define` in any other one is an error to it."""
    marked = tag.replace("<script", '<script data-requiremodule="divolte"') if loaded else tag
    loader = (
        "<script>window.defined = []; window.define = factory => defined.push(factory()); define.amd = {};</script>"
    )
    page.goto(shop.page("/", loader.replace("define.amd", "window.define.amd") + marked))
    collector.events(1)
    assert page.evaluate("defined.map(one => one === divolte)") == [True] * loaded
