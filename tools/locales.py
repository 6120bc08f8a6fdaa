"""The texts of the pack in other languages: locales/<language>/{main,nodeDefs,commands,settings}.json, as ComfyUI 0.3.13 and later reads them.

    .venv/bin/python tools/locales.py

English comes from the nodes and the scripts in web/. Other languages come from tools/translations/<language>.json, which is
written by hand: {English: the translation}. A text that changes in English therefore needs a new translation, and one that is
missing is named. Nothing but this tool writes into locales/.
"""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

from comfy_server import ROOT, ComfyServer, base_directory

FOLDER, TRANSLATIONS = ROOT / "locales", ROOT / "tools" / "translations"
FILES = ("main", "nodeDefs", "commands", "settings")
SPECIAL = "{}@|$"  # the front end's translator reads these as commands
_TEXT = r'"((?:[^"\\]|\\.)*)"'


def english(object_info: dict, scripts: str) -> dict:
    """{file: its content} in English. object_info: the server's; scripts: the text of all files in web/."""
    ours = {name: node for name, node in sorted(object_info.items()) if name.startswith("NoiseSearch")}
    categories = {part: part for node in ours.values() for part in node["category"].split("/")}
    settings = {_key(found["id"]): found for found in _entries(scripts, "settings")}
    groups = {group: group for found in settings.values() for group in found["category"]}
    return {
        "main": {"nodeCategories": categories, "settingsCategories": groups},
        "nodeDefs": {name: _node(node) for name, node in ours.items()},
        "commands": {_key(found["id"]): {"label": found["label"]} for found in _entries(scripts, "commands")},
        "settings": {
            key: {name: found[name] for name in ("name", "tooltip") if name in found}
            for key, found in settings.items()
        },
    }


def translated(tree, dictionary: dict):
    """The same tree with every text translated; KeyError names the first that is not in the dictionary."""
    if isinstance(tree, dict):
        return {key: translated(value, dictionary) for key, value in tree.items()}
    return dictionary[tree]


def texts(tree) -> set[str]:
    """Every text of a tree."""
    return set().union(*map(texts, tree.values())) if isinstance(tree, dict) else {tree}


def scripts() -> str:
    """The pack's scripts, one after the other."""
    return "\n".join(file.read_text("utf-8") for file in sorted((ROOT / "web").rglob("*.js")))


def _node(node: dict) -> dict:
    inputs = {
        name: {"name": name, "tooltip": declared[1]["tooltip"]}
        for group in node["input"].values()
        for name, declared in group.items()
        if isinstance(declared, (list, tuple)) and len(declared) > 1 and "tooltip" in declared[1]
    }
    tooltips = node.get("output_tooltips") or [None] * len(node["output_name"])
    outputs = {
        str(i): {"name": name, **({"tooltip": tooltip} if tooltip else {})}
        for i, (name, tooltip) in enumerate(zip(node["output_name"], tooltips))
    }
    found = {"display_name": node["display_name"], "description": node["description"]}
    return found | ({"inputs": inputs} if inputs else {}) | {"outputs": outputs}


def _key(name: str) -> str:
    return name.replace(".", "_")


def _entries(text: str, kind: str) -> list[dict]:
    """The objects in the lists `settings: [...]` or `commands: [...]` of extensions, with the fields that are plain texts."""
    constants = dict(re.findall(rf"^(?:export )?const (\w+) = {_TEXT};", text, re.MULTILINE))
    found = []
    for start in re.finditer(rf"^\s*(?:const )?{kind}(?::| =) \[", text, re.MULTILINE):
        body = text[start.end() : _end(text, start.end())]
        for match in re.finditer(rf"\bid: (?:{_TEXT}|(\w+))", body):
            one = body[match.start() : _end(body, match.start())]
            fields = {name: json.loads(f'"{value}"') for name, value in re.findall(rf"\b(\w+): {_TEXT}", one)}
            groups = re.search(r"category: \[([^\]]*)\]", one)
            fields["category"] = re.findall(_TEXT, groups.group(1))[:2] if groups else []
            found.append(fields | {"id": match.group(1) or constants[match.group(2)]})
    return found


def _end(text: str, start: int) -> int:
    """Where the bracket closes that `start` is inside of. Brackets in texts do not count."""
    depth = 0
    for match in re.finditer(rf"{_TEXT}|[\[{{(]|[\]}})]", text[start:]):
        depth += {"[": 1, "{": 1, "(": 1, "]": -1, "}": -1, ")": -1}.get(match.group(), 0)
        if depth < 0:
            return start + match.start()
    raise ValueError("a bracket is not closed")


def write(object_info: dict) -> list[str]:
    """Write every language; the texts that have no translation, one line each."""
    files, missing = english(object_info, scripts()), []
    _save("en", files)
    for path in sorted(TRANSLATIONS.glob("*.json")):
        dictionary = json.loads(path.read_text("utf-8"))
        absent = sorted(texts(files) - set(dictionary))
        missing += [f"{path.stem}: {text}" for text in absent]
        _save(path.stem, translated(files, dictionary | {text: text for text in absent}))
    return missing


def _save(language: str, files: dict) -> None:
    folder = FOLDER / language
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        text = json.dumps(files[name], indent=2, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(text, "utf-8")


def main() -> int:
    comfyui = Path(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
    with tempfile.TemporaryDirectory() as folder:
        base = base_directory(Path(folder) / "base")
        with ComfyServer(comfyui, base, log=Path(folder) / "server.log") as server:
            missing = write(server.object_info())
    print(*missing, sep="\n", end="\n" if missing else "")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
