"""The reader of torch files against torch's own: the same tensors out of both kinds of file, and nothing but tensors."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from noisesearch.verifiers.networks.weights import WrongFile, load_weights, outline

KINDS = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)


def many_kinds():
    """Every kind of number and every way a tensor can lie in its storage."""
    base = torch.arange(24.0).reshape(2, 3, 4)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    return OrderedDict(
        **{str(kind): torch.arange(5).to(kind) for kind in KINDS},
        transposed=base.permute(2, 0, 1),
        sliced=base[:, 1:, ::2],
        shared=base[0],
        number=torch.tensor(3.5),
        empty=torch.zeros(0, 7),
        parameter=torch.nn.Parameter(torch.randn(3)),
        **network.state_dict(),
    )


@pytest.mark.parametrize("legacy", [False, True], ids=["today's", "before torch 1.6"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {
            "state_dict": state,
            "epoch": 7,
            "name": "x",
            "loss": 0.5,
            "best": None,
            "args": [1, (2, True)],
        },
        lambda state: torch.nn.ParameterDict({"a": torch.randn(2)}).state_dict() | dict(state),
    ],
    ids=["a state dict", "a training's checkpoint", "parameters"],
)
def test_both_readers_give_the_same_tensors(legacy, wrap, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(wrap(many_kinds()), path, _use_new_zipfile_serialization=not legacy)
    theirs = torch.load(path, weights_only=True)
    theirs = theirs.get("state_dict", theirs)
    ours, sizes = load_weights(path), outline(path)
    assert list(ours) == list(theirs) == list(sizes)
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype == sizes[name].dtype, name
        assert torch.equal(ours[name], value) and sizes[name].shape == value.shape, name
        assert sizes[name].is_meta


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_that_share_numbers_still_do(legacy, tmp_path):
    weight = torch.randn(100, 3)
    torch.save({"a": weight, "b": weight}, tmp_path / "tied.pt", _use_new_zipfile_serialization=not legacy)
    found = load_weights(tmp_path / "tied.pt")
    assert torch.equal(found["a"], weight) and found["a"].data_ptr() == found["b"].data_ptr()


def test_a_file_of_a_network_with_hundreds_of_layers_is_read(tmp_path):
    state = {f"layers.{i}.weight": torch.full((2,), float(i)) for i in range(1500)}
    torch.save(state, tmp_path / "deep.pt")
    assert all(torch.equal(value, state[name]) for name, value in load_weights(tmp_path / "deep.pt").items())


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.lists(st.integers(0, 4), max_size=4),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_any_names_and_shapes(tmp_path_factory, shapes, legacy):
    path = tmp_path_factory.mktemp("any") / "weights.pt"
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    found = load_weights(path)
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_an_outline_takes_no_memory(ending, tmp_path):
    path = tmp_path / f"weights.{ending}"
    state = {"weight": torch.zeros(1000, 1000)}
    torch.save(state, path) if ending == "pt" else save_file(state, path)
    sizes = outline(path)
    assert sizes["weight"].is_meta and sizes["weight"].shape == (1000, 1000)


class Other(torch.Tensor):
    """A kind of tensor of its own."""


@pytest.mark.parametrize(
    "content",
    [
        {"a": torch.zeros(2), "b": np.float64(3)},
        {"a": torch.zeros(2).to_sparse()},
        {"a": torch.zeros(2, device="meta")},
        {"a": torch.zeros(2).as_subclass(Other)},
        {"a": torch.zeros(2), "b": {1, 2}},
        {"a": torch.zeros(2), "b": bytearray(3)},
        {"a": torch.zeros(2), "b": 1j},
        torch.zeros(2),
        [torch.zeros(2)],
        {"a": {"b": torch.zeros(2)}},
        {7: torch.zeros(2)},
        {},
        torch.nn.Linear(2, 2),
    ],
    ids=lambda content: f"{type(content).__name__} {str(content)[:30]}",
)
@pytest.mark.parametrize("legacy", [False, True])
def test_anything_else_is_refused(content, legacy, tmp_path):
    torch.save(content, tmp_path / "other.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WrongFile, match="other.pt (was refused|holds no table)"):
        load_weights(tmp_path / "other.pt")


def test_a_broken_number_is_noticed(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.arange(1000.0)}, path)
    data = bytearray(path.read_bytes())
    at = data.index(torch.arange(1000.0).numpy().tobytes())
    data[at + 17] ^= 1
    path.write_bytes(data)
    with pytest.raises(WrongFile, match="weights.pt was refused"):
        load_weights(path)


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
def test_a_traced_network_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "traced.pt"))
    with pytest.raises(WrongFile, match="traced.pt was refused"):
        load_weights(tmp_path / "traced.pt")
