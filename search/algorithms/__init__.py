"""One file per algorithm, each a generator that reads like the paper's pseudocode."""
from .random_search import RandomSearch
from .zero_order import ZeroOrder

__all__ = ["RandomSearch", "ZeroOrder"]
