"""Several verifiers as one (Ma et al. 2025, section 3: the verifier ensemble). Only declared here: the search combines their scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..untrusted import Short, excerpt

LONGEST_NAME = 200  # letters


@dataclass(frozen=True)
class Ensemble(Short):
    """Verifiers whose scores are combined over the pool of candidates of one image.

    members: the verifiers, with distinct names (the second of a name gets " 2").
    weights: one number per member, not negative, not all 0.
    method: one of the search's ways to combine scores (search/selection.py, which checks it); None for the paper's, average rank.
    held_out: scored and reported, never used to choose: the honest witness of verifier hacking.
    sanity_gate: images that `sanity.healthy` refuses are shown to nobody and cannot be judged.
    """

    members: tuple
    weights: tuple[float, ...]
    method: str | None = None
    held_out: Any = None
    sanity_gate: bool = False

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("A verifier ensemble needs at least one verifier.")
        if (
            len(self.weights) != len(self.members)
            or not all(0 <= weight < float("inf") for weight in self.weights)
            or not any(self.weights)
        ):
            given = f"{len(self.members)} verifiers, weights {self.weights}"
            raise ValueError(
                f"A verifier ensemble needs one finite weight per verifier, none negative and not all 0; it was given {given}."
            )
        nested = [member for member in (*self.members, self.held_out) if isinstance(member, Ensemble)]
        if nested:
            raise ValueError("An ensemble cannot hold another ensemble: connect its verifiers one by one.")
        for verifier in self.everyone:
            if not (
                isinstance(getattr(verifier, "name", None), str)
                and callable(getattr(verifier, "score", None))
            ):
                raise ValueError(
                    f"A verifier is an object with a name and a method score(batch), which this {type(verifier).__name__} is not. See docs/own_verifier.md of NoiseSearch."
                )
            if not 0 < len(verifier.name) <= LONGEST_NAME or not verifier.name.isprintable():
                raise ValueError(
                    f"A verifier's name is 1 to {LONGEST_NAME} printable letters, not {excerpt(verifier.name)}."
                )
        object.__setattr__(self, "members", tuple(numbered(self.members)))

    @property
    def everyone(self) -> tuple:
        """All that score, the held-out one last."""
        return self.members if self.held_out is None else (*self.members, self.held_out)

    @property
    def name(self) -> str:
        return " + ".join(member.name for member in self.members)


def as_ensemble(verifier: Any) -> Ensemble:
    """Whatever lies on a verifier socket, as an Ensemble."""
    return verifier if isinstance(verifier, Ensemble) else Ensemble((verifier,), (1.0,))


def gated(verifier: Any) -> Any:
    """The same with the sanity gate on. An Ensemble says itself whether it has one; None stays None."""
    if verifier is None or isinstance(verifier, Ensemble):
        return verifier
    return Ensemble((verifier,), (1.0,), sanity_gate=True)


def numbered(verifiers: Iterable) -> Iterator:
    """The verifiers with names that differ: the second "CLIPScore" becomes "CLIPScore 2"."""
    seen: dict[str, int] = {}
    for verifier in verifiers:
        seen[verifier.name] = seen.get(verifier.name, 0) + 1
        yield (
            verifier
            if seen[verifier.name] == 1
            else Renamed(verifier, f"{verifier.name} {seen[verifier.name]}")
        )


class Renamed(Short):
    """A verifier under another name; everything else is its own (any object with `name` and `score`)."""

    def __init__(self, verifier: Any, name: str):
        self.verifier, self.name = verifier, name

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "verifier":  # not there yet while being copied
            raise AttributeError(attribute)
        return getattr(self.verifier, attribute)
