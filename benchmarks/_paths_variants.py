"""The settings of search over paths that those of Search: Auto were chosen among, on problems that the race does not hold.

make bench ARGS="frontier -- --tune --worlds careless storyboards --problems 96 --seeds 1 --budgets 4 8 --only nothing --steps 0 --search benchmarks/_paths_variants.py"
"""

from noisesearch.search.algorithms import SearchOverPaths
from noisesearch.search.rollout import FREE

QUICK = {"steps": 1, "preview": FREE}
SETTINGS = {
    "Half": {},
    "HalfFree": {"preview": FREE},
    "Two": {"steps": 2},
    "TwoFree": {"steps": 2, "preview": FREE},
    "One": {"steps": 1},
    "OneFree": QUICK,
    **{f"Finish{share:02d}": {**QUICK, "finish": share / 100} for share in (10, 20, 30, 45)},
    "TwoPaths": {**QUICK, "finish": 0.2, "paths": 2},
    "NoSeeds": {**QUICK, "finish": 0.2, "seeds": 0},
    "TwoStepsFinished": {**QUICK, "finish": 0.2, "steps": 2},
    "Shorter": {**QUICK, "finish": 0.2, "start": 0.6},
    "Further": {**QUICK, "finish": 0.2, "backward": 0.6},
}


def named(name, settings):
    def begin(self):
        SearchOverPaths.__init__(self, **{"paths": 1, "seeds": -1} | settings)

    return type(name, (SearchOverPaths,), {"__init__": begin, "__module__": __name__})


globals().update({name: named(name, settings) for name, settings in SETTINGS.items()})
