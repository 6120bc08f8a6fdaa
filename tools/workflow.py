"""Workflows as the ComfyUI page saves them (UI format) -> prompts as the server runs them (API format).

Both functions need the server's `/object_info`, because the UI format stores widget values by position only. A graph saved with
an older version of a node opens as it does in the page: widgets that the node has gained since take their defaults, outputs that it
has gained or lost matter only where a link uses them.
Covered is what our own workflows use: plain nodes, notes, links. Subgraphs, group nodes, primitives, reroutes and muted or
bypassed nodes are refused by name.
"""

from __future__ import annotations

NOTES = {"Note", "MarkdownNote"}
FRONT_END_ONLY = {"PrimitiveNode", "Reroute"}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
CONTROLS = ("fixed", "increment", "decrement", "randomize")
UPLOADS = {"image_upload", "animated_image_upload", "video_upload"}
EVERYTHING_ON = 0  # the mode of a node that is neither muted (2) nor bypassed (4)


class WorkflowError(ValueError):
    """The graph cannot be converted; the message says which node and why."""


def to_api(graph: dict, object_info: dict) -> dict:
    """The API prompt of a UI graph: {node id: {"class_type", "inputs", "_meta"}}; WorkflowError when it cannot be told."""
    if wrong := problems(graph, object_info, values=False):
        raise WorkflowError("\n".join(wrong))
    origins = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    prompt = {}
    for node in _real_nodes(graph):
        inputs = {name: value for name, _, _, value in _widgets(node, object_info[node["type"]])}
        inputs |= {
            slot["name"]: origins[slot["link"]]
            for slot in node.get("inputs", [])
            if slot.get("link") is not None
        }
        prompt[str(node["id"])] = {
            "class_type": node["type"],
            "inputs": inputs,
            "_meta": {"title": node.get("title", node["type"])},
        }
    return prompt


def problems(graph: dict, object_info: dict, values: bool = True) -> list[str]:
    """What is wrong with a UI graph, one sentence each; [] when it opens and runs.

    values: also check every widget value against its range or list. A file that is not on this machine is fine when the node names
    it in `properties.models`: ComfyUI then offers the download.
    """
    if not isinstance(graph.get("nodes"), list) or not isinstance(graph.get("links"), list):
        return ["not in the UI format: there is no list of nodes and links"]
    nodes = {node["id"]: node for node in graph["nodes"]}
    found = (
        [f"the id {name} is used twice"]
        if (name := _repeated(node["id"] for node in graph["nodes"])) is not None
        else []
    )
    for node in graph["nodes"]:
        found += [
            f"node {node['id']} ({node['type']}): {text}"
            for text in _node_problems(node, object_info, values)
        ]
    if found:
        return found
    return [
        f"link {link[0]}: {text}"
        for link in graph["links"]
        for text in _link_problems(link, nodes, object_info)
    ] + _loose_ends(graph)


def _real_nodes(graph):
    return [node for node in graph["nodes"] if node["type"] not in NOTES]


def _repeated(items):
    seen = set()
    return next((item for item in items if item in seen or seen.add(item)), None)


def _inputs(definition):
    """(name, type, options, required) of every declared input, in the order of the widget values."""
    for group in ("required", "optional"):
        for name in definition["input_order"].get(group, []):
            kind, *rest = definition["input"][group][name]
            options = dict(rest[0]) if rest else {}
            if isinstance(kind, list):  # the older way to declare a combo
                kind, options = "COMBO", {**options, "options": kind}
            yield name, kind, options, group == "required"


def _is_widget(kind, options):
    return kind in WIDGETS and not options.get("forceInput")


def _has_control(name, kind, options):
    """Whether the page adds "control after generate" below this widget, whose value is stored too."""
    return kind == "INT" and options.get("control_after_generate", name in ("seed", "noise_seed"))


def _is_control(value):
    return isinstance(value, bool) or value in CONTROLS  # true and false in old files


def _stored(node):
    """The stored widget values; WorkflowError when they are not a list."""
    stored = node.get("widgets_values", [])
    if not isinstance(stored, list):
        raise WorkflowError(f"widget values are stored as a {type(stored).__name__}, not by position")
    return stored


def _positions(definition):
    """([(name, type, options, position of its stored value)] of every widget, how many values are stored in all)."""
    declared, count = [], 0
    for name, kind, options, _ in _inputs(definition):
        if _is_widget(kind, options):
            declared.append((name, kind, options, count))
            count += 2 if _has_control(name, kind, options) else 1
    # the upload button stores a value of its own, last
    return declared, count + any(UPLOADS & set(options) for _, _, options, _ in declared)


def _count_problem(stored, declared, count):
    return f"{len(stored)} widget values are stored, but the node has {count}: {', '.join(name for name, *_ in declared)}"


def _widgets(node, definition):
    """(name, type, options, value) of every widget, its default where none is stored; WorkflowError when too many are."""
    stored = _stored(node)
    declared, count = _positions(definition)
    if len(stored) > count:
        raise WorkflowError(_count_problem(stored, declared, count))
    for name, kind, options, position in declared:
        after = stored[position + 1 : position + 2]
        if _has_control(name, kind, options) and after and not _is_control(after[0]):
            raise WorkflowError(f"the value after {name} is {after[0]!r}, not one of {', '.join(CONTROLS)}")
    return [
        (name, kind, options, stored[position] if position < len(stored) else _default(kind, options))
        for name, kind, options, position in declared
    ]


def _default(kind, options):
    """What the page shows in a fresh widget."""
    fresh = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False, "COMBO": None}[kind]
    if kind == "COMBO" and options.get("options"):
        fresh = options["options"][0]
    return options.get("default", fresh)


def defaults(definition: dict) -> dict:
    """{widget: its default} of a node of `/object_info`."""
    return {name: _default(kind, options) for name, kind, options, _ in _positions(definition)[0]}


def outdated(graph: dict, object_info: dict) -> list[str]:
    """Nodes that were saved with other widgets or outputs than they have now, one sentence each. Such a graph may well open."""
    found = []
    for node in _real_nodes(graph):
        stored, (declared, count) = _stored(node), _positions(object_info[node["type"]])
        outputs = [slot["type"] for slot in node.get("outputs", [])]
        has = [_name(kind) for kind in object_info[node["type"]]["output"]]
        wrong = [_count_problem(stored, declared, count)] if len(stored) != count else []
        wrong += [f"its outputs are saved as {outputs}, but the node has {has}"] if outputs != has else []
        found += [f"node {node['id']} ({node['type']}): {text}" for text in wrong]
    return found


def renew(node: dict, definition: dict) -> None:
    """Give a node of a UI graph what its definition has gained at the end: widgets at their defaults, sockets and outputs without links."""
    declared, count = _positions(definition)
    stored = node.setdefault("widgets_values", [])
    for name, kind, options, position in declared:
        if position >= len(stored):
            stored.append(_default(kind, options))
            stored += ["fixed"] if _has_control(name, kind, options) else []
    there = {slot["name"] for slot in node.setdefault("inputs", [])}
    for name, kind, options, required in _inputs(definition):
        if name not in there and not _is_widget(kind, options):
            node["inputs"].append(
                {"name": name, "type": kind, "link": None, **({} if required else {"shape": 7})}
            )
    outputs = node.setdefault("outputs", [])
    lists = definition.get("output_is_list") or [False] * len(definition["output"])
    for name, kind, is_list in list(zip(definition["output_name"], definition["output"], lists))[
        len(outputs) :
    ]:
        outputs.append(
            {"name": name, "type": _name(kind), "links": None, **({"shape": 6} if is_list else {})}
        )


def _node_problems(node, object_info, values):
    if node["type"] in NOTES:
        return []
    if node["type"] in FRONT_END_ONLY:
        return ["lives in the page only; connect its nodes directly"]
    if node["type"] not in object_info:
        return ["not a node that this server knows"]
    if node.get("mode", EVERYTHING_ON) != EVERYTHING_ON:
        return ["is muted or bypassed"]
    definition = object_info[node["type"]]
    try:
        widgets = _widgets(node, definition)
    except WorkflowError as error:
        return [str(error)]
    linked = {slot["name"] for slot in node.get("inputs", []) if slot.get("link") is not None}
    known = {name for name, *_ in _inputs(definition)}
    found = [f"has no input {name!r}" for name in sorted(linked - known)]
    found += [
        f"the required input {name!r} is not connected"
        for name, kind, options, required in _inputs(definition)
        if required and not _is_widget(kind, options) and name not in linked
    ]
    has = [_name(kind) for kind in definition["output"]]
    for i, slot in enumerate(node.get("outputs", [])):
        if slot.get("links") and has[i : i + 1] != [slot["type"]]:
            found.append(
                f"a link uses its output {i}, saved as {slot['name']} ({slot['type']}), but the node's outputs are {has}"
            )
    if values:
        models = {model["name"] for model in node.get("properties", {}).get("models", [])}
        found += [
            text
            for name, kind, options, value in widgets
            if name not in linked and (text := _value_problem(name, kind, options, value, models))
        ]
    return found


def _value_problem(name, kind, options, value, models):
    types = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool, "COMBO": object}[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and kind in ("INT", "FLOAT")):
        return f"{name} = {value!r} is not of type {kind}"
    if kind == "COMBO" and value not in options.get("options", []) and value not in models:
        return f"{name} = {value!r} is not on its list, and properties.models does not name it"
    if kind in ("INT", "FLOAT") and not options.get("min", value) <= value <= options.get("max", value):
        return f"{name} = {value} is outside {options['min']} .. {options['max']}"
    return None


def _name(kind):
    return "COMBO" if isinstance(kind, list) else kind


def _fits(origin, target):
    return "*" in (origin, target) or bool(set(origin.split(",")) & set(target.split(",")))


def _link_problems(link, nodes, object_info):
    """A link is [id, origin node, origin slot, target node, target slot, type]; both ends must know it and agree on the type."""
    if not isinstance(link, list):
        return [f"is stored as a {type(link).__name__}, not as a list"]
    number, origin_id, origin_slot, target_id, target_slot, _ = link
    try:
        output = nodes[origin_id]["outputs"][origin_slot]
        target = nodes[target_id]["inputs"][target_slot]
    except (KeyError, IndexError):
        return [
            f"goes from slot {origin_slot} of node {origin_id} to slot {target_slot} of node {target_id}: there is no such slot"
        ]
    found = [] if number in (output.get("links") or []) else [f"node {origin_id} does not know it"]
    found += [] if target.get("link") == number else [f"node {target_id} does not know it"]
    wanted = next(
        (kind for name, kind, *_ in _inputs(object_info[nodes[target_id]["type"]]) if name == target["name"]),
        "nothing",
    )
    if not _fits(output["type"], wanted):
        found.append(
            f"{output['type']} of node {origin_id} does not fit {target['name']} ({wanted}) of node {target_id}"
        )
    return found


def _loose_ends(graph):
    """Slots that point at a link which is not there, and counters behind the ids they count."""
    links = [link[0] for link in graph["links"]]
    used = {
        slot["link"]
        for node in graph["nodes"]
        for slot in node.get("inputs", [])
        if slot.get("link") is not None
    }
    used |= {
        link
        for node in graph["nodes"]
        for slot in node.get("outputs", [])
        for link in slot.get("links") or []
    }
    found = [f"a slot points at link {link}, which is not there" for link in sorted(used - set(links))]
    for counter, ids in (("last_node_id", [node["id"] for node in graph["nodes"]]), ("last_link_id", links)):
        if graph.get(counter, 0) < max(ids, default=0):
            found.append(
                f"{counter} is {graph.get(counter)}, but {max(ids)} is in use: new ones would collide"
            )
    return found
