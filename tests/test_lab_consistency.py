"""Consistency models: the tangent by hand, by autograd and by differences; what vanishes for the exact solution; training that can be stopped."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from noisesearch.lab import consistency as cm
from noisesearch.lab import toy
from noisesearch.lab.mixture import Mixture
from noisesearch.lab.networks import DigitNet, PointNet, TimeEmbedder

TIGHT = 1e-10


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def point_net(seed=0, **switches):
    torch.manual_seed(seed)
    return PointNet(width=16, blocks=2, **switches).double()


@pytest.mark.parametrize("s", [0.5, 1.0])
def test_the_tangent_is_cos_t_times_the_change_of_f_along_the_path(s):
    net, x, speed, t = point_net(), noise(6, 2), noise(6, 2, seed=1), torch.linspace(0.1, 1.5, 6).double()
    recipe = cm.Recipe(normalise=False, sigma_data=s)
    value, slope = cm.derivative(net, x, t, speed, s)
    g = cm.tangent(value, slope, x, t, speed, 1.0, recipe)
    _, change = torch.func.jvp(lambda x, t: cm.denoise(net, x, t, s), (x, t), (speed, torch.ones_like(t)))
    assert (g - t.cos()[:, None] * change).abs().max() < TIGHT
    for wrong in (
        cm.tangent(value, slope, x, t, speed, 0.9, recipe),
        cm.tangent(value, -slope, x, t, speed, 1.0, recipe),
    ):
        assert (g - wrong).abs().max() > 1e-3


@pytest.mark.parametrize("switches", [{}, {"positional": False}, {"double_norm": False}])
def test_differences_approach_the_exact_derivative(switches):
    net, x, speed, t = (
        point_net(**switches),
        noise(6, 2),
        noise(6, 2, seed=1),
        torch.linspace(0.1, 1.5, 6).double(),
    )
    exact = cm.derivative(net, x, t, speed)[1]
    errors = [(cm.derivative(net, x, t, speed, step=h)[1] - exact).abs().max() for h in (1e-5, 1e-6)]
    assert errors[1] < 0.2 * errors[0] < 0.2 * exact.abs().max()


def test_the_digits_network_has_exact_forward_derivatives():
    torch.manual_seed(0)
    net = DigitNet(width=32, head=16, smooth=True).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    F = cm.from_flow(lambda x, sigma: net(x, sigma, noise(3, 4, 128, seed=3), noise(3, 128, seed=4)))
    x, speed, t = noise(3, 16, 8, 8), noise(3, 16, 8, 8, seed=1), torch.tensor([0.2, 0.8, 1.5]).double()
    exact = cm.derivative(F, x, t, speed)[1]
    forth, back = (cm.derivative(F, x, t, speed, step=h)[1] for h in (1e-5, -1e-5))
    assert ((forth + back) / 2 - exact).abs().max() < 1e-6 * exact.abs().max() and exact.abs().max() > 1e-3


def test_written_out_attention_has_the_derivative_of_the_stock_kernel():
    """torch.func.jvp through scaled_dot_product_attention works under the MATH kernel only; the default one has no forward derivative on the CPU."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention as stock

    def written(q, k, v):
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v

    here, there = (tuple(noise(2, 3, 5, 8, seed=n + m) for n in range(3)) for m in (0, 3))
    value, change = torch.func.jvp(written, here, there)
    with sdpa_kernel(SDPBackend.MATH):
        theirs = torch.func.jvp(stock, here, there)
    assert (value - theirs[0]).abs().max() < TIGHT and (change - theirs[1]).abs().max() < TIGHT
    assert change.abs().max() > 0.1
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), pytest.raises((NotImplementedError, RuntimeError)):
        torch.func.jvp(stock, here, there)


def test_a_flow_network_is_a_trigflow_network():
    """One rotation is one Euler step in flow time, and both have one denoiser."""
    net = point_net()
    F = cm.from_flow(net)
    x, t, lower = noise(6, 2), torch.linspace(0.3, 1.5, 6).double(), torch.linspace(0.1, 1.2, 6).double()
    turn = (t - lower)[:, None]
    rotated = turn.cos() * x - turn.sin() * F(x, t)
    scale, below = (t.cos() + t.sin())[:, None], (lower.cos() + lower.sin())[:, None]
    sigma, target = t.sin() / scale[:, 0], lower.sin() / below[:, 0]
    stepped = x / scale + (target - sigma)[:, None] * net(x / scale, sigma)
    assert (rotated - below * stepped).abs().max() < TIGHT
    assert (cm.denoise(F, x, t) - (x / scale - sigma[:, None] * net(x / scale, sigma))).abs().max() < TIGHT
    assert (rotated - stepped).abs().max() > 1e-2  # the scale forgotten
    assert cm.flow_time(math.atan(3)) == pytest.approx(0.75)


def exact_student(spread):
    """F of the exact consistency function of N(0, spread^2): f(x, t) = spread x / deviation(t)."""

    def F(x, t):
        c = t[:, None]
        deviation = (c.cos() ** 2 * spread**2 + c.sin() ** 2).sqrt()
        return (c.cos() - spread / deviation) / c.sin() * x

    return F


def gaussian_teacher(spread):
    data = Mixture(torch.zeros(1, 2, dtype=torch.float64), spread)
    return lambda x, t: (t.cos()[:, None] * x - data.denoise(x, t.cos(), t.sin())) / t.sin()[:, None]


def test_the_exact_consistency_function_has_no_tangent():
    x, t, teacher = noise(6, 2), torch.linspace(0.1, 1.5, 6).double(), gaussian_teacher(0.6)
    speed = teacher(x, t)
    recipe = cm.Recipe(normalise=False)
    for spread, exact in ((0.6, True), (0.7, False)):
        g = cm.tangent(*cm.derivative(exact_student(spread), x, t, speed), x, t, speed, 1.0, recipe)
        assert (g.abs().max() < TIGHT) == exact
    # the teacher is no consistency function, but it is right near clean data
    g = cm.tangent(*cm.derivative(teacher, x, t, speed), x, t, speed, 1.0, recipe)
    assert g[-1].abs().max() > 1e-3


def test_normalisation_and_warm_up():
    net, x, speed, t = (
        point_net(),
        50 * noise(6, 2),
        noise(6, 2, seed=1),
        torch.linspace(0.1, 1.5, 6).double(),
    )
    value, slope = cm.derivative(net, x, t, speed)
    plain, bounded = (
        cm.tangent(value, slope, x, t, speed, 1.0, cm.Recipe(normalise=n)) for n in (False, True)
    )
    rms = plain.square().mean(1, keepdim=True).sqrt()
    assert (bounded - plain / (rms + 0.1)).abs().max() < TIGHT and bounded.square().mean(
        1
    ).max() < 1 < rms.max()
    first = cm.tangent(value, slope, x, t, speed, 0.0, cm.Recipe(normalise=False))
    assert (first + t.cos()[:, None] ** 2 * (value - speed)).abs().max() < TIGHT


def test_the_gradient_of_the_loss_is_that_of_the_tangent():
    """d loss / d theta = -2 mean(g dF / d theta): F - F^- is zero, its gradient is not."""
    net, recipe, t = point_net(), cm.Recipe(distil=True, warm_up=0), torch.linspace(0.2, 1.4, 8).double()
    x0, z, teacher = noise(8, 2, seed=1), noise(8, 2, seed=2), gaussian_teacher(0.6)
    ours = torch.autograd.grad(cm.loss(net, x0, t, z, 0, recipe, teacher), net.leave.weight)[0]
    x = t.cos()[:, None] * x0 + t.sin()[:, None] * z
    with torch.no_grad():
        speed = teacher(x, t)
        g = cm.tangent(*cm.derivative(net, x, t, speed), x, t, speed, 1.0, recipe)
    theirs = torch.autograd.grad(-2 * (g * net(x, t)).mean(), net.leave.weight)[0]
    assert (ours - theirs).abs().max() < TIGHT < ours.abs().max()


def test_weights_and_anchor():
    net, t, x0, z = (
        point_net(),
        torch.linspace(0.2, 1.4, 8).double(),
        noise(8, 2, seed=1),
        noise(8, 2, seed=2),
    )
    recipe, weight = cm.Recipe(distil=False), cm.Weight().double()
    net.requires_grad_(False)
    weight.requires_grad_(False)
    plain = cm.loss(net, x0, t, z, 5, recipe)
    assert torch.equal(cm.loss(net, x0, t, z, 5, recipe, weight=weight), plain)  # zero at first
    weight.out.bias += 1.0
    assert cm.loss(net, x0, t, z, 5, recipe, weight=weight) == pytest.approx(float(math.e * plain - 1))
    straight = cm.diffusion_loss(net, x0, t, z)
    assert cm.loss(net, x0, t, z, 5, replace(recipe, anchor=0.5)) == pytest.approx(
        float(plain + 0.5 * straight)
    )
    once = slice(3, 4)
    one = [
        cm.loss(net, x0[once], t[once], z[once], 5, replace(recipe, prior_weight=p)) for p in (False, True)
    ]
    assert one[1] == pytest.approx(float(one[0] / t[3].tan()))


def test_discrete_time_is_content_with_a_point():
    """All paths of a point's flow end in it: the loss is nothing for its denoiser, something for another."""
    point = torch.tensor([[0.7, -0.2]], dtype=torch.float64)
    towards = lambda goal: lambda x, t: (t.cos()[:, None] * x - goal) / t.sin().clamp(min=1e-6)[:, None]  # noqa: E731
    torch.manual_seed(0)
    x0, teacher, recipe = point.expand(64, 2), towards(point), cm.Recipe()
    assert cm.discrete_loss(teacher, teacher, x0, noise(64, 2), 16, recipe, teacher) < TIGHT
    assert cm.discrete_loss(teacher, towards(point + 0.1), x0, noise(64, 2), 16, recipe, teacher) > 1e-3
    assert (cm.multistep(teacher, noise(9, 2), (cm.HALF_PI, 1.1)) - point).abs().max() < TIGHT
    assert (cm.rotate(teacher, noise(9, 2), [cm.HALF_PI, 0.7]) - point).abs().max() < TIGHT


def test_discrete_time_becomes_continuous_time():
    """The tangent over ever shorter levels goes to the exact one, the error with the length; the teacher's own step is exact along its path."""
    net, x, speed = point_net(), noise(6, 2), noise(6, 2, seed=1)
    t = torch.linspace(0.2, 1.5, 6).double()
    plain = cm.Recipe(normalise=False)
    value, slope = cm.derivative(net, x, t, speed)
    exact = cm.tangent(value, slope, x, t, speed, 1.0, plain)
    errors = [
        float(
            (cm.discrete_tangent(net, value, x, t, speed, replace(plain, levels=n)) - exact)
            .abs()
            .max()
            .detach()
        )
        for n in (100, 1000, 10_000)
    ]
    assert errors[1] < 0.15 * errors[0] and errors[2] < 0.15 * errors[1] < 0.1
    x0, z, teacher = noise(8, 2, seed=1), noise(8, 2, seed=2), gaussian_teacher(0.6)
    many = torch.linspace(0.2, 1.4, 8).double()
    net.requires_grad_(False)
    ours, fine, coarse = (
        float(cm.loss(net, x0, many, z, 10**6, cm.Recipe(levels=n), teacher)) for n in (0, 100_000, 4)
    )
    assert fine == pytest.approx(ours, rel=1e-3) and abs(coarse - ours) > 1e-3


def test_angles_are_log_normal():
    torch.manual_seed(0)
    recipe = cm.Recipe(p_mean=-0.8, p_std=1.6, sigma_data=0.5)
    tau = (cm.angles(50_000, recipe).double().tan() * 0.5).log()
    assert abs(float(tau.mean()) + 0.8) < 0.01 and abs(float(tau.std()) - 1.6) < 0.01


@pytest.mark.slow
def test_a_little_training_brings_one_step_nearer():
    model = toy.diffusion(toy.CLEAN, 150, seed=1)
    before = toy.worth(model, 4000)["one step"]
    finite, _ = toy.consistency(model, replace(toy.FULL, warm_up=30, finite_difference=1e-3), 250, seed=1)
    assert finite and toy.worth(model, 4000)["one step"] < 0.7 * before
    assert toy.floor(4000) < 0.1 and toy.teacher_worth(32, 4000) < 0.1 < toy.teacher_worth(2, 4000)


# The digits' network


def test_it_is_the_stock_network():
    """Stable Diffusion 3's own code on the shipped weights."""
    from noisesearch.demo.load import load_world
    from noisesearch.lab import demo_world

    context, pooled = demo_world.prompts()
    x, sigma = noise(11, 16, 8, 8, dtype=torch.float32), torch.linspace(0, 1, 11)
    with torch.inference_mode():
        net = load_world("digits")[0].model.diffusion_model.float()
        theirs = net(x, 1000 * sigma, context=context, y=pooled)
        ours = demo_world.teacher()(x, sigma, context, pooled)
    assert (ours - theirs).abs().max() < 2e-5 < theirs.abs().max()


def test_the_smooth_time_embedding_is_a_stock_one_with_zeros():
    torch.manual_seed(0)
    smooth, stock = TimeEmbedder(32, smooth=True), TimeEmbedder(32)
    smooth.forget_unread()
    stock.load_state_dict(smooth.state_dict())
    sigma = torch.linspace(0, 1, 50)
    assert (smooth(sigma) - stock(sigma)).abs().max() < 1e-6
    assert 40 < int(smooth.kept.sum()) < 80 and int(stock.kept.sum()) == 128
    steep = [(e(sigma + 1e-3) - e(sigma)).square().mean() for e in (smooth, TimeEmbedder(32))]
    assert steep[1] > 100 * steep[0]


# Runs


def test_a_stopped_run_goes_on_as_if_it_had_not(tmp_path, monkeypatch):
    from noisesearch.lab import digits

    monkeypatch.setattr(digits, "EVERY", 3)

    def go(name, stop=None):
        torch.manual_seed(3)
        model = torch.nn.Linear(2, 2)
        optimiser = torch.optim.RAdam(model.parameters(), lr=1e-2)

        def loss(step):
            if step == stop:
                raise KeyboardInterrupt
            return (model(torch.randn(8, 2)) - 1).square().mean()

        return digits.run("same", model, 10, loss, optimiser, 0.9, keep=(4,), log=lambda *a, **k: None)

    monkeypatch.setattr(digits, "CACHE", tmp_path / "a")
    whole = go("same")
    monkeypatch.setattr(digits, "CACHE", tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        go("same", stop=7)
    again = go("same")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert digits.seconds_of("same") >= 0 and (tmp_path / "b" / "same_at_4.safetensors").is_file()
    assert all(
        torch.equal(whole[name], value) for name, value in go("same", stop=0).items()
    )  # done: nothing runs


def together(place, folder):
    """One of two processes of a test run; module level, so that it can be spawned."""
    from noisesearch.lab import digits, team

    torch.set_num_threads(1)
    digits.CACHE = folder / "shared"
    return small_run(digits, team.join(place, 2, folder / "meeting"))


def small_run(digits, team):
    torch.manual_seed(3)
    model = torch.nn.Linear(2, 2)

    def loss(step):
        (x,) = team.rows(torch.randn(8, 2))
        return (model(x) - 1).square().mean()

    quiet = lambda *a, **k: None  # noqa: E731
    return digits.run(
        "team", model, 8, loss, torch.optim.RAdam(model.parameters(), lr=1e-2), 0.9, log=quiet, team=team
    )


@pytest.mark.slow
def test_a_team_gives_what_one_process_gives(tmp_path, monkeypatch):
    from noisesearch.lab import digits
    from noisesearch.lab.team import ALONE

    monkeypatch.setattr(digits, "CACHE", tmp_path / "alone")
    alone = small_run(digits, ALONE)
    code = (
        "import sys; sys.path[:0] = sys.argv[1:4]; from pack import use_comfyui; use_comfyui(sys.argv[3]); "
        "from pathlib import Path; import test_lab_consistency as t; t.together(int(sys.argv[4]), Path(sys.argv[5]))"
    )
    tests, comfyui = Path(__file__).parent, sys.modules["comfy"].__path__[0]
    places = [str(tests.parent / "tools"), str(tests), str(Path(comfyui).parent)]
    running = [
        subprocess.Popen([sys.executable, "-c", code, *places, str(i), str(tmp_path)]) for i in range(2)
    ]
    assert [process.wait(120) for process in running] == [0, 0]
    monkeypatch.setattr(digits, "CACHE", tmp_path / "shared")
    shared = small_run(digits, ALONE)  # read from the file, nothing runs
    assert all((alone[name] - shared[name]).abs().max() < 1e-6 for name in alone)
