"""What counts as attached by others, and what is known to leave rows alone."""

import functools
from types import FunctionType, MethodType

import comfy.hooks
import comfy.model_base
import comfy.samplers
import pytest
import tiny_models as tiny
import torch
from closed_form import FAMILIES, cond, make_model, one_hot, uncond
from comfy.patcher_extension import CallbacksMP, PatcherInjection, WrappersMP
from comfy_api.torch_helpers import set_torch_compile_wrapper
from graphs import Graph
from noisesearch.demo.load import load_world
from noisesearch.sampling.proof import at_home, suspects


def mine(*args, **kwargs):
    return args[0]


def on(model, positive=None):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive or cond(one_hot(1)), uncond())
    return guider


@pytest.fixture(scope="module")
def small():
    return tiny.unet()


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_attached_to_a_plain_model(family):
    assert suspects(on(make_model(family))) == []


def test_nothing_is_attached_to_the_models_of_comfyui(small):
    for model in (small, tiny.flux(), load_world("digits")[0], load_world("scenes")[0]):
        assert suspects(on(model)) == []


class OwnGuider(comfy.samplers.CFGGuider):
    def predict_noise(self, x, timestep, model_options=None, seed=None):
        return super().predict_noise(x, timestep, model_options, seed)


class OwnHook(comfy.hooks.Hook):
    pass


class OwnControl:
    previous_controlnet = None

    def get_control(self, *args):
        return None


class OwnLayer(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x)


def option(key, value):
    return lambda guider: guider.model_options.__setitem__(key, value)


def inner(key, value):
    return lambda guider: guider.model_options["transformer_options"].__setitem__(key, value)


def in_cond(key, value):
    return lambda guider: guider.original_conds["positive"][0].__setitem__(key, value)


def hooks(hook):
    group = comfy.hooks.HookGroup()
    group.add(hook)
    return group


def compiled(guider):
    guider.model_patcher = guider.model_patcher.clone()
    set_torch_compile_wrapper(guider.model_patcher, "eager")
    guider.model_options = guider.model_patcher.model_options


ATTACHED = {  # what is done to a guider: what is said of it, whether it may leave work out
    "cfg function": (option("sampler_cfg_function", mine), "the CFG function mine of test_proof.py", False),
    "three-argument cfg function": (
        lambda guider: guider.model_patcher.set_model_sampler_cfg_function(lambda cond, uncond, scale: cond),
        "the CFG function",
        False,
    ),
    "pre cfg function": (option("sampler_pre_cfg_function", [mine]), "the CFG function mine", False),
    "post cfg function": (option("sampler_post_cfg_function", [mine]), "the CFG function mine", False),
    "ComfyUI's own as a cfg function": (
        option("sampler_post_cfg_function", [comfy.samplers.calc_cond_uncond_batch]),
        "the CFG function",
        False,
    ),
    "all conditionings": (
        option("sampler_calc_cond_batch_function", mine),
        "for all conditionings mine",
        False,
    ),
    "mask": (option("denoise_mask_function", mine), "the mask function mine", False),
    "context windows": (option("context_handler", object()), "the context windows object", False),
    "function wrapper": (option("model_function_wrapper", mine), "the model wrapper mine", True),
    "unknown option": (option("new_thing", [1, mine]), "the model option 'new_thing'", False),
    "patch": (inner("patches", {"attn1_patch": [mine]}), "the patch mine", False),
    "patch in place": (inner("patches_replace", {"attn1": {("middle", 0): mine}}), "the patch mine", False),
    "wrapper in the options": (inner("wrappers", {"apply_model": {"x": [mine]}}), "the wrapper mine", True),
    "attention": (inner("optimized_attention_override", mine), "the transformer option", False),
    "holder": (inner("cache", object()), "the transformer option 'cache'", False),
    "wrapper": (
        lambda guider: guider.model_patcher.add_wrapper(WrappersMP.PREDICT_NOISE, mine),
        "the wrapper mine",
        True,
    ),
    "callback": (
        lambda guider: guider.model_patcher.add_callback(CallbacksMP.ON_PRE_RUN, mine),
        "the callback mine",
        False,
    ),
    "injection": (
        lambda guider: guider.model_patcher.set_injections("x", [PatcherInjection(mine, mine)]),
        "the injection mine",
        True,
    ),
    "object patch": (
        lambda guider: guider.model_patcher.add_object_patch("diffusion_model.forward", mine),
        "the patch of 'diffusion_model.forward'",
        True,
    ),
    "network in place": (
        lambda guider: guider.model_patcher.add_object_patch("diffusion_model", OwnLayer(1, 1)),
        "OwnLayer.forward of test_proof.py in the network",
        True,
    ),
    "guider": (lambda guider: guider.__setattr__("__class__", OwnGuider), "OwnGuider.predict_noise", False),
    "method on a guider": (
        lambda guider: guider.__setattr__("predict_noise", mine),
        "the guider's mine",
        False,
    ),
    "hook": (in_cond("hooks", hooks(OwnHook())), "the hook OwnHook on the conditioning", False),
    "ControlNet": (in_cond("control", OwnControl()), "the ControlNet's OwnControl.get_control", False),
}
FREE = {
    "LoRA hook": in_cond("hooks", hooks(comfy.hooks.WeightHook())),
    "compiled by ComfyUI": compiled,
    "numbers": option("cfg_like", {"a": [1.0, "x", None, torch.ones(1)]}),
    "numbers for the network": inner("rope_options", {"scale_x": 1.0}),
    "noise schedule": lambda guider: guider.model_patcher.add_object_patch("model_sampling", object()),
    "precision": lambda guider: guider.model_patcher.set_model_compute_dtype(torch.float32),
    "weights": lambda guider: guider.model_patcher.add_patches(
        {"diffusion_model.out.2.bias": (torch.ones(4),)}
    ),
    "mask and area": lambda guider: guider.original_conds["positive"][0].update(
        mask=torch.ones(1, 8, 8), strength=0.5
    ),
}


@pytest.mark.parametrize("name", ATTACHED)
def test_what_others_attach_is_seen(small, name):
    attach, said, skips = ATTACHED[name]
    guider = on(small.clone())
    attach(guider)
    found = suspects(guider)
    assert [suspect.skips for suspect in found] == [skips], found
    assert said in found[0].what


@pytest.mark.parametrize("name", FREE)
def test_what_cannot_couple_is_free(small, name):
    guider = on(small.clone())
    FREE[name](guider)
    assert suspects(guider) == []


@pytest.mark.parametrize("inside", ["class", "object"])
def test_patched_networks_are_seen(small, monkeypatch, inside):
    """By a pack that puts its own function in place of ComfyUI's, for all models or for one."""
    network = small.model.diffusion_model
    block = network.middle_block[1]
    if inside == "class":
        monkeypatch.setattr(type(block), "forward", mine)
    else:
        monkeypatch.setattr(block, "forward", MethodType(mine, block), raising=False)
    (found,) = suspects(on(small))
    assert "mine of test_proof.py" in found.what and found.skips


def test_a_foreign_layer_is_tried_and_not_given_up(small):
    """A layer cannot leave work out, so one batch can tell what it does: quantised models are made of such."""
    model = tiny.unet()
    model.model.diffusion_model.time_embed[0] = OwnLayer(32, 128)
    (found,) = suspects(on(model))
    assert found.what == "OwnLayer.forward of test_proof.py in the network" and not found.skips


def test_a_hook_on_a_layer_is_seen():
    model = tiny.unet()
    model.model.diffusion_model.time_embed[0].register_forward_hook(mine)
    assert [found.what for found in suspects(on(model))] == ["the hook mine of test_proof.py on the network"]


@pytest.mark.parametrize("name", ["cfg_function", "sampling_function", "calc_cond_batch"])
def test_functions_in_place_of_comfyuis_are_seen(small, monkeypatch, name):
    original = getattr(comfy.samplers, name)
    monkeypatch.setattr(
        comfy.samplers, name, functools.wraps(original)(lambda *args, **kwargs: original(*args, **kwargs))
    )
    (found,) = suspects(on(small))
    assert name in found.what and "in place of ComfyUI's own" in found.what


def test_methods_in_place_of_the_models_are_seen(small, monkeypatch):
    monkeypatch.setattr(comfy.model_base.BaseModel, "apply_model", mine)
    (found,) = suspects(on(small))
    assert found.what == "the model's mine of test_proof.py"


def test_the_pack_is_named():
    code = mine.__code__.replace(co_filename="/x/custom_nodes/some-pack/nodes/cfg.py")
    guider = on(make_model("EPS"))
    guider.model_options["sampler_cfg_function"] = FunctionType(code, {}, "mine")
    assert [found.what for found in suspects(guider)] == ["the CFG function mine of some-pack"]


def test_names_can_be_borrowed():
    stock = comfy.samplers.k_diffusion_sampling.sample_euler

    @functools.wraps(stock)
    def borrowed(*args, **kwargs):
        return stock(*args, **kwargs)

    assert at_home(stock) and borrowed.__name__ == "sample_euler"
    for function in (
        borrowed,
        torch.no_grad()(borrowed),
        functools.partial(borrowed),
        functools.partial(stock, x=mine),
    ):
        assert not at_home(function)
    assert at_home(functools.partial(stock, s_churn=0.0)) and at_home(torch.no_grad()(stock))


# -- what others add to torch ----------------------------------------------------------------------------------------------


def test_a_method_that_others_add_to_torch_under_a_new_name_is_called_by_nobody(monkeypatch):
    """transformers adds `smart_apply` to every module; that alone must not cost anyone the batch."""
    monkeypatch.setattr(
        torch.nn.Module, "smart_apply_of_others", lambda self, work: work(self), raising=False
    )
    assert suspects(Graph.mixture("CONST").guider) == []


@pytest.mark.parametrize("name", ["_call_impl", "_wrapped_call_impl"])
def test_a_method_that_others_put_in_place_of_torchs_is_found(name, monkeypatch):
    real = getattr(torch.nn.Module, name)
    monkeypatch.setattr(torch.nn.Module, name, lambda self, *args, **kwargs: real(self, *args, **kwargs))
    assert suspects(Graph.mixture("CONST").guider)
