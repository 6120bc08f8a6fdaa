"""A vision-language model as the judge: it is asked about the picture, and answers (VQAScore, Lin et al. 2024, arXiv 2404.01291; the grader of Ma et al. 2025, appendix)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter

import torch

from ...untrusted import choice, excerpt, legible
from ..base import Batch, ImageVerifier, check_prompt, finite, per_video
from ..networks.vlm import Look, VisionLanguageModel
from .vlm_questions import (
    TEMPLATE,
    asked,
    check_length,
    filled,
    has_place,
    labels,
    made_by,
    questions_of,
    within,
)
from .vlm_rubric import Rubric

COMBINE = ("product", "mean", "min")
CLEAR = 0.5  # of the first word's probability that Yes and No should have together


class VlmJudge(ImageVerifier):
    """Base. `look(image, prompt)` gives a picture's answers by their labels, numbers all; the score is made of them by `total`.

    One picture at a time: ComfyUI generates for one. A cancel gets through between any two tokens.
    """

    def __init__(self, model: VisionLanguageModel):
        self.model, self._words = model, [model.token("Yes"), *model.tokens("No", "yes", "no")]
        self._said: list[dict[str, float]] = []
        self._odd: Counter[str] = Counter()
        self._asked, self._example = 0, ""

    @abstractmethod
    def look(self, image: torch.Tensor, prompt: str) -> dict[str, float]: ...

    @abstractmethod
    def total(self, answers: dict[str, float]) -> float: ...

    def judge(self, batch: Batch) -> torch.Tensor:
        self._said = [self.look(image, batch.prompt) for image in batch.images]
        return torch.tensor([self.total(answers) if answers else torch.nan for answers in self._said])

    def score(self, batch: Batch) -> torch.Tensor:
        self._said = []
        scores = super().score(batch)
        if batch.images.dim() == 4:
            said = iter(self._said)
            self._said = [next(said, {}) if usable else {} for usable in finite(batch.images).tolist()]
        elif self._said:
            self._said = self._of_videos(self._said, len(batch.images))
        return scores

    def answers(self) -> list[dict[str, float]]:
        """What the last scores were made of: for each image, label -> number; {} where it could not be judged."""
        return self._said

    def _of_videos(self, frames: list[dict[str, float]], videos: int) -> list[dict[str, float]]:
        names = list(dict.fromkeys(name for one in frames for name in one))
        table = torch.tensor([[one.get(name, torch.nan) for name in names] for one in frames])
        columns = [per_video(column, videos, self.over_frames) for column in table.T]
        return [
            {name: float(column[i]) for name, column in zip(names, columns) if not column[i].isnan()}
            for i in range(videos)
        ]

    def check(self, prompt: str) -> None:
        super().check(prompt)
        if self.needs_prompt:
            check_length(prompt)
        self._odd.clear()
        self._asked, self._example = 0, ""

    def notes(self, prompt: str) -> tuple[str, ...]:
        return tuple(
            f"{count} of {self._asked} answers {what}{self._example}" for what, count in self._odd.items()
        )

    def _p_yes(self, look: Look, question: str) -> float:
        """P("Yes") of the answer's first token, at temperature 1."""
        words = look.first_word(question).exp()
        self._asked += 1
        if float(words[self._words].sum()) < CLEAR:
            self._odd[
                "began with neither Yes nor No: the question may be unfit, or the picture says something to the judge"
            ] += 1
        return float(words[self._words[0]])


class YesProbability(VlmJudge):
    """P("Yes"), in [0, 1], to one question. template: the question, {} where the prompt goes."""

    name = "VLM p(yes)"

    def __init__(self, model: VisionLanguageModel, template: str = TEMPLATE):
        super().__init__(model)
        self.template = within(template.strip() or TEMPLATE, "The template")
        self.needs_prompt = has_place(self.template)

    def look(self, image: torch.Tensor, prompt: str) -> dict[str, float]:
        with self.model.looking_at(image) as look:
            return {"yes": self._p_yes(look, asked(self.template, prompt))}

    def total(self, answers: dict[str, float]) -> float:
        return answers["yes"]


class Questions(VlmJudge):
    """P("Yes") to each question, as one number in [0, 1]: their product, mean or smallest.

    questions: one a line, {} where the prompt goes; "" has the model make them of the prompt, once for each prompt.
    """

    name = "VLM questions"

    def __init__(self, model: VisionLanguageModel, questions: str = "", combine: str = COMBINE[0]):
        super().__init__(model)
        self.questions, self.combine = (
            questions_of(questions),
            choice(combine, COMBINE, "way to combine answers"),
        )
        self.needs_prompt = not self.questions or any(map(has_place, self.questions))

    def check(self, prompt: str) -> None:
        super().check(prompt)
        self.of(prompt)

    def notes(self, prompt: str) -> tuple[str, ...]:
        made = () if self.questions or not prompt.strip() else self.of(prompt)
        shown = (f"asked, by its own questions: {legible(' / '.join(made), 900, 'utf-8')}",) if made else ()
        return (*shown, *super().notes(prompt))

    def of(self, prompt: str) -> tuple[str, ...]:
        """The questions to a prompt."""
        if self.questions:
            return self.questions
        check_prompt(prompt, self.name)
        return made_by(self.model, prompt)

    def look(self, image: torch.Tensor, prompt: str) -> dict[str, float]:
        questions = self.of(prompt)
        with self.model.looking_at(image) as look:
            found = [self._p_yes(look, asked(question, prompt)) for question in questions]
        return dict(zip(labels(questions), found))

    def total(self, answers: dict[str, float]) -> float:
        numbers = list(answers.values())
        if self.combine == "mean":
            return math.fsum(numbers) / len(numbers)
        return math.prod(numbers) if self.combine == "product" else min(numbers)


class Marks(VlmJudge):
    """The mean of the marks that the model writes down, within the rubric's range. An answer without them is NaN, and noted."""

    def __init__(self, model: VisionLanguageModel, rubric: Rubric, name: str = "VLM marks"):
        super().__init__(model)
        within(rubric.instruction, "The instruction")
        self.rubric, self.name = rubric, name
        self.needs_prompt = has_place(rubric.instruction)

    def look(self, image: torch.Tensor, prompt: str) -> dict[str, float]:
        with self.model.looking_at(image) as look:
            answer = look.answer(filled(self.rubric.instruction, prompt), self.rubric.most)
        self._asked += 1
        found = self.rubric.read(answer)
        if not found:
            self._odd["hold no marks as they were asked for"] += 1
            self._example = f", such as {excerpt(answer, 100)}"
        return found

    def total(self, answers: dict[str, float]) -> float:
        return sum(answers.values()) / len(answers)
