"""Our own socket types, and inputs that several nodes share."""

import comfy.samplers
from comfy_api.latest import io

from ..compat import advanced
from ..sampling.sigmas import MOST_STEPS
from ..search.rollout import DECODERS, Recipe, recipes_from_json
from ..session.wishes import AUTO, Wishes
from ..untrusted import Short

SearchType = io.Custom("NOISE_SEARCH")
VerifierType = io.Custom("NOISE_SEARCH_VERIFIER")
ReportType = io.Custom("NOISE_SEARCH_REPORT")

MAX_SEED = 0xFFFFFFFFFFFFFFFF  # as stock nodes


class Report(Short, dict):
    """A report on its socket. pictures: for each image that was searched [(candidate, its scores, uint8 [h, w, 3])], best
    first; of Score and Sort Images one list, by places in the input."""

    def __init__(self, report, pictures=()):
        super().__init__(report)
        self.pictures = list(pictures)


def ksampler_inputs():
    """The stock KSampler's inputs, in its order."""
    return [
        io.Model.Input("model", tooltip="The model used for denoising the input latent."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=MAX_SEED,
            control_after_generate=True,
            tooltip="The random seed used for creating the noise. In a search the seed of the first candidate, which is the image a plain KSampler gives.",
        ),
        io.Int.Input("steps", default=20, min=1, max=10000, tooltip="Sampling steps, of every candidate."),
        io.Float.Input(
            "cfg",
            default=8.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip="Classifier-free guidance scale.",
        ),
        io.Combo.Input(
            "sampler_name",
            options=list(comfy.samplers.KSampler.SAMPLERS),
            tooltip="The sampling algorithm. All but dpm_adaptive can search.",
        ),
        io.Combo.Input(
            "scheduler",
            options=list(comfy.samplers.KSampler.SCHEDULERS),
            tooltip="How noise is removed over the steps.",
        ),
        io.Conditioning.Input("positive", tooltip="What to include in the image."),
        io.Conditioning.Input("negative", tooltip="What to keep out of the image."),
        io.Latent.Input(
            "latent_image",
            tooltip="The latent to denoise; noise masks work. Each sample of a batch gets a search of its own.",
        ),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="How much is denoised; lower keeps the structure of the input (image to image).",
        ),
    ]


def wish_inputs():
    """The inputs that say what is asked of a search, in the order both search nodes have them."""
    return [
        io.Int.Input(
            "candidates",
            default=8,
            min=1,
            max=10000,
            tooltip="How many images the search makes. 1 = no search, the plain sampler. Twice as many take twice as long.",
        ),
        io.Int.Input(
            "keep_top",
            default=4,
            min=1,
            max=64,
            tooltip="How many of the best images and latents to return, the winner first.",
        ),
        io.String.Input(
            "prompt",
            default="",
            multiline=True,
            optional=True,
            tooltip="The text that the judge compares images with. Empty: the text of your positive prompt is found automatically.",
        ),
        SearchType.Input(
            "search",
            optional=True,
            tooltip="How to search. Not connected: random search, one seed after the other.",
        ),
        advanced(
            io.Int.Input(
                "budget_nfe",
                default=0,
                min=0,
                max=10_000_000,
                optional=True,
                tooltip="Hard cap of network evaluations (NFE) per image, everything included. 0 = what the candidates cost. One sampling step of euler is 1 NFE, guidance included.",
            )
        ),
        advanced(
            io.Float.Input(
                "stop_at_score",
                default=0.0,
                min=-1e9,
                max=1e9,
                step=0.01,
                optional=True,
                tooltip="End the search as soon as the best score reaches this. 0 = off.",
            )
        ),
        advanced(
            io.Float.Input(
                "time_limit",
                default=0.0,
                min=0.0,
                max=1e6,
                step=1.0,
                optional=True,
                tooltip="After this many seconds no new batch of candidates is started, per image. 0 = off.",
            )
        ),
        advanced(
            io.Int.Input(
                "batch_size",
                default=0,
                min=0,
                max=256,
                optional=True,
                tooltip="Candidates sampled at once. 0 = what fits into memory.",
            )
        ),
        advanced(
            io.Boolean.Input(
                "exactly_reproducible",
                default=True,
                optional=True,
                tooltip="On a GPU, batches change the last digits. On: the winner is sampled once more on its own, so that a stock sampler (after a search over paths, Remake Winner) gives exactly the same image. This counts towards the budget.",
            )
        ),
    ]


JUDGE, ME = "the judge", "me"  # who chooses
LATER = ("choose", "pick", "journal", "draft_steps", "draft_cfg", "verify_top")


def later_inputs():
    """What both search nodes were given since, behind all their other inputs, in the order of LATER.

    Saved workflows hold the values of widgets by their place: nothing may ever be put before what is there.
    """
    return [
        advanced(
            io.Combo.Input(
                "choose",
                options=[JUDGE, ME],
                default=JUDGE,
                optional=True,
                tooltip="the judge: the best image continues through the graph. me: the search ends with its best few images, and the graph waits until you pick one.",
            )
        ),
        advanced(
            io.String.Input(
                "pick",
                default="",
                optional=True,
                tooltip="A recipe, or what a saved picture carries about its winner. That image is rendered once, without a search or a judge. Empty = search.",
            )
        ),
        advanced(
            io.Boolean.Input(
                "journal",
                default=True,
                optional=True,
                tooltip="Write down every result, so that a search that was stopped, cancelled or killed continues where it was, and more candidates cost only what is new. ComfyUI's settings, under NoiseSearch, can turn it off for all nodes.",
            )
        ),
        io.Int.Input(
            "draft_steps",
            default=0,
            min=AUTO,
            max=MOST_STEPS,
            optional=True,
            tooltip="Search with only this many steps per candidate, then render the best few with all steps. The budget stays the same, so there are more candidates. 0 = no drafts, -1 = chosen by the budget, otherwise 3 or more.",
        ),
        advanced(
            io.Float.Input(
                "draft_cfg",
                default=0.0,
                min=0.0,
                max=100.0,
                step=0.1,
                round=0.01,
                optional=True,
                tooltip="Guidance scale of the drafts; few steps often want less. 0 = the same as the final image.",
            )
        ),
        advanced(
            io.Int.Input(
                "verify_top",
                default=Wishes.verify_top,
                min=1,
                max=64,
                optional=True,
                tooltip="How many of the best drafts are rendered with all steps and judged again. Each costs as much as a whole image.",
            )
        ),
    ]


def later_outputs():
    """Outputs that both search nodes were given since, behind all their others."""
    return [
        io.String.Output(
            display_name="top_recipes",
            tooltip="The recipes of top_images, best first. Noise from Recipe and Remake Winner take one of them by its index.",
        ),
        io.Int.Output(
            display_name="top_seeds",
            is_output_list=True,
            tooltip="The seeds of top_images, best first. After a random search each one gives its image in a stock KSampler; after other searches use top_recipes.",
        ),
        io.String.Output(
            display_name="file_name",
            tooltip="The winner's seed as text, for the filename_prefix of Save Image. (%seed% there is the seed of the first candidate.)",
        ),
    ]


def decoder_input(more="", **options):
    """more: what else its tooltip says."""
    tooltip = "What decodes unfinished images. TAESD (a file in models/vae_approx) and latent2rgb are ComfyUI's own, much faster and coarser."
    return advanced(
        io.Combo.Input(
            "decoder", options=list(DECODERS), default=DECODERS[0], tooltip=tooltip + more, **options
        )
    )


def index_input():
    """Which recipe of a list is meant; the last input of nodes that take recipes."""
    return io.Int.Input(
        "index",
        default=-1,
        min=-1,
        max=4095,
        optional=True,
        tooltip="Which recipe of a list, counted from 0 (top_recipes of a search: best first). -1 = all of them, one for each sample of a latent batch.",
    )


def recipes_at(text: str, index: int) -> list[Recipe]:
    """The recipes of a text, or the one at an index."""
    recipes = recipes_from_json(text)
    if index < 0:
        return recipes
    if index >= len(recipes):
        raise ValueError(
            f"index is {index}, but there are {len(recipes)} recipes: take one from 0 to {len(recipes) - 1}, or -1 for all."
        )
    return [recipes[index]]


def centre_of(text: str) -> Recipe | None:
    """The one recipe in a text, of an image that its initial noise and its place in a latent batch describe; None for an empty text."""
    if not text.strip():
        return None
    recipes = recipes_from_json(text)
    first = recipes[0].pieces[0]
    if len(recipes) != 1 or len(recipes[0].pieces) != 1:
        raise ValueError(
            f"around takes the recipe of one image that was sampled in one go, but this text has {len(recipes)} recipes, the first of {len(recipes[0].pieces)} pieces. "
            "What a search over paths made has no single noise to search around."
        )
    if first.start is not None or first.steps is not None:
        raise ValueError(
            "around takes the recipe of an image that was sampled over the whole schedule, but this one has a start or steps of its own. "
            "Take the recipe of another image, or leave around empty."
        )
    return recipes[0]


def result_outputs():
    """What follows a search node's latent outputs."""
    return [
        io.Image.Output(display_name="image", tooltip="The winner, decoded."),
        io.Image.Output(
            display_name="top_images",
            tooltip="The best images, best first (keep_top of them for each sample of the batch).",
        ),
        io.Latent.Output(display_name="top_latents", tooltip="Their latents."),
        io.Int.Output(
            display_name="seed",
            tooltip="After a random search: a stock KSampler with this seed gives the winner. After any other search it is only the seed that the winner started from; use `noise` or `recipe` to get the winner again.",
        ),
        io.Float.Output(
            display_name="score",
            tooltip="The winner's score (by the first verifier that counts, where there are several).",
        ),
        io.Noise.Output(
            display_name="noise",
            tooltip="The noise that made the winner, for SamplerCustomAdvanced and other stock nodes.",
        ),
        io.String.Output(
            display_name="recipe",
            tooltip="How to make the winner again, as text: keep it. Noise from Recipe rebuilds its noise. After a search over paths use Remake Winner.",
        ),
        ReportType.Output(
            display_name="report",
            tooltip="What was tried, what it scored and what it cost. Connect it to Search Report to read it.",
        ),
    ]
