"""Searches on the model made of hashes with a journal in front of it, as the journal's tests run them."""

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import torch
from fake_evaluator import FakeEvaluator, HalfWay, Renoise
from noisesearch.search.algorithms import RandomSearch, SearchOverPaths, ZeroOrder
from noisesearch.search.driver import Limits, run
from noisesearch.search.journal import Journal, JournalFault
from noisesearch.search.journaled import Journaled
from noisesearch.search.selection import Comparison

ALGORITHMS = {
    "random": RandomSearch(),
    "zero order": ZeroOrder(2, 0.9),
    "paths": SearchOverPaths(2, 2, preview="extra evaluation"),
    "half way": HalfWay(),
    "renoise": Renoise(),
}
BUDGET = {"paths": 100}


class Remembering:
    """A judge's memory."""

    def __init__(self, key=b"judge", unsure=()):
        self.key, self.unsure, self.recalled = key, unsure, {}

    def held_out(self, id):
        return id / 7

    def sure(self, id):
        return id not in self.unsure

    def recall(self, id, scores, held_out):
        self.recalled[id] = held_out


def account():
    return SimpleNamespace(journal_candidates=0, journal_nfe=0, recomputed_nfe=0)


class Once:
    """One run of a search on a journal file."""

    def __init__(self, path, search, budget=150, keep=1, key="context", memory=None, journal=None, **options):
        self.inner = FakeEvaluator(**{"wave": 3, **options.pop("fake", {})})
        self.memory, self.account = memory or Remembering(), account()
        self.journal = journal or Journal(path)
        self.evaluator = Journaled(self.inner, self.journal, key, self.memory, self.account, **options)
        self.search, self.limits = search, Limits(budget, keep=keep)

    def __call__(self, **driver):
        try:
            self.result = run(self.search, 7, self.evaluator, Comparison(), self.limits, **driver)
            best = [outcome.id for outcome in self.result.ranking[: self.limits.keep]]
            self.evaluator.bring(best)
            self.latents = [self.inner.tensors(id)["latent"] for id in best]
        finally:
            self.journal.close()
        return self

    @property
    def found(self):
        return [(one.id, one.rollout, one.scores, one.nfe) for one in self.result.ranking]


def alike(one, other):
    return (
        one.found == other.found
        and one.result.nfe == other.result.nfe
        and one.result.rounds == other.result.rounds
        and all(torch.equal(a, b) for a, b in zip(one.latents, other.latents, strict=True))
    )


def sound(path):
    with closing(sqlite3.Connection(str(path))) as db:
        return db.execute("pragma integrity_check").fetchall() == [("ok",)]


class Broken:
    """A journal that nothing can be had of."""

    notes: list = []

    def context(self, key):
        raise JournalFault("It is broken.")

    def close(self):
        pass
