"""Training and measuring on the digits: the smoothed teacher, the students, and one way to draw and judge ten thousand samples.

Every run is resumable: step k of a run depends on its seed, k and the state before it alone, and the state lies in .cache/lab.
"""

from __future__ import annotations

import copy
import math
import time

import torch
from safetensors.torch import load_file, save_file

from . import consistency as cm
from . import demo_world as world
from . import features, samplers
from .interpolants import Flow
from .networks import DigitNet
from .team import ALONE

CACHE = world.ROOT / ".cache" / "lab"
EVERY = 50  # steps between checkpoints
TEACHER_STEPS, STUDENT_STEPS = 1500, 900
STUDENT_KEPT = (150, 300, 450, 600, 700, 800)  # steps after which a student's average is kept too
DIGITS_RECIPE = cm.Recipe(p_mean=-0.6, p_std=1.6, warm_up=300, finite_difference=1e-3)


# Runs


def run(
    name, model, steps, loss, optimiser, decay, hold=0.0, warm=50, extra=None, keep=(), log=print, team=ALONE
):
    """The averaged state dict of `model` after `steps` steps of loss(step); goes on from the checkpoint of that name, or returns at once when it is done.

    The rate is warmed up, held for a share of the steps, then brought to 0 linearly. extra: another module that learns along. keep: steps whose average
    is kept too, as NAME_at_STEP. team: processes that share each batch.
    """
    done, half = CACHE / f"{name}.safetensors", CACHE / f"{name}.pt"
    if done.is_file():
        return load_file(done)
    CACHE.mkdir(parents=True, exist_ok=True)
    model.train().requires_grad_(True)
    average, first, spent = cm.Average(model, decay), 0, 0.0
    parts = [model] + ([extra] if extra is not None else [])
    rates = [group["lr"] for group in optimiser.param_groups]
    if half.is_file():
        saved = torch.load(half, weights_only=True)
        for part, state in zip(parts, saved["parts"]):
            part.load_state_dict(state)
        optimiser.load_state_dict(saved["optimiser"])
        average.values, average.count = saved["average"], saved["count"]
        first, spent, running = saved["step"], saved["seconds"], saved["running"]
    else:
        running = None
    started = time.process_time()
    for step in range(first, steps):
        torch.manual_seed(hash_of(name) + step)
        factor = min(1.0, (step + 1) / warm, (steps - step) / max(1, steps * (1 - hold)))
        for group, rate in zip(optimiser.param_groups, rates):
            group["lr"] = rate * factor
        value = loss(step)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        for part in parts:
            team.average(list(part.parameters()))
            torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0)
        optimiser.step()
        average.update()
        running = value.item() if running is None else 0.98 * running + 0.02 * value.item()
        if not math.isfinite(running):
            raise FloatingPointError(f"{name}: the loss at step {step + 1} is {value.item()}.")
        if team.place:
            continue  # the first of a team keeps the books
        if step + 1 in keep:
            save_file(average.state(), CACHE / f"{name}_at_{step + 1}.safetensors")
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            seconds = spent + time.process_time() - started
            state = {
                "parts": [part.state_dict() for part in parts],
                "optimiser": optimiser.state_dict(),
                "average": average.values,
                "count": average.count,
                "step": step + 1,
                "seconds": seconds,
                "running": running,
            }
            torch.save(state, half.with_suffix(".new"))
            half.with_suffix(".new").replace(half)
            log(f"{name} step {step + 1}/{steps} loss {running:.4f} cpu {seconds:.0f} s", flush=True)
    result = average.state()
    if team.place:
        return result
    save_file(result, done, metadata={"seconds": f"{spent + time.process_time() - started:.1f}"})
    half.unlink()
    return load_file(done)


def seconds_of(name):
    """CPU seconds that a finished run took."""
    from safetensors import safe_open

    with safe_open(CACHE / f"{name}.safetensors", "pt") as file:
        return float(file.metadata()["seconds"])


def hash_of(name):
    """A seed from a run's name, the same everywhere."""
    import zlib

    return zlib.crc32(name.encode()) * 100_003 % 2**40


def batch_of(step, size, dropped=0.1):
    """Latents, context and pooled of one batch: epochs in a fixed shuffle; a share of the prompts is left out."""
    latents, prompts = world.data()
    order = torch.randperm(len(latents), generator=torch.Generator().manual_seed(7))
    pick = order[torch.arange(step * size, (step + 1) * size) % len(order)]
    words = prompts[pick].clone()
    words[torch.rand(size) < dropped] = world.EMPTY
    context, pooled = world.prompts()
    return latents[pick], context[words], pooled[words]


# The teacher


def smooth_teacher(shipped=None, log=print):
    """The shipped generator, or another, with a time embedding that is smooth in time, and still in the stock layout.

    The stock embedding turns up to 1000 radians between clean and noise, and the ripples that the net learned from it make its time derivative useless.
    So its MLP is fitted anew, on the embedding's slow frequencies only.
    """
    shipped = shipped or world.teacher()
    model = world.network(shipped.state_dict(), smooth=True)
    old, new = shipped.t_embedder, model.t_embedder
    torch.manual_seed(5)
    for layer in (new.mlp[0], new.mlp[2]):
        layer.reset_parameters()
    new.forget_unread()
    sigma = torch.linspace(0, 1, 1001)
    with torch.no_grad():
        wanted = old(sigma)
    steps = 2000
    new.requires_grad_(True)
    optimiser = torch.optim.Adam(new.parameters(), lr=3e-3)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        error = (new(sigma) - wanted).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    new.forget_unread()
    log(f"smooth embedding: {error.item() / wanted.var().item():.4f} of the old one's variance left out")
    return model.train(False)


def sigmas_of(count):
    """Stratified logit-normal noise levels, as the shipped teacher was trained."""
    even = (torch.randperm(count) + torch.rand(count)) / count
    return torch.sigmoid(0.3 + 1.1 * math.sqrt(2) * torch.erfinv((2 * even - 1).clamp(-0.999, 0.999)))


def flow_loss(model, step, size, bf16=True):
    """The flow-matching loss of one batch."""
    x0, context, pooled = batch_of(step, size)
    sigma, noise = sigmas_of(size), torch.randn_like(x0)
    level = sigma.view(-1, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        velocity = model((1 - level) * x0 + level * noise, sigma, context, pooled)
    return (velocity.float() - (noise - x0)).square().mean()


def tune_teacher(steps=None, size=128, rate=6e-4, name="teacher", base=None):
    """The smoothed teacher after some more diffusion training: what the students are distilled from and begin as. base: function giving another generator than the shipped one."""
    if (CACHE / f"{name}.safetensors").is_file():
        return world.network(load_file(CACHE / f"{name}.safetensors"), smooth=True)
    steps, model = steps or TEACHER_STEPS, smooth_teacher(base and base())
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.99))
    state = run(
        name, model, steps, lambda step: flow_loss(model, step, size), optimiser, decay=0.998, hold=0.2
    )
    return world.network(state, smooth=True)


# The students


def conditioned(model, context, pooled):
    """The TrigFlow network of a DigitNet under given prompts."""
    return cm.from_flow(lambda x, sigma: model(x, sigma, context, pooled))


def distil(
    teacher,
    seed,
    steps=None,
    size=96,
    rate=4e-4,
    recipe=DIGITS_RECIPE,
    name=None,
    decay=0.996,
    hold=0.1,
    team=ALONE,
    guidance=1.0,
):
    """A student: a DigitNet whose one- and two-step samples are nearly the teacher's many-step ones, under guidance where that is not 1."""
    name, steps = name or f"student_{seed}", steps or STUDENT_STEPS
    model, led = copy.deepcopy(teacher), guided(teacher, guidance)
    weight = cm.Weight() if recipe.adaptive_weight else None
    groups = [{"params": list(model.parameters())}] + (
        [{"params": list(weight.parameters())}] if weight else []
    )
    optimiser = torch.optim.RAdam(groups, lr=rate, betas=(0.9, 0.99))

    def loss(step):
        x0, context, pooled = batch_of(step + 1000 * seed, size, dropped=0.05)
        t, noise = cm.angles(size, recipe), torch.randn_like(x0)
        x0, context, pooled, t, noise = team.rows(x0, context, pooled, t, noise)
        F, taught = conditioned(model, context, pooled), conditioned(led, context, pooled)
        return cm.loss(F, x0, t, noise, step, recipe, taught, weight)

    state = run(name, model, steps, loss, optimiser, decay, hold, extra=weight, keep=STUDENT_KEPT, team=team)
    return world.network(state, smooth=True)


# Networks from nothing


class Both:
    """Muon for the matrices inside the blocks and AdamW for the rest, as one optimiser."""

    def __init__(self, model, rate):
        inside = [
            p
            for name, p in model.named_parameters()
            if p.ndim == 2 and "blocks" in name and "adaLN" not in name
        ]
        chosen = {id(p) for p in inside}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        self.parts = [
            torch.optim.Muon(inside, lr=8 * rate, weight_decay=0.01),
            torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.01),
        ]
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none=True):
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self):
        for part in self.parts:
            part.step()

    def state_dict(self):
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states):
        for part, state in zip(self.parts, states):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def generator(name, width, seed, steps, loss=None, rate=1.2e-3, size=128, keep=()):
    """A DigitNet of that width, trained from nothing as the shipped one was (its text encoder is kept); loss(model, step, size) -> loss."""
    torch.manual_seed(seed)
    model = DigitNet(width, head=32)
    loss = loss or flow_loss
    state = run(
        name,
        model,
        steps,
        lambda step: loss(model, step + 1000 * seed, size),
        Both(model, rate),
        decay=0.998,
        hold=0.6,
        warm=100,
        keep=keep,
    )
    return world.network(state)


# Samples and their worth


@torch.inference_mode()
def draw(model, sampler, per_digit, seed, batch=500):
    """Latents of per_digit samples of each digit; sampler(model, context, pooled, noise, generator) -> clean latents."""
    context, pooled = world.prompts()
    words = torch.arange(10).repeat(per_digit)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for part in words.split(batch):
        noise = torch.randn(len(part), 16, 8, 8, generator=generator)
        parts.append(sampler(model, context[part], pooled[part], noise, generator))
    return torch.cat(parts)


def guided(model, guidance):
    """The model's velocity under classifier-free guidance, which takes a second evaluation with the empty prompt; 1 is the model itself."""
    if guidance == 1:
        return model

    def velocity(x, sigma, context, pooled):
        empty, none = (
            value[world.EMPTY].expand_as(part) for value, part in zip(world.prompts(), (context, pooled))
        )
        base = model(x, sigma, empty, none)
        return base + guidance * (model(x, sigma, context, pooled) - base)

    return velocity


def euler(steps, guidance=1.0, top=1.0):
    """The stock sampler `euler` with the stock schedule `simple` and a shift of 1. top: the level that noise is taken for."""

    def sample(model, context, pooled, x, generator):
        field = guided(model, guidance)
        x = x * math.hypot(top, 1 - top)  # what unit data and noise come to at that level
        levels = torch.linspace(top, 0, steps + 1)
        for high, low in zip(levels[:-1], levels[1:]):
            sigma = high.expand(len(x))
            x = x + (low - high) * field(x, sigma, context, pooled)
        return x

    return sample


def consistency(*levels):
    """Multistep consistency sampling at these angles; the first is pi/2, pure noise, unless said otherwise."""

    def sample(model, context, pooled, noise, generator):
        return cm.multistep(conditioned(model, context, pooled), noise, levels, generator=generator)

    return sample


def stock(kind, steps, guidance=1.0, top=1.0):
    """DDIM, DDPM or DPM-Solver++(2M) of lab/samplers.py on the same levels as `euler`; the first step starts just below pure noise, the last ends clean."""

    def sample(model, context, pooled, x, generator):
        field = guided(model, guidance)
        times = torch.linspace(top, 0, steps + 1).clamp(1e-3, 1 - 1e-3)
        grid = Flow().log_snr(times)
        noises = [torch.randn(x.shape, generator=generator) if kind == "ddpm" else None for _ in range(steps)]

        def denoiser(z, log_snr):
            alpha, sigma = samplers.circle(log_snr)
            here, time = z / (alpha + sigma), (sigma / (alpha + sigma)).expand(len(z))
            return here - time[0] * field(here, time, context, pooled)

        return samplers.sample(denoiser, x, grid, kind, noises) / samplers.circle(grid[-1])[0]

    return sample


def worth(model, sampler, per_digit=1000, seed=9):
    """Frechet distance with half of its 95 % interval, precision and recall of what a model draws."""
    latents = draw(model, sampler, per_digit, seed)
    seen = torch.cat([world.judge_features(world.pictures(part)) for part in latents.split(500)])
    return {**features.measure(seen), "fid +-": features.fid_error(seen)}
