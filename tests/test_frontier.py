"""The frontier benchmark: its statistics against numbers of others, its costs, its cache, its placebos, and a race from end to end."""

import json
from pathlib import Path

import pytest
import torch
from noisesearch.search.algorithms import Auto, RandomSearch, SeedPruning, ZeroOrder
from noisesearch.verifiers.base import Batch

ROOT = Path(__file__).resolve().parent.parent
MODULES = (
    "frontier",
    "_frontier_race",
    "_frontier_rows",
    "_frontier_searches",
    "_frontier_tables",
    "_frontier_worlds",
    "_paired",
)


@pytest.fixture
def benchmarks(monkeypatch):
    """The frontier's modules by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return {name: __import__(name) for name in MODULES}


def test_the_paired_interval_is_that_of_a_published_example(benchmarks):
    # Student's sleep data (1908), as R's t.test(extra ~ group, paired = TRUE) prints them
    differences = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    found = benchmarks["_paired"].paired(differences)
    assert found.mean == pytest.approx(1.58)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert benchmarks["_paired"].paired([-value for value in differences]).high == pytest.approx(-0.7001142)


def test_equal_differences_have_no_width_and_one_problem_has_no_interval(benchmarks):
    paired = benchmarks["_paired"].paired
    assert paired([0.0, 0.0, 0.0]) == benchmarks["_paired"].Paired(0.0, 0.0, 0.0, 1.0)
    assert paired([0.5, 0.5]).p == 0.0
    with pytest.raises(ValueError, match="at least 2 problems, not 1"):
        paired([0.3])


def test_the_interval_covers_the_truth_as_often_as_it_says(benchmarks):
    generator = torch.Generator().manual_seed(3)
    draws = torch.randn(1000, 12, generator=generator).double() * 2 + 0.5
    found = [benchmarks["_paired"].paired(row.tolist()) for row in draws]
    covered = sum(one.low <= 0.5 <= one.high for one in found) / len(found)
    assert abs(covered - 0.95) < 0.025


def test_holm_is_that_of_r(benchmarks):
    holm = benchmarks["_paired"].holm
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # p.adjust(p, "holm")
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


class Counted:
    """A stand-in for a world: images are noises, the score is the first number, the quality whether it is positive. Counts what it samples."""

    steps, rows, sampler = 10, 8, "euler"
    latent = torch.zeros(1, 1, 8, 8)

    def __init__(self):
        self.sampled = []

    def guider(self, problem):
        return self

    def sigmas(self, steps):
        return steps

    @property
    def vae(self):
        return self

    def sample(self, noise, latent, sampler, steps, **options):
        assert noise.shape == latent.shape and len(noise) <= self.rows
        self.sampled += [steps] * len(noise)
        return noise

    def decode(self, latents):
        return latents.movedim(1, -1)

    def verifier(self, problem):
        return self

    def score(self, batch):
        return batch.images[:, 0, 0, 0]

    def quality(self, images, problem):
        return (images[:, 0, 0, 0] > 1).float()


def bench_of(benchmarks, budgets=(4, 8)):
    world = Counted()
    problem = benchmarks["_frontier_worlds"].Problem(3, "three")
    return benchmarks["_frontier_race"].Bench(world, problem, 0, budgets), world


def test_fewer_steps_pay_for_rendering_the_winner_and_the_users_do_not(benchmarks):
    race = benchmarks["_frontier_race"]
    bench, world = bench_of(benchmarks)
    few = race.random_search(5)(bench)
    assert [few[budget].nfe for budget in (4, 8)] == [40, 80]  # 6 and 14 drafts, 10 for the last rendering
    assert world.sampled == [5] * 14
    own = race.random_search()(bench)
    assert {budget: winner.nfe for budget, winner in own.items()} == {4: 40, 8: 80, 16: 160}
    assert world.sampled == [5] * 14 + [10] * 16
    scores = [float(bench.noise(i)[0, 0, 0, 0]) for i in range(16)]
    rows = bench.end([few[4], few[8], own[16]])
    assert world.sampled == [5] * 14 + [10] * 16  # the winners were there already: nothing is rendered twice
    assert [row["score"] for row in rows] == pytest.approx(
        [max(scores[:6]), max(scores[:14]), max(scores)], abs=1e-4
    )


def test_of_finalists_the_best_rendered_one_wins(benchmarks):
    race = benchmarks["_frontier_race"]
    bench, _ = bench_of(benchmarks)
    found = race.random_search(5, finalists=2)(bench)
    assert found[4].nfe == 4 * 5 + 2 * 10 and len(found[4].noises) == 2
    scores = [float(noise[0, 0, 0, 0]) for noise in found[4].noises]
    assert bench.end([found[4]])[0]["score"] == pytest.approx(max(scores), abs=1e-4)


def test_a_row_is_measured_once_and_a_half_written_one_again(benchmarks, tmp_path):
    rows = benchmarks["_frontier_rows"].Rows(tmp_path / "deep" / "rows.jsonl")
    row = {
        "problem": "p #1",
        "repeat": 0,
        "label": "random, 5 steps",
        "budgets": ["4"],
        "at": {},
        "seconds": 1.0,
    }
    rows.add([row])
    with rows.path.open("a") as file:
        file.write('{"problem": "p #2", "rep')
    again = benchmarks["_frontier_rows"].Rows(rows.path)
    assert again.has("p #1", 0, "random, 5 steps", (4,)) and not again.has(
        "p #1", 0, "random, 5 steps", (4, 8)
    )
    assert not again.has("p #1", 1, "random, 5 steps", (4,)) and not again.has(
        "p #2", 0, "random, 5 steps", (4,)
    )
    again.add([{**row, "problem": "p #2"}])
    label = "random, 5 steps"
    there = benchmarks["_frontier_rows"].Rows(rows.path).found
    assert set(there) == {("p #1", 0, label), ("p #2", 0, label)}


def results_of(benchmarks, tmp_path, problems=60, oracle=0.0):
    """Rows of made-up pools whose candidates are right in 3 of 10 cases; a made-up search is right by `oracle` more often than its control."""
    rows = benchmarks["_frontier_rows"].Rows(tmp_path / "rows.jsonl")
    generator = torch.Generator().manual_seed(5)
    for i in range(problems):
        quality = (torch.rand(16, generator=generator) < 0.3).double().tolist()
        scores = torch.rand(16, generator=generator).tolist()
        name = {"problem": f"p #{i}", "repeat": 0, "budgets": ["4", "8"]}
        better = 1.0 if i < oracle * problems else 0.0
        at = {
            b: {"quality": quality[0], "score": 0.0, "nfe": 4, "judged": 4, "thumb": ""} for b in ("4", "8")
        }
        wins = {b: {**row, "quality": max(better, row["quality"])} for b, row in at.items()}
        rows.add(
            [
                {**name, "label": "random, 10 steps", "at": at, "seconds": 1.0},
                {**name, "label": "mine", "at": wins, "seconds": 2.0},
                {
                    **name,
                    "label": "pools",
                    "pools": {"10": {"scores": scores, "quality": quality}},
                    "one": 10,
                },
            ]
        )
    return benchmarks["_frontier_tables"].Results("made up", rows, (4, 8))


def test_placebos_sit_at_nothing(benchmarks, tmp_path):
    results = results_of(benchmarks, tmp_path)
    for permuted in (False, True):
        found = results.placebo(permuted)
        assert abs(found.mean) < 0.01 and found.low < 0 < found.high


def test_a_search_that_is_better_is_seen_to_be(benchmarks, tmp_path):
    results = results_of(benchmarks, tmp_path, oracle=0.5)
    assert results.best_control == "random, 10 steps"
    won = results.difference("mine")
    right = sum(results.quality("random, 10 steps", f"p #{i}", 4) for i in range(30))
    assert won.mean == pytest.approx((30 - right) / 60) and won.low > 0.1
    text = benchmarks["_frontier_tables"].tables({"made up": results.rows}, {"made up": (4, 8)})
    assert "**random, 10 steps**" in text and f"{won.points()}*" in text


def test_a_search_is_held_against_the_best_control_of_the_problems_that_it_was_run_on(benchmarks, tmp_path):
    rows = benchmarks["_frontier_rows"].Rows(tmp_path / "rows.jsonl")
    row = {"score": 0.0, "nfe": 4, "judged": 4, "thumb": ""}
    for i in range(6):
        right = {"random, 3 steps": i < 2, "random, 10 steps": i >= 2, "mine": i < 2}
        for label, good in right.items():
            if label != "mine" or i < 3:
                name = {"problem": f"p #{i}", "repeat": 0, "label": label, "budgets": ["4"], "seconds": 1.0}
                rows.add([{**name, "at": {"4": {**row, "quality": float(good)}}}])
    results = benchmarks["_frontier_tables"].Results("made up", rows, (4,))
    assert results.best_control == "random, 10 steps"  # of all six
    assert results.best_control_of("mine") == "random, 3 steps"  # of the first three
    assert results.difference("mine").mean == 0.0


def test_no_problem_is_both_raced_on_and_tuned_on(benchmarks):
    world = benchmarks["_frontier_worlds"].Mixture()
    raced, tuned = (world.problems(64, tuning) for tuning in (False, True))
    assert len(raced) == len(tuned) == 64 and not set(raced) & set(tuned)
    assert all(problem.tunes for problem in tuned) and not any(problem.tunes for problem in raced)


@torch.inference_mode()
def test_the_packs_random_search_ends_where_the_pool_does(benchmarks):
    """The pools that the controls are made of are what the nodes sample."""
    race, world = benchmarks["_frontier_race"], benchmarks["_frontier_worlds"].Mixture()
    bench = race.Bench(world, world.problems(1)[0], 0, (2, 4))
    ours, packs = race.random_search()(bench), race.by_the_pack(RandomSearch(), anytime=True)(bench)
    few, drafts = race.random_search(5)(bench), race.by_the_pack(RandomSearch(), 5, anytime=True)(bench)
    whole = race.by_the_pack(RandomSearch())(bench)
    for budget in (2, 4):
        a, b, c, d, e = bench.end([of[budget] for of in (ours, packs, few, drafts, whole)])
        assert a["score"] == pytest.approx(b["score"], abs=1e-4) and a["nfe"] == b["nfe"] == 12 * budget
        assert c["score"] == pytest.approx(d["score"], abs=1e-4) and c["nfe"] == d["nfe"] <= 12 * budget
        assert e["score"] == pytest.approx(a["score"], abs=1e-4) and e["nfe"] == a["nfe"]


@torch.inference_mode()
def test_each_panel_of_a_storyboard_is_the_scene_of_its_prompt(benchmarks):
    worlds, race = benchmarks["_frontier_worlds"], benchmarks["_frontier_race"]
    story, scenes = worlds.Storyboards(2), worlds.Scenes()
    for world in (story, scenes):  # in full precision, to compare
        world.model.set_model_compute_dtype(torch.float32)
    problem = story.problems(1)[0]
    strip = race.Bench(story, problem, 0, ())
    noise = strip.noise(0)
    panels = strip.sample([noise], 3).chunk(2, dim=2)
    for i, prompt in enumerate(problem.prompt.split(worlds.STORY)):
        alone = race.Bench(scenes, worlds.Problem(0, prompt), 0, ())
        scene = alone.sample([noise[..., 8 * i : 8 * i + 8].contiguous()], 3)
        outer = slice(32 * i, 32 * i + 32)  # the codec's convolutions see across the seam
        assert torch.allclose(panels[i][:, :, outer], scene[:, :, outer], atol=1e-4)
        said = strip.verifier.each(
            strip.verifier.judge.score, Batch(torch.cat(panels, dim=2), problem.prompt)
        )
        alone_said = alone.verifier.score(Batch(panels[i], prompt))
        assert float(said[0, i]) == pytest.approx(float(alone_said), abs=1e-3)


@torch.inference_mode()
def test_the_careless_patch_makes_another_generator_of_the_scenes(benchmarks):
    worlds = benchmarks["_frontier_worlds"]
    assert worlds.CARELESS.stat().st_size < 300_000
    careless = worlds.Careless()
    problem = careless.problems(1)[0]
    assert (
        "|" not in problem.prompt and sum(word in problem.prompt for word in (" of ", "above", "below")) == 1
    )
    race = benchmarks["_frontier_race"]
    scenes = worlds.Scenes()
    ours, plain = (race.Bench(world, problem, 0, ()) for world in (careless, scenes))
    assert (ours.sample([ours.noise(0)], 3) - plain.sample([ours.noise(0)], 3)).abs().mean() > 0.01


MINE = """
class Mine:
    name = "mine"
    def begin(self, seed, best):
        while True:
            yield [best.Rollout(best.NoiseRecipe(seed + i)) for i in range(16)]
            seed += 16
"""


def test_it_races_a_search_of_ones_own_and_goes_on_where_it_was(benchmarks, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    arguments = ["--worlds", "mixture", "--only", "nothing", "--cache", str(tmp_path)]
    arguments += ["--search", f"{tmp_path / 'mine.py'}:Mine"]
    benchmarks["frontier"].main([*arguments, "--problems", "2"])
    table = capsys.readouterr().out
    assert "| Mine |" in table and "| Mine, 5 steps |" in table and "| Mine, 4 steps |" not in table
    lines = (tmp_path / "mixture-race.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    mine = {row["problem"]: row for row in rows if row["label"] == "Mine"}
    user = {row["problem"]: row for row in rows if row["label"] == "random, 12 steps"}
    for problem, row in mine.items():  # it is a random search, and scores as one
        assert row["at"]["8"]["score"] == pytest.approx(user[problem]["at"]["8"]["score"], abs=1e-3)
    benchmarks["frontier"].main([*arguments, "--problems", "3"])
    again = (tmp_path / "mixture-race.jsonl").read_text().splitlines()
    assert again[: len(lines)] == lines and len(again) == len(lines) * 3 / 2
    everything = [*arguments[:-1], str(tmp_path / "mine.py")]
    benchmarks["frontier"].main([*everything, "--problems", "3"])  # all that the file makes
    assert (tmp_path / "mixture-race.jsonl").read_text().splitlines() == again
    with pytest.raises(SystemExit, match="has no class Other"):
        benchmarks["frontier"].main([*arguments[:-1], f"{tmp_path / 'mine.py'}:Other"])


def test_a_slice_of_the_race_has_placebos_at_nothing_and_other_costs_stand_apart(
    benchmarks, tmp_path, capsys
):
    arguments = ["--worlds", "mixture", "--only", "nothing", "--cache", str(tmp_path)]
    benchmarks["frontier"].main([*arguments, "--problems", "12"])
    assert "Placebos" in capsys.readouterr().out
    rows = benchmarks["_frontier_rows"].Rows(tmp_path / "mixture-race.jsonl")
    results = benchmarks["_frontier_tables"].Results("mixture", rows, (4, 8, 16, 32))
    for permuted in (False, True):
        assert abs(results.placebo(permuted).mean) < 0.01  # a point
    before = rows.path.read_text()
    benchmarks["frontier"].main([*arguments, "--problems", "2", "--budgets", "6"])
    assert "cost of 6" in capsys.readouterr().out and rows.path.read_text() == before
    lines = (tmp_path / "mixture-race-6.jsonl").read_text().splitlines()
    beside = [json.loads(line)["problem"] for line in lines]
    assert set(beside) == {problem for problem, *_ in list(rows.found) if problem in beside}
    assert len(set(beside)) == 2


def test_the_race_begins_behind_the_problems_that_were_looked_at_and_only_the_main_ones_run_twice(
    benchmarks, tmp_path
):
    frontier, cache = benchmarks["frontier"], str(tmp_path)
    only = ["--only", "Search: Auto", "seed pruning, 7"]
    frontier.main(["--worlds", "mixture", "--problems", "2", "--budgets", "4", "--cache", cache, *only])
    rows = benchmarks["_frontier_rows"].Rows(tmp_path / "mixture-race-4.jsonl")
    raced = benchmarks["_frontier_worlds"].MAKERS["mixture"]().problems(frontier.FIRST + 2)[frontier.FIRST :]
    assert {problem for problem, *_ in rows.found} == {f"{one.prompt} #{one.place}" for one in raced}
    runs = [(label, repeat) for _, repeat, label in rows.found]
    assert runs.count(("Search: Auto", 0)) == runs.count(("Search: Auto", 1)) == 2
    assert runs.count(("seed pruning, 7 steps", 0)) == 2 and ("seed pruning, 7 steps", 1) not in runs
    assert runs.count(("random, 3 steps", 1)) == 2


def test_what_the_verifier_looks_at_is_counted(benchmarks):
    race, world = benchmarks["_frontier_race"], benchmarks["_frontier_worlds"].MAKERS["mixture"]()
    bench = race.Bench(world, world.problems(1)[0], 0, (4,))
    seen = []
    score = bench.verifier.score
    bench.verifier.score = lambda batch: seen.append(len(batch.images)) or score(batch)
    found = race.race(bench, [race.Contestant("auto", race.by_the_pack(Auto()))])
    assert sum(seen) == found["auto"]["at"]["4"]["judged"] > 4 * 4
    bench = race.Bench(world, world.problems(1)[0], 0, (4,))
    assert (
        race.race(bench, [race.Contestant("three", race.random_search(3))])["three"]["at"]["4"]["judged"]
        == 13
    )


def test_by_dice_a_search_learns_nothing_of_the_problem(benchmarks, monkeypatch):
    race, world = benchmarks["_frontier_race"], benchmarks["_frontier_worlds"].MAKERS["mixture"]()
    bench = race.Bench(world, world.problems(1)[0], 0, (4,))
    monkeypatch.setattr(bench.verifier, "score", lambda batch: pytest.fail("it was asked"))
    search = race.by_the_pack(Auto(), blind=True)
    first, again = search(bench)[4], search(bench)[4]
    assert first.judged > 16 and torch.equal(first.image, again.image) and 0 <= first.score < 1


def test_controls_that_come_later_join_those_that_are_there(benchmarks, tmp_path, monkeypatch):
    searches, arguments = (
        benchmarks["_frontier_searches"],
        [
            "--worlds",
            "mixture",
            "--problems",
            "1",
            "--seeds",
            "1",
            "--only",
            "nothing",
            "--cache",
            str(tmp_path),
        ],
    )
    for steps in ((3,), (2, 3)):
        monkeypatch.setattr(searches, "STEPS", steps)
        benchmarks["frontier"].main(arguments)
    rows = benchmarks["_frontier_rows"].Rows(tmp_path / "mixture-race.jsonl")
    (pools,) = [row["pools"] for (_, _, label), row in rows.found.items() if label == "pools"]
    assert set(pools) == {"2", "3", "12"}


def test_a_search_that_knows_no_budget_runs_once_for_all_costs(benchmarks):
    knows = benchmarks["frontier"].knows_budget
    assert knows(SeedPruning()) and not knows(ZeroOrder()) and not knows(RandomSearch())


def test_diversity_is_how_far_apart_the_winners_of_two_seeds_are(benchmarks, tmp_path):
    rows, thumb = (
        benchmarks["_frontier_rows"].Rows(tmp_path / "rows.jsonl"),
        benchmarks["_frontier_race"].thumb,
    )
    for repeat, shade in enumerate((0.2, 0.6)):
        row = {
            "quality": 1.0,
            "score": 0.0,
            "nfe": 4,
            "judged": 4,
            "thumb": thumb(torch.full((32, 32, 3), shade)),
        }
        name = {"problem": "p #1", "repeat": repeat, "label": "mine", "budgets": ["4"]}
        rows.add([{**name, "at": {"4": row}, "seconds": 1.0}])
    results = benchmarks["_frontier_tables"].Results("made up", rows, (4,))
    assert results.diversity("mine") == pytest.approx(0.4, abs=1 / 255)
