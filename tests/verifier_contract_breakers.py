"""One verifier for each promise of testing/verifier_contract.py that breaks it, and one that keeps them all."""

import itertools

import torch


class Brightness:
    """Keeps every promise: the mean of the image. Another pack's, without a base class of ours."""

    name = "brightness"
    needs_prompt = False
    needs_previews = False

    def score(self, batch):
        return batch.images.flatten(1).mean(1).where(batch.images.flatten(1).isfinite().all(1), torch.nan)

    def notes(self, prompt):
        return ()

    def fingerprint(self):
        return {"class": "Brightness"}


class Named(Brightness):
    name = "two\nlines"


class Double(Brightness):
    def score(self, batch):
        return super().score(batch).double()


class Blind(Brightness):
    def score(self, batch):
        return super().score(batch) * torch.nan


class Ranked(Brightness):
    def score(self, batch):
        return super().score(batch) / max(1, len(batch.images))


class Moody(Brightness):
    moods = itertools.count()

    def score(self, batch):
        return super().score(batch) + next(self.moods)


class Scribbler(Brightness):
    def score(self, batch):
        batch.images[..., 0] = 0
        return super().score(batch)


class Talker(Brightness):
    """Says of two images what its scores are made of, however many there were."""

    def answers(self):
        return [{"bright": 1.0}, {}]


class Spoilt(Brightness):
    def score(self, batch):
        return super().score(batch) * batch.images.sum().clamp(1, 1)


class StillOnly(Brightness):
    def score(self, batch):
        if batch.images.dim() == 5:
            return batch.images.flatten(0, 1).flatten(1).mean(1)
        return super().score(batch)


class Large(Brightness):
    def score(self, batch):
        return batch.images.unfold(1, 8, 8).flatten(1).mean(1) if batch.images.shape[1] >= 8 else 1 / 0


class Reader(Brightness):
    def score(self, batch):
        return super().score(batch) + len(batch.prompt)


class Picky(Brightness):
    def check(self, prompt):
        return "fine"


class Alone(Brightness):
    needs_previews = True


class Silent(Brightness):
    def notes(self, prompt):
        return None


class Chatty(Brightness):
    def __repr__(self):
        return "x" * 10_000


class Forgetful(Brightness):
    marks = itertools.count()

    def fingerprint(self):
        return {"mark": next(self.marks)}


BREAKERS = {
    "test_it_has_a_short_printable_name": Named,
    "test_it_gives_one_float32_per_image_on_the_cpu": Double,
    "test_it_can_judge_pictures": Blind,
    "test_an_image_scores_the_same_alone_in_a_batch_and_in_any_order": Ranked,
    "test_it_says_the_same_twice": Moody,
    "test_it_only_reads_the_images": Scribbler,
    "test_a_broken_image_is_not_judged_and_harms_no_other": Spoilt,
    "test_it_judges_videos": StillOnly,
    "test_images_of_any_size_are_judged_or_refused": Large,
    "test_the_prompt_counts_where_it_is_asked_for": Reader,
    "test_a_prompt_is_checked_before_anything_is_paid_for": Picky,
    "test_what_its_scores_are_made_of_is_words_and_numbers_of_each_image": Talker,
    "test_it_asks_for_previews_when_it_needs_them": Alone,
    "test_its_notes_are_short_texts": Silent,
    "test_it_is_shown_in_few_words": Chatty,
    "test_its_fingerprint_tells_what_its_scores_depend_on": Forgetful,
}
