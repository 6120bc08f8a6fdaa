"""Search problems with a known answer: the closed-form mixture of the tests, and a random wish for each problem."""

from __future__ import annotations

import sys

from _trials import ROOT, Trial

sys.path.insert(0, str(ROOT / "testing"))
import comfy.samplers  # noqa: E402
import torch  # noqa: E402
from closed_form import PixelVAE, make_model, uncond  # noqa: E402

from noisesearch.session.run import Wishes, search_images  # noqa: E402
from noisesearch.verifiers.base import Verifier  # noqa: E402

STEPS = 12


class Wish(Verifier):
    """Likes images that are bright where a random pattern is bright: a mode has its place on that scale, and so has every sample of a mode."""

    name = "wish"

    def __init__(self, problem: int):
        self.pattern, self.seen = torch.randn(8, 8, 3, generator=torch.Generator().manual_seed(problem)), []

    def score(self, batch):
        self.seen += list(batch.images)
        return (batch.images * self.pattern).flatten(1).mean(1)


class RememberingVAE(PixelVAE):
    """Knows from which latent an image came."""

    def __init__(self):
        super().__init__()
        self.latents = {}

    def decode(self, samples):
        images = super().decode(samples)
        self.latents.update((image.numpy().tobytes(), sample) for image, sample in zip(images, samples))
        return images


class Mixture:
    """Four components, unequal weights; `judge` is the log-density of a sample per dimension, which no search sees."""

    name, candidate_nfe = "mixture", STEPS

    def __init__(self):
        self.model = make_model("CONST")

    @torch.inference_mode()
    def search(self, settings, problem: int, seed: int, steps: int | None = None, **wishes) -> Trial:
        guider = comfy.samplers.CFGGuider(self.model)
        guider.set_conds(uncond(), uncond())
        sigmas = comfy.samplers.KSampler(
            self.model,
            steps or STEPS,
            self.model.load_device,
            "euler",
            "simple",
            1.0,
            self.model.model_options,
        ).sigmas
        vae, wish, latent = RememberingVAE(), Wish(problem), {"samples": torch.zeros(1, 4, 8, 8)}
        found = search_images(
            guider,
            comfy.samplers.sampler_object("euler"),
            sigmas,
            latent,
            seed,
            settings,
            wish,
            vae,
            "",
            Wishes(keep_top=1, **wishes),
        )
        image = found.report["images"][0]
        rows = [c for c in image["candidates"] if c["scores"]]
        rows[0]["nfe"] += sum(c["nfe"] for c in image["candidates"] if not c["scores"])
        x0 = self.model.model.process_latent_in(
            torch.stack([vae.latents[image.contiguous().numpy().tobytes()] for image in wish.seen])
        )
        density = self.model.mixture.log_density(x0) / x0[0].numel()
        winner = next(i for i, c in enumerate(rows) if c["id"] == image["winner"]["id"])
        return Trial(
            str(problem),
            seed,
            [c["nfe"] for c in rows],
            [c["scores"][0] for c in rows],
            density.tolist(),
            list(x0),
            winner,
        )

    def modes(self, latents: list[torch.Tensor]) -> list[int]:
        return self.model.mixture.mode_of(torch.stack(latents)).tolist()
