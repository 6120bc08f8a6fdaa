"""The tables of judges in README.md, docs/verifiers.md and the help page of Load Judge, from the catalogue.

    .venv/bin/python tools/judge_tables.py

File names, sizes, licences, folders and pages are the catalogue's. What a judge sees, prefers and costs stands here.
"""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from pack import NAME, use_comfyui

ROOT = Path(__file__).resolve().parent.parent
README, DOCS, HELP = (
    ROOT / "README.md",
    ROOT / "docs" / "verifiers.md",
    ROOT / "web" / "docs" / "NoiseSearchLoadVerifier.md",
)
BEGIN, END = "<!-- judges -->\n", "<!-- /judges -->"
PACKAGE = "open_clip_torch"
CLIPS = "the CLIP's, most MIT"


@dataclass(frozen=True)
class About:
    """sees: what it is shown; score: its unit; bias: what it is known to prefer; seconds: per image of 512 x 512 on one CPU core; package: one to install."""

    sees: str
    score: str
    bias: str
    seconds: str
    package: str = ""
    file: str = ""  # in place of the catalogue's
    licence: str = ""


ABOUT = {
    "ImageReward": About("image, prompt", "about -2 to 2", "reads 35 tokens; people's taste of 2022", "1.6"),
    "CLIPScore": About(
        "image, prompt",
        "2.5 x cosine, not below 0",
        "a bag of words: weak on counts, positions, who has which colour; can like black frames",
        "0.1 to 3.6",
        PACKAGE,
        "a CLIP, 0.3 to 10 GB",
        CLIPS,
    ),
    "CLIP cosine": About(
        "image, prompt", "cosine, -1 to 1", "as CLIPScore", "as CLIPScore", PACKAGE, "as CLIPScore", CLIPS
    ),
    "PickScore": About("image, prompt", "about 15 to 25", "saturated, detailed pictures", "3.6", PACKAGE),
    "HPSv2.1": About("image, prompt", "about 0.2 to 0.35", "finished, painterly pictures", "3.5", PACKAGE),
    "aesthetic (LAION v2)": About(
        "image", "about 1 to 10", "ignores the prompt; glossy, centred, painterly", "1.8", PACKAGE
    ),
    "image quality (BRISQUE)": About(
        "image",
        "about 0 (clean photo) to -100",
        "knows photos: dislikes flat styles; sees no content",
        "0.06",
    ),
    "CycleReward": About(
        "image, prompt",
        "no unit",
        "reads 128 tokens: for long prompts; not taste",
        "as ImageReward",
    ),
    "ImageReward (package)": About(
        "image, prompt",
        "as ImageReward",
        "as ImageReward",
        "as ImageReward",
        "image-reward, in an environment of its own",
    ),
    "digit classifier (demo)": About(
        "image, a digit", "log-probability", "only the demo's digits", "0.001", licence="GPL-3.0-or-later"
    ),
    "scene attributes (demo)": About(
        "image, a scene", "log-probability", "only the demo's scenes", "0.001", licence="GPL-3.0-or-later"
    ),
}


def link(page: str) -> str:
    """The page of a published file, as a link; "" for what comes with the pack."""
    site, _, rest = page.partition(": ")
    host = {"Hugging Face": "https://huggingface.co", "GitHub": "https://github.com"}.get(site)
    found = re.search(r"[\w.-]+/[\w.-]+", rest)
    return f"[{found.group()}]({host}/{found.group()})" if host and found else ""


def short_link(page: str) -> str:
    """The same for a narrow pane, in which nothing breaks a long name."""
    return re.sub(r"\[.*\]", "[its page]", link(page))


def files_of(scorer) -> list:
    """(file, folder) that it reads when nothing else is chosen."""
    clips = [(scorer.also[0], "clip_verifiers")] if scorer.also else []
    return [(scorer.files[0], scorer.folder), *clips]


def _file(name: str, scorer, mark: str = "`", say=link) -> str:
    about = ABOUT[name]
    found = [(f"{mark}{file.name}{mark}, {file.size}", say(file.page)) for file, _ in files_of(scorer)]
    text = about.file or " and ".join(
        f"{said}, {page}" if page else f"{said}, in the pack" for said, page in found
    )
    folders = " and ".join(dict.fromkeys(f"{mark}models/{folder}{mark}" for _, folder in files_of(scorer)))
    if "in the pack" in text or text.startswith("as "):
        return text
    such_as = f", such as {say(scorer.files[0].page)}".replace("its page", "this one") if about.file else ""
    return f"{text}{such_as}, into {folders}"


def _licence(name: str, scorer) -> str:
    licences = dict.fromkeys(file.licence.removeprefix("licence ") for file, _ in files_of(scorer))
    return ABOUT[name].licence or ", ".join(licences)


def readme(scorers: dict) -> str:
    """One row for each published judge."""
    head = "| judge | sees | file, size, page, folder | licence | s per image | known bias |\n|---|---|---|---|---:|---|\n"
    rows = [
        f"| {f'**{name}**' if name == 'ImageReward' else name} | {ABOUT[name].sees} | {_file(name, scorer)} | {_licence(name, scorer)} | {ABOUT[name].seconds} | {ABOUT[name].bias} |"
        for name, scorer in scorers.items()
        if "(demo)" not in name and name not in ("CLIP cosine", "ImageReward (package)")
    ]
    return head + "\n".join(rows) + "\n"


def docs(scorers: dict) -> str:
    """One row for every scorer."""
    head = "| scorer | sees | score | file, size, page, folder | licence | package | known bias |\n|---|---|---|---|---|---|---|\n"
    rows = [
        f"| {name} | {ABOUT[name].sees} | {ABOUT[name].score} | {_file(name, scorer)} | {_licence(name, scorer)} | {ABOUT[name].package or 'none'} | {ABOUT[name].bias} |"
        for name, scorer in scorers.items()
    ]
    return head + "\n".join(rows) + "\n"


def help_page(scorers: dict) -> str:
    """A paragraph for every scorer: the page is shown in a narrow pane."""
    parts = []
    for name, scorer in scorers.items():
        about = ABOUT[name]
        package = f" Needs the package {about.package}." if about.package else ""
        parts.append(
            f"### {name}\n\nSees: {about.sees}. Score: {about.score}. Known bias: {about.bias}. Seconds per image: {about.seconds}.\n\n"
            f"File: {_file(name, scorer, '', short_link)}. Licence: {_licence(name, scorer)}.{package}\n"
        )
    return "\n".join(parts)


PAGES = {README: readme, DOCS: docs, HELP: help_page}


def written(page: Path, scorers: dict) -> str:
    """The page with its table as the catalogue has it."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{page.name} has no place for the judges: {BEGIN.strip()} and {END}")
    return before + BEGIN + PAGES[page](scorers) + END + after


def main() -> int:
    use_comfyui(Path(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI")))
    from importlib import import_module

    import_module(f"{NAME}.demo.judges")
    scorers = import_module(f"{NAME}.verifiers.catalogue").SCORERS
    for page in PAGES:
        page.write_text(written(page, scorers), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
