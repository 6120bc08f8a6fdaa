"""Prompts that no one would write, for every node of the pack, made from what the nodes declare."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

from hostile_pack import VALUES as OBJECTS

import workflow

UNDER_TEST, SHOWN, SINK = "10", "11", "12"
NAN, INFINITY = float("nan"), float("inf")


@dataclass(frozen=True)
class Case:
    """A prompt in which one thing is wrong."""

    what: str
    prompt: dict


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


# -- a graph in which every node works

WORLD = {
    "1": node("NoiseSearchLoadDemoModel", world="digits"),
    "2": node("CLIPTextEncode", clip=["1", 1], text="digit three"),
    "3": node("EmptySD3LatentImage", width=64, height=64, batch_size=1),
    "4": node("EmptyImage", width=64, height=64, batch_size=1, color=0xFFFFFF),
    "5": node("RandomNoise", noise_seed=3),
    "6": node("BasicGuider", model=["1", 0], conditioning=["2", 0]),
    "7": node("KSamplerSelect", sampler_name="euler"),
    "8": node("BasicScheduler", model=["1", 0], scheduler="simple", steps=2, denoise=1.0),
    "20": node("NoiseSearchLoadVerifier", scorer="digit classifier (demo)", file="auto", device="auto"),
    "21": node("NoiseSearchRandom"),
    "22": node("NoiseSearchLoadFeatures", network="digit classifier (demo)", file="auto", device="auto"),
    "23": node("NoiseSearchFeatureStatistics", features=["22", 0], images=["24", 0]),
    "24": node("EmptyImage", width=64, height=64, batch_size=3, color=0x808080),
    "25": node(
        "NoiseSearchScoreImages",
        images=["24", 0],
        verifier=["20", 0],
        prompt="digit three",
        keep_top=0,
        min_score=0.0,
    ),
}
SOURCES = {
    "MODEL": ["1", 0],
    "CLIP": ["1", 1],
    "VAE": ["1", 2],
    "CONDITIONING": ["2", 0],
    "LATENT": ["3", 0],
    "IMAGE": ["4", 0],
    "NOISE": ["5", 0],
    "GUIDER": ["6", 0],
    "SAMPLER": ["7", 0],
    "SIGMAS": ["8", 0],
    "NOISE_SEARCH_VERIFIER": ["20", 0],
    "NOISE_SEARCH": ["21", 0],
    "NOISE_SEARCH_FEATURES": ["22", 0],
    "NOISE_SEARCH_STATISTICS": ["23", 0],
    "NOISE_SEARCH_REPORT": ["25", 5],
}
WORLD["31"] = node("HostileValue", value="an object that is anything")
WORLD["32"] = node("HostileValue", value="a model that sees")
ANYTHING = ["31", 0]  # of types that nothing here makes
QUICK = {"steps": 2, "candidates": 2, "cfg": 1.0, "keep_top": 1, "at_most": 2, "sampler_name": "euler"}
SAMPLING = {
    "model": ["1", 0],
    "seed": 1,
    "steps": 2,
    "cfg": 1.0,
    "sampler_name": "euler",
    "scheduler": "simple",
    "denoise": 1.0,
}
SEARCH = node(
    "NoiseSearchKSampler",
    **SAMPLING,
    positive=["2", 0],
    negative=["2", 0],
    latent_image=["3", 0],
    vae=["1", 2],
    verifier=["20", 0],
    candidates=2,
    keep_top=1,
)
CUSTOM = node(
    "SamplerCustomAdvanced",
    noise=["5", 0],
    guider=["6", 0],
    sampler=["7", 0],
    sigmas=["8", 0],
    latent_image=["3", 0],
)


RECIPE = json.dumps({"noise_search": 1, "index": 0, "pieces": [{"noise": {"seed": 1, "moves": [[2, 0.9]]}}]})
HARMLESS = {  # where defaults alone do not run
    "NoiseSearchFeatureStatistics": {"images": ["24", 0]},
    "NoiseSearchFromRecipe": {"recipe": RECIPE},
    "NoiseSearchImageNetClassifier": {"target": "goldfish"},
    "NoiseSearchLoadFeatures": {"network": "digit classifier (demo)"},
    "NoiseSearchLoadVerifier": {"scorer": "digit classifier (demo)"},
    "NoiseSearchReplay": {"recipe": RECIPE},
    "NoiseSearchScoreImages": {"prompt": "digit three"},
    "NoiseSearchTextMatch": {"text": "OPEN"},
    "NoiseSearchVLMJudge": {"clip": ["32", 0]},
    "NoiseSearchVLMQuestions": {"clip": ["32", 0], "prompt": "digit three"},
    "NoiseSearchZeroShotClassifier": {"file": "scenes-clip", "target": "cat"},
}


def used(kind, name):
    """A node with one input taken from the node under test."""
    return {**kind, "inputs": {**kind["inputs"], name: [UNDER_TEST, 0]}}


SINKS = {  # what makes use of an output, for faults that show only then
    "NOISE_SEARCH_VERIFIER": node(
        "NoiseSearchScoreImages",
        images=["4", 0],
        verifier=[UNDER_TEST, 0],
        prompt="digit three",
        keep_top=0,
        min_score=0.0,
    ),
    "NOISE_SEARCH": used({**SEARCH, "inputs": {**SEARCH["inputs"], "candidates": 6}}, "search"),
    "NOISE": used(CUSTOM, "noise"),
    "SAMPLER": used(CUSTOM, "sampler"),
}


UNUSED = {
    "NoiseSearchTextMatch",  # reading takes half a second each time
    "NoiseSearchSelfSupervised",  # judges within a search of many steps only
}


def graph(name: str, object_info: dict, **inputs) -> dict:
    """A prompt in which a node runs; inputs: what it is given instead of something harmless."""
    definition = object_info[name]
    given = {}
    for socket, kind, _, required in workflow._inputs(definition):
        if kind in SOURCES and (required or not socket[-1].isdigit() or socket.endswith("_1")):
            given[socket] = SOURCES[kind]
        elif required and kind not in workflow.WIDGETS:
            given[socket] = ANYTHING
    given |= {widget: QUICK.get(widget, value) for widget, value in workflow.defaults(definition).items()}
    prompt = {**WORLD, UNDER_TEST: node(name, **{**given, **HARMLESS.get(name, {}), **inputs})}
    prompt[SHOWN] = node("PreviewAny", source=[UNDER_TEST, 0])
    if name not in UNUSED and (sink := SINKS.get(definition["output"][0])):
        prompt |= {SINK: sink, "13": node("PreviewAny", source=[SINK, 0])}
    return prompt


# -- what is wrong with it


def _nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


ANYWHERE = {
    "null": None,
    "an empty table": {},
    "an empty list": [],
    "a table": {"a": 1},
    "a list": ["x", "y", "z"],
    "nested": _nested(300),
    "true": True,
    "a text": "no such thing",
    "nothing in it": "",
    "half a character": "\ud800",
    "a name of half characters": "\udfff.safetensors",
    "a zero byte": "\x00",
    "a path": "../../../../etc/passwd",
    "a drive": "C:\\windows\\win.ini",
    "a template": "{0.__class__} %s ${x} {{7*7}}",
    "control characters": "\x1b[2J\r\n\u202e\u200b\ufeff",
    "many lines": "\n" * 50_000,
    "a long text": "x" * 1_000_000,
    "many digits": "9" * 5000,
    "a number": 3.5,
    "a negative number": -1,
    "a huge number": 10**400,
    "beyond 64 bits": 2**64,
    "not a number": NAN,
    "infinity": INFINITY,
    "minus infinity": -INFINITY,
    "the smallest number": 5e-324,
    "two numbers": [1, 2],
    "two texts": ["x", "y"],
    "a link from nowhere": ["999", 0],
    "a link from a table": [{}, 0],
    "a link from no slot": ["4", 99],
    "a link from slot -1": ["4", -1],
    "a link from half a slot": ["4", 0.5],
    "a link from a text slot": ["4", "0"],
    "a link from itself": [UNDER_TEST, 0],
    "a link from what it leads to": [SHOWN, 0],
    "a link from an image": ["4", 0],
    "a link from a model": ["1", 0],
    "a link of three": ["4", 0, 0],
}
TEXTS = {  # shapes that backtracking regular expressions stumble over, and worse
    "colons": ":" + "1" * 15_000,
    "spaces": " " * 25_000 + "x",
    "quotes": '"' * 20_000,
    "opening quotes": "\u201c" * 20_000,
    "brackets": "(" * 20_000,
    "weights": "(a:" * 2_000 + "1.1" + ")" * 2_000,
    "half a weight": "(" + "a" * 50_000 + ":1.",
    "embeddings": "embedding:" * 5_000,
    "alternatives": "{" * 10_000 + "|" * 10_000,
    "commas": ", " * 30_000,
    "loras": "<lora:" * 5_000,
    "letters": "a" * 50_000 + "!",
    "10 MB": "x y " * 2_500_000,
    "marks": "a" + "\u0301" * 50_000,
    "emoji": "\U0001f600" * 20_000,
}


def _moves(count, seed=7):
    return {"seed": 1, "moves": [[seed, 0.9]] * count}


def _deep(depth):
    noise = {"seed": 1}
    for _ in range(depth):
        noise = {"seed": 1, "moves": [[noise, 0.9]]}
    return noise


def _doubling(levels):
    noise = {"seed": 1}
    for _ in range(levels):
        noise = {"seed": 1, "moves": [[noise, 0.9], [noise, 0.9]]}
    return noise


def _recipe(noise, **more):
    return {"noise_search": 1, "index": 0, "pieces": [{"noise": noise}], **more}


def _pieces(count):
    return [{"noise": {"seed": 1}, "stop": 0.5}] + [{"noise": {"seed": 2}, "start": 0.9, "stop": 0.5}] * count


RECIPES = {
    "deep": _recipe(_deep(220)),
    "deeper": _recipe(_deep(180)),
    "deep enough for the parser": "[" * 100_000,
    "doubling": _recipe(_doubling(13)),
    "200 000 moves": _recipe(_moves(200_000)),
    "20 000 pieces": _recipe({"seed": 1}, pieces=_pieces(20_000)),
    "100 000 recipes": [_recipe({"seed": 1})] * 100_000,
    "of no pieces": _recipe({"seed": 1}, pieces=[]),
    "of pieces in a table": _recipe({"seed": 1}, pieces={"noise": 1}),
    "without noise": _recipe(None),
    "of a later version": _recipe({"seed": 1}, noise_search=99),
    "of version NaN": '{"noise_search": NaN, "pieces": []}',
    "with an unknown key": _recipe({"seed": 1}, more=1),
    "of seed -1": _recipe({"seed": -1}),
    "of a huge seed": _recipe({"seed": 10**30}),
    "of many digits": '{"noise_search": 1, "index": 0, "pieces": [{"noise": {"seed": ' + "9" * 5000 + "}}]}",
    "of half a seed": _recipe({"seed": 0.5}),
    "of a true seed": _recipe({"seed": True}),
    "of a text seed": _recipe({"seed": "\ud800"}),
    "of a null seed": _recipe({"seed": None}),
    "of a cosine of NaN": '{"noise_search": 1, "index": 0, "pieces": [{"noise": {"seed": 1, "moves": [[1, NaN]]}}]}',
    "of a cosine of 2": _recipe({"seed": 1, "moves": [[1, 2.0]]}),
    "of an infinite level": '{"noise_search": 1, "index": 0, "pieces": [{"noise": {"seed": 1}, "stop": Infinity}]}',
    "of rising levels": _recipe({"seed": 1}, pieces=[{"noise": {"seed": 1}, "stop": 0.2}, {"stop": 0.9}]),
    "of a million steps": _recipe({"seed": 1}, pieces=[{"noise": {"seed": 1}, "steps": 1_000_000}]),
    "of -1 steps": _recipe({"seed": 1}, pieces=[{"noise": {"seed": 1}, "steps": -1}]),
    "of a huge index": _recipe({"seed": 1}, index=10**12),
    "of a text index": _recipe({"seed": 1}, index="0"),
    "that is a number": "3",
    "that is null": "null",
    "that is a word": "recipe",
    "in two parts": json.dumps(_recipe({"seed": 1})) * 2,
}
RECIPE_INPUTS = {"recipe", "pick"}


ALWAYS = ("null", "an empty table", "half a character")  # what has killed a worker before


def cases(name: str, object_info: dict) -> Iterator[Case]:
    """Every input of a node with wrong values: with some of them, and going on where the last input stopped. The same each time."""
    turn = itertools.count(sum(map(ord, name)))  # nodes begin at different values
    for socket, kind, options, required in workflow._inputs(object_info[name]):
        widget = workflow._is_widget(kind, options)
        chosen = [*(ALWAYS if widget else ()), *_some(ANYWHERE, turn, 5 if widget else 4)]
        for what in dict.fromkeys(chosen):
            yield Case(f"{socket} = {what}", graph(name, object_info, **{socket: ANYWHERE[what]}))
        for what in _some(OBJECTS, turn, 2 if widget else 7):
            wrong = graph(name, object_info, **{socket: ["30", 0]})
            yield Case(f"{socket} linked to {what}", {**wrong, "30": node("HostileValue", value=what)})
        if required:
            without = graph(name, object_info)
            del without[UNDER_TEST]["inputs"][socket]
            yield Case(f"without {socket}", without)
        for what, text in _texts(socket, kind).items():
            yield Case(f"{socket} = {what}", graph(name, object_info, **{socket: text}))
    yield Case("an unknown input", graph(name, object_info, nothing_of_ours="x"))
    if "prompt" in workflow.defaults(object_info[name]):  # an empty one is looked for behind the conditioning
        for what, text in TEXTS.items():
            if what != "10 MB":  # ComfyUI's own tokenizer takes seconds for it
                encoded = {"2": node("CLIPTextEncode", clip=["1", 1], text=text)}
                yield Case(f"its prompt = {what}", graph(name, object_info) | encoded)


def _texts(socket, kind):
    if socket in RECIPE_INPUTS:
        return {what: one if isinstance(one, str) else json.dumps(one) for what, one in RECIPES.items()}
    return TEXTS if kind == "STRING" else {}


def _some(values, turn, count):
    """The next `count` names."""
    names = list(values)
    return [names[next(turn) % len(names)] for _ in range(count)]
