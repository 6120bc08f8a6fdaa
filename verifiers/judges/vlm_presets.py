"""What VLM Judge can be asked: names for its list, and what stands behind each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...untrusted import choice
from ..networks.vlm import VisionLanguageModel
from .vlm_judge import COMBINE, Marks, Questions, VlmJudge, YesProbability
from .vlm_questions import TEMPLATE
from .vlm_rubric import GRADER, UNIFIED_REWARD, Rubric

P_YES, QUESTIONS, MARKS = "p(yes)", "questions", "rubric"


@dataclass(frozen=True)
class Preset:
    """way: P_YES, QUESTIONS or MARKS. text: its template or questions; says: for the documentation."""

    way: str
    says: str
    text: str = ""
    rubric: Rubric | None = None


PRESETS = {
    "the whole prompt": Preset(P_YES, "does the picture show the prompt? (VQAScore)", TEMPLATE),
    "checks of the prompt": Preset(
        QUESTIONS, "questions that the model makes of the prompt, or yours, one a line"
    ),
    "hands": Preset(
        QUESTIONS,
        "are hands right?",
        "Does every visible hand have exactly five fingers?\n"
        "Are all visible hands and arms joined to a body in a natural way?\n"
        "Is every visible hand free of melted, fused or missing fingers?",
    ),
    "faces": Preset(
        QUESTIONS,
        "are faces right?",
        "Are the eyes of every visible face aligned, and looking the same way?\n"
        "Is every visible face free of distortions?\n"
        "Are mouth and teeth of every visible face natural?",
    ),
    "counts": Preset(
        QUESTIONS,
        "is there as much of everything as the prompt says?",
        'Is each thing that "{}" names in the picture?\n'
        'Does the picture show exactly as many of each thing as "{}" says, not more and not fewer?',
    ),
    "text": Preset(
        QUESTIONS,
        "are words spelled as the prompt has them?",
        'Is all text that "{}" asks for to be read in the picture?\n'
        'Is that text spelled exactly as in "{}", letter for letter?\n'
        "Is the picture free of any other, meaningless letters?",
    ),
    "who has which colour": Preset(
        QUESTIONS,
        "has each thing its own colour, and its own place?",
        'Does each thing have the colour that "{}" gives it, and no other thing\'s?\n'
        'Is each thing where "{}" says it is?\n'
        'Does each person wear and hold what "{}" says, and not what belongs to another?',
    ),
    "grader of the paper": Preset(
        MARKS, "five marks from 0 to 100, their mean (Ma et al. 2025, appendix)", rubric=GRADER
    ),
    "UnifiedReward 2.0": Preset(
        MARKS, "for the weights of that name: three marks from 1 to 5, their mean", rubric=UNIFIED_REWARD
    ),
}


def vlm_judge(clip: Any, ask: str, text: str = "", combine: str = COMBINE[0], size: int = 512) -> VlmJudge:
    """The judge of a preset's name. text: instead of the preset's own template, questions or instruction."""
    preset = PRESETS[choice(ask, PRESETS, "way to ask")]
    model, text = VisionLanguageModel(clip, size), text.strip() or preset.text
    if preset.way == P_YES:
        return YesProbability(model, text)
    if preset.way == QUESTIONS:
        return Questions(model, text, combine)
    assert preset.rubric is not None  # as MARKS have one
    return Marks(model, preset.rubric.told(text) if text else preset.rubric, f"VLM {ask}")
