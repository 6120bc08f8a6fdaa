"""Takes the pictures of the README while an example is watched, stopped at nothing, and one of its candidates is used."""

import io
import json
import time

import panel_page
import pytest
from panel_page import OUTPUT, Page
from PIL import Image

pytestmark = pytest.mark.browser

EXAMPLE = panel_page.ROOT / "example_workflows" / "watch_and_choose.json"
SLOWEST, REST = 150, 2000  # milliseconds of a frame, and of the last one
LARGEST = 2 * 2**20  # bytes of the film
# the colours of lines and frames, too few pixels to be found: blue, half of it on grey, orange, green
RARE = [(59, 158, 255), (62, 110, 160), (224, 145, 60), (140, 105, 65), (0, 220, 0), (255, 255, 255)]


class Film:
    """What a part of the page shows, as a GIF that plays about as fast as it was filmed, and rests at its end."""

    def __init__(self, page, area):
        self.page, self.area, self.frames, self.times = page, area, [], []

    def shoot(self, frames=1):
        for _ in range(frames):
            self.times.append(time.monotonic())
            png = self.page.screenshot(clip=self.area)
            self.frames.append(Image.open(io.BytesIO(png)).convert("RGB"))
            self.page.wait_for_timeout(80)

    @property
    def durations(self):
        """Milliseconds of each frame."""
        gaps = [1000 * (later - before) for before, later in zip(self.times, self.times[1:])]
        return [min(max(round(gap), 100), SLOWEST) for gap in gaps] + [REST]

    def save(self, path):
        width, height = self.frames[0].size
        small = [frame.resize((640, round(640 * height / width))) for frame in self.frames]
        some = small[:: max(1, len(small) // 8)] + small[-1:]
        together = Image.new("RGB", (some[0].width, some[0].height * len(some)))
        for i, frame in enumerate(some):
            together.paste(frame, (0, i * frame.height))
        palette = Image.new("P", (1, 1))
        palette.putpalette(together.quantize(200).getpalette()[:600] + [part for one in RARE for part in one])
        flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in small]
        flat[0].save(
            path, save_all=True, append_images=flat[1:], duration=self.durations, loop=0, optimize=True
        )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with (
        panel_page.chromium() as chrome,
        panel_page.comfyui(tmp_path_factory.mktemp("film"), "newest") as server,
    ):
        page = Page(chrome, server, size=(1400, 900))
        yield page
        page.close()


def place(page, scale=0.8):
    """The panel and the node that saves the pick, side by side; the part of the page that shows them."""
    left, top = 690, 700
    page.page.evaluate(
        """([left, top, scale]) => {
            Object.assign(app.canvas.ds, { scale });
            app.canvas.ds.offset[0] = -left + 120 / scale;
            app.canvas.ds.offset[1] = -top + 110 / scale;
            app.canvas.setDirty(true, true);
        }""",
        [left, top, scale],
    )
    page.page.wait_for_timeout(300)
    return {"x": 112, "y": 100, "width": 1010 * scale, "height": 630 * scale}


def test_watch_and_choose_is_filmed(page):
    page.load(json.loads(EXAMPLE.read_text("utf-8")))
    film = Film(page.page, place(page))
    film.shoot(3)
    page.queue()
    running = None
    for _ in range(200):
        film.shoot()
        if running is None and page.cards.count() >= 9:
            running = page.photograph("panel_running")
        if page.title().startswith("Your turn"):
            break
    assert running is not None and page.title() == "Your turn: pick one"
    page.photograph("panel_choose")
    film.shoot(5)
    card = page.cards.nth(1)
    card.hover()
    film.shoot(5)
    card.locator(".nsp-use").click()
    film.shoot(3)
    page.wait_for_title("Your pick goes on")
    page.page.mouse.move(5, 300)
    film.shoot(10)
    film.save(OUTPUT / "panel.gif")
    seconds = sum(film.durations) / 1000
    assert len(film.frames) >= 15 and 3 <= seconds <= 20 and (OUTPUT / "panel.gif").stat().st_size <= LARGEST
    page.cards.first.locator(".nsp-open-card").click()
    dialog = page.page.locator(".nsp-dialog")
    page.page.keyboard.press("ArrowRight")
    page.page.wait_for_timeout(300)
    dialog.screenshot(path=OUTPUT / "panel_large.jpg", type="jpeg", quality=85)
    assert page.said == []
