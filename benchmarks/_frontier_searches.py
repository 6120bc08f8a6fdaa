"""Who races: the controls (random search at several numbers of steps), and the searches of the pack."""

from __future__ import annotations

from _frontier_race import Contestant, by_the_pack, random_search

from noisesearch.search.algorithms import SearchOverPaths, ZeroOrder

STEPS = (3, 4, 5, 7, 10)
CHEAP = ("digits", "mixture")


def contestants(name: str, world) -> list[Contestant]:
    steps = [few for few in STEPS if few < world.steps and (few != 10 or name in (*CHEAP, "scenes"))]
    found = [Contestant(f"random, {world.steps} steps", random_search(), control=True)]
    found += [Contestant(f"random, {few} steps", random_search(few), control=True) for few in steps]
    found += [
        Contestant(f"random, {few} steps, best 2 rendered", random_search(few, finalists=2)) for few in (3, 5)
    ]
    found += [
        Contestant("zero-order N=4, 5 steps", by_the_pack(ZeroOrder(4), 5, anytime=True)),
        Contestant("paths N=2", by_the_pack(SearchOverPaths(2))),
    ]
    if name == "mixture":  # the paper's figure 6, where it costs least
        found += [Contestant(f"zero-order N={n}", by_the_pack(ZeroOrder(n), anytime=True)) for n in (2, 4, 8)]
        found += [Contestant(f"paths N={n}", by_the_pack(SearchOverPaths(n))) for n in (1, 4)]
    return found
