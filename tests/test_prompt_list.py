"""A list of prompts, one per run, and contact sheets."""

import pytest
import torch

from noisesearch.nodes.prompt_list import (
    GAP,
    NoiseSearchContactSheet,
    NoiseSearchPromptList,
    contact_sheet,
    file_name,
    prompts_of,
)

LIST = "a red fox\n\n  # not this one\n  a blue bird in the snow  \nthird"


def test_each_run_takes_its_prompt_and_a_name_that_sorts():
    assert prompts_of(LIST) == ["a red fox", "a blue bird in the snow", "third"]
    assert NoiseSearchPromptList.execute(LIST, 2).result == (
        "a blue bird in the snow",
        "0002_a_blue_bird_in_the_snow",
        3,
    )
    assert file_name(12, "../../Über %year% " + "long " * 50) == "0012_ber_year_long_long_long_long_long_long"
    assert file_name(3, "画一只猫") == "0003"


@pytest.mark.parametrize(
    ("text", "number", "said"),
    [
        ("# nothing", 1, "The list of prompts is empty"),
        (LIST, 4, "number is 4, but the list has 3 prompts: all of them have been run"),
        ("x\n" * 10_001, 1, "10001 prompts; 10000 is the most"),
    ],
)
def test_what_cannot_be_given_is_said(text, number, said):
    with pytest.raises(ValueError, match=said):
        NoiseSearchPromptList.execute(text, number)


def test_a_sheet_holds_every_image_in_its_place():
    images = torch.rand(5, 6, 4, 3)
    (sheet,) = NoiseSearchContactSheet.execute(images, 0, 0).result
    assert sheet.shape == (1, 2 * (6 + GAP) + GAP, 3 * (4 + GAP) + GAP, 3)
    for i, image in enumerate(images):
        top, left = GAP + i // 3 * (6 + GAP), GAP + i % 3 * (4 + GAP)
        assert torch.equal(sheet[0, top : top + 6, left : left + 4], image)
    assert sheet.sum() == pytest.approx(images.sum().item(), rel=1e-4), "all else is black"


def test_a_sheets_size():
    images = torch.rand(3, 60, 40, 3)
    assert contact_sheet(images, 8, 20).shape == (1, 30 + 2 * GAP, 3 * (20 + GAP) + GAP, 3)
    assert contact_sheet(images, 1, 40).shape == (1, 3 * (60 + GAP) + GAP, 40 + 2 * GAP, 3)
    with pytest.raises(ValueError, match="16384 is the most. Take a smaller width"):
        contact_sheet(torch.rand(8, 10, 10, 3), 8, 4096)
