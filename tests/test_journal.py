"""What a search has paid for is never paid again: the journal around the model made of hashes."""

import math
import os
import sqlite3
import time
from contextlib import closing

import pytest
import torch
from fake_evaluator import FakeEvaluator, Renoise
from journaled_run import ALGORITHMS, BUDGET, Broken, Once, Remembering, alike, sound
from noisesearch.search.algorithms import RandomSearch
from noisesearch.search.journal import APPLICATION, VERSION, Journal, JournalFault, Row
from noisesearch.search.journaled import OTHER_MODEL


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept" / "journal.sqlite3"


@pytest.fixture(params=ALGORITHMS)
def named(request):
    return request.param


# -- nothing is paid twice -------------------------------------------------------------------------------------------


def test_a_search_run_again_pays_nothing(path, named):
    search, budget = ALGORITHMS[named], BUDGET.get(named, 150)
    plain = Once(path, search, budget, journal=Broken())()
    first, marks = Once(path, search, budget, on_known=(marks := []).append)(), marks
    again = Once(path, search, budget, known=marks[-1])()
    assert alike(first, plain) and alike(again, plain)
    assert again.inner.paid == [] and again.inner.checked == 0
    assert again.account.journal_nfe == first.result.nfe == sum(o.nfe for o in again.result.outcomes.values())
    assert again.account.journal_candidates == len(first.result.outcomes)
    scored = {o.id for o in first.result.outcomes.values() if o.scores}
    assert again.memory.recalled == {id: id / 7 for id in scored}
    assert first.evaluator.notes == again.evaluator.notes == [] and sound(path)


def test_broken_off_after_any_wave_it_goes_on_as_if_nothing_had_been(path, named):
    search, budget = ALGORITHMS[named], BUDGET.get(named, 150)
    whole = Once(path.with_name("whole"), search, budget)()
    for wave in range(whole.inner.waves):

        def cancel(number, wave=wave):
            if number == wave:
                raise KeyboardInterrupt

        file, marks = path.with_name(f"after {wave}"), []
        cut = Once(file, search, budget, fake={"before_wave": cancel}, on_known=marks.append)
        with pytest.raises(KeyboardInterrupt):
            cut()
        rest = Once(file, search, budget, known=marks[-1] if marks else "")()
        assert alike(rest, whole)
        needed_again = [lineage for lineage in rest.inner.paid if lineage in cut.inner.paid]
        assert all(lineage[-1][2] > 0 for lineage in needed_again), "a whole sample was paid twice"
        assert rest.account.recomputed_nfe >= len(needed_again)
        if not needed_again:
            assert rest.account.recomputed_nfe == 0
            assert len(rest.inner.paid) + len(cut.inner.paid) == len(whole.inner.paid)


def test_lost_states_are_sampled_again_only_where_something_starts_from_them(path):
    """Random search and zero-order search keep no states; a search over paths needs those it goes on from."""

    def cancel(number):
        if number == 4:
            raise KeyboardInterrupt

    cut = Once(path, ALGORITHMS["paths"], 100, fake={"before_wave": cancel})
    with pytest.raises(KeyboardInterrupt):
        cut()
    rest = Once(path, ALGORITHMS["paths"], 100)()
    again = [lineage for lineage in rest.inner.paid if lineage in cut.inner.paid]
    starts = {lineage[:-1] for lineage in rest.inner.paid if lineage not in cut.inner.paid}
    assert again and all(any(start[: len(one)] == one for start in starts) for one in again)
    assert (
        0
        < rest.account.recomputed_nfe
        < cut.account.recomputed_nfe + sum(outcome.nfe for outcome in cut.inner.outcomes.values())
    )


def test_more_candidates_pay_for_the_new_ones_only(path):
    small = Once(path, RandomSearch(), 160)()
    large = Once(path, RandomSearch(), 640)()
    assert (len(small.inner.paid), len(large.inner.paid)) == (16, 48)
    assert len(large.result.outcomes) == 64 and large.account.journal_candidates == 16
    assert large.found == Once(path, RandomSearch(), 640, journal=Broken())().found


def test_more_of_the_best_cost_nothing(path):
    three = Once(path, RandomSearch(), 160, keep=3)()
    four = Once(path, RandomSearch(), 160, keep=4)()
    assert four.inner.paid == [] and len(four.latents) == 4
    assert all(torch.equal(a, b) for a, b in zip(three.latents, four.latents))


def test_the_best_whose_latents_are_gone_are_sampled_again(path):
    first = Once(path, RandomSearch(), 160, keep=4, journal=Journal(path, cap=16))()
    again = Once(path, RandomSearch(), 160, keep=4)()
    assert Journal(path).counts()[0] == 16 and alike(again, first)
    assert 0 < len(again.inner.paid) <= 4 and again.account.recomputed_nfe == 10 * len(again.inner.paid)


def test_another_judge_looks_at_the_latents_and_nothing_is_sampled(path):
    first = Once(path, RandomSearch(), 160)()
    other = Once(path, RandomSearch(), 160, memory=Remembering(b"another"), fake={"verifiers": 2})()
    assert other.inner.paid == [] and other.account.journal_nfe == 160
    assert all(len(outcome.scores) == 2 for outcome in other.result.outcomes.values())
    third = Once(path, RandomSearch(), 160, memory=(again := Remembering(b"another")))()
    assert third.inner.paid == [] and len(again.recalled) == 16
    assert alike(Once(path, RandomSearch(), 160)(), first)


def test_another_judge_pays_for_unfinished_samples(path):
    Once(path, Renoise(), 150)()
    other = Once(path, Renoise(), 150, memory=Remembering(b"another"))()
    assert any(lineage[-1][2] > 0 for lineage in other.inner.paid)


def test_another_model_or_latent_is_another_context(path):
    Once(path, RandomSearch(), 60)()
    other = Once(path, RandomSearch(), 60, key="another")()
    assert len(other.inner.paid) == 6 and other.inner.checked == 0


def test_a_wave_that_the_judge_failed_on_is_judged_again_and_not_sampled_again(path):
    class Failing(FakeEvaluator):
        def _scores(self, id):
            if id == 4 and self.salt == "":
                raise RuntimeError("the judge failed")
            return super()._scores(id)

    cut = Once(path, RandomSearch(), 60)
    cut.inner = cut.evaluator.inner = Failing(wave=3)
    with pytest.raises(RuntimeError, match="the judge failed"):
        cut()
    rest = Once(path, RandomSearch(), 60)()
    assert [len(cut.inner.paid), len(rest.inner.paid)] == [5, 1]
    assert rest.found == Once(path, RandomSearch(), 60, journal=Broken())().found


def test_scores_of_a_judge_that_failed_are_not_kept(path):
    Once(path, RandomSearch(), 60, memory=Remembering(unsure=(2, 5)))()
    again = Once(path, RandomSearch(), 60, memory=(memory := Remembering()))()
    assert again.inner.paid == [] and set(memory.recalled) == {0, 1, 3, 4}


def test_scores_that_are_nan_come_back_as_nan(path):
    first = Once(path, RandomSearch(), 160, fake={"nan": 0.5})()
    again = Once(path, RandomSearch(), 160, fake={"nan": 0.5})()
    assert again.inner.paid == [] and repr(again.found) == repr(first.found)
    assert any(math.isnan(outcome.scores[0]) for outcome in again.result.outcomes.values())


# -- from another run of the server ----------------------------------------------------------------------------------


def test_rows_of_another_server_are_confirmed_by_two_evaluations(path):
    first = Once(path, RandomSearch(), 160, on_known=(marks := []).append)()
    other = Once(path, RandomSearch(), 160)()
    assert other.inner.checked == 2 and other.inner.paid == []
    same = Once(path, RandomSearch(), 160, known=marks[0])()
    assert same.inner.checked == 0 and alike(same, first)


def test_rows_of_another_model_are_left_aside(path):
    Once(path, RandomSearch(), 160)()
    other = Once(path, RandomSearch(), 160, fake={"salt": "x"})()
    assert len(other.inner.paid) == 16 and other.account.journal_nfe == 0 and other.inner.checked == 2
    assert other.evaluator.notes == [OTHER_MODEL]
    again = Once(path, RandomSearch(), 160, fake={"salt": "x"})()
    assert again.inner.paid == [] and again.evaluator.notes == [] and again.found == other.found


def test_a_context_without_evaluations_to_compare_is_left_aside(path):
    Once(path, RandomSearch(), 60)()
    with closing(sqlite3.Connection(str(path), isolation_level=None)) as db:
        db.execute("update contexts set facts = '{\"sigmas\": 3}'")
    other = Once(path, RandomSearch(), 60)()
    assert len(other.inner.paid) == 6 and other.evaluator.notes == [OTHER_MODEL]


def test_two_servers_in_one_file_at_once(path):
    """Each sees what the other has paid for, whoever begins."""
    both = [Once(path, RandomSearch(), 160) for _ in range(2)]
    other = both[1]

    def meanwhile(progress):
        if progress.finished == 3:
            other()

    both[0](on_progress=meanwhile)
    assert alike(both[0], other) and not both[0].evaluator.notes + other.evaluator.notes
    assert (
        len(both[0].inner.paid) == 16 and len(other.inner.paid) == 13
    )  # asked for 16 before the other was there
    assert Journal(path).counts()[0] == 16 and sound(path)


def test_cleared_in_mid_search_it_goes_on_in_a_new_context(path):
    def clear(progress):
        if progress.finished == 6:
            Journal(path).clear()

    first = Once(path, RandomSearch(), 160)(on_progress=clear)
    again = Once(path, RandomSearch(), 160)()
    assert len(again.inner.paid) == 6 and again.found == first.found and not first.evaluator.notes


# -- the file ---------------------------------------------------------------------------------------------------------


def some_rows(count, size=4, first=0):
    return [
        Row(i.to_bytes(32, "big"), 10, 0.5, (i / 3,), None, {"latent": torch.full((1, size), float(i))})
        for i in range(first, first + count)
    ]


def begun(journal, key="k", size=4):
    return journal.begin(key, "{}", {"x 0": torch.ones(size)}).id


def test_opened_at_first_use_only(path):
    journal = Journal(path)
    assert not path.parent.exists()
    assert journal.context("k") is None and path.exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_latents_come_back_as_they_were(path, dtype):
    latent = torch.randn(1, 4, 3, 5, 7).to(dtype)
    with closing(Journal(path)) as journal:
        context = begun(journal)
        journal.write(context, b"j", [Row(b"a", 10, 0.5, (1.5, math.nan), math.inf, {"latent": latent})])
        back = journal.tensors(context, b"a")["latent"]
        found = journal.find(context, [b"a", b"b"], b"j")
        assert back.dtype == dtype and torch.equal(back, latent)
        assert list(found) == [b"a"] and found[b"a"].kept and repr(found[b"a"].scores) == "(1.5, nan)"
        assert found[b"a"].held_out == math.inf
        assert journal.find(context, [b"a"], b"other")[b"a"].scores is None


def test_the_oldest_latents_go_first(path):
    with closing(Journal(path, cap=10 * 16)) as journal:
        context = begun(journal)
        old = begun(journal, "old")
        journal.write(old, b"j", some_rows(1))
        for i in range(12):
            journal.write(context, b"j", some_rows(1, first=i))
        kept = [i for i in range(12) if journal.tensors(context, i.to_bytes(32, "big"))]
        rows, size = journal.counts()
        assert (rows, size, kept) == (13, 160, list(range(3, 12))) and not journal.tensors(old, bytes(32))
        assert journal.context("k").tensors and not journal.context("old").tensors


def test_a_write_is_whole_or_not_at_all(path):
    with closing(Journal(path)) as journal:
        context = begun(journal)
        rows = [*some_rows(3), Row(b"bad", "no number", None)]
        with pytest.raises(JournalFault):
            journal.write(context, b"j", rows)
        assert journal.counts()[0] == 0


def test_clearing_leaves_nothing_and_gives_the_room_back(path):
    with closing(Journal(path)) as journal:
        journal.write(begun(journal), b"j", some_rows(100, 10_000))
    before = path.stat().st_size
    Journal(path).clear()
    assert before > 4_000_000 > 100_000 > path.stat().st_size
    with closing(Journal(path)) as journal:
        assert journal.counts() == (0, 0) and journal.context("k") is None


def test_lookups_are_quick_in_a_hundred_thousand_rows(path):
    with closing(Journal(path)) as journal:
        context = begun(journal)
        for first in range(0, 100_000, 10_000):
            journal.write(
                context, b"j", [Row(r.lineage, 10, 0.5, r.scores) for r in some_rows(10_000, 1, first)]
            )
        journal.write(context, b"j", some_rows(64, first=100_000))
        seconds = []
        for i in range(0, 100_000, 1009):
            began = time.perf_counter()
            assert len(journal.find(context, [i.to_bytes(32, "big")], b"j")) == 1
            seconds.append(time.perf_counter() - began)
        assert sorted(seconds)[len(seconds) // 2] <= 2e-3
    began = time.perf_counter()
    with closing(Journal(path)) as journal:
        assert journal.context("k") is not None
    assert time.perf_counter() - began < 0.5


def test_it_costs_less_than_thirty_milliseconds_of_sixty_four_candidates(path):
    """In time of this process, with latents of a 512 x 512 picture: the machine may be busy with other things."""

    class Large(FakeEvaluator):
        def _sampled(self, id, rollout):
            nfe = super()._sampled(id, rollout)
            self.states[id]["latent"] = large
            return nfe

    large = torch.randn(1, 4, 64, 64)

    def seconds(journal):
        once = Once(path, RandomSearch(), 640, journal=journal)
        once.inner = once.evaluator.inner = Large(wave=8)
        began = time.process_time()
        once()
        return time.process_time() - began

    with closing(Journal(path)) as journal:
        assert journal.context("k") is None  # the file is there
        journal.close = lambda: None  # a server keeps it open
        costs = []
        for _ in range(5):
            journal.clear()
            costs.append(seconds(journal) - seconds(Broken()))
        del journal.close
    assert min(costs) < 0.03


# -- what can go wrong with it: one line, and the search goes on without ---------------------------------------------------


def goes_on_without(path, line, search=RandomSearch(), **options):
    plain = Once(path, search, 160, journal=Broken())()
    tried = Once(path, search, 160, **options)()
    assert len(tried.evaluator.notes) == 1 and line in tried.evaluator.notes[0]
    assert "\n" not in tried.evaluator.notes[0] and alike(tried, plain) and len(tried.inner.paid) == 16


def test_a_damaged_file(path):
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but long enough to be one" * 100)
    goes_on_without(path, "The search journal is damaged")
    assert path.read_bytes().startswith(b"no database")
    Journal(path).clear()
    assert not path.exists() and Once(path, RandomSearch(), 60)().evaluator.notes == []


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_file_damaged_somewhere_inside(path, part):
    first = Once(path, RandomSearch(), 160)()
    whole = path.read_bytes()
    place = int(len(whole) * part) // 4096 * 4096
    path.write_bytes(whole[:place] + bytes(4096) + whole[place + 4096 :])
    again = Once(path, RandomSearch(), 160)()
    assert [(o.rollout, o.scores) for o in again.result.ranking] == [
        (o.rollout, o.scores) for o in first.result.ranking
    ]
    assert all("damaged" in note or note == OTHER_MODEL for note in again.evaluator.notes)


def test_a_file_of_a_newer_version(path):
    Once(path, RandomSearch(), 60)()
    with closing(sqlite3.Connection(str(path), isolation_level=None)) as db:
        db.execute(f"pragma user_version = {VERSION + 1}")
    goes_on_without(path, "written by a newer NoiseSearch")
    with closing(sqlite3.Connection(str(path))) as db:
        assert db.execute("select count(*) from rows").fetchone() == (6,)


@pytest.mark.parametrize("application", [APPLICATION, 0])
def test_a_file_of_an_older_version_or_of_someone_else_is_left_aside(path, application):
    path.parent.mkdir()
    with closing(sqlite3.Connection(str(path), isolation_level=None)) as db:
        db.execute("create table rows (everything was different)")
        db.execute(f"pragma application_id = {application}")
    once = Once(path, RandomSearch(), 60)()
    assert ["older version" in note for note in once.evaluator.notes] == [True]
    assert (path.parent / "journal.old-1.sqlite3").exists()
    assert Once(path, RandomSearch(), 60)().inner.paid == []


@pytest.mark.parametrize("begun", [False, True])
def test_a_file_that_another_program_has_locked(path, begun):
    path.parent.mkdir()
    if begun:
        Once(path, RandomSearch(), 60)()
    with closing(sqlite3.Connection(str(path), isolation_level=None)) as db:
        db.execute("begin exclusive")
        db.execute("create table if not exists another (x)")
        began = time.monotonic()
        goes_on_without(path, "is locked by another program", journal=Journal(path, wait=0.3))
        assert time.monotonic() - began < 3


def as_nobody(work):
    """The root user may write everything, so the work is done by a child that is someone else."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("what", ["file", "folder", "nothing"])
def test_a_file_that_may_not_be_written(tmp_path, what):
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and folder.name.startswith("pytest"):
            folder.chmod(0o755)
    path = tmp_path / "kept" / "journal.sqlite3"
    if what != "nothing":
        Once(path, RandomSearch(), 60)()
        path.chmod(0o444)
        path.parent.chmod(0o555)
        if what == "folder":
            path.unlink()
    assert as_nobody(lambda: goes_on_without(path, "cannot be written")) == 0
    path.parent.exists() and path.parent.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_disk_that_is_full(path):
    """A limit on the size of files, in a child: 24 kB hold the tables, not the rows."""

    def work():
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (48 * 1024, 48 * 1024))
        tried = Once(path, RandomSearch(), 160)()
        assert len(tried.evaluator.notes) == 1 and len(tried.inner.paid) == 16

    assert as_nobody_but_here(work) == 0
    whole = Once(path, RandomSearch(), 160)()
    assert sound(path) and whole.found == Once(path, RandomSearch(), 160, journal=Broken())().found


def as_nobody_but_here(work):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_without_write_ahead_logging(path):
    once = Once(path, RandomSearch(), 160, journal=Journal(path, modes=("delete",)))()
    again = Once(path, RandomSearch(), 160, journal=Journal(path, modes=("delete",)))()
    assert again.inner.paid == [] and alike(once, again)


def test_where_no_journal_mode_works(path):
    goes_on_without(path, "no journal mode", journal=Journal(path, modes=("none", "neither")))
