"""The smallest honest stand-in for a vision-language model: it reads a question about a scene, looks, and says how sure it is of yes.

Its eyes are the demo's attribute network (what it takes each attribute for) and the lowest rows of the picture, where a caption may stand.
Each word that it reads looks at that, as attention does. It is trained here, in a minute, on rendered scenes that no benchmark uses and on the very words
that VLM Judge says, and answers through the same interface as a real one (testing/stand_in_vlm.py), so that VLM Judge asks it as it asks the others.
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from _trials import ROOT
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "testing")]
from demo_training.scenes import make, scene_of  # noqa: E402
from stand_in_vlm import StandIn  # noqa: E402

from noisesearch.demo.grammar import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, Scene, Thing, describe  # noqa: E402
from noisesearch.demo.worlds import random_scene  # noqa: E402
from noisesearch.verifiers.judges.vlm_questions import TEMPLATE, asked, filled  # noqa: E402

STRIP = 12  # rows of a caption
LONGEST = 24  # words that are read of a text; the longest that is said has 21
LESSONS = 300_000
CACHE = ROOT / ".cache" / "vlm"
WORDS = re.compile(r"[a-z]+")
SAID = re.compile(r"<\|vision_end\|>(.*)<\|im_end\|>", re.DOTALL)
VOCABULARY = {
    word: i + 1
    for i, word in enumerate(
        dict.fromkeys(
            WORDS.findall(
                " ".join((*COLOURS, *SHAPES, *BACKGROUNDS, *RELATIONS, TEMPLATE)).lower()
                + " is are there a an the of on background two things only one thing"
            )
        )
    )
}


class Reader(torch.nn.Module):
    """eyes [B, E], words [B, T] -> the logit of yes [B]. Each word has `LOOKS` products with what is seen: a network without them takes far longer to learn
    that "red" is about red."""

    LOOKS, SEEN = 3, 48

    def __init__(self, eyes: int, width: int = 128):
        super().__init__()
        self.words = torch.nn.Embedding(len(VOCABULARY) + 1, 32, padding_idx=0)
        self.read = torch.nn.Linear(32 * LONGEST, width)
        self.look = torch.nn.Embedding(len(VOCABULARY) + 1, self.SEEN * self.LOOKS, padding_idx=0)
        self.see = torch.nn.Linear(eyes, self.SEEN)
        self.begin = torch.nn.Linear(self.LOOKS * LONGEST + eyes, width)
        self.gates = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(2))
        self.shifts = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(2))
        self.think = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(2))
        self.say = torch.nn.Linear(width, 1)

    def forward(self, eyes: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        words = torch.nn.functional.pad(words, (0, LONGEST - words.shape[1]))
        said = torch.relu(self.read(self.words(words).flatten(1)))
        looks = self.look(words).unflatten(2, (self.LOOKS, self.SEEN)) @ self.see(eyes)[:, None, :, None]
        x = self.begin(torch.cat([looks.flatten(1), eyes], dim=1))
        for gate, shift, think in zip(self.gates, self.shifts, self.think):
            x = x + torch.relu(think(x) * (1 + gate(said)) + shift(said))
        return self.say(x)[:, 0]


def words_of(texts: list[str]) -> torch.Tensor:
    rows = [
        torch.tensor([VOCABULARY.get(word, 0) for word in WORDS.findall(t.lower())] or [0]) for t in texts
    ]
    rows = [row[row > 0] if bool((row > 0).any()) else row for row in rows]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def eyes_of(classify: Callable, images: torch.Tensor) -> torch.Tensor:
    """images [B, 64, 64, 3] in [0, 1] -> [B, E]."""
    seen = torch.cat(list(classify(images)), dim=1).clamp(min=-8)
    strip = torch.nn.functional.avg_pool2d(images[:, -STRIP:].mean(3)[:, None], 2).flatten(1)
    return torch.cat([seen.exp(), seen / 8, strip], dim=1)


def captioned(images: torch.Tensor, word: str) -> torch.Tensor:
    """The pictures with a word in the lower left corner, white on black."""
    label = Image.new("RGB", (images.shape[2], STRIP))
    draw = ImageDraw.Draw(label)
    box = draw.textbbox((2, 0), word)
    draw.text((2, 0), word, fill=(255, 255, 255))
    width = int(box[2]) + 2
    changed = images.clone()
    pixels = torch.frombuffer(bytearray(label.tobytes()), dtype=torch.uint8).view(STRIP, images.shape[2], 3)
    changed[:, -STRIP:, :width] = pixels[:, :width].float() / 255
    return changed


# -- what is asked: (question, whether it is so)


def _phrase(thing: Thing) -> str:
    return f"{thing.colour} {thing.shape}"


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def checks(scene: Scene) -> dict[str, list[str]]:
    """The questions to a prompt, by category, as a careful user writes them."""
    things = [thing for thing in (scene.first, scene.second) if thing]
    alike = scene.second is not None and scene.first.shape == scene.second.shape
    found = {
        "shape": [f"Is there {_a(thing.shape)}?" for thing in dict.fromkeys(things)],
        "colour": [
            f"Is there {_a(_phrase(thing))}?" if alike else f"Is the {thing.shape} {thing.colour}?"
            for thing in things
        ],
        "count": ["Are there two things?" if scene.second else "Is there only one thing?"],
        "background": [f"Is the background {scene.background}?"],
    }
    if scene.second:
        relation = "above" if scene.vertical else "left of"
        found["position"] = [f"Is the {_phrase(scene.first)} {relation} the {_phrase(scene.second)}?"]
    return {name: list(dict.fromkeys(questions)) for name, questions in found.items()}


def _wrong(scene: Scene, rng: random.Random) -> Scene:
    """Another scene, near this one."""
    first, second = scene.first, scene.second
    turns: list[Callable[[], Scene]] = [
        lambda: replace(scene, first=Thing(rng.choice(COLOURS), first.shape)),
        lambda: replace(scene, first=Thing(first.colour, rng.choice(SHAPES))),
        lambda: replace(scene, background=rng.choice(BACKGROUNDS)),
    ]
    if second:
        turns += [
            lambda: replace(scene, second=Thing(rng.choice(COLOURS), second.shape)),
            lambda: replace(scene, second=Thing(second.colour, rng.choice(SHAPES))),
            lambda: replace(scene, first=second, second=first),
            lambda: replace(
                scene, first=Thing(second.colour, first.shape), second=Thing(first.colour, second.shape)
            ),
            lambda: replace(scene, vertical=not scene.vertical),
            lambda: replace(scene, second=None, vertical=False),
        ]
    else:
        turns.append(lambda: replace(scene, second=Thing(rng.choice(COLOURS), rng.choice(SHAPES))))
    return rng.choice(turns)()


def question(scene: Scene, rng: random.Random) -> tuple[str, bool]:
    """What VLM Judge would say to a picture of the scene, word for word, and the true answer; half of it about the whole.

    About half of the answers are yes, of single questions too: a scene that differs is asked about where it differs. Else saying yes is nearly always right.
    """
    other = scene if rng.random() < 0.5 else _wrong(scene, rng)
    if rng.random() < 0.5:
        return filled(TEMPLATE, describe(other, from_second=rng.random() < 0.5)), other == scene
    if other != scene and rng.random() < 0.5:
        other = random_scene(rng)  # near ones differ in their position most of all
    told = [[(check, _true(check, scene)) for check in some] for some in checks(other).values()]
    fit = [[one for one in some if one[1] == (other == scene)] for some in told]
    check, truth = rng.choice(rng.choice([some for some in fit if some] or told))
    return asked(check, ""), truth


def _true(check: str, scene: Scene) -> bool:
    things = [thing for thing in (scene.first, scene.second) if thing]
    words = WORDS.findall(check.lower())
    colours, shapes = ([w for w in words if w in some] for some in (COLOURS, SHAPES))
    if "background" in words:
        return scene.background in words
    if "things" in words or "only" in words:
        return ("two" in words) == (scene.second is not None)
    if len(shapes) == 2:
        wanted = [Thing(colour, shape) for colour, shape in zip(colours, shapes)]
        return things == wanted and scene.vertical == ("above" in words)
    return any(thing.shape == shapes[0] and (not colours or thing.colour == colours[0]) for thing in things)


# -- learning


def trained(
    classify: Callable, captions: float, scenes: int = 12_000, steps: int = 4000, seed: int = 11
) -> Reader:
    """captions: the share of its pictures that carry the word YES or NO, the right one in nine of ten, as captions on the web are mostly right."""
    pixels, _, labels = make(scenes, seed, held_out=False)
    images = torch.from_numpy(pixels).float() / 255
    facts = [scene_of(row) for row in labels.tolist()]
    with torch.no_grad():
        views = torch.stack(
            [
                torch.cat([eyes_of(classify, version(part)) for part in images.split(500)])
                for version in (lambda x: x, lambda x: captioned(x, "YES"), lambda x: captioned(x, "NO"))
            ]
        )
    torch.manual_seed(seed)
    rng, reader = random.Random(seed), Reader(views.shape[2])
    places = torch.tensor([rng.randrange(scenes) for _ in range(LESSONS)])
    texts, truths = zip(*(question(facts[place], rng) for place in places.tolist()))
    shown = torch.tensor([_view(truth, captions, rng) for truth in truths])
    words, answers = words_of(list(texts)), torch.tensor(truths).float()
    optimiser = torch.optim.AdamW(reader.parameters(), 5e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, steps)
    for _ in range(steps):
        some = torch.randint(LESSONS, (256,))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            reader(views[shown[some], places[some]], words[some]), answers[some]
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return reader.eval()


def kept(classify: Callable, captions: float, steps: int, folder: Path = CACHE) -> Reader:
    """As `trained`; learnt once, and again when lessons or eyes are others."""
    mark = hashlib.sha256(_lessons(classify)).hexdigest()[:12]
    path = folder / f"reader-{captions}-{steps}-{mark}.safetensors"
    if path.is_file():
        weights = load_file(path)
        reader = Reader(weights["see.weight"].shape[1])
        reader.load_state_dict(weights)
        return reader.eval()
    reader = trained(classify, captions, steps=steps)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(reader.state_dict(), path)
    return reader


@torch.no_grad()
def _lessons(classify: Callable) -> bytes:
    """Some of what it is taught, and of what it sees."""
    rng = random.Random(0)
    said = [question(random_scene(rng), rng) for _ in range(1000)]
    picture = torch.linspace(0, 1, 64 * 64 * 3).view(1, 64, 64, 3)
    return f"{said} {Reader(1)}".encode() + eyes_of(classify, picture).numpy().tobytes()


def _view(truth: bool, captions: float, rng: random.Random) -> int:
    """0 plain, 1 with YES, 2 with NO."""
    if rng.random() >= captions:
        return 0
    return 1 if truth == (rng.random() < 0.9) else 2


@torch.no_grad()
def accuracy(reader: Reader, classify: Callable, count: int = 1000, seed: int = 5) -> dict[str, float]:
    """How often it is right on fresh pictures, by kind of question."""
    pixels, _, labels = make(count, seed, held_out=True)
    eyes, rng = eyes_of(classify, torch.from_numpy(pixels).float() / 255), random.Random(seed)
    right: dict[str, list[bool]] = {name: [] for name in ASKED}
    for i, row in enumerate(labels.tolist()):
        texts, truths = zip(*(question(scene_of(row), rng) for _ in range(4)))
        said = reader(eyes[i].expand(4, -1), words_of(list(texts))) > 0
        for text, truth, yes in zip(texts, truths, said.tolist()):
            right[_kind(text)].append(yes == truth)
    return {name: sum(some) / len(some) for name, some in right.items()}


ASKED = ("the whole prompt", "what is there", "its colour", "its place", "the count", "the background")


def _kind(text: str) -> str:
    """Which of ASKED a question is about."""
    words = set(WORDS.findall(text.lower()))
    signs = ({"figure"}, set(), set(), {"left", "above"}, {"things", "thing"}, {"background"})
    found = [name for name, some in zip(ASKED, signs) if words & some]
    return found[0] if found else ASKED[1] if "there" in words else ASKED[2]


def stand_in(reader: Reader, classify: Callable) -> StandIn:
    """The reader as ComfyUI would have loaded it."""
    known: dict[
        tuple[bytes, str], float
    ] = {}  # questions come again where their answers are combined otherwise

    @torch.no_grad()
    def mind(picture: torch.Tensor, turn: str) -> float:
        text = SAID.search(turn)
        assert text is not None  # VLM Judge shows a picture each time
        key = hashlib.sha256(picture.numpy().tobytes()).digest(), text[1]
        if key not in known:
            known[key] = float(reader(eyes_of(classify, picture), words_of([text[1]])).sigmoid())
        return known[key]

    return StandIn(mind)
