"""Takes the pictures of the README: a film from the menu of a plain sampler to a picked image, and the panel of an example."""

import io
import json
import time

import panel_page
import pytest
from panel_page import OUTPUT, Page
from PIL import Image

pytestmark = pytest.mark.browser

EXAMPLE = panel_page.ROOT / "example_workflows" / "watch_and_choose.json"
SLOWEST, REST = 100, 1500  # milliseconds of a frame, and of the last one
LARGEST = 2 * 2**20  # bytes of the film
# the colours of lines and frames, too few pixels to be found: blue, half of it on grey, orange, green
RARE = [(59, 158, 255), (62, 110, 160), (224, 145, 60), (140, 105, 65), (0, 220, 0), (255, 255, 255)]

# Screenshots lack the mouse's pointer.
POINTER = """() => {
    const pointer = document.createElement("div");
    pointer.innerHTML = `<svg width="18" height="26" viewBox="0 0 18 26"><path d="M1 1v20l5-4.6 3.6 8.3 3.6-1.6-3.5-8h6.8z"
        fill="#fff" stroke="#000" stroke-width="1.4"/></svg>`;
    pointer.style.cssText = "position:fixed;z-index:99999;pointer-events:none";
    document.body.append(pointer);
    addEventListener("mousemove", event => {
        pointer.style.left = event.clientX + "px";
        pointer.style.top = event.clientY + "px";
    }, true);
}"""

# ComfyUI's default graph with the demo model, and a judge that the menu will find.
PLAIN = """() => {
    app.graph.clear();
    const add = (kind, pos, size, values = {}, title) => {
        const node = LiteGraph.createNode(kind);
        app.graph.add(node);
        Object.assign(node, { pos, title: title ?? node.title });
        node.setSize(size);
        for (const [name, value] of Object.entries(values)) node.widgets.find(w => w.name === name).value = value;
        return node;
    };
    const loader = add("NoiseSearchLoadDemoModel", [0, 0], [250, 100], { world: "scenes" });
    add("NoiseSearchLoadVerifier", [0, 150], [250, 200], { scorer: "scene attributes (demo)" });
    const wanted = add("CLIPTextEncode", [290, 0], [270, 110],
        { text: "a yellow heart above a purple ring on a navy background" }, "Prompt");
    const unwanted = add("CLIPTextEncode", [290, 160], [270, 80], {}, "Negative prompt");
    const size = add("EmptySD3LatentImage", [290, 290], [270, 110], { width: 64, height: 64 });
    const sampler = add("KSampler", [600, 0], [400, 280],
        { seed: 3, control_after_generate: "fixed", steps: 15, cfg: 1.5, sampler_name: "euler", scheduler: "simple" });
    const decode = add("VAEDecode", [1040, 0], [270, 50]);
    const larger = add("ImageScaleBy", [1040, 110], [270, 90], { upscale_method: "bicubic", scale_by: 4 });
    const save = add("SaveImage", [1040, 835], [310, 380]);
    loader.connect(0, sampler, 0);
    loader.connect(1, wanted, 0);
    loader.connect(1, unwanted, 0);
    wanted.connect(0, sampler, 1);
    unwanted.connect(0, sampler, 2);
    size.connect(0, sampler, 3);
    sampler.connect(0, decode, 0);
    loader.connect(2, decode, 1);
    decode.connect(0, larger, 0);
    larger.connect(0, save, 0);
}"""

# Images appear one by one, as with a larger model.
SLOWLY = """() => {
    const search = app.graph.nodes.find(n => n.type === "NoiseSearchKSampler");
    for (const [name, value] of [["candidates", 16], ["batch_size", 1]])
        search.widgets.find(w => w.name === name).value = value;
}"""


class Film:
    """What the page shows, as a GIF that plays about as fast as it was filmed, and rests at its end."""

    def __init__(self, page):
        self.page, self.frames, self.times = page, [], []
        self.at = (430, 420)
        page.evaluate(POINTER)
        page.mouse.move(*self.at)

    def shoot(self, frames=1):
        for _ in range(frames):
            self.times.append(time.monotonic())
            png = self.page.screenshot()
            self.frames.append(Image.open(io.BytesIO(png)).convert("RGB"))
            self.page.wait_for_timeout(80)

    def point(self, x, y, frames=6):
        """Move the pointer there, as a hand does."""
        for left in range(frames - 1, -1, -1):
            self.at = [there + (here - there) * left / (left + 1) for here, there in zip(self.at, (x, y))]
            self.page.mouse.move(*self.at)
            self.shoot()

    def point_at(self, locator):
        box = locator.bounding_box()
        self.point(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    @property
    def durations(self):
        """Milliseconds of each frame."""
        gaps = [1000 * (later - before) for before, later in zip(self.times, self.times[1:])]
        return [min(max(round(gap), 80), SLOWEST) for gap in gaps] + [REST]

    def save(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        some = self.frames[:: max(1, len(self.frames) // 8)] + self.frames[-1:]
        together = Image.new("RGB", (some[0].width, some[0].height * len(some)))
        for i, frame in enumerate(some):
            together.paste(frame, (0, i * frame.height))
        palette = Image.new("P", (1, 1))
        palette.putpalette(together.quantize(200).getpalette()[:600] + [part for one in RARE for part in one])
        flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames]
        flat[0].save(
            path, save_all=True, append_images=flat[1:], duration=self.durations, loop=0, optimize=True
        )


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """size -> a page of that many pixels."""
    with (
        panel_page.chromium() as chrome,
        panel_page.comfyui(tmp_path_factory.mktemp("film"), "newest") as server,
    ):
        yield lambda *size: Page(chrome, server, size=size, **{"Comfy.Graph.CanvasInfo": False})


def look(page, view):
    """view: the place of the graph in the upper left corner of the page, and the scale."""
    page.page.evaluate(
        """([x, y, scale]) => {
            app.canvas.ds.scale = scale;
            app.canvas.ds.offset[0] = -x;
            app.canvas.ds.offset[1] = -y;
            app.canvas.draw(true, true);
        }""",
        view,
    )


def test_the_panel_of_an_example_is_photographed(opened):
    page = opened(1400, 900)
    page.load(json.loads(EXAMPLE.read_text("utf-8")))
    page.page.evaluate("app.graph.getNodeById(10).setSize([520, 1405])")  # room for two rows of candidates
    look(page, (540, 560, 0.8))
    page.queue()
    page.wait_for_cards(9)
    page.photograph("panel_running")
    page.wait_for_title("Your turn: pick one")
    page.photograph("panel_choose")
    page.cards.first.locator(".nsp-open-card").click()
    dialog = page.page.locator(".nsp-dialog")
    page.page.keyboard.press("ArrowRight")
    page.page.wait_for_timeout(300)
    dialog.screenshot(path=OUTPUT / "panel_large.jpg", type="jpeg", quality=85)
    assert page.said == []
    page.close()


def test_from_the_menu_of_a_plain_sampler_to_a_picked_image_is_filmed(opened):
    page = opened(900, 600)
    page.page.evaluate(PLAIN)
    start, panel = (190, -150, 0.8), (520, 712, 1.0)
    look(page, start)
    page.page.wait_for_timeout(400)
    film = Film(page.page)
    film.shoot(4)

    film.point((700 - start[0]) * start[2], (-15 - start[1]) * start[2])
    page.page.mouse.click(*film.at, button="right")
    film.shoot(3)
    film.point_at(page.page.get_by_text("Search with this sampler", exact=True))
    film.shoot(4)
    page.page.mouse.click(*film.at)
    film.shoot(6)
    page.page.evaluate(SLOWLY)

    film.point_at(page.page.get_by_role("button", name="Run", exact=True).first)
    page.page.mouse.click(*film.at)
    film.shoot(2)
    for step in range(1, 6):
        look(page, [here + (there - here) * step / 5 for here, there in zip(start, panel)])
        film.shoot()
    shown = ""
    for _ in range(600):
        if page.title() == shown:
            page.page.wait_for_timeout(50)
            continue
        shown = page.title()
        film.shoot(2)  # however slow the machine is, two for each candidate
        if shown.startswith("Found"):
            break
    assert page.title().startswith("Found the best of 16")
    film.shoot(6)

    card = page.cards.nth(1)
    film.point_at(card)
    film.point_at(card.locator(".nsp-use"))
    film.shoot(2)
    page.page.mouse.click(*film.at)
    film.shoot(3)
    page.wait_for_title("Your pick goes on")
    film.point(500, 520, 3)
    film.shoot(6)
    film.save(OUTPUT / "panel.gif")
    seconds = sum(film.durations) / 1000
    assert len(film.frames) >= 50 and 6 <= seconds <= 12 and (OUTPUT / "panel.gif").stat().st_size <= LARGEST
    assert page.said == []
    page.close()
