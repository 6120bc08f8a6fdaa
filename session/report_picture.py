"""A report as one picture: what was found, the curve of the best so far against its cost, and a contact sheet of the best."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont

from .prospect import duration
from .summary import check, first_of, leading_of, name_of, number, score_of

FINE = 2  # drawn so many times larger, then scaled down: smooth lines
MARGIN, GAP, PAD = 28, 14, 16
CURVE = 250  # height of a curve
COLUMNS = {1: 3, 2: 3, 3: 3, 5: 5, 6: 3, 9: 5, 10: 5}  # of so many pictures; else 4
MOST_SEARCHES = 8  # of a latent batch
POINTS = 4000
TALLEST = 16_384  # pixels of the picture: the more there is to show, the smaller it is shown
MOST_PIXELS = 32_000_000  # of all of it
SMALLEST = 16  # pixels that an image is shown in


@dataclass(frozen=True)
class Theme:
    back: str
    panel: str
    grid: str
    text: str
    muted: str
    dot: str
    line: str
    best: str
    held_out: str


THEMES = {
    "dark": Theme(
        "#15171c", "#1e2129", "#2f343f", "#eceef2", "#9aa2b1", "#667085", "#6cb8ff", "#ffcb52", "#c79bff"
    ),
    "light": Theme(
        "#ffffff", "#f4f6f9", "#dfe3ea", "#1a1d23", "#667085", "#aab2c0", "#1c74d8", "#d98e00", "#8447d1"
    ),
}


def picture_of(
    report: Mapping[str, Any],
    pictures: Sequence[Sequence[tuple[int, Sequence[float | None], torch.Tensor]]],
    top: int = 8,
    width: int = 1024,
    theme: str = "dark",
) -> Image.Image:
    """report: of a search or of Score and Sort Images. pictures: for each image of the report [(id, scores, uint8 [h, w, 3])], best first; of Score and Sort Images one list.
    top: how many the contact sheet shows at most. width: pixels, 480 or more. ValueError for what is no report.

    Its height is TALLEST pixels at most, and its area about MOST_PIXELS, whatever the report holds."""
    check(report)
    page = _Page(width, THEMES[theme])
    if "kept" in report:
        _scored(page, report, pictures, top)
    else:
        images = report["images"]
        for place, image in enumerate(images[:MOST_SEARCHES]):
            page.share(min(len(images), MOST_SEARCHES) - place)
            few = pictures[place] if place < len(pictures) else ()
            _searched(page, report, image, few[:top], f"Image {place + 1} · " if len(images) > 1 else "")
        if len(images) > MOST_SEARCHES:
            page.words(f"and {len(images) - MOST_SEARCHES} more images", 15, page.theme.muted)
    return page.done()


def _searched(page: _Page, report: Mapping, image: Mapping, few: Sequence, before: str) -> None:
    leading, winner, first = leading_of(report), image["winner"], first_of(image)
    best = score_of(winner["scores"], leading) if winner["scores"] else None
    title = f"{before}Best {number(best)}" if best is not None else f"{before}Seed {winner['seed']}"
    if first is not None and best is not None:
        title += f" (first candidate {number(score_of(first['scores'], leading))})"
    page.words(title, 24, page.theme.text)
    cost = [f"{len(image['ranking'])} candidates", f"{image['search_nfe'] + image['final_nfe']} NFE"]
    cost += [duration(image["seconds"]), str(report["search"].get("name", ""))]
    cost += [", ".join(report["verifiers"])] if report.get("verifiers") else []
    page.words("  ·  ".join(cost), 14, page.theme.muted)
    if report.get("prompt") and image is report["images"][0]:
        page.words(str(report["prompt"]), 15, page.theme.text, lines=2)
    points = _points(image, leading)
    if len(points) > 1:
        _curve(page, report, image, points, leading)
    known = {one["id"]: one for one in image["candidates"]}
    labels = [
        (_rank(rank, scores, leading), name_of(known[id]) if id in known else "")
        for rank, (id, scores, _) in enumerate(few)
    ]
    page.sheet([picture for *_, picture in few], labels)


def _rank(rank: int, scores: Sequence[float | None], leading: int) -> str:
    return f"{rank + 1}   {number(score_of(scores, leading))}" if scores else f"{rank + 1}"


def _scored(page: _Page, report: Mapping, pictures: Sequence, top: int) -> None:
    page.words(f"{len(report['kept'])} of {len(report['images'])} images kept", 24, page.theme.text)
    if report.get("verifiers"):
        page.words(", ".join(report["verifiers"]), 14, page.theme.muted)
    if report.get("prompt"):
        page.words(str(report["prompt"]), 15, page.theme.text, lines=2)
    few = list(pictures[0])[:top] if pictures else []
    labels = [(_rank(rank, told, 0), f"image {id}") for rank, (id, told, _) in enumerate(few)]
    page.sheet([picture for *_, picture in few], labels)


def _points(image: Mapping, leading: int) -> list[tuple[int, float, float | None, bool, int]]:
    """(NFE spent by then, score, held-out score, finished, id) of the candidates that were judged, in order."""
    spent, points = 0, []
    for one in image["candidates"]:
        spent += one["nfe"]
        score = score_of(one["scores"], leading) if one["scores"] else None
        if score is not None:
            points.append((spent, score, one.get("held_out"), one["stop"] == 0, one["id"]))
    return points[:: max(1, len(points) // POINTS)]


def _curve(page: _Page, report: Mapping, image: Mapping, points: list, leading: int) -> None:
    theme = page.theme
    frame = page.panel(CURVE)
    low, high = _range([score for _, score, *_ in points])
    most = max(points[-1][0], image["search_nfe"], 1)
    ticks = _ticks(low, high)
    left = max(page.measure(label, 13) for _, label in ticks) + 12
    area = (frame[0] + PAD + left, frame[1] + PAD + 16, frame[2] - PAD, frame[3] - PAD - 20)

    def x(nfe: float) -> float:
        return area[0] + (area[2] - area[0]) * nfe / most

    def y(score: float) -> float:
        return area[3] - (area[3] - area[1]) * (min(max(score, low), high) - low) / (high - low)

    for value, label in ticks:
        page.line([(area[0], y(value)), (area[2], y(value))], theme.grid, 1)
        page.text((area[0] - 10, y(value)), label, 13, theme.muted, "rm")
    for value, label in _ticks(0, most, 6):
        page.text((x(value), area[3] + 8), label, 13, theme.muted, "ma")
    page.text((area[2], frame[1] + PAD - 6), "NFE spent", 13, theme.muted, "ra")
    name = (report.get("verifiers") or ["score"])[leading : leading + 1] or ["score"]
    page.text(
        (area[0], frame[1] + PAD - 6),
        page.fit(str(name[0]), 13, (area[2] - area[0]) / 2),
        13,
        theme.muted,
        "la",
    )

    held = [(nfe, told) for nfe, _, told, done, _ in points if told is not None and done]
    for nfe, score, _, done, _ in points:
        if score < low:
            page.below((x(nfe), area[3]), 4, theme.dot)
        else:
            page.dot((x(nfe), y(score)), 3.2 if done else 2, theme.dot)
    if _alike([told for _, told in held], low, high):
        for nfe, told in held:
            page.dot((x(nfe), y(told)), 3.2, theme.held_out, hollow=True)
        page.text(
            (area[2] - page.measure("NFE spent", 13) - 24, frame[1] + PAD - 6),
            "held out",
            13,
            theme.held_out,
            "ra",
        )

    scores = {id: score for _, score, _, _, id in points}
    steps = _best_so_far(points) if len(report.get("verifiers") or ()) == 1 else image["curve"]
    steps = [(nfe, scores[id]) for nfe, id in steps if id in scores]
    line: list[tuple[float, float]] = []
    for nfe, score in steps:
        line += [(x(nfe), line[-1][1])] if line else []
        line.append((x(nfe), y(score)))
    if line:
        line.append((x(most), line[-1][1]))
        page.line(line, theme.line, 2.5)
        winner = image["winner"]["id"]
        at = next((nfe for nfe, _, _, _, id in points if id == winner), None)
        if at is not None:
            page.dot((x(at), y(scores[winner])), 6, theme.best)


def _best_so_far(points: Sequence[tuple]) -> list[tuple[int, int]]:
    """(NFE, candidate) whenever a finished one was better than all before it."""
    steps, best = [], -math.inf
    for nfe, score, _, done, id in points:
        if done and score > best:
            best = score
            steps.append((nfe, id))
    return steps


def _alike(values: Sequence[float], low: float, high: float) -> bool:
    """Whether values can be read on the axis of others: most lie within it, and not all in one place."""
    inside = [value for value in values if low <= value <= high]
    return len(inside) > 0.7 * len(values) and max(inside) - min(inside) > 0.15 * (high - low)


def _range(scores: Sequence[float]) -> tuple[float, float]:
    """What the axis shows: all scores, but for the few that are so low that the others could not be told apart."""
    ordered = sorted(scores)
    high, middle = ordered[-1], ordered[len(ordered) // 2]
    low = max(ordered[0], high - 4 * (high - middle)) if high > middle else ordered[0]
    spread = high - low or max(abs(high), 1e-6) * 0.1
    return low - 0.06 * spread, high + 0.08 * spread


def _ticks(low: float, high: float, count: int = 5) -> list[tuple[float, str]]:
    """Round numbers within a range, with their labels."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    form = ".3g" if digits > 4 or max(abs(low), abs(high)) >= 1e6 else f".{digits}f"
    first = math.ceil(low / step)
    values = [i * step for i in range(first, math.floor(high / step) + 1)]
    return [(value, f"{value:{form}}") for value in values]


class _Page:
    """A picture that grows downwards. All places and sizes are in its own pixels."""

    def __init__(self, width: int, theme: Theme) -> None:
        self.width, self.theme = max(width, 480), theme
        self.y: float = MARGIN
        self.tallest = min(TALLEST, MOST_PIXELS // self.width)
        self._until: float = self.tallest
        self._image = Image.new("RGB", (self.width * FINE, 600 * FINE), theme.back)
        self._draw = ImageDraw.Draw(self._image)

    def done(self) -> Image.Image:
        height = math.ceil(self.y - GAP + MARGIN)
        self._room(height)
        whole = self._image.crop((0, 0, self.width * FINE, height * FINE))
        return whole.resize((self.width, height), Image.Resampling.LANCZOS)

    def _room(self, height: float) -> None:
        """See that the picture is at least so high."""
        if height * FINE > self._image.height:
            larger = Image.new("RGB", (self._image.width, math.ceil(height * FINE * 1.5)), self.theme.back)
            larger.paste(self._image, (0, 0))
            self._image, self._draw = larger, ImageDraw.Draw(larger)

    def share(self, parts: int) -> None:
        """What comes next is one of so many parts, which share the height that is left."""
        self._until = self.y + (self.tallest - self.y) / parts

    # -- pieces, one below the other ---------------------------------------------------------------------------------

    def words(self, text: str, size: int, colour: str, lines: int = 1) -> None:
        """A paragraph, cut off after so many lines."""
        room = float(self.width - 2 * MARGIN)
        rest = text[: int(lines * room)].split()  # no letter is narrower than a pixel
        for left in range(lines, 0, -1):
            taken = len(rest)
            if left > 1:
                some = range(1, taken + 1)
                taken = max(1, bisect_right(some, room, key=lambda n: self.measure(" ".join(rest[:n]), size)))
            line, rest = self.fit(" ".join(rest[:taken]), size, room), rest[taken:]
            if line:
                self._room(self.y + 2 * size)
                self.text((MARGIN, self.y), line, size, colour, "la")
                self.y += round(size * 1.45)
            if not rest:
                break
        self.y += 2

    def panel(self, height: int) -> tuple[float, float, float, float]:
        """A field to draw in: (left, top, right, bottom)."""
        self.y += GAP / 2
        self._room(self.y + height + MARGIN)
        box = (MARGIN, self.y, self.width - MARGIN, self.y + height)
        self._draw.rounded_rectangle([side * FINE for side in box], 10 * FINE, self.theme.panel)
        self.y += height + GAP
        return box

    def sheet(self, pictures: Sequence[torch.Tensor], labels: Sequence[tuple[str, str]]) -> None:
        """Pictures uint8 [h, w, 3] in rows, the first with a frame, each above what is said of it. Smaller where there are many for the room."""
        columns = COLUMNS.get(len(pictures), 4)
        most = (self.width - 2 * MARGIN + GAP) // (SMALLEST + GAP)
        shape = max((picture.shape[0] / picture.shape[1] for picture in pictures), default=1.0)
        while True:
            side = (self.width - 2 * MARGIN - (columns - 1) * GAP) / columns
            height = side * min(shape, 1.8)
            rows = -(-len(pictures) // columns)
            if self.y + rows * (height + 34 + GAP / 2) <= self._until - MARGIN or columns >= most:
                break
            columns += 1
        for first in range(0, len(pictures), columns):
            self._room(self.y + height + 40 + MARGIN)
            for place in range(first, min(first + columns, len(pictures))):
                corner = MARGIN + (place - first) * (side + GAP), self.y
                self._tile(corner, (side, height), pictures[place], place == 0)
                told, name = labels[place]
                at = corner[0] + 2, self.y + height + 8
                colour = self.theme.best if place == 0 else self.theme.text
                told = self.fit(told, 15, side)
                self.text(at, told, 15, colour, "la")
                room = side - self.measure(told, 15) - 20
                self.text(
                    (corner[0] + side - 2, at[1] + 1), self.fit(name, 13, room), 13, self.theme.muted, "ra"
                )
            self.y += height + 34 + GAP / 2
        self.y += GAP / 2

    def _tile(
        self, corner: tuple[float, float], size: tuple[float, float], picture: torch.Tensor, best: bool
    ) -> None:
        image = Image.fromarray(picture.numpy())
        scale = min(size[0] / image.width, size[1] / image.height) * FINE
        how = Image.Resampling.NEAREST if image.width <= 128 and scale > 1 else Image.Resampling.LANCZOS
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), how)
        left = corner[0] * FINE + (size[0] * FINE - image.width) / 2
        top = corner[1] * FINE + (size[1] * FINE - image.height) / 2
        mask = Image.new("L", image.size, 0)
        ImageDraw.Draw(mask).rounded_rectangle([0, 0, image.width - 1, image.height - 1], 8 * FINE, 255)
        self._image.paste(image, (round(left), round(top)), mask)
        if best:
            box = [
                left - 3 * FINE,
                top - 3 * FINE,
                left + image.width + 3 * FINE,
                top + image.height + 3 * FINE,
            ]
            self._draw.rounded_rectangle(box, 10 * FINE, None, self.theme.best, 3 * FINE)

    # -- marks -------------------------------------------------------------------------------------------------------------

    def text(self, at: tuple[float, float], text: str, size: int, colour: str, anchor: str) -> None:
        font = _font(size * FINE)
        place = at[0] * FINE, at[1] * FINE
        if isinstance(font, ImageFont.FreeTypeFont):
            self._draw.text(place, _drawable(text), colour, font, anchor)
        else:  # Pillow without FreeType: one small size, and no anchors
            across = {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * self._draw.textlength(_drawable(text), font)
            self._draw.text((place[0] - across, place[1]), _drawable(text), colour, font)

    def measure(self, text: str, size: int) -> float:
        return float(self._draw.textlength(_drawable(text), _font(size * FINE))) / FINE

    def fit(self, text: str, size: int, room: float) -> str:
        """The text, cut off where there is no room for all of it."""
        text = text[: max(0, math.ceil(room)) + 1]
        if self.measure(text, size) <= room:
            return text
        most = bisect_right(
            range(1, len(text) + 1), room, key=lambda n: self.measure(text[:n] + " ...", size)
        )
        return text[:most].rstrip() + " ..." if most else ""

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float) -> None:
        self._draw.line([(x * FINE, y * FINE) for x, y in points], colour, round(width * FINE), "curve")

    def dot(self, at: tuple[float, float], radius: float, colour: str, hollow: bool = False) -> None:
        x, y, r = at[0] * FINE, at[1] * FINE, radius * FINE
        box = [x - r, y - r, x + r, y + r]
        if hollow:
            self._draw.ellipse(box, None, colour, FINE)
        else:
            self._draw.ellipse(box, colour)

    def below(self, at: tuple[float, float], radius: float, colour: str) -> None:
        """A mark for what lies below the axis."""
        x, y, r = at[0] * FINE, at[1] * FINE, radius * FINE
        self._draw.polygon([(x - r, y - r), (x + r, y - r), (x, y + r / 2)], colour)


@cache
def _font(size: int) -> Any:
    """Pillow's own font, in this size where it has one (10.1 and later, with FreeType)."""
    try:
        return ImageFont.load_default(size)
    except TypeError:
        return ImageFont.load_default()


def _drawable(text: str) -> str:
    """The font knows Latin letters: others become a middle dot."""
    return "".join(
        letter if letter.isascii() or "\u00a1" <= letter <= "\u024f" else "\u00b7" for letter in text
    )
