"""Values from strangers: what a message shows of them, and how one of a list is chosen."""

import pytest

from noisesearch.untrusted import choice, excerpt, listed

OPTIONS = ("mean", "min")


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


class Silent:
    def __repr__(self):
        raise RuntimeError("no words")


STRANGE = {
    "a typo": "maen",
    "another case": "Mean",
    "empty": "",
    "a lone surrogate": "\ud800",
    "10 MB": "x" * 10_000_000,
    "a table": {},
    "a large table": {str(i): i for i in range(100_000)},
    "a list": ["mean"],
    "nothing": None,
    "a number": 3,
    "true": True,
    "too many digits": 10**6000,
    "nested": nested(100_000),
    "no words": Silent(),
}


@pytest.mark.parametrize("value", STRANGE.values(), ids=STRANGE)
def test_what_is_no_choice_is_refused_in_few_plain_words(value):
    with pytest.raises(
        ValueError, match="There is no way to judge a video .*There are: mean, min"
    ) as refused:
        choice(value, OPTIONS, "way to judge a video")
    assert str(refused.value).isascii() and len(str(refused.value)) < 400


def test_a_choice_is_handed_on():
    assert choice("min", OPTIONS, "rule") == "min"
    assert choice("min", {"min": 1}, "rule") == "min"  # a table's names
    assert choice(2, (1, 2), "number") == 2
    with pytest.raises(ValueError):  # 1 == True
        choice(True, (1, 2), "number")


def test_long_lists_and_names_are_cut():
    with pytest.raises(ValueError, match="name39 and 9960 more") as refused:
        choice("x", [f"name{i}" for i in range(10_000)], "file")
    assert len(str(refused.value)) < 600
    assert len(listed(["y" * 10_000_000])) < 100
    assert listed(["a \ud800 name", "plain"]) == "a \\ud800 name, plain"
    with pytest.raises(ValueError, match="There are: none"):
        choice("x", [], "file")


def test_an_excerpt_is_short_and_ascii():
    assert excerpt("caf\u00e9 \ud800") == "'caf\\xe9 \\ud800'"
    assert len(excerpt("z" * 10**7)) < 210 and len(excerpt(list(range(10**5)))) < 210
    assert excerpt(Silent()) == "a Silent"
