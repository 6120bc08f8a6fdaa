"""What a search may expect of any verifier, as a class to inherit: a test for each promise.

    class TestContrast(VerifierContract):
        def make(self):
            return Contrast()

Needs ComfyUI on sys.path and the pack imported as `noisesearch`, as tests/conftest.py does it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.fingerprint import fingerprint_of


class VerifierContract:
    """Inherit it and write `make`.

    prompt: one that the verifier can judge by. refused: prompts that `check` must refuse. tolerance: how far two scores of one image may be
    apart. smallest: the side of the smallest images that it judges, in pixels.
    """

    prompt: str = "a cat on a roof"
    refused: tuple[str, ...] = ()
    tolerance: float = 1e-5
    smallest: int = 1

    def make(self) -> Any:
        """A verifier, the same each time."""
        raise NotImplementedError("write make(self): it returns the verifier")

    def variants(self) -> list[Any]:
        """Verifiers that each differ from `make` and each other by a setting or a file, so that their scores may differ."""
        return []

    @pytest.fixture
    def verifier(self) -> Any:
        return self.make()

    def score(
        self, verifier: Any, images: torch.Tensor, prompt: str | None = None, previews: Any = True
    ) -> torch.Tensor:
        """What it says of these images, with previews of theirs where it wants some."""
        early = images.flip(2) if previews and getattr(verifier, "needs_previews", False) else None
        return verifier.score(Batch(images, self.prompt if prompt is None else prompt, early))

    # -- the promises ----------------------------------------------------------------------------------------------------

    def test_it_has_a_short_printable_name(self, verifier):
        assert (
            isinstance(verifier.name, str) and 0 < len(verifier.name) <= 200 and verifier.name.isprintable()
        )

    def test_it_gives_one_float32_per_image_on_the_cpu(self, verifier):
        for count in (1, 3):
            scores = self.score(verifier, pictures(count))
            assert isinstance(scores, torch.Tensor) and scores.shape == (count,)
            assert scores.dtype == torch.float32 and scores.device.type == "cpu" and not scores.requires_grad

    def test_it_can_judge_pictures(self, verifier):
        assert self.score(verifier, pictures(4)).isfinite().all()

    def test_an_image_scores_the_same_alone_in_a_batch_and_in_any_order(self, verifier):
        batch = pictures(5)
        scores = self.score(verifier, batch)
        alone = torch.cat([self.score(verifier, image[None]) for image in batch])
        turned = self.score(verifier, batch.flip(0)).flip(0)
        assert self.near(alone, scores) and self.near(turned, scores)

    def test_it_says_the_same_twice(self, verifier):
        first = self.score(verifier, pictures(3))
        assert self.near(self.score(verifier, pictures(3)), first)
        assert self.near(self.score(self.make(), pictures(3)), first)

    def test_it_only_reads_the_images(self, verifier):
        images = pictures(3)
        batch = Batch(images, self.prompt, images.flip(2))
        early = batch.previews.clone()
        verifier.score(batch)
        assert torch.equal(batch.images, pictures(3)) and torch.equal(batch.previews, early)

    @pytest.mark.parametrize("value", [torch.nan, torch.inf])
    def test_a_broken_image_is_not_judged_and_harms_no_other(self, verifier, value):
        images = pictures(3)
        whole = self.score(verifier, images[[0, 2]])
        images[1, 3, 4, 0] = value
        scores = self.score(verifier, images)
        assert scores[1].isnan() and self.near(scores[[0, 2]], whole)

    def test_it_judges_videos(self, verifier):
        videos = pictures(6).unflatten(0, (2, 3))
        scores = self.score(verifier, videos)
        assert scores.shape == (2,) and scores.isfinite().all()
        assert self.near(self.score(verifier, videos[1:]), scores[1:])

    @pytest.mark.parametrize("height, width", [(1, 1), (17, 90), (200, 33)])
    def test_images_of_any_size_are_judged_or_refused(self, verifier, height, width):
        images = pictures(2, height, width)
        if min(height, width) < self.smallest:
            with pytest.raises(ValueError):
                self.score(verifier, images)
        else:
            assert self.score(verifier, images).shape == (2,)

    def test_the_prompt_counts_where_it_is_asked_for(self, verifier):
        images = pictures(3)
        if getattr(verifier, "needs_prompt", False):
            with pytest.raises(ValueError):
                self.score(verifier, images, "")
            if self.checks(verifier):
                with pytest.raises(ValueError):
                    verifier.check("")
        else:
            expected = self.score(verifier, images)
            assert self.near(self.score(verifier, images, ""), expected)
            assert self.near(self.score(verifier, images, "something else"), expected)

    def test_a_prompt_is_checked_before_anything_is_paid_for(self, verifier):
        if self.checks(verifier):
            assert verifier.check(self.prompt) is None
        for prompt in self.refused:
            with pytest.raises(ValueError) as refused:
                verifier.check(prompt)
            assert len(str(refused.value)) < 2000

    def test_it_asks_for_previews_when_it_needs_them(self, verifier):
        if getattr(verifier, "needs_previews", False):
            with pytest.raises(ValueError):
                self.score(verifier, pictures(2), previews=False)

    def test_its_notes_are_short_texts(self, verifier):
        if hasattr(verifier, "notes"):
            for prompt in (self.prompt, "", "word " * 500):
                notes = verifier.notes(prompt)
                assert isinstance(notes, (tuple, list))
                assert all(isinstance(note, str) and len(note) < 1000 for note in notes)

    def test_what_its_scores_are_made_of_is_words_and_numbers_of_each_image(self, verifier):
        if callable(getattr(verifier, "answers", None)):
            images = pictures(3)
            images[1, 3, 4, 0] = torch.nan
            for batch in (images, images[2:], pictures(4).unflatten(0, (2, 2))):
                self.score(verifier, batch)
                given = verifier.answers()
                assert len(given) == len(batch)
                for one in given:
                    assert all(
                        isinstance(name, str) and isinstance(number, float) for name, number in one.items()
                    )

    def test_it_is_shown_in_few_words(self, verifier):
        assert len(repr(verifier)) < 1000 and len(str(verifier)) < 1000

    def test_its_fingerprint_tells_what_its_scores_depend_on(self, verifier):
        mark = self.mark(verifier)
        self.score(verifier, pictures(2))
        assert self.mark(verifier) == mark == self.mark(self.make())
        others = [self.mark(other) for other in self.variants()]
        assert len({mark, *others}) == 1 + len(others)

    # -- helpers ---------------------------------------------------------------------------------------------------------

    def near(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        return torch.allclose(one, other, atol=self.tolerance, rtol=self.tolerance, equal_nan=True)

    @staticmethod
    def checks(verifier: Any) -> bool:
        return callable(getattr(verifier, "check", None))

    @staticmethod
    def mark(verifier: Any) -> str:
        found = json.dumps(fingerprint_of(verifier), sort_keys=True, allow_nan=False)
        assert len(found) < 50_000
        return found


def pictures(count: int, height: int = 64, width: int = 48, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures with some grain, [count, height, width, 3] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    grain = 0.1 * torch.rand(count, 3, height, width, generator=generator)
    return (smooth + grain).clamp(0, 1).movedim(1, -1).contiguous()
