"""Two small web servers: a shop with a few pages, and a collector that keeps the events it gets."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from shop_streams.web.bundles import bundle
from shop_streams_tests.harness import answering, free_ports
from shop_streams_tests.web.events import Event

SECONDS = 15.0
QUIET_SECONDS = 0.4  # of a wait for what must not come
PIXEL = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def served(answer: Callable[[str], Answer]) -> Iterator[str]:
    """The address of a server on a free port that answers each GET with `answer(path and query)`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in (headers | {"content-length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a browser that leaves a page closes its connection

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@dataclass
class Collector:
    """The tag at any path, and the addresses of the events that arrived. `open` lets answers to events through."""

    address: str = ""
    requests: list[str] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str) -> Answer:
        name = path.partition("?")[0].rpartition("/")[2]
        headers = {"cross-origin-resource-policy": "cross-origin"}
        if name == "divolte.js":
            return 200, headers | {"content-type": "text/javascript"}, bundle("divolte.js")
        if name != "csc-event":
            return 404, {}, b""
        self.requests.append(path)
        self.open.wait(SECONDS)
        return 200, headers | {"content-type": "image/gif", "cache-control": "no-store"}, PIXEL

    def events(self, count: int, kind: str = "") -> list[Event]:
        """The events once `count` of the kind are there, by the browser's time; all are read and checked. More are a failure."""
        deadline = time.monotonic() + SECONDS
        while True:
            read = [Event.read(path.partition("?")[2]) for path in list(self.requests)]
            found = [event for event in read if kind in ("", event.kind)]
            if len(found) >= count:
                break
            assert time.monotonic() < deadline, f"{len(found)} of {count} events arrived: {self.requests}"
            time.sleep(0.02)
        time.sleep(QUIET_SECONDS)
        assert [len([path for path in self.requests if not kind or f"&t={kind}&" in path])] == [count], self.requests
        return sorted(found, key=lambda event: event.at)  # they may overtake each other on their way


@dataclass
class Shop:
    """Pages by their path."""

    address: str = ""
    pages: dict[str, Answer] = field(default_factory=dict)

    def page(self, path: str, head: str, body: str = "", **headers: str) -> str:
        """Put a page there; returns its address. Underscores in names of headers are hyphens."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        text = f"<!doctype html><meta charset=utf-8><title>Shop</title>{head}<body>{body}</body>"
        self.pages[path] = (200, {"content-type": "text/html"} | names, text.encode())
        return self.address + path

    def answer(self, path: str) -> Answer:
        return self.pages.get(path.partition("?")[0], (404, {}, b""))


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    collector.open.set()
    with served(collector.answer) as collector.address:
        yield collector
        collector.open.set()


@contextmanager
def selling() -> Iterator[Shop]:
    shop = Shop()
    with served(shop.answer) as shop.address:
        yield shop


@contextmanager
def demo_shop_process(environment: Mapping[str, str]) -> Iterator[str]:
    """The demo's shop as a process with further variables; its address."""
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    more = {**environment, "SHOP_STREAMS_DEMO_SHOP_PORT": str(port)}
    with answering([sys.executable, "-m", "shop_streams.local.demo_shop"], more, f"{url}/livez"):
        yield url
