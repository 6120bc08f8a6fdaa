"""The documents about verifiers say what is so: the example runs, every scorer and node has its page."""

import re
from pathlib import Path

import torch
from verifier_helpers import images

from noisesearch.nodes import VERIFIERS
from noisesearch.nodes.ensemble import NoiseSearchVerifierEnsemble
from noisesearch.session.judging import Judge
from noisesearch.nodes.searching import prompt_for
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.catalogue import SCORERS

ROOT = Path(__file__).resolve().parent.parent


EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own_verifier.md").read_text("utf-8"), re.S)


def from_docs(names):
    """What the examples define, one after the other in one file."""
    found = {}
    for number, code in enumerate(EXAMPLES):
        exec(compile(code, f"own_verifier.md, example {number}", "exec"), found)  # noqa: S102  (our own text)
    return [found[name] for name in names.split()]


(TestContrast,) = from_docs("TestContrast")


def test_the_example_of_an_own_verifier_runs_and_joins_an_ensemble():
    (node,) = from_docs("ContrastVerifier")
    assert node.define_schema().outputs[0].io_type == "NOISE_SEARCH_VERIFIER"
    assert "noisesearch" not in "".join(EXAMPLES)
    (verifier,) = node.execute().result
    batch = Batch(images(3), "a cat")
    assert torch.allclose(verifier.score(batch), batch.images.flatten(1).std(1))
    (ensemble,) = NoiseSearchVerifierEnsemble.execute(
        "average rank", True, verifier_1=verifier, verifier_2=verifier
    ).result
    assert [member.score(batch).shape for member in ensemble.members] == [(3,), (3,)]
    assert ensemble.members[1].notes("a cat") == ()


def test_a_verifier_with_a_name_and_a_score_needs_no_prompt():
    """Nothing else is asked of another pack's object: no prompt is looked for on its behalf."""

    class Least:
        name = "least"

        def score(self, batch):
            return torch.zeros(len(batch.images))

    assert prompt_for(None, Least(), "", "positive") == ""
    assert Judge(Least(), "")(images(2)) == [(0.0,), (0.0,)] and Judge(Least(), "").notes() == []


def test_every_scorer_is_on_the_help_page_and_in_the_documentation():
    for page in ("web/docs/NoiseSearchLoadVerifier.md", "docs/verifiers.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for scorer in SCORERS:
            assert f"| {scorer} |" in text, f"{scorer} is missing in {page}"


def test_every_node_has_a_help_page_that_names_its_inputs_and_every_input_a_tooltip():
    for node in VERIFIERS:
        schema = node.define_schema()
        text = (ROOT / "web" / "docs" / f"{schema.node_id}.md").read_text(encoding="utf-8")
        for widget in schema.inputs:
            assert widget.tooltip, f"{schema.node_id}.{widget.id}"
            assert re.search(rf"\*\*{widget.id}\*\*", text) or re.search(r"_\d$", widget.id), (
                f"{schema.node_id}.md says nothing about {widget.id}"
            )


PAGES = ("README.md", "docs/verifiers.md", "web/docs/NoiseSearchLoadVerifier.md")


def test_sizes_and_licences_in_the_documents_are_those_of_the_catalogue():
    """Behind a file's name in a table stands its size, and in that row its licence."""
    told = dict.fromkeys(PAGES, 0)
    published = {file.name: file for entry in SCORERS.values() for file in entry.files}
    for page in PAGES:
        for row in (ROOT / page).read_text("utf-8").splitlines():
            for name, size in (
                re.findall(r"`([^`|]+)`,? \(?([\d.]+ [GM]B)", row) if row.startswith("|") else ()
            ):
                if name in published:
                    told[page] += 1
                    assert size == published[name].size, f"{page}: {name}"
                    assert published[name].licence.removeprefix("licence ").split(" ")[0] in row, (
                        f"{page}: {name}"
                    )
    assert min(told.values()) >= 3, told


def test_what_an_extra_installs_is_said_where_its_scorer_is():
    """The package of ImageReward has an extra of its own, which the documents name."""
    assert "image-reward]" in (ROOT / "docs" / "verifiers.md").read_text("utf-8")
