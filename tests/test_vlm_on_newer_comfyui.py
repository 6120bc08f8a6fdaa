"""VLM Judge on what newer ComfyUIs really load: tiny Qwen3-VL, Qwen3.5, Gemma 3 and Gemma 4 of the true layouts, through the stock Load CLIP.

Skipped where ComfyUI has none of them. docs/benchmarks/vlm_on_newer_comfyui.md has the last run: make bench ARGS=vlm_layouts, with --comfyui PATH.
"""

import comfy.model_management as mm
import pytest
import torch
from graphs import Graph
from tiny_vlms import LAYOUTS, available, direct, load, stock_tokens, write
from verifier_helpers import images

from noisesearch.search.algorithms import RandomSearch
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.fingerprint import fingerprint_of
from noisesearch.verifiers.judges.vlm_judge import Questions, YesProbability
from noisesearch.verifiers.judges.vlm_presets import vlm_judge
from noisesearch.verifiers.judges.vlm_questions import TEMPLATE, asked
from noisesearch.verifiers.networks.vlm import VisionLanguageModel
from noisesearch.verifiers.networks.vlm_kinds import fitted

PROMPT = "a red cube left of a blue ball"
QUESTIONS = "Is there a red cube?\nIs it left of a ball?\nIs the ball blue?"


@pytest.fixture(scope="module", params=list(LAYOUTS))
def loaded(request, tmp_path_factory):
    layout = LAYOUTS[request.param]
    if why := available(layout):
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("text_encoders")
    return layout, folder, load(layout, folder, write(layout, folder))


@pytest.fixture
def clip(loaded):
    return loaded[2]


def test_p_yes_is_that_of_a_direct_forward(loaded):
    layout, _, clip = loaded
    judge, batch = vlm_judge(clip, "the whole prompt", size=128), Batch(images(2, 120, 90), PROMPT)
    model = judge.model
    for score, image in zip(judge.score(batch), batch.images):
        shown = fitted(image, 128, model.kind.fit)
        tokens = model._tokens(asked(TEMPLATE, PROMPT), shown, model._picture_word)
        logits = direct(layout, clip, tokens)
        expected = logits.double().log_softmax(-1)[model.token("Yes")]
        assert float(score.double().log()) == pytest.approx(float(expected), abs=1e-5)


def test_it_says_the_same_again_and_alone(clip):
    judge, batch = vlm_judge(clip, "the whole prompt", size=128), Batch(images(3, 64, 80), PROMPT)
    scores = judge.score(batch)
    assert torch.equal(judge.score(batch), scores) and len(set(scores.tolist())) == 3
    assert torch.equal(torch.cat([judge.score(Batch(image[None], PROMPT)) for image in batch.images]), scores)


def test_questions_are_answered_as_if_each_were_alone(clip):
    """Though what the model sees in a picture is worked out once."""
    model = VisionLanguageModel(clip, 128)
    network, batch = model._network(), Batch(images(2, 64, 80), PROMPT)
    looks, see = [], network.preprocess_embed
    network.preprocess_embed = lambda *args: looks.append(1) or see(*args)
    try:
        judge = Questions(model, QUESTIONS, "mean")
        together = judge.score(batch)
        assert len(looks) == 2
        alone = [YesProbability(model, question).score(batch) for question in QUESTIONS.splitlines()]
        assert len(looks) == 8
    finally:
        del network.preprocess_embed
    assert torch.allclose(together, torch.stack(alone).mean(0), rtol=1e-6, atol=0)
    assert [list(one) for one in judge.answers()] == [["red cube", "left of a ball", "ball blue"]] * 2


def test_what_it_reads_is_what_comfyui_itself_would_have_it_read(loaded):
    layout, _, clip = loaded
    model, picture = VisionLanguageModel(clip, 128), torch.rand(1, 896, 896, 3)
    for text, shown in ((asked(TEMPLATE, PROMPT), picture), ("Write questions.", None)):
        ours, theirs = (
            model._tokens(text, shown, model._picture_word),
            stock_tokens(layout, clip, text, shown),
        )
        assert _plain(ours) == _plain(theirs)


def _plain(tokens):
    (row,) = next(iter(tokens.values())) if isinstance(tokens, dict) else tokens
    return ["picture" if isinstance(one[0], dict) else one[0] for one in row]


def test_it_is_moved_out_and_comes_back(clip):
    judge, batch = vlm_judge(clip, "the whole prompt", size=128), Batch(images(1, 64, 64), PROMPT)
    score = judge.score(batch)
    assert any(loaded.model is clip.patcher for loaded in mm.current_loaded_models)
    mm.unload_all_models()
    assert not any(loaded.model is clip.patcher for loaded in mm.current_loaded_models)
    assert torch.equal(judge.score(batch), score)


def test_its_fingerprint_tells_weights_apart(loaded):
    layout, folder, clip = loaded
    judge = vlm_judge(clip, "the whole prompt", size=128)
    mark = fingerprint_of(judge)
    assert "failed" not in mark
    judge.score(Batch(images(1, 64, 64), PROMPT))
    again = load(layout, folder, write(layout, folder))
    other = load(layout, folder, write(layout, folder, seed=1))
    assert fingerprint_of(judge) == mark == fingerprint_of(vlm_judge(again, "the whole prompt", size=128))
    assert fingerprint_of(vlm_judge(other, "the whole prompt", size=128)) != mark


@torch.inference_mode()
def test_a_search_is_judged_by_it(clip):
    found = Graph.mixture("CONST").search(
        RandomSearch(), verifier=vlm_judge(clip, "the whole prompt", size=128), candidates=3, prompt=PROMPT
    )
    candidates = found.report["images"][0]["candidates"]
    assert len({one["scores"][0] for one in candidates}) == 3
    assert found.scores[0] == max(one["scores"][0] for one in candidates)


@pytest.fixture
def eight(tmp_path):
    """Qwen3-VL 8B as the encoders of other models load it."""
    layout = LAYOUTS["Qwen3-VL"]
    if why := available(layout):
        pytest.skip(why)
    name = write(layout, tmp_path)
    return lambda kind: load(layout, tmp_path, name, kind)


def test_the_encoder_of_a_diffusion_model_judges_alike(eight):
    batch = Batch(images(2, 256, 256), PROMPT)
    expected = vlm_judge(eight("stable_diffusion"), "the whole prompt").score(batch)
    for kind in ("ideogram4", "boogu", "krea2", "qwen_image"):
        assert torch.equal(vlm_judge(eight(kind), "the whole prompt").score(batch), expected), kind
    with pytest.raises(ValueError, match="type joyimage .* Choose another type"):
        vlm_judge(eight("joyimage"), "the whole prompt")


def test_a_written_answer_is_stock_generate_text(eight):
    clip = eight("stable_diffusion")
    picture = torch.rand(1, 64, 64, 3)
    stock = clip.tokenize("Describe it.", image=picture, skip_template=False, min_length=1, thinking=True)
    expected = clip.decode(clip.generate(stock, do_sample=False, max_length=8))
    assert VisionLanguageModel(clip).answer("Describe it.", picture, 8) == expected != ""


def test_marks_of_random_weights_are_nan_with_a_note(eight):
    judge = vlm_judge(eight("stable_diffusion"), "grader of the paper", size=64)
    assert judge.score(Batch(images(1, 64, 64), PROMPT)).isnan().all()
    assert judge.notes(PROMPT)[0].startswith("1 of 1 answers hold no marks")


def test_a_file_without_lm_head_is_refused(tmp_path):
    layout = LAYOUTS["Qwen3-VL"]
    if why := available(layout):
        pytest.skip(why)
    clip = load(layout, tmp_path, write(layout, tmp_path, without=("lm_head",)))
    if getattr(
        clip.patcher, "cached_patcher_init", None
    ):  # memory that was used before, which nobody can foresee
        head = next(
            module for name, module in clip.cond_stage_model.named_modules() if name.endswith("lm_head")
        )
        head.weight.data.fill_(0.1)
    with pytest.raises(ValueError, match="cut off for encoding"):
        vlm_judge(clip, "the whole prompt")
