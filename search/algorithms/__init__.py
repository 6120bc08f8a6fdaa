"""One file per algorithm, each a generator that reads like the paper's pseudocode."""

from .auto import Auto
from .evolution import Evolution
from .particles import ParticleSearch
from .paths import SearchOverPaths
from .pruning import SeedPruning
from .random_search import RandomSearch
from .replay import Replay
from .varied import Varied
from .zero_order import ZeroOrder

__all__ = [
    "Auto",
    "Evolution",
    "ParticleSearch",
    "RandomSearch",
    "Replay",
    "SearchOverPaths",
    "SeedPruning",
    "Varied",
    "ZeroOrder",
]
