"""The words of a prompt, without the syntax around them: weights, embeddings, LoRA tags.

Weights are read by the rules of ComfyUI's own parser (`token_weights` in comfy/sd1_clip.py), in time linear in the length of the text
however deep its brackets are.
"""

from __future__ import annotations

import heapq
import re
from collections import deque

TAG = re.compile(r"<(?:lora|lyco|hypernet)[^<>]*>", re.IGNORECASE)
EMBEDDING = re.compile(r"(?:^|(?<=[ \n]))embedding:\S*")
COMMAS = re.compile(r" ?,[ ,]*")
BRACKET = re.compile(r"[()]")
ESCAPES = (("\\)", "\0\1", ")"), ("\\(", "\0\2", "("))  # as written, while brackets are read, as meant


def plain(text: str) -> str:
    """What ComfyUI reads in a text: "a (red:1.2) cat, embedding:x" -> "a red cat"."""
    text = TAG.sub("", text)
    for written, inside, _ in ESCAPES:
        text = text.replace(written, inside)
    words = ""
    for piece in weighted_pieces(text):
        piece = EMBEDDING.sub("", piece)
        # pieces are encoded one by one, so "(one)(two)" is two words
        words += " " + piece if words[-1:].isalnum() and piece[:1].isalnum() else piece
    for _, inside, meant in ESCAPES:
        words = words.replace(inside, meant)
    words = COMMAS.sub(lambda found: "," if found[0] == "," else ", ", " ".join(words.split()))
    return words.strip(" ,")


def weighted_pieces(text: str) -> list[str]:
    """The pieces of a text that ComfyUI gives a weight each, without their brackets and weights."""
    pairs, unclosed = _pairs(text)
    brackets = deque(sorted([*pairs, *pairs.values(), *unclosed]))
    pieces, low, high = [], 0, len(text)
    while True:
        first = heapq.heappop(unclosed) if unclosed else high  # of the brackets that nothing closes
        while brackets and brackets[0] < first:
            end = bracket = brackets.popleft()
            if text[bracket] == ")":
                end = _without_weight(text, pairs[bracket] + 1, low, end)
            pieces.append(text[low:end])
            low = bracket + 1
        pieces.append(text[low:first])
        if first == high:
            break
        if text[high - 1] != ")":
            pieces.append(text[first:high])
            break
        # such a bracket and all that follows is plain text, but where a bracket ends it ComfyUI takes the two for a pair
        brackets.popleft()
        heapq.heappush(unclosed, pairs[brackets.pop()])
        low = first + 1
        high = _without_weight(text, low, brackets[-1] + 1, high - 1)
    return [piece for piece in pieces if piece]


def _pairs(text: str) -> tuple[dict[int, int], list[int]]:
    """{where a pair of brackets ends: where it begins}, and where brackets begin that do not end."""
    pairs, unclosed, owed = {}, [], 0
    for found in BRACKET.finditer(text):
        if found[0] == ")" and unclosed:
            pairs[found.start()] = unclosed.pop()
        elif found[0] == ")":
            owed += 1
        elif owed:  # one too many before makes the next bracket plain text
            owed -= 1
        else:
            unclosed.append(found.start())
    return pairs, unclosed


def _without_weight(text: str, first: int, low: int, high: int) -> int:
    """Where the words of a pair's text[first:high] end: before its last ":" where a number follows. low: behind its last bracket."""
    colon = text.rfind(":", low, high)
    if colon > first:
        try:
            float(text[colon + 1 : high])
        except ValueError:
            return high
        return colon
    return high
