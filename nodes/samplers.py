"""Samplers with something more: counting what they cost, noise put back in, consistency sampling."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io

from ..compat import advanced, schema
from ..sampling.samplers import multistep_consistency, reinject_noise
from ..sampling.stock import cfg_guider, ksample, ksampler_sigmas
from ..untrusted import excerpt
from .names import SAMPLERS
from .sockets import ksampler_inputs

SANA, SCM, SCHEDULE, ANGLES, TIMES = (
    "SANA-Sprint (angle 1.3)",
    "sCM (angle 1.1, sigma_data 0.5)",
    "the schedule's levels",
    "own angles",
    "own flow times",
)
MOST_LEVELS = 100  # that may be typed


def count_outputs():
    return [
        io.Int.Output(
            display_name="nfe",
            tooltip="Network evaluations (NFE), summed over the samples of the batch. Guidance counts once, as in the paper.",
        ),
        io.Int.Output(
            display_name="network_rows",
            tooltip="Samples that went through the network: guidance, areas and context windows each count.",
        ),
    ]


def churn_inputs():
    return [
        io.Float.Input(
            "churn",
            default=0.3,
            min=0.0,
            max=0.99,
            step=0.01,
            tooltip="Share of each step that fresh noise undoes. 0 = the plain sampler, 0.5 with euler = DDPM. Higher = more change, with longer steps to make up for it.",
        ),
        io.Float.Input(
            "start",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Put noise back only in steps that begin at or below this share of noise (flow time, 1 = pure noise).",
        ),
        io.Float.Input(
            "end",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Put noise back only in steps that end at or above this share of noise (flow time, 0 = clean).",
        ),
        advanced(
            io.Float.Input(
                "s_noise",
                default=1.0,
                min=0.0,
                max=4.0,
                step=0.001,
                round=0.001,
                tooltip="Scale of the noise put back. 1 is exact. A little less gives smoother images, a little more gives grainier ones.",
            )
        ),
    ]


class NoiseSearchCountNFE(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchCountNFE",
            display_name="KSampler (Count NFE)",
            category=SAMPLERS,
            search_aliases=["nfe", "network evaluations", "cost"],
            description="The stock KSampler, and how many network evaluations it took.",
            inputs=ksampler_inputs(),
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The denoised latent, as KSampler gives it."),
                *count_outputs(),
            ],
        )

    @classmethod
    def execute(
        cls, model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise
    ):
        sigmas = ksampler_sigmas(model, steps, sampler_name, scheduler, denoise)
        latent, ledger = ksample(
            cfg_guider(model, positive, negative, cfg),
            comfy.samplers.sampler_object(sampler_name),
            sigmas,
            latent_image,
            seed,
        )
        return io.NodeOutput(latent, ledger.nfe, ledger.network_rows)


class NoiseSearchReinjectKSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchReinjectKSampler",
            display_name="KSampler (Reinject Noise)",
            category=SAMPLERS,
            search_aliases=["churn", "stochastic", "ancestral", "ddpm"],
            description="A KSampler that puts fresh noise back in along the way, correctly for every kind of model.",
            inputs=[*ksampler_inputs(), *churn_inputs()],
            outputs=[
                io.Latent.Output(display_name="LATENT", tooltip="The denoised latent."),
                *count_outputs(),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        positive,
        negative,
        latent_image,
        denoise,
        churn,
        start,
        end,
        s_noise,
    ):
        sampler = reinject_noise(comfy.samplers.sampler_object(sampler_name), churn, start, end, s_noise)
        sigmas = ksampler_sigmas(model, steps, sampler_name, scheduler, denoise)
        latent, ledger = ksample(
            cfg_guider(model, positive, negative, cfg), sampler, sigmas, latent_image, seed
        )
        return io.NodeOutput(latent, ledger.nfe, ledger.network_rows)


class NoiseSearchReinjectNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchReinjectNoise",
            display_name="Reinject Noise",
            category=SAMPLERS,
            search_aliases=["churn", "stochastic", "ancestral", "ddpm"],
            description="Makes a single-step sampler stochastic: every step goes too far and is noised back onto your schedule.",
            inputs=[
                io.Sampler.Input(
                    "sampler",
                    tooltip="A single-step sampler: euler, heun, dpm_2, their ancestral versions, dpmpp_sde, ddpm, lcm. Multistep samplers are refused.",
                ),
                *churn_inputs(),
            ],
            outputs=[
                io.Sampler.Output(
                    display_name="sampler",
                    tooltip="For SamplerCustomAdvanced and SamplerCustomAdvanced (Best of N Search).",
                )
            ],
        )

    @classmethod
    def execute(cls, sampler, churn, start, end, s_noise):
        return io.NodeOutput(reinject_noise(sampler, churn, start, end, s_noise))


class NoiseSearchConsistency(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchConsistency",
            display_name="Consistency Sampler (1-4 Steps)",
            category=SAMPLERS,
            search_aliases=["sCM", "SANA-Sprint", "LCM", "few steps", "distilled", "Multistep Consistency"],
            description="Samples consistency models in few steps: jump to the clean image, noise it to the next level, jump again.",
            inputs=[
                io.Combo.Input(
                    "levels",
                    options=[SANA, SCM, SCHEDULE, ANGLES, TIMES],
                    default=SANA,
                    tooltip="Where to add noise and jump again. The presets are two-step samplers. the schedule's levels: every sigma it is given, which is the lcm sampler.",
                ),
                io.String.Input(
                    "values",
                    default="1.3",
                    tooltip="own angles: TrigFlow angles between 0 and 1.57, falling. own flow times: shares of noise between 0 and 1, falling. Separated by commas.",
                ),
                advanced(
                    io.Float.Input(
                        "sigma_data",
                        default=1.0,
                        min=0.01,
                        max=10.0,
                        step=0.01,
                        tooltip="own angles: the spread of clean latents that the angles refer to. 1 unless the model was trained with another.",
                    )
                ),
            ],
            outputs=[
                io.Sampler.Output(
                    display_name="sampler",
                    tooltip="For SamplerCustomAdvanced and SamplerCustomAdvanced (Best of N Search). Of the sigmas it is given it uses the first and the last (all of them with the schedule's levels).",
                )
            ],
        )

    @classmethod
    def execute(cls, levels, values, sigma_data):
        presets = {SANA: dict(angles=[1.3]), SCM: dict(angles=[1.1], sigma_data=0.5), SCHEDULE: {}}
        if levels in presets:
            return io.NodeOutput(multistep_consistency(**presets[levels]))
        numbers = _numbers(values)
        return io.NodeOutput(
            multistep_consistency(angles=numbers, sigma_data=sigma_data)
            if levels == ANGLES
            else multistep_consistency(times=numbers)
        )


def _numbers(text: str) -> list[float]:
    parts = [part for part in text.split(",") if part.strip()]
    if len(parts) > MOST_LEVELS:
        raise ValueError(f"The values are at most {MOST_LEVELS} numbers, but got {len(parts)}.")
    try:
        return [float(part) for part in parts]
    except ValueError:
        raise ValueError(
            f'The values are numbers separated by commas, such as "1.3, 0.8", but got {excerpt(text)}.'
        ) from None


NODES = [NoiseSearchCountNFE, NoiseSearchReinjectKSampler, NoiseSearchReinjectNoise, NoiseSearchConsistency]
