"""Who races: the controls (random search at several numbers of steps), and the searches of the pack."""

from __future__ import annotations

from _frontier_race import Contestant, by_the_pack, more_steps, random_search


from noisesearch.search.algorithms import (
    Auto,
    Evolution,
    ParticleSearch,
    RandomSearch,
    SearchOverPaths,
    SeedPruning,
    ZeroOrder,
)
from noisesearch.search.rollout import FREE

STEPS = (1, 2, 3, 4, 5, 7, 10)
FEW = 3
CHEAP = ("digits", "mixture")


def contestants(name: str, world) -> list[Contestant]:
    steps = [few for few in STEPS if few < world.steps and (few != 10 or name in (*CHEAP, "scenes"))]
    found = [Contestant(f"random, {world.steps} steps", random_search(), control=True)]
    found += [Contestant(f"random, {few} steps", random_search(few), control=True) for few in steps]
    if world.steps < FEW:  # a few-step model: what may win there is a search of many evaluations
        searches = {"zero-order N=4": ZeroOrder(4), "evolution": Evolution()}
        return found + [Contestant(label, by_the_pack(one, anytime=True)) for label, one in searches.items()]
    found += [
        Contestant(f"random, {few} steps, best 2 rendered", random_search(few, finalists=2)) for few in (3, 5)
    ]
    found += [
        Contestant("zero-order N=4, 5 steps", by_the_pack(ZeroOrder(4), 5, anytime=True)),
        Contestant("Search: Auto", by_the_pack(Auto()), main=True),
        Contestant("evolution, 4 steps", by_the_pack(Evolution(), 4, anytime=True), main=True),
        Contestant("paths N=2", by_the_pack(SearchOverPaths(2)), main=True),
        Contestant("seeds, then paths N=1", by_the_pack(SearchOverPaths(1, seeds=-1)), main=True),
        Contestant("seed pruning", by_the_pack(SeedPruning())),
        Contestant("seed pruning, 7 steps", by_the_pack(SeedPruning(), 7)),
        Contestant("particles, euler_ancestral", by_the_pack(ParticleSearch(), sampler="euler_ancestral")),
    ]
    if name in ("scenes", "mixture"):
        found += [Contestant("one sample, more steps", more_steps)]
    if name in ("storyboards", "careless"):  # where 16 samples leave something to win
        found += [Contestant(f"paths N={n}", by_the_pack(SearchOverPaths(n))) for n in (1, 4)]
    if name in ("storyboards", "careless", "mixture"):
        found.append(Contestant("Search: Auto, by dice", by_the_pack(Auto(), blind=True)))
        # from there to what Search: Auto takes, which also has a finish
        quick = {"one step a round": {}, "one step a round, free previews": {"preview": FREE}}
        found += [
            Contestant(
                f"seeds, then paths N=1, {said}", by_the_pack(SearchOverPaths(1, seeds=-1, steps=1, **more))
            )
            for said, more in quick.items()
        ]
    if name == "mixture":  # the paper's figure 6, where it costs least
        found += [Contestant(f"zero-order N={n}", by_the_pack(ZeroOrder(n), anytime=True)) for n in (2, 4, 8)]
        found += [Contestant(f"paths N={n}", by_the_pack(SearchOverPaths(n))) for n in (1, 4)]
        ancestral = by_the_pack(RandomSearch(), anytime=True, sampler="euler_ancestral")
        found += [
            Contestant("random, euler_ancestral", ancestral),
            Contestant("particles, euler (no noise on the way)", by_the_pack(ParticleSearch())),
        ]
    return found
