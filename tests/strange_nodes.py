"""Nodes as other packs have them, for graphs that find_prompt has to read: it knows none of them by name."""


def node(outputs, names=None, foreign=True, **inputs):
    """A node class of the older generation. inputs: its type, or (type, options); a name that ends in _ is optional."""
    declared = {"required": {}, "optional": {}}
    for name, entry in inputs.items():
        group = "optional" if name.endswith("_") else "required"
        declared[group][name.removesuffix("_")] = entry if isinstance(entry, tuple) else (entry,)
    members = {
        "RETURN_TYPES": tuple(outputs.split()),
        "INPUT_TYPES": classmethod(lambda cls: declared),
        "RELATIVE_PYTHON_MODULE": "custom_nodes.strange" if foreign else "comfy_extras.strange",
    }
    if names:
        members["RETURN_NAMES"] = tuple(names.split())
    return type("Strange", (), members)


TEXT = ("STRING", {"multiline": True})
LINE = ("STRING", {"default": ""})
SOCKET = ("STRING", {"forceInput": True})

STRANGE = {
    # conditionings
    "Encode Anything": node("CONDITIONING", text_encoder="CLIP", wording=TEXT),
    "Encode from Socket": node("CONDITIONING", encoder="T5", words=SOCKET),
    "Encode and Append": node("CONDITIONING", clip="CLIP", text=TEXT, conditioning_="CONDITIONING"),
    "Encode with Template": node("CONDITIONING", clip="CLIP", prompt=TEXT, system_prompt=TEXT, file=LINE),
    "Encode Two": node("CONDITIONING", clip="CLIP", subject=TEXT, style=TEXT),
    "Encode Flux Unguided": node("CONDITIONING", clip="CLIP", clip_l=TEXT, t5xxl=TEXT),
    "Wildcard Encode": node(
        "MODEL CLIP CONDITIONING STRING", clip="CLIP", wildcard_text=TEXT, populated_text=TEXT, seed="INT"
    ),
    "Full Loader": node(
        "MODEL CONDITIONING CONDITIONING", "MODEL CONDITIONING+ CONDITIONING-", positive=TEXT, negative=TEXT
    ),
    "Region Apply": node("CONDITIONING", clip="CLIP", base="CONDITIONING", region_prompt=TEXT),
    "Adapter Apply": node("CONDITIONING", clip_vision="CLIP_VISION", image="IMAGE", cond="CONDITIONING"),
    "Both Ways Unnamed": node("CONDITIONING CONDITIONING", positive="CONDITIONING", negative="CONDITIONING"),
    "Both Ways Lettered": node(
        "CONDITIONING CONDITIONING", "positive negative", a="CONDITIONING", b="CONDITIONING"
    ),
    "Sampler Handing On": node(
        "MODEL CONDITIONING CONDITIONING LATENT",
        "MODEL CONDITIONING+ CONDITIONING- LATENT",
        model="MODEL",
        positive="CONDITIONING",
        negative="CONDITIONING",
    ),
    "Load Conditioning": node("CONDITIONING", file=(["a.pt"],)),
    "Describe Image": node("CONDITIONING", clip="CLIP", image="IMAGE"),
    # guiders
    "Strange Guider": node("GUIDER", model="MODEL", positive="CONDITIONING", uncond="CONDITIONING"),
    "Guider Wrapper": node("GUIDER", inner="GUIDER", strength="FLOAT"),
    # pipes
    "ToBasicPipe": node("BASIC_PIPE", model="MODEL", positive="CONDITIONING", negative="CONDITIONING"),
    "FromBasicPipe": node(
        "MODEL CONDITIONING CONDITIONING", "model positive negative", basic_pipe="BASIC_PIPE"
    ),
    "EditBasicPipe": node("BASIC_PIPE", basic_pipe="BASIC_PIPE", positive_="CONDITIONING"),
    "Context": node(
        "RGTHREE_CONTEXT CONDITIONING CONDITIONING",
        "CONTEXT POSITIVE NEGATIVE",
        base_ctx_="RGTHREE_CONTEXT",
        positive_="CONDITIONING",
        negative_="CONDITIONING",
    ),
    # anything
    "Any Reroute": node("*", any="*"),
    "Any Switch": node("*", "any", any_01_="*", any_02_="*"),
    "ComfySwitchNode": node("*", switch="BOOLEAN", on_false="*", on_true="*"),
    "ImpactSwitch": node("* STRING INT", select="INT", sel_mode="BOOLEAN", input1_="*"),
    # texts
    "Text Multiline": node("STRING", text=TEXT),
    "CR Prompt Text": node("STRING", "prompt", prompt=TEXT),
    "ShowText|pysssss": node("STRING", text=SOCKET),
    "Text Concatenate": node("STRING", delimiter=LINE, text_a_=SOCKET, text_b_=SOCKET),
    "Language Model": node("STRING", prompt=TEXT, seed="INT"),
    "Translate": node("STRING", text=SOCKET),
    "Text from File": node("STRING", file_path=LINE),
    "Styles": node("STRING", style=(["anime", "photo"],)),
    "Wildcard Processor": node("STRING", wildcard_text=TEXT, populated_text=TEXT, mode="BOOLEAN", seed="INT"),
}
