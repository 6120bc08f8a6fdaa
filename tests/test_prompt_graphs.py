"""find_prompt on graphs in the shapes of public workflows: the right text, or the right refusal."""

import asyncio
import time

import pytest
from strange_nodes import STRANGE

from noisesearch.nodes.prompt_text import find_prompt


@pytest.fixture(scope="module", autouse=True)
def known_nodes():
    """All of ComfyUI's own nodes, and some of other packs."""
    import nodes

    before = dict(nodes.NODE_CLASS_MAPPINGS)
    asyncio.run(nodes.init_builtin_extra_nodes())
    nodes.NODE_CLASS_MAPPINGS.update({**STRANGE, **nodes.NODE_CLASS_MAPPINGS})
    yield
    nodes.NODE_CLASS_MAPPINGS.clear()
    nodes.NODE_CLASS_MAPPINGS.update(before)


CLIP, MODEL, IMAGE, NET = ["checkpoint", 1], ["checkpoint", 0], ["90", 0], ["91", 0]
BAD = "ugly, blurry"


def n(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def encode(text):
    return n("CLIPTextEncode", clip=CLIP, text=text)


def graph(nodes=None, positive="p", negative="n", **more):
    """A KSampler (Best of N Search) "s" on encoders "p" and "n", and whatever else; links to nodes of several outputs are lists."""
    link = {"positive": positive, "negative": negative}
    link = {name: [to, 0] if isinstance(to, str) else to for name, to in link.items()}
    return {
        "checkpoint": n("CheckpointLoaderSimple", ckpt_name="x"),
        "n": encode(BAD),
        "s": n("NoiseSearchKSampler", **link),
        **(nodes or {}),
        **more,
    }


def guided(guider, **nodes):
    """A SamplerCustomAdvanced (Best of N Search) "s" on a guider, with encoders."""
    return {
        "checkpoint": n("CheckpointLoaderSimple", ckpt_name="x"),
        "n": encode(BAD),
        "g": guider,
        "s": n("NoiseSearchSampler", guider=["g", 0]),
        **nodes,
    }


def text_from(**nodes):
    """A KSampler (Best of N Search) on an encoder whose text comes from node "t"."""
    return graph(p=encode(["t", 0]), **nodes)


def switch(kind, **inputs):
    return graph(p=n(kind, **inputs), a=encode("a cat"), b=encode("a dog"))


RIGHT = {
    # encoders
    "plain": (graph(p=encode("a (red:1.2) cat")), "a red cat"),
    "gligen": (
        graph(
            p=n(
                "GLIGENTextBoxApply",
                conditioning_to=["c", 0],
                clip=CLIP,
                gligen_textbox_model=["7", 0],
                text="sun",
            ),
            c=encode("a beach"),
        ),
        "a beach",
    ),
    "controlnet's own text": (
        graph(
            p=n("CLIPTextEncodeControlnet", clip=CLIP, conditioning=["c", 0], text="an edge map"),
            c=encode("a tower"),
        ),
        "a tower",
    ),
    "sdxl": (
        graph(
            p=n(
                "CLIPTextEncodeSDXL",
                clip=CLIP,
                width=1024,
                text_g="a cat on a roof",
                text_l="oil, brush strokes, impressionism, monet",
            )
        ),
        "a cat on a roof",
    ),
    "sdxl, only l": (graph(p=n("CLIPTextEncodeSDXL", clip=CLIP, text_g=" ", text_l="a cat")), "a cat"),
    "sdxl refiner": (graph(p=n("CLIPTextEncodeSDXLRefiner", clip=CLIP, ascore=6.0, text="a cat")), "a cat"),
    "flux": (
        graph(
            p=n(
                "CLIPTextEncodeFlux",
                clip=CLIP,
                clip_l="masterpiece, best quality, cinematic, 8k",
                t5xxl="a red cat on a blue roof",
                guidance=3.5,
            )
        ),
        "a red cat on a blue roof",
    ),
    "flux, tags computed": (
        graph(
            p=n("CLIPTextEncodeFlux", clip=CLIP, clip_l=["t", 0], t5xxl="a red cat", guidance=3.5),
            t=n("Language Model", prompt="tags", seed=1),
        ),
        "a red cat",
    ),
    "sd3": (
        graph(
            p=n(
                "CLIPTextEncodeSD3",
                clip=CLIP,
                clip_l="l l l l",
                clip_g="a dog, digital",
                t5xxl="a dog",
                empty_padding="none",
            )
        ),
        "a dog",
    ),
    "sd3 without t5": (
        graph(p=n("CLIPTextEncodeSD3", clip=CLIP, clip_l="tags tags tags", clip_g="a dog", t5xxl="")),
        "a dog",
    ),
    "hidream": (
        graph(
            p=n(
                "CLIPTextEncodeHiDream",
                clip=CLIP,
                clip_l="l",
                clip_g="g g g g g g",
                t5xxl="t t t t",
                llama="a knight",
            )
        ),
        "a knight",
    ),
    "lumina": (
        graph(p=n("CLIPTextEncodeLumina2", clip=CLIP, system_prompt="superior", user_prompt="a lake")),
        "a lake",
    ),
    "hunyuan dit": (
        graph(p=n("CLIPTextEncodeHunyuanDiT", clip=CLIP, bert="b b b b b b b b b b", mt5xl="a panda")),
        "a panda",
    ),
    "hunyuan video": (
        graph(
            p=n(
                "TextEncodeHunyuanVideo_ImageToVideo",
                clip=CLIP,
                clip_vision_output=["8", 0],
                prompt="she waves",
                image_interleave=2,
            )
        ),
        "she waves",
    ),
    "qwen edit": (
        graph(
            p=n(
                "TextEncodeQwenImageEdit",
                clip=CLIP,
                prompt="make it night",
                vae=["checkpoint", 2],
                image=IMAGE,
            )
        ),
        "make it night",
    ),
    "pixart": (
        graph(p=n("CLIPTextEncodePixArtAlpha", clip=CLIP, width=1024, height=1024, text="a boat")),
        "a boat",
    ),
    "photomaker": (
        graph(p=n("PhotoMakerEncode", photomaker=["7", 0], image=IMAGE, clip=CLIP, text="photo of him")),
        "photo of him",
    ),
    "unknown encoder": (graph(p=n("Encode Anything", text_encoder=CLIP, wording="a snail")), "a snail"),
    "unknown encoder with a socket": (
        graph(
            p=n("Encode from Socket", encoder=["7", 0], words=["t", 0]),
            t=n("PrimitiveString", value="a snail"),
        ),
        "a snail",
    ),
    "unknown encoder of known fields": (
        graph(p=n("Encode Flux Unguided", clip=CLIP, clip_l="x y z, x y z", t5xxl="a gnu")),
        "a gnu",
    ),
    "unknown encoder with a template": (
        graph(
            p=n(
                "Encode with Template",
                clip=CLIP,
                prompt="a gnu",
                system_prompt="You are a painter.",
                file="t.txt",
            )
        ),
        "a gnu",
    ),
    "unknown encoder whose texts agree": (
        graph(p=n("Encode Two", clip=CLIP, subject="a yak", style="a yak")),
        "a yak",
    ),
    "appending, alone": (graph(p=n("Encode and Append", clip=CLIP, text="a yak")), "a yak"),
    "appending, to something": (
        graph(p=n("Encode and Append", clip=CLIP, text="fog", conditioning=["c", 0]), c=encode("a hill")),
        "a hill",
    ),
    "wildcards": (
        graph(
            positive=["p", 2],
            p=n(
                "Wildcard Encode",
                clip=CLIP,
                wildcard_text="a __beast__ of prey",
                populated_text="a lynx",
                seed=1,
            ),
        ),
        "a lynx",
    ),
    "loader with texts": (
        graph(positive=["p", 1], negative=["p", 2], p=n("Full Loader", positive="a lamp", negative=BAD)),
        "a lamp",
    ),
    # ways
    "controlnet": (
        graph(
            positive=["c", 0],
            negative=["c", 1],
            p=encode("a fox"),
            c=n(
                "ControlNetApplyAdvanced", positive=["p", 0], negative=["n", 0], control_net=NET, image=IMAGE
            ),
        ),
        "a fox",
    ),
    "three controlnets": (
        graph(
            positive=["e", 0],
            negative=["e", 1],
            p=encode("a fox"),
            c=n(
                "ControlNetApplyAdvanced", positive=["p", 0], negative=["n", 0], control_net=NET, image=IMAGE
            ),
            d=n(
                "ControlNetApplySD3",
                positive=["c", 0],
                negative=["c", 1],
                control_net=NET,
                vae=["checkpoint", 2],
                image=IMAGE,
            ),
            e=n(
                "ControlNetInpaintingAliMamaApply",
                positive=["d", 0],
                negative=["d", 1],
                control_net=NET,
                vae=["checkpoint", 2],
                image=IMAGE,
            ),
        ),
        "a fox",
    ),
    "old controlnet": (
        graph(
            positive="c",
            p=encode("a fox"),
            c=n("ControlNetApply", conditioning=["p", 0], control_net=NET, image=IMAGE),
        ),
        "a fox",
    ),
    "inpaint model": (
        graph(
            positive=["c", 0],
            negative=["c", 1],
            p=encode("a sofa"),
            c=n(
                "InpaintModelConditioning",
                positive=["p", 0],
                negative=["n", 0],
                vae=["checkpoint", 2],
                pixels=IMAGE,
            ),
        ),
        "a sofa",
    ),
    "adapter": (
        graph(
            positive="c",
            p=encode("a face"),
            c=n("Adapter Apply", clip_vision=["7", 0], image=IMAGE, cond=["p", 0]),
        ),
        "a face",
    ),
    "region of an unknown pack": (
        graph(
            positive="c",
            p=encode("a park"),
            c=n("Region Apply", clip=CLIP, base=["p", 0], region_prompt="a bench"),
        ),
        "a park",
    ),
    "flux guidance and reference": (
        graph(
            positive="c",
            p=encode("a car"),
            c=n("FluxGuidance", conditioning=["d", 0], guidance=3.5),
            d=n("ReferenceLatent", conditioning=["p", 0], latent=["8", 0]),
        ),
        "a car",
    ),
    "style model": (
        graph(
            positive="c",
            p=encode("a car"),
            c=n("StyleModelApply", conditioning=["p", 0], style_model=["7", 0], clip_vision_output=["8", 0]),
        ),
        "a car",
    ),
    "unclip": (
        graph(
            positive="c",
            p=encode("a car"),
            c=n("unCLIPConditioning", conditioning=["p", 0], clip_vision_output=["8", 0]),
        ),
        "a car",
    ),
    "wan": (
        graph(
            positive=["c", 0],
            negative=["c", 1],
            p=encode("rain"),
            c=n("WanImageToVideo", positive=["p", 0], negative=["n", 0], vae=["checkpoint", 2], width=64),
        ),
        "rain",
    ),
    "combine with nothing": (
        graph(
            positive="c",
            p=encode("a cat"),
            e=encode(""),
            c=n("ConditioningCombine", conditioning_1=["p", 0], conditioning_2=["e", 0]),
        ),
        "a cat",
    ),
    "concat of one text": (
        graph(
            positive="c",
            p=encode("a cat"),
            e=encode("(a cat:1.3)"),
            c=n("ConditioningConcat", conditioning_to=["p", 0], conditioning_from=["e", 0]),
        ),
        "a cat",
    ),
    "average at 1": (
        graph(
            positive="c",
            p=encode("a cat"),
            e=encode("a dog"),
            c=n(
                "ConditioningAverage",
                conditioning_to=["p", 0],
                conditioning_from=["e", 0],
                conditioning_to_strength=1.0,
            ),
        ),
        "a cat",
    ),
    "average at 0": (
        graph(
            positive="c",
            p=encode("a cat"),
            e=encode("a dog"),
            c=n(
                "ConditioningAverage",
                conditioning_to=["p", 0],
                conditioning_from=["e", 0],
                conditioning_to_strength=0.0,
            ),
        ),
        "a dog",
    ),
    "one text in two ranges": (
        graph(
            positive="c",
            p=encode("a cat"),
            a=n("ConditioningSetTimestepRange", conditioning=["p", 0], start=0.0, end=0.5),
            b=n("ConditioningSetArea", conditioning=["p", 0], width=64, height=64, x=0, y=0, strength=1.0),
            d=n(
                "ConditioningSetMask",
                conditioning=["b", 0],
                mask=["8", 0],
                strength=1.0,
                set_cond_area="default",
            ),
            c=n("ConditioningCombine", conditioning_1=["a", 0], conditioning_2=["d", 0]),
        ),
        "a cat",
    ),
    "zeroed in one range": (
        graph(
            positive="c",
            p=encode("a cat"),
            d=encode("a dog"),
            z=n("ConditioningZeroOut", conditioning=["d", 0]),
            c=n("ConditioningCombine", conditioning_1=["p", 0], conditioning_2=["z", 0]),
        ),
        "a cat",
    ),
    "negative is the positive zeroed": (
        graph(
            positive="c",
            negative="z",
            p=encode("a cat"),
            e=encode(BAD),
            z=n("ConditioningZeroOut", conditioning=["p", 0]),
            c=n("ConditioningCombine", conditioning_1=["p", 0], conditioning_2=["n", 0]),
            n=encode("a cat"),
        ),
        "a cat",
    ),
    "one text for both": (graph(negative="p", p=encode("a cat")), "a cat"),
    "the negative mixed in": (
        graph(
            positive="c",
            p=encode("a cat"),
            c=n("ConditioningCombine", conditioning_1=["p", 0], conditioning_2=["n", 0]),
        ),
        "a cat",
    ),
    "pairs": (
        graph(
            positive=["c", 0],
            negative=["c", 1],
            p=encode("a cat"),
            c=n(
                "PairConditioningCombine",
                positive_A=["p", 0],
                negative_A=["n", 0],
                positive_B=["p", 0],
                negative_B=["n", 0],
            ),
        ),
        "a cat",
    ),
    "two ways without names": (
        graph(
            positive=["c", 0],
            negative=["c", 1],
            p=encode("a cat"),
            c=n("Both Ways Unnamed", negative=["n", 0], positive=["p", 0]),
        ),
        "a cat",
    ),
    "two ways with letters": (
        graph(
            positive=["c", 0],
            negative=["c", 1],
            p=encode("a cat"),
            c=n("Both Ways Lettered", a=["p", 0], b=["n", 0]),
        ),
        "a cat",
    ),
    "handed on by a sampler": (
        graph(
            positive=["c", 1],
            negative=["c", 2],
            p=encode("a cat"),
            c=n("Sampler Handing On", model=MODEL, positive=["p", 0], negative=["n", 0]),
        ),
        "a cat",
    ),
    "pipe": (
        graph(
            positive=["c", 1],
            negative=["c", 2],
            p=encode("a cat"),
            b=n("ToBasicPipe", model=MODEL, positive=["p", 0], negative=["n", 0]),
            c=n("FromBasicPipe", basic_pipe=["b", 0]),
        ),
        "a cat",
    ),
    "edited pipe": (
        graph(
            positive=["c", 1],
            p=encode("a cat"),
            q=encode("a dog"),
            b=n("ToBasicPipe", model=MODEL, positive=["p", 0], negative=["n", 0]),
            e=n("EditBasicPipe", basic_pipe=["b", 0], positive=["q", 0]),
            c=n("FromBasicPipe", basic_pipe=["e", 0]),
        ),
        "a dog",
    ),
    "context": (
        graph(
            positive=["c", 1],
            p=encode("a cat"),
            b=n("Context", positive=["p", 0]),
            c=n("Context", base_ctx=["b", 0], negative=["n", 0]),
        ),
        "a cat",
    ),
    "reroutes": (
        graph(
            positive="c",
            p=encode("a cat"),
            b=n("Any Reroute", any=["p", 0]),
            c=n("Any Reroute", any=["b", 0]),
        ),
        "a cat",
    ),
    "ids of subgraphs": (
        {
            "12:7:5": encode("a cat"),
            "12:7:6": n("FluxGuidance", conditioning=["12:7:5", 0], guidance=3.0),
            "s": n("NoiseSearchKSampler", positive=["12:7:6", 0]),
        },
        "a cat",
    ),
    # switches
    "switch by hand, on": (
        switch("ComfySwitchNode", switch=True, on_true=["a", 0], on_false=["b", 0]),
        "a cat",
    ),
    "switch by hand, off": (
        switch("ComfySwitchNode", switch=False, on_true=["a", 0], on_false=["b", 0]),
        "a dog",
    ),
    "numbered switch": (
        switch("ImpactSwitch", select=2, sel_mode=False, input1=["a", 0], input2=["b", 0]),
        "a dog",
    ),
    "switch between one text": (
        graph(p=n("Any Switch", any_01=["a", 0], any_02=["b", 0]), a=encode("a cat"), b=encode("a cat")),
        "a cat",
    ),
    # guiders
    "basic guider": (
        guided(n("BasicGuider", model=MODEL, conditioning=["p", 0]), p=encode("a bird")),
        "a bird",
    ),
    "cfg guider": (
        guided(
            n("CFGGuider", model=MODEL, positive=["p", 0], negative=["n", 0], cfg=4.0), p=encode("a bird")
        ),
        "a bird",
    ),
    "perp neg": (
        guided(
            n(
                "PerpNegGuider",
                model=MODEL,
                positive=["p", 0],
                negative=["n", 0],
                empty_conditioning=["e", 0],
            ),
            p=encode("a bird"),
            e=encode(""),
        ),
        "a bird",
    ),
    "dual, second empty": (
        guided(
            n("DualCFGGuider", model=MODEL, cond1=["p", 0], cond2=["e", 0], negative=["n", 0]),
            p=encode("a bird"),
            e=encode(""),
        ),
        "a bird",
    ),
    "dual, second is the negative": (
        guided(
            n("DualCFGGuider", model=MODEL, cond1=["p", 0], cond2=["n", 0], negative=["n", 0]),
            p=encode("a bird"),
        ),
        "a bird",
    ),
    "dual, two texts": (
        guided(
            n("DualCFGGuider", model=MODEL, cond1=["p", 0], cond2=["q", 0], negative=["n", 0]),
            p=encode("a bird"),
            q=encode("a tree"),
        ),
        "a bird",
    ),
    "omnigen": (
        guided(
            n(
                "DualCFGGuider",
                model=MODEL,
                cond1=["a", 0],
                cond2=["b", 0],
                negative=["n", 0],
                style="regular",
            ),
            p=encode("make it blue"),
            a=n("ReferenceLatent", conditioning=["p", 0], latent=["8", 0]),
            b=n("ReferenceLatent", conditioning=["n", 0], latent=["8", 0]),
        ),
        "make it blue",
    ),
    "hidream e1": (
        guided(
            n(
                "DualCFGGuider",
                model=MODEL,
                cond1=["i", 0],
                cond2=["i", 1],
                negative=["n", 0],
                style="nested",
            ),
            p=encode("make it blue"),
            i=n(
                "InstructPixToPixConditioning",
                positive=["p", 0],
                negative=["n", 0],
                vae=["checkpoint", 2],
                pixels=IMAGE,
            ),
        ),
        "make it blue",
    ),
    "unknown guider": (
        guided(n("Strange Guider", model=MODEL, positive=["p", 0], uncond=["n", 0]), p=encode("a bird")),
        "a bird",
    ),
    "wrapped guider": (
        guided(
            n("Guider Wrapper", inner=["h", 0], strength=1.0),
            h=n("BasicGuider", model=MODEL, conditioning=["p", 0]),
            p=encode("a bird"),
        ),
        "a bird",
    ),
    # texts
    "text node": (text_from(t=n("Text Multiline", text="a hat")), "a hat"),
    "another text node": (text_from(t=n("CR Prompt Text", prompt="a hat")), "a hat"),
    "shown text": (
        text_from(t=n("ShowText|pysssss", text=["u", 0]), u=n("PrimitiveStringMultiline", value="a hat")),
        "a hat",
    ),
    "concatenated": (
        text_from(
            t=n("StringConcatenate", string_a=["u", 0], string_b=["v", 0], delimiter=", "),
            u=n("PrimitiveString", value="a hat"),
            v=n("StringConcatenate", string_a="red", string_b=["u", 0], delimiter=" as "),
        ),
        "a hat, red as a hat",
    ),
    "replaced, trimmed, in lower case": (
        text_from(
            t=n("StringReplace", string=["u", 0], find="{what}", replace=["v", 0]),
            u=n("CaseConverter", string="A {WHAT} ON ICE", mode="lowercase"),
            v=n("StringTrim", string="  seal ", mode="Both"),
        ),
        "a seal on ice",
    ),
    "part of a text": (text_from(t=n("StringSubstring", string="a seal on ice", start=0, end=6)), "a seal"),
    "filled in wildcards": (
        text_from(
            t=n("Wildcard Processor", wildcard_text="__x__", populated_text="a hat", mode=True, seed=1)
        ),
        "a hat",
    ),
    "text through a reroute": (
        text_from(t=n("Any Reroute", any=["u", 0]), u=n("PrimitiveString", value="a hat")),
        "a hat",
    ),
    "text by a switch": (
        text_from(
            t=n("ComfySwitchNode", switch=False, on_true=["u", 0], on_false="a cap"),
            u=n("PrimitiveString", value="a hat"),
        ),
        "a cap",
    ),
}

WRONG = {
    "regions of different texts": (
        graph(
            positive="c",
            p=encode("a cat"),
            q=encode("a dog"),
            c=n("ConditioningCombine", conditioning_1=["p", 0], conditioning_2=["q", 0]),
        ),
        "2 different texts lead to the input positive: 'a cat', 'a dog'",
    ),
    "prompt travel": (
        graph(
            positive="c",
            p=encode("day"),
            q=encode("night"),
            a=n("ConditioningSetTimestepRange", conditioning=["p", 0], start=0.0, end=0.5),
            b=n("ConditioningSetTimestepRange", conditioning=["q", 0], start=0.5, end=1.0),
            c=n("ConditioningCombine", conditioning_1=["a", 0], conditioning_2=["b", 0]),
        ),
        "2 different texts",
    ),
    "average in between": (
        graph(
            positive="c",
            p=encode("a cat"),
            q=encode("a dog"),
            c=n(
                "ConditioningAverage",
                conditioning_to=["p", 0],
                conditioning_from=["q", 0],
                conditioning_to_strength=0.5,
            ),
        ),
        "2 different texts",
    ),
    "switch of a pack": (switch("Any Switch", any_01=["a", 0], any_02=["b", 0]), "2 different texts"),
    "switch set while it runs": (
        graph(
            p=n("ComfySwitchNode", switch=["x", 0], on_true=["a", 0], on_false=["b", 0]),
            a=encode("a cat"),
            b=encode("a dog"),
            x=n("PrimitiveBoolean", value=True),
        ),
        "2 different texts",
    ),
    "everything also negative": (
        graph(
            positive="c",
            negative="c",
            p=encode("a cat"),
            q=encode("a dog"),
            c=n("ConditioningCombine", conditioning_1=["p", 0], conditioning_2=["q", 0]),
        ),
        "2 different texts",
    ),
    "encoder of two unknown texts": (
        graph(p=n("Encode Two", clip=CLIP, subject="a yak", style="oil")),
        "Encode Two has several texts .'subject': 'a yak', 'style': 'oil'",
    ),
    "empty": (graph(p=encode(" \n ")), "the text of CLIPTextEncode is empty"),
    "only a tag": (graph(p=encode("<LORA:style:0.7>")), "the text of CLIPTextEncode is empty"),
    "all empty": (
        graph(
            positive="c",
            p=encode(""),
            q=encode(""),
            c=n("ConditioningCombine", conditioning_1=["p", 0], conditioning_2=["q", 0]),
        ),
        "is empty",
    ),
    "zeroed": (
        graph(positive="c", p=encode("a cat"), c=n("ConditioningZeroOut", conditioning=["p", 0])),
        "no text-encode node was found",
    ),
    "image only": (
        graph(positive=["p", 0], p=n("SV3D_Conditioning", clip_vision=["7", 0], init_image=IMAGE)),
        "no text-encode node was found",
    ),
    "from a file": (
        graph(p=n("Load Conditioning", file="a.pt")),
        "but Load Conditioning, whose text cannot be read",
    ),
    "from a file, beside a text": (
        graph(
            positive="c",
            p=encode("a cat"),
            q=n("Describe Image", clip=CLIP, image=IMAGE),
            c=n("ConditioningCombine", conditioning_1=["p", 0], conditioning_2=["q", 0]),
        ),
        "but Describe Image, whose text cannot be read",
    ),
    "missing pack": (graph(p=n("Some Missing Encoder", text="a cat")), "but Some Missing Encoder, whose"),
    "missing pack on the way": (
        graph(positive="c", p=encode("a cat"), c=n("Some Missing Apply", conditioning=["p", 0])),
        "but Some Missing Apply, whose",
    ),
    "a node that is not there": (graph(positive="gone", p=encode("a cat")), "but a missing node, whose"),
    "nothing connected": ({"s": n("NoiseSearchKSampler")}, "none could be found from the input positive"),
    "computed": (
        text_from(t=n("Language Model", prompt="a cat", seed=3)),
        "computed while the graph runs, by 'Language Model'",
    ),
    "computed part": (
        text_from(
            t=n("StringConcatenate", string_a="a", string_b=["u", 0], delimiter=" "),
            u=n("Language Model", prompt="a cat", seed=3),
        ),
        "computed while the graph runs, by 'Language Model'",
    ),
    "translated": (
        text_from(t=n("Translate", text=["u", 0]), u=n("PrimitiveString", value="un chat")),
        "computed .*'Translate'",
    ),
    "joined by a pack": (
        text_from(
            t=n("Text Concatenate", delimiter=" ", text_a=["u", 0], text_b=["u", 0]),
            u=n("PrimitiveString", value="x"),
        ),
        "computed .*'Text Concatenate'",
    ),
    "a file's name": (
        text_from(t=n("Text from File", file_path="prompts.txt")),
        "computed .*'Text from File'",
    ),
    "a style's name": (text_from(t=n("Styles", style="anime")), "computed .*'Styles'"),
    "matched": (
        text_from(t=n("RegexExtract", string="a cat", regex_pattern="(x+x+)+y", mode="First Match")),
        "computed .*'RegexExtract'",
    ),
    "text of a missing pack": (
        text_from(t=n("Some Missing Text", text="a cat")),
        "computed .*'Some Missing Text'",
    ),
    "parts of other types": (
        text_from(
            t=n("StringSubstring", string="a cat", start=["u", 0], end=3), u=n("PrimitiveString", value="0")
        ),
        "computed .*'StringSubstring'",
    ),
    "text in a circle": (
        text_from(
            t=n("StringConcatenate", string_a=["u", 0], string_b="a", delimiter=""),
            u=n("StringConcatenate", string_a=["t", 0], string_b="b", delimiter=""),
        ),
        "computed .*leads back to itself",
    ),
    "conditioning in a circle": (
        graph(
            positive="a",
            a=n("FluxGuidance", conditioning=["b", 0], guidance=1.0),
            b=n("FluxGuidance", conditioning=["a", 0], guidance=1.0),
        ),
        "no text-encode node was found",
    ),
}


def entrance(nodes):
    return "guider" if nodes["s"]["class_type"] == "NoiseSearchSampler" else "positive"


def test_there_are_enough_of_them():
    assert len(RIGHT) >= 40 and len(WRONG) >= 20


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_text(name):
    nodes, text = RIGHT[name]
    assert find_prompt(nodes, "s", entrance(nodes)) == text


@pytest.mark.parametrize("name", WRONG)
def test_the_right_refusal(name):
    nodes, message = WRONG[name]
    with pytest.raises(
        ValueError, match=f"^No prompt was given, and .*{message}.* Type the prompt into"
    ) as refused:
        find_prompt(nodes, "s", entrance(nodes))
    assert str(refused.value).isascii() and len(str(refused.value)) < 700


@pytest.mark.parametrize(
    "name", ["controlnet", "two ways without names", "loader with texts", "pipe", "context"]
)
def test_the_negative_of_a_pair_is_told_apart(name):
    nodes, _ = RIGHT[name]
    link = ["c", 2] if name == "context" else nodes["s"]["inputs"]["negative"]
    nodes = {**nodes, "s": n("NoiseSearchKSampler", negative=link)}
    assert find_prompt(nodes, "s", "negative") == BAD


def test_nodes_that_are_put_in_while_the_graph_runs():
    """Loops and the like replace a node by several, whose ids are not in the graph that was queued."""
    from types import SimpleNamespace

    from comfy_execution.graph import DynamicPrompt

    from noisesearch.nodes.searching import graph_of

    running = DynamicPrompt({"3": encode("a cat"), "5": n("Loop", positive=["3", 0])})
    running.add_ephemeral_node("5.0.7", n("NoiseSearchKSampler", positive=["5.0.6", 0]), "5", "5")
    running.add_ephemeral_node("5.0.6", n("FluxGuidance", conditioning=["3", 0], guidance=3.0), "5", "5")
    node = SimpleNamespace(hidden=SimpleNamespace(dynprompt=running, prompt=running.get_original_prompt()))
    assert find_prompt(graph_of(node), "5.0.7", "positive") == "a cat"
    before = SimpleNamespace(hidden=SimpleNamespace(prompt={"3": encode("a cat")}))
    assert graph_of(before) == {"3": encode("a cat")} and graph_of(SimpleNamespace(hidden=None)) == {}


def test_without_a_graph():
    with pytest.raises(ValueError, match="none could be found from the input positive.*prompt input"):
        find_prompt({}, "10", "positive")


def chain(length, kind, name, end, **inputs):
    nodes = {str(i): n(kind, **{name: [str(i + 1), 0]}, **inputs) for i in range(length)}
    return {**nodes, str(length): end}


def test_long_chains():
    start = time.thread_time()
    nodes = chain(10_000, "FluxGuidance", "conditioning", encode("a cat"), guidance=1.0)
    assert (
        find_prompt({**nodes, "s": n("NoiseSearchKSampler", positive=["0", 0])}, "s", "positive") == "a cat"
    )
    texts = chain(
        10_000,
        "StringConcatenate",
        "string_a",
        n("PrimitiveString", value="a cat"),
        string_b="",
        delimiter="",
    )
    nodes = {**texts, "e": encode(["0", 0]), "s": n("NoiseSearchKSampler", positive=["e", 0])}
    assert find_prompt(nodes, "s", "positive") == "a cat"
    pipes = chain(10_000, "Context", "base_ctx", n("Context", positive=["e", 0]))
    nodes = {**pipes, "e": encode("a cat"), "s": n("NoiseSearchKSampler", positive=["0", 1])}
    assert find_prompt(nodes, "s", "positive") == "a cat"
    assert time.thread_time() - start < 6


def test_texts_that_double_are_bounded():
    nodes = {
        str(i): n("StringConcatenate", string_a=[str(i + 1), 0], string_b=[str(i + 1), 0], delimiter="")
        for i in range(40)
    }
    nodes |= {"40": n("PrimitiveString", value="ha"), "e": encode(["0", 0])}
    with pytest.raises(ValueError, match="in more than 20000 characters"):
        find_prompt({**nodes, "s": n("NoiseSearchKSampler", positive=["e", 0])}, "s", "positive")
    nodes["e"] = encode(["r", 0])
    nodes["r"] = n("StringReplace", string="a" * 10_000, find="", replace="b" * 10_000)
    with pytest.raises(ValueError, match="in more than 20000 characters"):
        find_prompt({**nodes, "s": n("NoiseSearchKSampler", positive=["e", 0])}, "s", "positive")


def test_many_ways_are_walked_once():
    """Diamonds: 2^40 ways, 80 nodes."""
    nodes = {
        str(i): n("ConditioningCombine", conditioning_1=[str(i + 1), 0], conditioning_2=[str(i + 1), 0])
        for i in range(40)
    }
    nodes |= {"40": encode("a cat"), "s": n("NoiseSearchKSampler", positive=["0", 0])}
    assert find_prompt(nodes, "s", "positive") == "a cat"
