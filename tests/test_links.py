"""Links in the pages: every file and heading that is named is there, every address is well formed. Nothing is asked of the network."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    page
    for page in ROOT.rglob("*.md")
    if not {".venv", ".comfyui", ".cache", "output"} & set(page.relative_to(ROOT).parts)
)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\]\([^)]*\))*\]\(([^()\s]+(?:\([^()]*\))?[^()\s]*)\)")


def targets(text):
    """What the links of a page lead to; code is no link."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return [*LINK.findall(text), *re.findall(r"\]\(([^()\s]+)\)\]\(", text)]


def anchors(page):
    """Of its headings, as the repository's site makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page):
    for target in targets(page.read_text("utf-8")):
        if "://" in target:
            parts = urlsplit(target)
            assert parts.scheme == "https" and "." in parts.hostname and " " not in target, target
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


def test_links_are_found_and_a_broken_one_would_be():
    text = "[a](docs/a.md#b) ![i](i.png) [![badge](https://x.org/b.svg)](https://x.org/ci) `[no](code)`\n```\n[no](block)\n```"
    assert set(targets(text)) == {"docs/a.md#b", "i.png", "https://x.org/b.svg", "https://x.org/ci"}
    assert len(PAGES) > 40 and sum(len(targets(page.read_text("utf-8"))) for page in PAGES) > 60


def test_addresses_of_our_own_repository_are_those_of_pyproject():
    home = re.search(r'Repository = "(.*)"', (ROOT / "pyproject.toml").read_text("utf-8")).group(1)
    ours = {
        target
        for page in PAGES
        for target in targets(page.read_text("utf-8"))
        if "/noise-search" in target and "://" in target
    }
    assert ours and all(target.startswith(home) for target in ours)
    forms = {target.split("template=")[1] for target in ours if "template=" in target}
    assert forms and all((ROOT / ".github" / "ISSUE_TEMPLATE" / form).is_file() for form in forms)


def test_pictures_of_the_registry_are_in_the_repository():
    toml = (ROOT / "pyproject.toml").read_text("utf-8")
    for name, ratio in (("Icon", 1), ("Banner", 21 / 9)):
        path = re.search(
            rf'{name} = "https://raw\.githubusercontent\.com/noisesearch/noise-search/main/(.*)"', toml
        ).group(1)
        with Image.open(ROOT / path) as picture:
            assert picture.width / picture.height == pytest.approx(ratio, rel=0.01)
            assert name != "Icon" or picture.width <= 400
    tracked = subprocess.run(
        ["git", "ls-files", "docs/images"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert "docs/images/icon.png" in tracked or not (ROOT / ".git").exists()
