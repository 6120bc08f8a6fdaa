"""ComfyUI's page with the panel, driven as a user does: for the suite `browser`."""

import contextlib
import itertools
import json
import os
import time
import urllib.parse
import uuid
from pathlib import Path

import pytest

import browser
from bootstrap import SetupError
from comfy_server import ComfyServer, base_directory

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = Path(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
OUTPUT = ROOT / "output" / "browser"  # what the tests photograph
QUIET = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Release.Status": "skip",
    "Comfy.Minimap.Visible": False,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
}
OURS = ("noise-search", "noise_search", "NoiseSearch", "nsp-")
SEEDS = itertools.count(1000, 1000)  # no search twice: ComfyUI would answer from its cache
SECONDS = 60  # the longest that anything here takes


def lacking(reason: str):
    """A machine without a browser skips the suite, and says so; where one is required, it fails."""
    (pytest.fail if browser.required() else pytest.skip)(reason)


@contextlib.contextmanager
def chromium():
    """Playwright's browser, on the Chromium of this machine."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        lacking("playwright is not installed: pip install playwright")
    path = browser.chromium()
    if path is None:
        lacking(f"there is no Chromium. {browser.ADVICE}")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(path), args=["--no-sandbox"])
        yield running
        running.close()


@contextlib.contextmanager
def comfyui(folder: Path, front_end: str = "carried"):
    """A server with a front end: the one that its ComfyUI comes with, or another version."""
    arguments = ()
    if front_end != "carried":
        try:
            arguments = ("--front-end-root", str(browser.front_end(front_end)))
        except SetupError as error:
            lacking(str(error))
    base = base_directory(folder / "base", journal=False)
    with ComfyServer(COMFYUI, base, log=folder / "server.log", arguments=arguments) as server:
        yield server


def graph(**widgets) -> dict:
    """A workflow as the page loads it: the digits' model, a search node (id 10) and a Save Image (id 11) behind it.

    widgets: of the search node, over those of a short search that comes in slowly.
    """
    wide = {
        "seed": next(SEEDS),
        "control_after_generate": "fixed",
        "steps": 6,
        "cfg": 1.0,
        "sampler_name": "euler",
    }
    wide |= {
        "scheduler": "simple",
        "denoise": 1.0,
        "candidates": 8,
        "keep_top": 4,
        "prompt": "",
        "budget_nfe": 0,
    }
    wide |= {"stop_at_score": 0.0, "time_limit": 0.0, "batch_size": 1, "exactly_reproducible": True}
    wide |= {"choose": "the judge", "pick": "", "journal": False} | widgets
    link, made = iter(range(1, 100)), []

    def node(id, kind, at, size, values, outputs, **inputs):
        sockets = []
        for name, (source, slot, type) in inputs.items():
            number = next(link)
            made.append([number, source, slot, id, len(sockets), type])
            sockets.append({"name": name, "type": type, "link": number})
        named = [{"name": name, "type": type, "links": None} for name, type in outputs]
        return {"id": id, "type": kind, "pos": at, "size": size, "flags": {}, "order": id, "mode": 0, "inputs": sockets,
                "outputs": named, "properties": {}, "widgets_values": values}  # fmt: skip

    model, clip, vae = (1, 0, "MODEL"), (1, 1, "CLIP"), (1, 2, "VAE")
    results = [("LATENT", "LATENT"), ("image", "IMAGE"), ("top_images", "IMAGE"), ("top_latents", "LATENT"), ("seed", "INT"),
               ("score", "FLOAT"), ("noise", "NOISE"), ("recipe", "STRING"), ("report", "NOISE_SEARCH_REPORT"),
               ("top_recipes", "STRING"), ("top_seeds", "INT"), ("file_name", "STRING")]  # fmt: skip
    nodes = [
        node(1, "NoiseSearchLoadDemoModel", [0, 0], [270, 100], ["digits"], [("model", "MODEL"), ("clip", "CLIP"), ("vae", "VAE")]),
        node(2, "CLIPTextEncode", [300, 0], [300, 110], ["digit three"], [("CONDITIONING", "CONDITIONING")], clip=clip),
        node(3, "CLIPTextEncode", [300, 150], [300, 80], [""], [("CONDITIONING", "CONDITIONING")], clip=clip),
        node(4, "EmptySD3LatentImage", [300, 270], [300, 110], [64, 64, 1], [("LATENT", "LATENT")]),
        node(5, "NoiseSearchLoadVerifier", [0, 150], [270, 200], ["digit classifier (demo)", "auto", "auto", "auto", 8, "mean"],
             [("verifier", "NOISE_SEARCH_VERIFIER")]),
        node(10, "NoiseSearchKSampler", [640, 0], [460, 1400], list(wide.values()), results, model=model,
             positive=(2, 0, "CONDITIONING"), negative=(3, 0, "CONDITIONING"), latent_image=(4, 0, "LATENT"), vae=vae,
             verifier=(5, 0, "NOISE_SEARCH_VERIFIER"), search=(None, 0, "NOISE_SEARCH")),
        node(11, "SaveImage", [1150, 0], [300, 300], ["browser"], [], images=(10, 1, "IMAGE")),
    ]  # fmt: skip
    for one in nodes:  # a socket that nothing is connected to
        for socket in one["inputs"]:
            if any(number == socket["link"] and source is None for number, source, *_ in made):
                socket["link"] = None
    links = [entry for entry in made if entry[1] is not None]
    for number, source, slot, *_ in links:
        output = next(one for one in nodes if one["id"] == source)["outputs"][slot]
        output["links"] = [*(output["links"] or []), number]
    return {"id": str(uuid.uuid4()), "revision": 0, "last_node_id": 11, "last_link_id": 99, "nodes": nodes,
            "links": links, "groups": [], "config": {}, "extra": {}, "version": 0.4}  # fmt: skip


class Page:
    """One tab. said: what the page complained about, as far as it is about us."""

    def __init__(
        self, chrome, server, *, vue=False, theme="dark", size=(1500, 1000), context=None, **settings
    ):
        self.server = server
        for name, value in {
            **QUIET,
            "Comfy.VueNodes.Enabled": vue,
            "Comfy.ColorPalette": theme,
            **settings,
        }.items():
            server.post(f"/settings/{urllib.parse.quote(name)}", value)
        self.context = context or chrome.new_context(viewport={"width": size[0], "height": size[1]})
        self.page = self.context.new_page()
        self.page.set_default_timeout(SECONDS * 1000)
        self.said, self.frames = [], []
        self.page.on("pageerror", lambda error: self._heard(f"{error}\n{error.stack}"))
        self.page.on(
            "console", lambda message: message.type in ("error", "warning") and self._heard(message.text)
        )
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._frame))
        self.open()

    def _heard(self, text):
        if any(word in text for word in OURS) and "api.comfy.org" not in text:
            self.said.append(text)

    def _frame(self, payload):
        if isinstance(payload, str) and '"noise_search.state"' in payload[:200]:
            self.frames.append((time.monotonic(), len(payload), json.loads(payload)["data"]))

    def open(self):
        self.page.goto(self.server.url)
        self.ready()

    def reload(self):
        self.page.reload()
        self.ready()

    def ready(self):
        self.page.wait_for_function(
            "window.app?.graph && window.app.extensions?.some(e => e.name === 'NoiseSearch.Panel')"
        )
        self.page.wait_for_function("document.querySelector('link[href*=\"panel.css\"]')")
        self.page.wait_for_timeout(500)  # the last workflow is being restored

    def close(self):
        self.context.close()

    # -- what a user does

    def load(self, workflow: dict):
        self.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        self.page.wait_for_function("app.graph.nodes.length > 0")
        self.look_at()

    def look_at(self, id: int = 10, scale: float = 0.8):
        """Put the panel of a node into view."""
        self.page.evaluate(
            """([id, scale]) => {
                const node = app.graph.getNodeById(id);
                if (!node) return;
                app.canvas.ds.scale = scale;
                app.canvas.ds.offset[0] = -node.pos[0] + 300 / scale;
                app.canvas.ds.offset[1] = -node.pos[1] - node.size[1] + 900 / scale;
                app.canvas.setDirty(true, true);
            }""",
            [id, scale],
        )
        self.page.wait_for_timeout(200)

    def queue(self):
        self.page.evaluate("app.queuePrompt(0, 1)")

    def widget(self, name: str, id: int = 10):
        return self.page.evaluate(
            "([id, name]) => app.graph.getNodeById(id).widgets.find(w => w.name === name)?.value", [id, name]
        )

    # -- what a user sees

    @property
    def panel(self):
        return self.page.locator(".nsp").first

    @property
    def cards(self):
        return self.panel.locator(".nsp-card:not(.nsp-sampling)")

    def title(self) -> str:
        return self.panel.locator(".nsp-title").inner_text()

    def wait(self, script: str, argument=None):
        """Until the script, in which `panel` is the panel's element, says true."""
        body = (
            f"(argument) => {{ const panel = document.querySelector('.nsp'); return panel && ({script}); }}"
        )
        self.page.wait_for_function(body, arg=argument)

    def wait_for_title(self, words: str):
        self.wait("panel.querySelector('.nsp-title').textContent.includes(argument)", words)

    def wait_for_cards(self, count: int):
        self.wait("panel.querySelectorAll('.nsp-card:not(.nsp-sampling)').length >= argument", count)

    def seeds(self) -> list[str]:
        return self.panel.locator(".nsp-card:not(.nsp-sampling) .nsp-from").all_inner_texts()

    def act(self, place: int, tool: str):
        """Press one of the buttons on the card of a rank, from 0: nsp-use, nsp-reject or the label's first words."""
        card = self.cards.nth(place)
        card.scroll_into_view_if_needed()
        card.hover()
        button = card.locator(
            f"button.{tool}" if tool.startswith("nsp-") else f'button[aria-label^="{tool}"]'
        )
        button.click()

    def photograph(self, name: str, whole: bool = False):
        OUTPUT.mkdir(parents=True, exist_ok=True)
        path = OUTPUT / f"{name}.png"
        if whole:
            self.page.screenshot(path=path)
        else:
            self.panel.screenshot(path=path, animations="disabled")
        return path

    # -- what the server has

    def last_entry(self) -> dict:
        """The history of the last prompt, once nothing is queued."""
        until = time.monotonic() + SECONDS
        while any(self.server.get("/queue").values()):
            assert time.monotonic() < until, "the queue does not become empty"
            self.page.wait_for_timeout(50)
        return max(self.server.get("/history").values(), key=lambda entry: entry["prompt"][0])

    def wait_for_entries(self, count: int) -> list[dict]:
        """The server's history, oldest first, once it has so many entries."""
        until = time.monotonic() + SECONDS
        while True:
            entries = sorted(self.server.get("/history").values(), key=lambda entry: entry["prompt"][0])
            if len(entries) >= count:
                return entries
            assert time.monotonic() < until, f"{len(entries)} of {count} prompts have run"
            self.page.wait_for_timeout(100)
