"""First-order search (gradients of the verifier through the whole sampler) against random and zero-order search at equal cost, on digits.

    make bench ARGS=first_order                      the table
    make bench ARGS="first_order -- --tune"          how its first step was chosen, on other problems

The paper: "no clear advantage" over zero-order search, with the cost of a backward pass that of 3 forward passes (its figure 14). Here the
gradient is exact, by autograd through 12 Euler steps, the codec and the verifier. It is made as strong as we know how: it moves on the
sphere of the noise's norm, a step that does not help is taken again half as long at the cost of a forward pass only, and the best counts.
"""

from __future__ import annotations

import argparse
import math

from _trials import FOLDER

import comfy.model_management as mm  # isort: skip
import torch
from _frontier_race import Bench, by_the_pack
from _frontier_worlds import Digits
from _paired import paired

from noisesearch.demo.classifiers import load_classifier
from noisesearch.demo.worlds import DIGITS
from noisesearch.search.algorithms import ZeroOrder
from noisesearch.verifiers.base import Batch

BACKWARD = 3  # forward passes that a backward pass is worth
BUDGETS = (8, 16, 32)  # in samples
FIRST_COSINES = (0.99, 0.95, 0.85, 0.7)
CHOSEN = 0.7
STARTS = 4  # where it begins with the best of some random samples


class Unprompted(Digits):
    """Digits whose generator is not told which digit is wanted: only the search can find it. With a prompt, 8 samples leave nothing to win."""

    name = "digits without a prompt"

    def encoded(self, text):
        return super().encoded("")


class Exact:
    """The digits' sampler, codec and verifier as one function of the noise that autograd can go through."""

    def __init__(self, world: Digits, problems):
        mm.load_models_gpu([world.model])
        self.world, self.problems = world, problems
        self.model = world.model.model.requires_grad_(False)
        self.codec = world.vae.first_stage_model.requires_grad_(False)
        self.judge = load_classifier(FOLDER / "verifiers" / "digits_classifier.safetensors").requires_grad_(
            False
        )
        self.sigmas = world.sigmas(world.steps)
        conds = [world.encoded(problem.prompt)[0] for problem in problems]
        self.context = torch.cat([cond[0] for cond in conds])
        self.pooled = torch.cat([cond[1]["pooled_output"] for cond in conds])
        self.classes = torch.tensor([DIGITS.index(problem.prompt.split()[-1]) for problem in problems])

    def images(self, noise):
        """[P, 64, 64, 3] of noises [P, ...], one for each problem."""
        x = self.model.model_sampling.noise_scaling(self.sigmas[0], noise, torch.zeros_like(noise))
        for high, low in zip(self.sigmas[:-1], self.sigmas[1:]):
            sigma = high.expand(len(x))
            clean = self.model.apply_model(x, sigma, c_crossattn=self.context, y=self.pooled)
            x = x + (x - clean) / high * (low - high)
        return self.codec.decode(x).clamp(0, 1).movedim(1, -1)

    def scores(self, images):
        """[P]: the log-probability of the digit that is wanted."""
        return self.judge(images)[0].gather(1, self.classes[:, None])[:, 0]

    def quality(self, images):
        judged = [self.world.quality(image[None], problem) for image, problem in zip(images, self.problems)]
        return torch.cat(judged)


class Curve:
    """The best so far of each problem, as its cost grows."""

    def __init__(self, count):
        self.steps = [[] for _ in range(count)]

    def add(self, i, cost, score, quality):
        self.steps[i].append((cost, float(score), float(quality)))

    def at(self, budget):
        """(scores, qualities) of all problems, of what the budget pays for."""
        last = [
            max((step for step in steps if step[0] <= budget), key=lambda s: s[1]) for steps in self.steps
        ]
        return [step[1] for step in last], [step[2] for step in last]


def moved(pivot, gradient, cosine):
    """Noises of the same norm at these cosines, [P] each, in the direction in which the score rises."""
    flat, rise = pivot.flatten(1), gradient.flatten(1)
    norm = flat.norm(dim=1, keepdim=True)
    unit = flat / norm
    across = rise - (rise * unit).sum(1, keepdim=True) * unit
    across = across / across.norm(dim=1, keepdim=True).clamp(min=1e-12)
    turned = norm * (cosine[:, None] * unit + (1 - cosine[:, None] ** 2).sqrt() * across)
    return turned.view(pivot.shape)


def first_order(exact: Exact, noises: torch.Tensor, first_cosine: float, most: int) -> Curve:
    """noises: [P, starts, ...]; the best of the starts is climbed from."""
    count, starts = noises.shape[:2]
    curve, cost = Curve(count), [0] * count
    best, pivot = torch.full((count,), -math.inf), noises[:, 0].clone()
    gradient = torch.zeros_like(pivot)
    angle = torch.full((count,), math.acos(first_cosine))
    for start in range(starts - 1):
        with torch.no_grad():
            images = exact.images(noises[:, start])
            scores, quality = exact.scores(images), exact.quality(images)
        for i in range(count):
            cost[i] += 1
            curve.add(i, cost[i], scores[i], quality[i])
        better = scores > best
        best, pivot = torch.where(better, scores, best), torch.where(_wide(better), noises[:, start], pivot)
    tried = noises[:, starts - 1]
    came_from = None if starts == 1 else pivot
    while min(cost) < most:
        x = tried.detach().requires_grad_(True)
        images = exact.images(x)
        scores = exact.scores(images)
        rise = torch.autograd.grad(scores.sum(), x)[0]
        scores, quality = scores.detach(), exact.quality(images.detach())
        better = scores > best
        for i in range(count):
            cost[i] += 1
            curve.add(i, cost[i], scores[i], quality[i])
        if came_from is not None:  # where the last start is not the best, the best one needs its gradient
            x = torch.where(_wide(better), tried, came_from).detach().requires_grad_(True)
            rise = torch.autograd.grad(exact.scores(exact.images(x)).sum(), x)[0]
            pivot, gradient = x.detach(), rise
            cost = [spent + BACKWARD for spent in cost]
            best, came_from = torch.maximum(scores, best), None
        else:
            best = torch.where(better, scores, best)
            pivot = torch.where(_wide(better), tried, pivot)
            gradient = torch.where(_wide(better), rise, gradient)
            angle = torch.where(better, angle, angle / 2)
            cost = [spent + BACKWARD * bool(up) for spent, up in zip(cost, better)]
        tried = moved(pivot, gradient, angle.cos())
    return curve


def _wide(chosen):
    return chosen.view(-1, 1, 1, 1)


def others(world, problems, budgets):
    """{name: {budget: (scores, qualities)}} of random and zero-order search."""
    found = {"random": {}, "zero-order N=4": {}}
    with torch.inference_mode():
        for problem in problems:
            bench = Bench(world, problem, 0, budgets)
            pool = bench.pool(world.steps, max(budgets))
            qualities = bench.quality(pool.images)
            climbed = by_the_pack(ZeroOrder(4), anytime=True)(bench)
            for budget in budgets:
                best = max(range(budget), key=pool.scores.__getitem__)
                _put(found["random"], budget, pool.scores[best], qualities[best])
                winner = climbed[budget]
                quality = bench.quality(winner.image[None])[0]
                _put(found["zero-order N=4"], budget, winner.score, quality)
    return found


def _put(found, budget, score, quality):
    scores, qualities = found.setdefault(budget, ([], []))
    scores.append(score)
    qualities.append(quality)


def starts_of(world, problems, count):
    return torch.stack([torch.cat([Bench(world, p, 0, ()).noise(i) for i in range(count)]) for p in problems])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS))
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args(arguments)
    world, budgets = Unprompted(), tuple(options.budgets)
    problems = world.problems(options.problems, options.tune)
    exact = Exact(world, problems)
    check(exact)
    cosines = FIRST_COSINES if options.tune else (CHOSEN,)
    found = {} if options.tune else others(world, problems, budgets)
    for cosine in cosines:
        for starts in (1, STARTS):
            curve = first_order(exact, starts_of(world, problems, starts), cosine, max(budgets))
            name = f"first-order, first step to cosine {cosine}" + (
                f", best of {starts} starts" * (starts > 1)
            )
            found[name] = {budget: curve.at(budget) for budget in budgets}
    control = found.get("random")
    print(
        f"### {world.name}: {len(problems)} problems, one sample = {world.steps} NFE, backward = {BACKWARD} forward\n"
    )
    heads = " | ".join(f"cost of {b}: score (right)" for b in budgets)
    print(f"| search | {heads} | score to random search | right, points |")
    print("|---|" + "---:|" * (len(budgets) + 2))
    for name, at in found.items():
        cells = [f"{sum(s) / len(s):.3f} ({100 * sum(q) / len(q):.0f} %)" for s, q in at.values()]
        versus = ["", ""]
        if control and name != "random":
            score, right = (
                _paired([at[b][part] for b in budgets], [control[b][part] for b in budgets])
                for part in (0, 1)
            )
            versus = [f"{score.mean:+.3f} [{score.low:+.3f}, {score.high:+.3f}]", right.points()]
        print(f"| {name} | {' | '.join(cells)} | {' | '.join(versus)} |")


def _paired(ours, controls):
    """The difference over the budgets; each has a value for each problem at each budget."""
    each = [[a - b for a, b in zip(one, control)] for one, control in zip(ours, controls)]
    return paired([sum(row) / len(row) for row in zip(*each)])


def check(exact):
    """The function that is differentiated must be what ComfyUI samples and the verifier says."""
    problem = exact.problems[0]
    bench = Bench(exact.world, problem, 0, ())
    with torch.no_grad():
        noises = torch.cat([bench.noise(0)] * len(exact.problems))
        ours = exact.images(noises)
        score = float(exact.scores(ours)[0])
    with torch.inference_mode():
        stock = bench.sample([bench.noise(0)], exact.world.steps)
        said = float(exact.world.seen.score(Batch(stock, problem.prompt))[0])
    if (ours[0] - stock[0]).abs().max() > 1e-3 or abs(score - said) > 1e-2:
        raise SystemExit("What autograd goes through is not what ComfyUI samples.")


if __name__ == "__main__":
    main()
