"""Text match: the comparison by itself, and with the real RapidOCR where it is installed."""

import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from verifier_helpers import images

from noisesearch.nodes import verifiers as nodes
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.judges.edits import edit_distance
from noisesearch.verifiers.judges.text_match import TextMatch, quoted

letters = st.text("abc", max_size=7)


def scores(lines, text="", prompt="", exact=False):
    return TextMatch(text, exact, read=lambda image: lines).score(Batch(images(1), prompt)).item()


@given(letters, letters, letters)
def test_edit_distance_is_a_distance_between_the_lengths(one, other, third):
    distance = edit_distance(one, other)
    assert abs(len(one) - len(other)) <= distance <= max(len(one), len(other))
    assert (distance == 0) == (one == other) and distance == edit_distance(other, one)
    assert distance <= edit_distance(one, third) + edit_distance(third, other)


def test_known_edit_distances():
    known = {
        ("kitten", "sitting"): 3,
        ("flaw", "lawn"): 2,
        ("", "abc"): 3,
        ("open", "OPEN"): 4,
        ("same", "same"): 0,
    }
    assert {pair: edit_distance(*pair) for pair in known} == known


@given(
    st.lists(st.text("abAB", min_size=1, max_size=4), max_size=7),
    st.text("abAB", min_size=1, max_size=9),
    st.booleans(),
)
def test_the_nearest_run_is_the_best_of_all_runs(words, text, exact):
    plain = (lambda run: " ".join(run)) if exact else (lambda run: "".join(run).casefold())
    wanted = text if exact else text.casefold()
    runs = [plain(words[a:b]) for a in range(len(words)) for b in range(a + 1, len(words) + 1)]
    expected = max((1 - edit_distance(run, wanted) / max(len(run), len(wanted)) for run in runs), default=0.0)
    assert scores([" ".join(words)], text, exact=exact) == pytest.approx(expected, abs=1e-6)


def test_a_page_of_nonsense_is_compared_in_a_moment():
    letters = np.random.default_rng(0).integers(97, 123, (150, 6)).astype(np.uint8)
    lines, began = [row.tobytes().decode() for row in letters], time.monotonic()
    assert scores(lines, "the quick brown fox jumps over the lazy dog " * 2) < 0.5
    assert time.monotonic() - began < 10


def test_the_quoted_parts_of_a_prompt_are_wanted():
    assert quoted("a sign \"OPEN\" and “closed”, «ici», 'it is'") == ["OPEN", "closed", "ici", "it is"]
    assert quoted('a dog\'s "bone"') == ["bone"]
    assert quoted("a sign 'Joe's Cafe', ‘it’s’ and 「開店」") == ["Joe's Cafe", "it’s", "開店"]
    for prompt in (
        "a dog's bone, the cats' toy",
        'a 5\' 10" man holding a 6" ruler',
        'an empty " " quote',
        "no text",
    ):
        with pytest.raises(ValueError, match="put it in quotes"):
            quoted(prompt)


@pytest.mark.parametrize(
    "lines, text, exact, expected",
    [
        (["Hello", "World"], "hello world", False, 1.0),
        (["noise", "HELLO WORLD", "more"], "Hello World", False, 1.0),
        (["HELLO WORLD"], "Hello World", True, 1 - 8 / 11),
        (["helo"], "hello", False, 0.8),
        ([], "hello", False, 0.0),
        (["GRAND", "HOTEL", "established 1924"], "Grand Hotel", False, 1.0),
        (["The Grand Hotel Budapest"], "Grand Hotel", False, 1.0),
        (["The Grand", "Hotel Budapest"], "Grand Hotel", True, 1.0),
        (["NOW OPEN"], "open", False, 1.0),
        (["NOW OPENN"], "open", False, 0.8),
        (["GRAMD HOTEI"], "Grand Hotel", False, 0.8),
    ],
)
def test_the_nearest_run_of_words_counts(lines, text, exact, expected):
    assert scores(lines, text, exact=exact) == pytest.approx(expected)


def test_several_wanted_texts_count_equally():
    assert scores(["open", "cl0sed"], prompt='"open" over "closed"') == pytest.approx((1 + 5 / 6) / 2)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(ImportError, match="pip install rapidocr onnxruntime"):
        nodes.NoiseSearchTextMatch.execute("hello", False)


def picture(text, colour="black"):
    image = Image.new("RGB", (320, 128), "white")
    ImageDraw.Draw(image).text((20, 40), text, fill=colour, font=ImageFont.load_default(40))
    return torch.from_numpy(np.asarray(image).copy()).float() / 255


@pytest.mark.skipif(
    find_spec("rapidocr") is None or find_spec("onnxruntime") is None,
    reason="rapidocr and onnxruntime are not installed",
)
def test_the_image_with_the_right_text_comes_first():
    (judge,) = nodes.NoiseSearchTextMatch.execute("", False).result
    noise = torch.rand(128, 320, 3, generator=torch.Generator().manual_seed(0))
    batch = Batch(
        torch.stack([picture("HELLO WORLD"), picture("HELO WORLD"), picture("GOODBYE", "navy"), noise]),
        'a sign that says "Hello World"',
    )
    right, almost, wrong, none = judge.score(batch).tolist()
    assert right == 1 and right > almost > wrong and none < almost
