"""What the panel knows of searches, and what it draws of a candidate: web/panel in node, on a stand-in for the page."""

import pytest
from page_scripts import told_by


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return told_by("panel_logic", tmp_path_factory.mktemp("panel"))


def test_the_history_is_read_once_for_a_workflow(told):
    """And once more after the first prompt that ends, which may have begun before the page listened."""
    assert told["reads"] == [1, 2, 2, 2, 2, 3]


def test_a_history_that_cannot_be_read_is_asked_for_again(told):
    assert told["readAgain"] == ["HTTP 500", 2, ["a", "done", None]]


def test_what_is_missed_while_the_page_loads_is_read_later(told):
    assert told["missed"] == [["b", "running", None], ["b", "done", None]]
    assert told["lost"] == ["b", "done", None]
    assert told["pickedFrom"] == ["a", "done", "b"]


def test_what_is_old_replaces_nothing_that_is_live_or_newer(told):
    old = told["old"]
    assert (old["old"], old["other"]) == (["a", "done", None], ["z", "done", None])
    assert old["live"] == ["b", "running", None] and old["over"] == ["b", "done", None]
    assert old["picking"] == old["picked"] == ["b", "done", "c"]
    assert old["cancelled"] == ["d", "running", None, "cancelled"]


def test_use_says_why_nothing_goes_on(told):
    ready, waiting, none, early = told["use"]
    assert ready == "" and told["pick"] == [1, 4]
    assert waiting.startswith("Image 2 has no candidate that can go on yet") and "wait for it" in waiting
    assert none.startswith("Image 2 has no candidate that can go on,") and "search again" in none
    assert early == "Wait until the search is over"


def test_a_picture_that_is_gone_is_not_shown_any_more(told):
    """[what the image shows, whether it is seen, whether the empty frame is]"""
    none, a, b = [None, False, True], ["a.jpg", True, False], ["b.jpg", True, False]
    assert told["pictures"] == [none, a, a, b, none, b]
