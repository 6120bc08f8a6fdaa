"""The words behind a conditioning, found in the graph."""

import sys

import pytest
from noisesearch.nodes.prompt_text import find_prompt, plain


@pytest.fixture(scope="module", autouse=True)
def core_nodes(comfyui):
    """ComfyUI's own table of nodes, with the classes that these graphs use."""
    sys.path.insert(0, str(comfyui))
    import nodes
    from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL
    from comfy_extras.nodes_custom_sampler import BasicGuider
    from comfy_extras.nodes_flux import CLIPTextEncodeFlux, FluxGuidance
    from comfy_extras.nodes_primitive import StringMultiline

    assert nodes.__file__.startswith(str(comfyui))
    nodes.NODE_CLASS_MAPPINGS.update(
        CLIPTextEncodeSDXL=CLIPTextEncodeSDXL,
        CLIPTextEncodeFlux=CLIPTextEncodeFlux,
        FluxGuidance=FluxGuidance,
        PrimitiveStringMultiline=StringMultiline,
        BasicGuider=BasicGuider,
    )


def graph(**nodes):
    """Nodes as id=(class, inputs); the sampler is node "10"."""
    return {
        name.removeprefix("n"): {"class_type": kind, "inputs": inputs}
        for name, (kind, inputs) in nodes.items()
    }


def encode(text):
    return ("CLIPTextEncode", {"clip": ["1", 1], "text": text})


SAMPLER = ("NoiseSearchKSampler", {"positive": ["2", 0], "negative": ["3", 0]})


def test_straight_from_the_encoder():
    assert (
        find_prompt(graph(n2=encode("a (red:1.2) cat"), n3=encode("ugly"), n10=SAMPLER), "10", "positive")
        == "a red cat"
    )


def test_through_guidance_and_a_primitive():
    nodes = graph(
        n2=("FluxGuidance", {"conditioning": ["5", 0], "guidance": 3.5}),
        n5=("CLIPTextEncode", {"clip": ["1", 1], "text": ["6", 0]}),
        n6=("PrimitiveStringMultiline", {"value": "a dog"}),
        n10=SAMPLER,
    )
    assert find_prompt(nodes, "10", "positive") == "a dog"


def test_controlnet_keeps_positive_and_negative_apart():
    nodes = graph(
        n2=(
            "ControlNetApplyAdvanced",
            {"positive": ["5", 0], "negative": ["6", 0], "control_net": ["7", 0], "image": ["8", 0]},
        ),
        n5=encode("a fox"),
        n6=encode("blurry"),
        n10=("NoiseSearchKSampler", {"positive": ["2", 0], "negative": ["2", 1]}),
    )
    assert find_prompt(nodes, "10", "positive") == "a fox"
    assert find_prompt(nodes, "10", "negative") == "blurry"


def test_behind_a_guider():
    nodes = graph(
        n2=encode("a bird"),
        n4=("BasicGuider", {"model": ["1", 0], "conditioning": ["2", 0]}),
        n10=("NoiseSearchSampler", {"guider": ["4", 0]}),
    )
    assert find_prompt(nodes, "10", "guider") == "a bird"


def test_several_texts_of_one_encoder_give_the_fullest():
    nodes = graph(
        n2=(
            "CLIPTextEncodeFlux",
            {"clip": ["1", 1], "clip_l": "tags", "t5xxl": "a whole sentence about a ship", "guidance": 3.5},
        ),
        n10=SAMPLER,
    )
    assert find_prompt(nodes, "10", "positive") == "a whole sentence about a ship"


def test_the_same_text_twice_is_one_text():
    nodes = graph(
        n2=("ConditioningCombine", {"conditioning_1": ["5", 0], "conditioning_2": ["6", 0]}),
        n5=encode("a cat"),
        n6=encode("a cat"),
        n10=SAMPLER,
    )
    assert find_prompt(nodes, "10", "positive") == "a cat"


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (graph(n10=("NoiseSearchKSampler", {})), "none could be found from the input positive"),
        (graph(n2=("SomeLoader", {}), n10=SAMPLER), "no text-encode node"),
        (graph(n2=encode("  "), n10=SAMPLER), "is empty"),
        (
            graph(
                n2=("ConditioningCombine", {"conditioning_1": ["5", 0], "conditioning_2": ["6", 0]}),
                n5=encode("a cat"),
                n6=encode("a dog"),
                n10=SAMPLER,
            ),
            "2 different texts",
        ),
        (
            graph(
                n2=("CLIPTextEncode", {"clip": ["1", 1], "text": ["6", 0]}),
                n6=("StringConcatenate", {"string_a": "a", "string_b": "b", "delimiter": " "}),
                n10=SAMPLER,
            ),
            "computed while the graph runs|no text|empty",
        ),
        ({}, "none could be found"),
    ],
)
def test_what_cannot_be_told_is_an_error_that_says_what_to_do(nodes, message):
    with pytest.raises(ValueError, match=f"({message}).*prompt input"):
        find_prompt(nodes, "10", "positive")


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("a (red:1.2) cat", "a red cat"),
        ("((masterpiece)), a cat", "masterpiece, a cat"),
        (r"a \(small\) cat", "a (small) cat"),
        ("cat, embedding:EasyNegative", "cat"),
        ("a cat <lora:style:0.8>, night", "a cat, night"),
        ("at 10:30 (noon)", "at 10:30 noon"),
        ("a cat,, , dog", "a cat, dog"),
        ("(a:1) (b:-0.5)", "a b"),
    ],
)
def test_plain_words(written, words):
    assert plain(written) == words
