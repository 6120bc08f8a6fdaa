"""Candidates outside a search: noises to try by hand, images to judge, recipes to replay."""

from __future__ import annotations

import math

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..compat import COMFYUI, schema
from ..search.noise import MOST_MOVES, NoiseRecipe
from ..search.rollout import Outcome, Recipe, Rollout, recipes_to_json
from ..search.seeds import MASK, mix
from ..session.judging import Judge
from ..session.noises import RecipeNoise, index_of, plain_samples, recipe_of
from ..session.pictures import small
from ..session.report import clean
from ..verifiers.ensemble import gated
from .names import JUDGES, NOISE
from .sockets import MAX_SEED, Report, ReportType, VerifierType, index_input, recipes_at

NO_MINIMUM = -1e6
MOST_SHOWN = 64  # pictures that a report carries
NOTHING = ExecutionBlocker(
    None
)  # instead of an empty list, on which ComfyUI's executor stumbles: what is connected there does not run


class NoiseSearchCandidates(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchCandidates",
            display_name="Noise Candidates (Seed Variations)",
            category=NOISE,
            search_aliases=["variation", "variation seed", "subseed", "similar images"],
            description="A list of noises to sample one by one with stock nodes: new ones, or variations of one that you like.",
            inputs=[
                io.Latent.Input("latent", tooltip="A latent of the size you will sample."),
                io.Noise.Input(
                    "around",
                    optional=True,
                    tooltip="The noise to vary. Not connected: every candidate is a new noise.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="Seed of the first candidate, or of the directions to look in.",
                ),
                io.Int.Input("count", default=4, min=1, max=256, tooltip="How many noises."),
                io.Float.Input(
                    "similarity",
                    default=0.9,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="Cosine to the noise in `around`: 1 = the same, 0 = unrelated. Not used without it.",
                ),
            ],
            outputs=[
                io.Noise.Output(
                    display_name="noise", is_output_list=True, tooltip="The noises, one after the other."
                ),
                io.String.Output(
                    display_name="recipes",
                    is_output_list=True,
                    tooltip="Their recipes, for Noise from Recipe.",
                ),
            ],
        )

    @classmethod
    def execute(cls, latent, seed, count, similarity, around=None):
        plain_samples(latent)
        if around is None:
            noises = [NoiseRecipe((seed + i) & MASK) for i in range(count)]
        else:
            centre = recipe_of(around, latent)
            if centre.draws > MOST_MOVES:
                raise ValueError(
                    f"The noise to look around was moved {len(centre.moves)} times; a recipe holds {MOST_MOVES} moves at most. Look around an earlier one."
                )
            noises = [centre.move(mix(seed, i), similarity) for i in range(count)]
        index = around.recipes[0].index if isinstance(around, RecipeNoise) else index_of(latent)
        recipes = [Recipe((Rollout(noise),), index) for noise in noises]
        return io.NodeOutput(
            [RecipeNoise([recipe]) for recipe in recipes],
            [recipes_to_json([recipe], COMFYUI) for recipe in recipes],
        )


class NoiseSearchFromRecipe(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchFromRecipe",
            display_name="Noise from Recipe",
            category=NOISE,
            search_aliases=["noise of the winner", "rebuild noise"],
            description="Rebuilds a found noise, for SamplerCustomAdvanced and other stock nodes.",
            inputs=[
                io.String.Input(
                    "recipe",
                    multiline=True,
                    default="",
                    tooltip="The recipe output of a search or of Noise Candidates, as it is.",
                ),
                index_input(),
            ],
            outputs=[
                io.Noise.Output(display_name="noise"),
                io.Int.Output(display_name="seed", tooltip="The seed the noise begins with."),
            ],
        )

    @classmethod
    def execute(cls, recipe, index=-1):
        noise = RecipeNoise(recipes_at(recipe, index))
        noise.check()
        return io.NodeOutput(noise, noise.seed)


class NoiseSearchScoreImages(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchScoreImages",
            display_name="Score and Sort Images",
            category=JUDGES,
            search_aliases=[
                "rank images",
                "sort images",
                "filter images",
                "pick the best image",
                "Score Images",
            ],
            is_input_list=True,
            description="Scores images you already have and sorts them, best first. The rest is set aside.",
            inputs=[
                io.Image.Input("images", tooltip="A batch, or a list of images of different sizes."),
                VerifierType.Input("verifier", tooltip="Who judges: Load Judge or Combine Judges."),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    tooltip="What the images should show. Verifiers that judge images alone do not need it.",
                ),
                io.Int.Input(
                    "keep_top", default=0, min=0, max=10000, tooltip="Keep only so many of the best. 0 = all."
                ),
                io.Float.Input(
                    "min_score",
                    default=NO_MINIMUM,
                    min=-1e9,
                    max=1e9,
                    step=0.01,
                    tooltip="Reject images that score less (by the first verifier that counts, where there are several). -1000000 = no minimum. Images that cannot be judged are always rejected.",
                ),
                io.Latent.Input(
                    "latents",
                    optional=True,
                    tooltip="Their latents, in the same order. They are sorted together with the images.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="kept", is_output_list=True, tooltip="The images kept, best first."
                ),
                io.Latent.Output(
                    display_name="kept_latents", is_output_list=True, tooltip="Their latents, when given."
                ),
                io.Image.Output(
                    display_name="rejected", is_output_list=True, tooltip="The others, best first."
                ),
                io.Float.Output(
                    display_name="scores",
                    is_output_list=True,
                    tooltip="Scores of the images kept, by the first verifier that counts.",
                ),
                io.Int.Output(
                    display_name="indices",
                    is_output_list=True,
                    tooltip="Their positions in the input, counted from 0.",
                ),
                ReportType.Output(
                    display_name="report",
                    tooltip="All scores of all images. Connect it to Search Report to read it.",
                ),
            ],
        )

    @classmethod
    def execute(cls, images, verifier, prompt, keep_top, min_score, latents=None):
        pictures = [image[None] for batch in images for image in batch]
        samples = [sample[None] for latent in latents or () for sample in latent["samples"]]
        if latents and len(samples) != len(pictures):
            raise ValueError(
                f"{len(pictures)} images came with {len(samples)} latents. Connect as many latents as images, or none."
            )
        if len(set(prompt)) > 1:
            raise ValueError(
                f"Score and Sort Images compares all images with one prompt, but got {len(set(prompt))} different ones. Use a Score and Sort Images for each, or join the texts."
            )
        judge = Judge(gated(verifier[0]), prompt[0].strip())
        scores = score_all(judge, pictures)
        pool = [Outcome(i, Rollout(NoiseRecipe(0)), row, 0) for i, row in enumerate(scores)]
        order = [outcome.id for outcome in judge.comparison.best(pool, len(pool))]
        least = -math.inf if min_score[0] == NO_MINIMUM else min_score[0]
        kept = [i for i in order if scores[i][judge.leading] >= least][: keep_top[0] or None]
        chosen = set(kept)
        rejected = [i for i in order if i not in chosen]
        report = clean(
            {
                "verifiers": judge.names,
                "method": judge.comparison.method if len(judge.names) > 1 else "score",
                "prompt": judge.prompt,
                "notes": judge.notes(),
                "held_out": judge.held_out.name if judge.held_out else None,
                "order": order,
                "kept": kept,
                "images": [
                    {"index": i, "scores": row, "held_out": judge.witness.get(i)}
                    | ({"answers": judge.answers[i]} if i in judge.answers else {})
                    for i, row in enumerate(scores)
                ],
            }
        )
        lists = (
            [pictures[i] for i in kept],
            [{"samples": samples[i]} for i in kept] if samples else [],
            [pictures[i] for i in rejected],
            [scores[i][judge.leading] for i in kept],
            kept,
        )
        shown = [(i, clean(scores[i]), small(pictures[i][0])) for i in kept[:MOST_SHOWN]]
        return io.NodeOutput(
            *(items or [NOTHING] for items in lists), Report(report, [shown]), ui={"noise_search": [report]}
        )


def score_all(judge: Judge, pictures: list[torch.Tensor], at_once: int = 16) -> list[tuple[float, ...]]:
    """Scores of images [1, H, W, C] of any sizes, in their order; those of one size are judged together."""
    rows: dict[int, tuple[float, ...]] = {}
    sizes: dict[tuple, list[int]] = {}
    for i, picture in enumerate(pictures):
        sizes.setdefault(tuple(picture.shape), []).append(i)
    for places in sizes.values():
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            rows.update(zip(some, judge(torch.cat([pictures[i] for i in some]), some)))
    return [rows[i] for i in range(len(pictures))]


NODES = [NoiseSearchCandidates, NoiseSearchFromRecipe, NoiseSearchScoreImages]
