"""Whatever a workflow gives to a node: every choice, number, text and socket of every node is checked, when it is queued and when it runs."""

import asyncio
import math
from types import SimpleNamespace

import pytest
import torch

from noisesearch.nodes import NODES
from noisesearch.nodes.given import SOCKETS, declared_by
from noisesearch.nodes.guard import guarded

SURROGATE = "\ud800"
NO_CHOICE = {
    "a typo": "simpel",
    "nothing typed": "",
    "a lone surrogate": SURROGATE,
    "10 MB": "x" * 10_000_000,
    "a table": {},
    "a list": ["a", "b", "c"],
    "a number": 7,
}
NO_NUMBER = {
    "NaN": math.nan,
    "infinite": math.inf,
    "a text": "7",
    "a table": {},
    "nothing": None,
    "huge": 10**400,
}
NO_TEXT = {
    "a lone surrogate": f"a cat {SURROGATE}",
    "long, with one": "x" * 10**6 + SURROGATE,
    "a number": 7,
    "nothing": None,
    "a list": ["a"],
}
NO_SOCKET = {
    "a text": "text",
    "a number": 3,
    "a table": {},
    "a list": [1],
    "a tensor of no axes": torch.tensor(1.0),
}
FITS = {
    "CLIP": SimpleNamespace(tokenize=None),
    "CLIP_VISION": SimpleNamespace(encode_image=None),
    "CONDITIONING": [[torch.zeros(1, 2, 3), {}]],
    "GUIDER": SimpleNamespace(model_patcher=None, sample=None),
    "IMAGE": torch.zeros(1, 8, 8, 3),
    "LATENT": {"samples": torch.zeros(1, 4, 8, 8)},
    "MODEL": SimpleNamespace(model=None, get_model_object=None),
    "NOISE": SimpleNamespace(generate_noise=None),
    "SAMPLER": SimpleNamespace(sample=None),
    "SIGMAS": torch.tensor([1.0, 0.0]),
    "VAE": SimpleNamespace(decode=None),
    "NOISE_SEARCH_FEATURES": SimpleNamespace(image_features=None),
    "NOISE_SEARCH_STATISTICS": SimpleNamespace(mean=None, covariance=None),
}
TYPES = {
    "COMBO",
    "INT",
    "FLOAT",
    "STRING",
    "BOOLEAN",
    "NOISE_SEARCH",
    "NOISE_SEARCH_VERIFIER",
    "NOISE_SEARCH_REPORT",
    *SOCKETS,
}


def inputs_of(*types):
    """(node, input, options) of every input of these types."""
    return [
        pytest.param(node, name, options, id=f"{node.GET_SCHEMA().node_id}.{name}")
        for node in NODES
        for name, (type_, options) in declared_by(node).items()
        if type_ in types
    ]


def settings(node):
    """Values that all its inputs take."""
    values = {}
    for name, (type_, options) in declared_by(node).items():
        if type_ == "COMBO":
            values[name] = options.get("default", next(iter(options["options"]), "auto"))
        elif options["needed"] or type_ in ("INT", "FLOAT", "STRING", "BOOLEAN"):
            values[name] = options.get("default", FITS.get(type_, ""))
    return {name: [value] for name, value in values.items()} if node.INPUT_IS_LIST else values


def refusal(node, name, value):
    """What the node says when it runs with this value for an input."""
    given = settings(node)
    given[name] = [value] if node.INPUT_IS_LIST else value
    with pytest.raises(ValueError) as refused:
        node.execute(**given)
    said = str(refused.value)
    assert said.isascii() and len(said) < 4000
    return said


def queued(node, inputs):
    """ComfyUI's own answer when a graph of this one node is queued: (whether it is valid, what it says)."""
    import execution
    import nodes

    node_id = node.GET_SCHEMA().node_id
    nodes.NODE_CLASS_MAPPINGS[node_id] = node
    prompt = {"1": {"class_type": node_id, "inputs": inputs}}
    valid, errors, _ = asyncio.run(execution.validate_inputs("test", prompt, "1", {}))
    return valid, [error["details"] for error in errors]


@pytest.fixture(scope="module", autouse=True)
def the_server(comfyui):
    """What `execution` imports."""
    import sys

    if str(comfyui) not in sys.path:
        sys.path.insert(0, str(comfyui))


def test_every_type_of_input_is_known():
    found = {type_ for node in NODES for type_, _ in (declared_by(node).values())}
    assert found <= TYPES and set(FITS) == set(SOCKETS)


@pytest.mark.parametrize(("node", "name", "options"), inputs_of("COMBO"))
def test_a_choice_that_there_is_not(node, name, options):
    for value in NO_CHOICE.values():
        said = refusal(node, name, value)
        assert said.startswith("There is no ") and "There are: " in said
        assert all(str(option) in said for option in options["options"][:5])
        valid, details = queued(node, {name: value})
        assert not valid and f"{name} - {said}" in details
        assert all(len(one) < 4000 for one in details)
    assert "There is no " in refusal(node, name, None)  # when queued, nothing stands for a link
    for option in options["options"][:5]:
        assert not [one for one in queued(node, {name: option})[1] if "There is no" in one]


def test_there_are_choices():
    assert len(inputs_of("COMBO")) >= 38


@pytest.mark.parametrize(("node", "name", "options"), inputs_of("INT", "FLOAT"))
def test_a_number_that_is_none_or_out_of_range(node, name, options):
    bad = dict(NO_NUMBER)
    for bound, step in (("min", -1), ("max", 1)):
        if bound in options:
            bad[bound] = options[bound] + step
    assert {"min", "max"} <= set(bad)
    for value in bad.values():
        assert name in refusal(node, name, value)


@pytest.mark.parametrize(("node", "name", "options"), inputs_of("STRING"))
def test_a_text_that_is_none(node, name, options):
    for value in NO_TEXT.values():
        said = refusal(node, name, value)
        assert name in said and ("(a lone surrogate)" in said) == (SURROGATE in str(value))


@pytest.mark.parametrize(("node", "name", "options"), inputs_of(*SOCKETS))
def test_a_socket_that_brings_something_else(node, name, options):
    values = dict(NO_SOCKET)
    if options["needed"]:
        values["nothing"] = None
    for value in values.values():
        said = refusal(node, name, value)
        assert said.startswith(f"The input {name} takes ") and "Look at what it is connected to" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheduler": "beta57"}, "There is no scheduler 'beta57'. There are: .*simple"),
        ({"sampler_name": "eulr"}, "There is no sampler 'eulr'. There are: .*euler"),
        ({"steps": 0}, "steps must be from 1 to 10000, but is 0"),
        ({"cfg": 100.1}, "cfg must be from 0.0 to 100.0, but is 100.1"),
        ({"latent_image": {}}, "latent_image takes LATENT, but was given a dict"),
    ],
)
def test_the_samplers_say_what_is_wrong(change, message):
    samplers = [node for node in NODES if "KSampler" in node.GET_SCHEMA().node_id or "Count" in node.__name__]
    assert len(samplers) == 3
    for node in samplers:
        with pytest.raises(ValueError, match=message):
            node.execute(**{**settings(node), **change})


def test_a_range_that_the_node_itself_looks_at_is_still_checked_when_queued():
    """ComfyUI leaves inputs that a node's own validation names to the node."""
    search = next(node for node in NODES if node.__name__ == "NoiseSearchKSampler")
    assert any("candidates must be from 1 to 10000" in one for one in queued(search, {"candidates": 0})[1])
    paths = next(node for node in NODES if node.__name__ == "NoiseSearchPaths")
    assert any("forward must be from 0.01" in one for one in queued(paths, {"forward": 0.0})[1])


# -- errors on their way out


class Failing:
    """A node class whose every method raises what it is told to."""

    INPUT_IS_LIST = False
    error: Exception

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    @classmethod
    def execute(cls):
        raise cls.error

    @classmethod
    def fingerprint_inputs(cls, **inputs):
        raise cls.error

    @classmethod
    def check_lazy_status(cls, **inputs):
        raise cls.error

    @classmethod
    def validate_inputs(cls):
        raise cls.error


def failing(failure):
    return guarded(type("Failing", (Failing,), {**vars(Failing), "error": failure}))


class Mute(Exception):
    def __str__(self):
        raise TypeError("no")


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("method", ["execute", "fingerprint_inputs", "check_lazy_status", "validate_inputs"])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("x"), None),
        (ValueError("caf\u00e9 \u732b"), None),
        (ValueError(f"no file {SURROGATE}"), "ValueError: 'no file "),
        (caused(ValueError("short"), OSError(f"no file {SURROGATE}")), "ValueError: 'short'"),
        (RuntimeError("x" * 10_000_000), "RuntimeError: 'xxx"),
        (caused(RuntimeError("short"), ValueError("x" * 10_000_000)), "RuntimeError: 'short'"),
        (Mute(), "Mute: "),
    ],
    ids=["key", "letters", "surrogate", "surrogate behind", "long", "long behind", "mute"],
)
def test_every_error_can_be_logged(method, error, said):
    import traceback

    with pytest.raises(Exception) as raised:
        getattr(failing(error), method)()
    logged = "".join(traceback.format_exception(raised.type, raised.value, None))
    assert len(logged.encode("utf-8")) < 110_000 and len(str(raised.value)) <= 10_000
    assert raised.value is error if said is None else str(raised.value).startswith(said)


def test_cancelling_goes_through():
    import comfy.model_management as mm

    with pytest.raises(mm.InterruptProcessingException):
        failing(mm.InterruptProcessingException()).execute()
