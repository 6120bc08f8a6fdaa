"""The words of a prompt, read as ComfyUI's own parser reads them, and in time linear in their length."""

import random
import time

import pytest
from comfy.sd1_clip import token_weights

from noisesearch.nodes.prompt_syntax import plain, weighted_pieces


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("a (red:1.2) cat", "a red cat"),
        ("((masterpiece)), a cat", "masterpiece, a cat"),
        (r"a \(small\) cat", "a (small) cat"),
        ("at 10:30 (noon)", "at 10:30 noon"),
        ("(a:1) (b:-0.5)", "a b"),
        ("(one)(two:1.1)three", "one two three"),
        ("(a (b:1.2) c:0.8).", "a b c."),
        # brackets and colons that are no weights
        ("ratio 16:9)", "ratio 16:9)"),
        ("time 12:30) ok", "time 12:30) ok"),
        ("(time 12:30) ok", "time 12 ok"),  # what ComfyUI takes for a weight is none of the words
        ("(time: noon) ok", "time: noon ok"),
        ("a (b", "a (b"),
        (":) smile :(", ":) smile :("),
        ("()", ""),
        # tags and embeddings
        ("a cat <lora:style:0.8>, night", "a cat, night"),
        ("<LoRA:x:1> a cat <Lyco:y> <HYPERNET:z:0.3>", "a cat"),
        ("1 < 2 and <b> bold", "1 < 2 and <b> bold"),
        ("cat, embedding:EasyNegative", "cat"),
        ("cat, (embedding:EasyNegative:1.2), dog", "cat, dog"),
        ("embedding:x.pt, embedding:y dog\nembedding:z end", "dog end"),
        ("my-embedding:x", "my-embedding:x"),  # only behind a space or a line's end
        # commas and spaces
        ("a cat,, , dog", "a cat, dog"),
        (" , a   cat\n\n on\ta mat ,", "a cat on a mat"),
        ("1,000 cats ,two dogs", "1,000 cats, two dogs"),
    ],
)
def test_plain_words(written, words):
    assert plain(written) == words


def test_brackets_and_weights_are_read_as_comfyui_does():
    chance = random.Random(3)
    for length in [3, 5, 8, 13, 40] * 4000:
        text = "".join(chance.choice("(()):1a. ,\\") for _ in range(chance.randint(0, length)))
        assert weighted_pieces(text) == [piece for piece, _ in token_weights(text, 1.0)], text


N = 10_000  # characters, all but a few
HOSTILE = {
    "a colon and digits": ":" + "1" * N,
    "a weight of many digits": "(a:" + "1" * N + ")",
    "spaces": " " * N,
    "spaces and a comma": " " * N + ",x",
    "commas": ", " * (N // 2),
    "quotes": '"' * N,
    "opening brackets": "(" * N,
    "closing brackets": ")" * N,
    "pairs": "(a)" * (N // 3),
    "deep pairs": "(" * (N // 2) + ")" * (N // 2),
    "deep weights": "(a" * (N // 7) + ":1.1)" * (N // 7),
    "more opened than closed": "(" * (N * 2 // 3) + ")" * (N // 3),
    "more weights than brackets": "(a" * (N // 5) + ":1.1)" * (N // 9),
    "back to front": ")(" * (N // 2),
    "escapes": "\\(" * (N // 2),
    "backslashes": "\\" * N,
    "tags that do not end": "<lora" * (N // 5),
    "tags": "<lora:a:1>" * (N // 10),
    "embeddings": " embedding:x" * (N // 12),
    "one embedding": "embedding:" * (N // 10),
    "lone surrogates": "\ud800" * N,
}


def cost(text):
    """The least seconds of several tries, of this thread."""
    tries = []
    for _ in range(5):
        start = time.thread_time()
        plain(text)
        tries.append(time.thread_time() - start)
    return min(tries)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_costs_more_than_its_length(name):
    assert cost(HOSTILE[name]) < 0.010
    assert cost(HOSTILE[name] * 10) < 0.100
