"""The documents about verifiers say what is so: the example runs, every scorer and node has its page."""

import re
from pathlib import Path

import pytest
import torch
from verifier_helpers import images

import judge_tables
import make_examples
from noisesearch.nodes import VERIFIERS
from noisesearch.nodes.ensemble import NoiseSearchVerifierEnsemble
from noisesearch.session.judging import Judge
from noisesearch.nodes.searching import prompt_for
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.catalogue import SCORERS, load_verifier
from noisesearch.verifiers.judges.vlm_presets import PRESETS

ROOT = Path(__file__).resolve().parent.parent


EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own_verifier.md").read_text("utf-8"), re.S)


def from_docs(names):
    """What the examples define, one after the other in one file."""
    found = {"__file__": str(ROOT / "docs" / "own_verifier.md"), "__name__": "own_verifier"}
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


@pytest.mark.parametrize("page", judge_tables.PAGES, ids=lambda page: page.name)
def test_the_tables_of_judges_are_those_of_the_catalogue(page):
    assert judge_tables.written(page, SCORERS) == page.read_text("utf-8"), "run tools/judge_tables.py"


def test_every_scorer_has_its_words_and_every_published_file_its_page():
    assert [f"{name} is missing in ABOUT" for name in SCORERS if name not in judge_tables.ABOUT] == []
    assert set(judge_tables.ABOUT) <= set(SCORERS)
    pages = {file.name: judge_tables.link(file.page) for entry in SCORERS.values() for file in entry.files}
    packaged = {"brisque.safetensors", "digits_classifier.safetensors", "scenes_attributes.safetensors"}
    assert {name for name, page in pages.items() if not page} == packaged
    assert pages["ImageReward.pt"] == "[zai-org/ImageReward](https://huggingface.co/zai-org/ImageReward)"
    assert pages["CycleReward-T2I.pth"] == "[hjbahng/cyclereward](https://github.com/hjbahng/cyclereward)"
    for make in judge_tables.PAGES.values():
        text = make(SCORERS)
        for name in SCORERS:
            hidden = make is judge_tables.readme and (
                "(" in name
                and name[-1] == ")"
                and "LAION" not in name
                and "BRISQUE" not in name
                or name == "CLIP cosine"
            )
            assert (name in text) is not hidden, name


def test_the_page_of_a_published_file():
    assert (
        judge_tables.link("Hugging Face: model.safetensors of some/page.x")
        == "[some/page.x](https://huggingface.co/some/page.x)"
    )
    assert judge_tables.link("GitHub: release v1 of some/pack") == "[some/pack](https://github.com/some/pack)"
    assert judge_tables.link("comes with this pack") == ""


def test_every_node_has_a_help_page_that_names_its_inputs_and_every_input_a_tooltip():
    for node in VERIFIERS:
        schema = node.define_schema()
        text = (ROOT / "web" / "docs" / f"{schema.node_id}.md").read_text(encoding="utf-8")
        for widget in schema.inputs:
            assert widget.tooltip, f"{schema.node_id}.{widget.id}"
            assert re.search(rf"\*\*{widget.id}\*\*", text) or re.search(r"_\d$", widget.id), (
                f"{schema.node_id}.md says nothing about {widget.id}"
            )


def test_readme_templates_and_errors_tell_one_story_of_the_first_judge():
    """The judge to begin with: one file name, size, page and folder everywhere, and no package."""
    (file,) = SCORERS["ImageReward"].files
    assert next(iter(SCORERS)) == "ImageReward" and judge_tables.ABOUT["ImageReward"].package == ""
    told = f"`{file.name}`, {file.size}, {judge_tables.link(file.page)}, into `models/verifiers`"
    narrow = f"{file.name}, {file.size}, [its page](https://huggingface.co/zai-org/ImageReward), into models/verifiers"
    for page in judge_tables.PAGES:
        assert (narrow if page is judge_tables.HELP else told) in page.read_text("utf-8"), page.name
    begin = (ROOT / "README.md").read_text("utf-8").split("## Nodes")[0]
    assert file.name in begin and file.size in begin and "zai-org/ImageReward" in begin
    assert (make_examples.IMAGE_REWARD[0], make_examples.IMAGE_REWARD[2]) == (
        file.name,
        SCORERS["ImageReward"].folder,
    )
    assert "zai-org/ImageReward" in make_examples.IMAGE_REWARD[1] and file.size in make_examples.JUDGE
    with pytest.raises(FileNotFoundError) as error:
        load_verifier("ImageReward", "auto")
    assert all(
        word in str(error.value) for word in (file.name, file.size, "zai-org/ImageReward", "models/verifiers")
    )


def test_what_vlm_judge_can_be_asked_is_in_the_documentation_as_it_is_in_the_list():
    text = (ROOT / "docs" / "verifiers.md").read_text("utf-8")
    page = (ROOT / "web" / "docs" / "NoiseSearchVLMJudge.md").read_text("utf-8")
    for name, preset in PRESETS.items():
        assert f"| {name} | {preset.way} | {preset.says} |" in text and f"*{name}*" in page, name


def test_what_an_extra_installs_is_said_where_its_scorer_is():
    """The package of ImageReward has an extra of its own, which the documents name."""
    assert "image-reward]" in (ROOT / "docs" / "verifiers.md").read_text("utf-8")
