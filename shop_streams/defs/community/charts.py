"""A picture of the zones for Dagster's UI: a map of circles, and bars of the largest cities."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from shop_streams.defs.community.cities_file import current_cities
from shop_streams.defs.community.schema import ZONES_MART
from shop_streams.lake.reader import Lake

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 20  # cities with a bar; on the map they have their names where there is room
FEW = 6
DRAWN = 500  # circles: more can't be told apart
WIDTH, HEIGHT, DPI = 6.0, 7.0, 100  # inches, dots per inch: 600 pixels wide
LARGEST, SMALLEST, TOGETHER = 600.0, 2.0, 20_000.0  # areas of the circles, square points; the map has 80,000
NAME_WIDTH, NAME_HEIGHT = 0.2, 0.06  # room for a name, as a part of the map
LONGEST_NAME = 18
COLORS = 24  # in the file: enough for two blues, grey and their edges
BLUE, DARK, GREY = "#4f81bd", "#1f3b63", "#d9d9d9"


class ZoneTotal(NamedTuple):
    """What was counted in a city; its latitude and longitude in degrees."""

    city: str
    lat: float
    lon: float
    total: int


def newest_totals(rows: pa.Table, cities: Mapping[int, tuple[str, float, float]], column: str) -> list[ZoneTotal]:
    """The zones with the largest `column` (such as `week_message`) of the newest week, the largest first; none with 0.

    `rows` of ZONES_MART, `cities`: zone_id -> name, latitude, longitude. At most `DRAWN`.
    """
    newest = rows.filter(pc.equal(rows["week"], pc.max(rows["week"])))
    newest = newest.filter(pc.and_(pc.equal(newest["month"], pc.max(newest["month"])), pc.greater(newest[column], 0)))
    largest = newest.sort_by([(column, "descending"), ("zone_id", "ascending")]).slice(0, DRAWN)
    zones = zip(largest["zone_id"].to_pylist(), largest[column].to_pylist(), strict=True)
    return [ZoneTotal(*cities[zone], total) for zone, total in zones if zone in cities]


def zones_picture(totals: Sequence[ZoneTotal], what: str) -> dg.MarkdownMetadataValue:
    """The picture of `newest_totals`; a sentence if there are none. `what` is the title, such as `Messages, week of …`."""
    if not totals:
        return dg.MetadataValue.md(f"{what}: none in any zone.")
    picture = base64.b64encode(_png(totals, what)).decode()
    return dg.MetadataValue.md(f"![{what}](data:image/png;base64,{picture})")


def _png(totals: Sequence[ZoneTotal], what: str) -> bytes:
    # Only here: importing matplotlib takes a second. Without pyplot, which keeps each figure for ever.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    bars = max(FEW, min(len(totals), NAMED))
    above, below = figure.subplots(2, 1, height_ratios=(12, 2 + bars / 2))
    figure.suptitle(what, fontsize=11)
    _map(above, totals)
    _bars(below, totals)
    canvas.draw()
    written = BytesIO()
    pixels = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba())
    pixels.convert("RGB").quantize(COLORS).save(written, "png", optimize=True)
    return written.getvalue()


def _map(axes: Axes, totals: Sequence[ZoneTotal]) -> None:
    """A circle for each zone: its area is the total."""
    unit = min(LARGEST / totals[0].total, TOGETHER / sum(one.total for one in totals))
    # Large circles first, so that they hide no small one.
    areas = [max(SMALLEST, unit * one.total) for one in totals]
    lons, lats = [one.lon for one in totals], [one.lat for one in totals]
    axes.scatter(lons, lats, areas, BLUE, alpha=0.5, edgecolors=DARK, linewidths=0.4)
    for one in with_room(totals[:NAMED], max(lons) - min(lons), max(lats) - min(lats)):
        axes.annotate(
            _short(one.city),
            (one.lon, one.lat),
            (0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            clip_on=True,
            parse_math=False,
        )
    axes.set_xlabel("longitude, degrees", fontsize=8)
    axes.set_ylabel("latitude, degrees", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.margins(0.12)
    axes.grid(color=GREY, linewidth=0.5)
    axes.set_axisbelow(True)


def with_room(totals: Sequence[ZoneTotal], width: float, height: float) -> list[ZoneTotal]:
    """Those whose names don't cover the name of a larger one. `width`, `height`: of the map, in degrees."""
    named: list[ZoneTotal] = []
    for one in totals:
        if all(
            abs(one.lon - other.lon) > NAME_WIDTH * width or abs(one.lat - other.lat) > NAME_HEIGHT * height
            for other in named
        ):
            named.append(one)
    return named


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _bars(axes: Axes, totals: Sequence[ZoneTotal]) -> None:
    """A bar for each of the largest zones, the largest above."""
    shown = totals[:NAMED]
    places = range(len(shown))
    drawn = axes.barh(places, [one.total for one in shown], color=BLUE)
    axes.bar_label(drawn, [f"{one.total:,}" for one in shown], padding=3, fontsize=7)
    axes.set_yticks(places, [_short(one.city) for one in shown], fontsize=7, parse_math=False)
    axes.set_ylim(max(len(shown), FEW) - 0.5, -0.5)  # the first one above; few bars are no thicker
    axes.margins(x=0.12)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    if len(totals) > NAMED:
        axes.set_xlabel(f"the largest {NAMED} zones", fontsize=8)


def zone_totals(lake: Lake, key: str) -> dict[str, Any]:
    """Pictures of the newest week's messages and of the month's new users, by city."""
    cities = current_cities(lake.settings.community_geo)
    columns = (cities.ids.tolist(), cities.names, cities.lats.tolist(), cities.lngs.tolist())
    places = {zone: (name, lat, lng) for zone, name, lat, lng in zip(*columns, strict=True)}
    rows = lake.scan(ZONES_MART, ["month", "week", "zone_id", "week_message", "month_user"], keys=[key])
    shown = {"week_message": "Messages of the week", "month_user": "New users of the month"}
    return {
        f"map_of_{column}": zones_picture(newest_totals(rows, places, column), f"{words}, up to {key}")
        for column, words in shown.items()
    }
