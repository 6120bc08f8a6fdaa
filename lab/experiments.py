"""What is measured on the digits, as rows of result tables. Every row is measured once; what it needs is trained when it is not there yet."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial

import torch

from . import consistency as cm
from . import demo_world as world
from . import digits, scaling

HALF_PI = cm.HALF_PI
STEPS = (4, 6, 8, 12, 16, 24, 32, 40)
SECOND = (0.9, 1.0, 1.1, 1.2, 1.3, 1.4)  # angles to choose from
SEEDS = (1, 2, 3)
SHIPPED = (1, 700)  # seed and step of models/demo/digits/two_step.safetensors
FIRST_LOOK, HEADLINE = 200, 1000  # samples of each digit


def fill_teachers(table, first_look=FIRST_LOOK, headline=HEADLINE, steps=STEPS):
    """The shipped teacher and the tuned one by step count, as two-step consistency samplers, and under guidance."""
    nets = {"shipped": world.teacher, "tuned": digits.tune_teacher}
    for name, net in nets.items():
        for count in steps:
            table.row(
                f"{name}, {count} steps",
                lambda n=net, c=count: digits.worth(n(), digits.euler(c), first_look, 8),
            )
        second = choose_second(table, name, net, first_look)
        samplers = {
            "12 steps": digits.euler(12),
            f"{max(steps)} steps": digits.euler(max(steps)),
            "two-step consistency": digits.consistency(HALF_PI, second),
        }
        for what, sampler in samplers.items():
            table.row(f"{name}, {what}, headline", lambda n=net, s=sampler: digits.worth(n(), s, headline))
    for guidance in (1.0, 1.5, 2.0, 3.0, 5.0):
        table.row(
            f"shipped, 12 steps, guidance {guidance}",
            lambda g=guidance: digits.worth(world.teacher(), digits.euler(12, g), first_look, 8),
        )
    for kind in ("ddim", "ddpm", "dpm++"):
        table.row(
            f"shipped, 12 steps, {kind}",
            lambda k=kind: digits.worth(world.teacher(), digits.stock(k, 12), first_look, 8),
        )


def choose_second(table, name, net, per_digit):
    """The second angle with the least FID, on a noise seed that no headline uses."""

    def tried():
        model = net()
        return {
            str(t): digits.worth(model, digits.consistency(HALF_PI, t), per_digit, 8)["fid"] for t in SECOND
        }

    found = table.row(f"{name}, second angle", tried)
    return float(min(found, key=found.get))


def fill_students(table, seeds=SEEDS, first_look=FIRST_LOOK, headline=HEADLINE, second=None, train=None):
    """One, two and four steps of the students; the second angle is chosen on the first seed."""
    train = train or (lambda seed: digits.distil(digits.tune_teacher(), seed))
    second = second or choose_second(table, "student 1", partial(train, seeds[0]), first_look)
    levels = {
        "one step": (HALF_PI,),
        "two steps": (HALF_PI, second),
        "four steps": (HALF_PI, 1.4, second, 0.7),
    }
    for seed in seeds:
        for what, angles in levels.items():
            table.row(
                f"student {seed}, {what}, headline",
                lambda s=seed, a=angles: digits.worth(train(s), digits.consistency(*a), headline),
            )
    for seed in seeds:
        for step in digits.STUDENT_KEPT:
            _fill_kept(table, seed, step, first_look, headline)
    table.row("derivative", lambda: derivatives(digits.tune_teacher()))


def _fill_kept(table, seed, step, first_look, headline):
    """What a student was worth on the way, at the stock schedule's second angle; ten thousand samples for the step whose average ships."""
    path = digits.CACHE / f"student_{seed}_at_{step}.safetensors"
    if not path.is_file():
        return
    model = partial(lambda p: world.network(digits.load_file(p), smooth=True), path)
    for what, angles in (("one step", (HALF_PI,)), ("two steps", (HALF_PI, math.atan(3)))):
        sampler = digits.consistency(*angles)
        table.row(
            f"student {seed} at {step}, {what}",
            lambda s=sampler: {
                "training gflops": scaling.distilling_gflops(128, step),
                **digits.worth(model(), s, first_look, 8),
            },
        )
        if (seed, step) == SHIPPED:
            table.row(
                f"student {seed} at {step}, {what}, headline",
                lambda s=sampler: digits.worth(model(), s, headline),
            )


# name: (changes to the recipe, arguments of digits.distil); one seed each, beside the recipe that ships
LEVERS = {
    "as shipped": ({}, {}),
    "teacher under guidance 1.5": ({}, {"guidance": 1.5}),
    "prior weight 1 / tan t": ({"prior_weight": True}, {}),
    "flow-matching anchor 0.25": ({"anchor": 0.25}, {}),
    "P_mean -1.0, P_std 1.4": ({"p_mean": -1.0, "p_std": 1.4}, {}),
    "warm-up over 600 steps": ({"warm_up": 600}, {}),
    "twice the steps": ({}, {"times": 2}),
}


HEADLINE_LEVERS = ("teacher under guidance 1.5",)  # those that are measured as the students are


def fill_levers(table, names=tuple(LEVERS), first_look=FIRST_LOOK, headline=HEADLINE, seed=1):
    """One- and two-step quality of students whose recipe differs in one thing."""
    for name in names:
        changes, more = LEVERS[name]

        def trained(changes=changes, more=more, name=name):
            recipe = replace(digits.DIGITS_RECIPE, **changes)
            steps = digits.STUDENT_STEPS * more.get("times", 1)
            run = f"student_{seed}" if name == "as shipped" else f"lever_{list(LEVERS).index(name)}"
            return digits.distil(
                digits.tune_teacher(),
                seed,
                steps,
                recipe=recipe,
                name=run,
                guidance=more.get("guidance", 1.0),
            )

        for what, angles in (("one step", (HALF_PI,)), ("two steps", (HALF_PI, math.atan(3)))):
            table.row(
                f"{name}, {what}",
                lambda t=trained, a=angles: digits.worth(t(), digits.consistency(*a), first_look, 8),
            )
            if name in HEADLINE_LEVERS:
                table.row(
                    f"{name}, {what}, headline",
                    lambda t=trained, a=angles: digits.worth(t(), digits.consistency(*a), headline),
                )
                table.row(
                    f"{name}, {what}, right", lambda t=trained, a=angles: _unsearched(t(), a, 4 * first_look)
                )


def _unsearched(model, angles, prompts):
    """How many samples are right when nothing is searched, by the judge."""
    found, _ = scaling.candidates(model, digits.consistency(*angles), prompts, 1)
    row = scaling.best_of(found, 1)
    return {name: row[name] for name in ("accuracy", "accuracy interval")}


def derivatives(model, size=96):
    """The tangent's derivative on the digits: error of the one-sided difference against the exact one, CPU milliseconds of each and of a forward."""
    torch.manual_seed(0)
    x0, context, pooled = digits.batch_of(0, size)
    t = cm.angles(size, digits.DIGITS_RECIPE)
    F, noise = digits.conditioned(model, context, pooled), torch.randn_like(x0)
    c = cm.column(t, x0)
    x = c.cos() * x0 + c.sin() * noise
    found, step = {}, digits.DIGITS_RECIPE.finite_difference
    with torch.no_grad():
        speed = F(x, t)
        tried = {
            "exact": lambda: cm.derivative(F, x, t, speed)[1],
            "difference": lambda: cm.derivative(F, x, t, speed, step=step)[1],
            "forward": lambda: F(x, t),
        }
        slopes = {}
        for name, act in tried.items():
            slopes[name] = act()
            spent = []
            for _ in range(5):
                started = time.process_time()
                act()
                spent.append(1000 * (time.process_time() - started))
            found[f"{name}, ms"] = sorted(spent)[2]
    gap = slopes["difference"] - slopes["exact"]
    found["relative error"] = float(gap.square().mean().sqrt() / slopes["exact"].square().mean().sqrt())
    return found


def searched_models(distilled=True, widths=None):
    """What the search is run on: each width by DDIM, without guidance and with the best of every cell (rows of the table `widths`); the shipped student; and, as its controls, the teachers at several step counts by Euler, DDPM and under guidance of 1.5."""
    models = {}
    for width in scaling.WIDTHS:
        most, net = scaling.MOST.get(width, 8), partial(scaling.train, width)
        plain = {count: digits.euler(count) for count in scaling.SEARCHED}
        models[f"width {width}"] = scaling.Searched(width, net, plain, most)
        found = {n: (widths or {}).get(f"{width} x {n} guidance") for n in scaling.SEARCHED}
        led = {n: digits.euler(n, scaling.best_guidance(row)) for n, row in found.items() if row}
        models[f"width {width}, guided"] = scaling.Searched(width, net, led, most // 2, 2)
    if distilled:
        steps = {1: digits.consistency(HALF_PI), 2: digits.consistency(HALF_PI, math.atan(3))}
        models["student"] = scaling.Searched(128, world.student, steps, 32)
        for name, net in (("shipped teacher", world.teacher), ("tuned teacher", digits.tune_teacher)):
            euler = {count: digits.euler(count) for count in (2, 4, 8, 12)}
            ddpm = {count: digits.stock("ddpm", count) for count in (4, 8, 12)}
            models[name] = scaling.Searched(128, net, euler)
            models[f"{name}, DDPM"] = scaling.Searched(128, net, ddpm)
            led = {count: digits.euler(count, 1.5) for count in (2, 4, 8)}
            models[f"{name}, guided"] = scaling.Searched(128, net, led, evaluations=2)
    return models


# The same network trained as eps and as flow


class AsFlow(torch.nn.Module):
    """A network that predicts eps, asked for a velocity: (eps - z) / (1 - sigma)."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, sigma, context, pooled):
        sigma = sigma.clamp(max=0.999)
        return (self.net(x, sigma, context, pooled) - x) / (1 - sigma.view(-1, 1, 1, 1))


TOP = 0.94  # the noisiest level of Stable Diffusion's eps-networks, alpha_bar 0.0047, in flow time: where no signal is left, eps says nothing
# name: (noisiest level, power of 1 - sigma that an error of the velocity is weighted by)
COMPARED = {
    "flow matching's weighting": (TOP, 0),
    "eps-MSE's weighting": (TOP, 2),
    "flow matching's weighting up to pure noise": (1.0, 0),
}


def matched_loss(model, step, size, kind, top, power):
    """One loss for both kinds of network: the error of the velocity, which for eps is that of eps / (1 - sigma), weighted by (1 - sigma)^power."""
    x0, context, pooled = digits.batch_of(step, size)
    sigma, noise = top * digits.sigmas_of(size), torch.randn_like(x0)
    level = sigma.view(-1, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        told = model((1 - level) * x0 + level * noise, sigma, context, pooled).float()
    error = (told - noise) / (1 - level) if kind == "eps" else told - (noise - x0)
    return ((1 - level) ** power * error.square()).mean()


def fill_eps_and_flow(table, seeds=SEEDS, width=64, steps=800, per_digit=100, names=tuple(COMPARED)):
    """Both kinds under each weighting, each sampled by the samplers of both: Euler in flow time, and DDIM and DDPM on the circle, at 16 steps from the noisiest level that was trained."""
    for number, name in ((n, name) for n, name in enumerate(COMPARED) if name in names):
        top, power = COMPARED[name]
        samplers = {
            "Euler in flow time": digits.euler(16, top=top),
            "DDIM": digits.stock("ddim", 16, top=top),
            "DDPM": digits.stock("ddpm", 16, top=top),
        }
        for seed in seeds:
            for kind in ("flow", "eps"):
                net = partial(
                    _matched, f"{kind}_{number}_{width}_{seed}", width, seed, steps, kind, top, power
                )
                for what, sampler in samplers.items():
                    table.row(
                        f"{name}: {kind} {seed}, {what}",
                        lambda m=net, s=sampler: digits.worth(m(), s, per_digit, 9),
                    )


def _matched(name, width, seed, steps, kind, top, power):
    loss = partial(matched_loss, kind=kind, top=top, power=power)
    net = digits.generator(name, width, seed, steps, loss)
    return AsFlow(net) if kind == "eps" else net


def fill_interpolants(table):
    """The numbers behind the identities: correlation of weightings, variance of the loss under training schedules, integrators by the data's spread."""
    from . import sweep, weightings
    from .interpolants import SCHEDULES, VP, Cosine, Flow

    grid = torch.linspace(-12, 12, 2001, dtype=torch.float64)
    curves = {
        "EDM": weightings.edm(grid),
        "SD3": weightings.sd3(grid),
        "flow matching": weightings.flow_matching(Flow(), grid),
        "v-MSE, cosine": weightings.v_mse(Cosine(), grid),
        "eps-MSE, cosine": weightings.eps_mse(Cosine(), grid),
        "eps-MSE, VP": weightings.eps_mse(VP(), grid),
        "sigmoid, bias 2": weightings.sigmoid(grid),
    }
    table.row(
        "correlation with EDM",
        lambda: {k: weightings.correlation(curves["EDM"], v) for k, v in curves.items()},
    )
    table.row(
        "spread of the loss",
        lambda: {n: sweep.loss_spread(SCHEDULES[n]) for n in ("flow", "cosine", "VP", "VE")},
    )
    for spread in sweep.SPREADS:
        table.row(f"integrators, spread {spread}", lambda s=spread: sweep.integrator_errors(s))
