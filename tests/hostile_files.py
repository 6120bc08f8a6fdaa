"""Files that a stranger might make, for every loader: each must be refused in a moment and without much memory.

A case is a name and a function that writes it: the path of a weights file (without its ending) and the tensors of a good one -> the file.
"""

import io
import json
import os
import random
import struct
import zipfile
from functools import cache

import torch
from safetensors.torch import save_file

MIB = 2**20

# -- torch files ----------------------------------------------------------------------------------------------------------


def number(value):
    return b"\x8a" + bytes([9]) + value.to_bytes(9, "little", signed=True)


def text(value):
    data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def numbers(values):
    return b"(" + b"".join(value if isinstance(value, bytes) else number(value) for value in values) + b"t"


def storage(key="0", count=4, kind="FloatStorage"):
    return (
        b"("
        + text("storage")
        + f"ctorch\n{kind}\n".encode()
        + text(key)
        + text("cpu")
        + number(count)
        + b"tQ"
    )


def tensor(shape=(2, 2), stride=(2, 1), offset=0, source=None, call=b"ctorch._utils\n_rebuild_tensor_v2\n"):
    parts = (source or storage()) + (offset if isinstance(offset, bytes) else number(offset))
    return call + b"(" + parts + numbers(shape) + numbers(stride) + b"\x89" + b")" + b"tR"


def program(pairs):
    """A state dict: names and the instructions of their values."""
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in pairs) + b"u."


def archive(path, code, entries=(("0", b"\0" * 16),), compress=zipfile.ZIP_STORED, more=()):
    with zipfile.ZipFile(path.with_suffix(".pt"), "w", compress) as zipped:
        zipped.writestr("archive/data.pkl", code)
        for key, data in entries:
            zipped.writestr(f"archive/data/{key}", data)
        for name, data in more:
            zipped.writestr(name, data)
    return path.with_suffix(".pt")


def every(good, value):
    """A program in which every name of the good file has this value."""
    return program([(name, value) for name in good])


@cache
def deflated():
    """A megabyte that would become 200."""
    data, size = io.BytesIO(), 200 * MIB
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        zipped.writestr(
            "archive/data.pkl", program([("weight", tensor((2,), (1,), 0, storage("0", size // 4)))])
        )
        with zipped.open("archive/data/0", "w") as numbers:
            for _ in range(size // MIB):
                numbers.write(bytes(MIB))
    return data.getvalue()


@cache
def crowded():
    """An archive of 200 000 entries."""
    return _zip_of({"archive/data.pkl": b"\x80\x02}.", **{f"archive/{i}": b"" for i in range(200_000)}})


@cache
def many_names():
    """A program of 200 000 names."""
    one = tensor()
    return b"\x80\x02}(" + b"".join(text(f"{i}.weight") + one for i in range(200_000)) + b"u."


@cache
def many_entries():
    """A safetensors header of 200 000 names."""
    each = (
        f'"{i}.weight":{{"dtype":"F32","shape":[1],"data_offsets":[{4 * i},{4 * i + 4}]}}'
        for i in range(200_000)
    )
    return ("{" + ",".join(each) + "}").encode()


def lying_entry(path, good):
    """An entry whose directory says it is a terabyte, stored."""
    file = archive(path, every(good, tensor((2,), (1,), 0, storage("0", 2**38))), [("0", b"\0" * 16)])
    data = bytearray(file.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"archive/data/0"))
    data[at + 24 : at + 28] = struct.pack("<I", 2**32 - 2)
    file.write_bytes(data)
    return file


def overlapping(path, good):
    """Many entries that are all the same bytes of the file."""
    file = archive(path, every(good, tensor((2,), (1,), 0, storage("0", MIB // 4))), [("0", bytes(MIB))])
    data = file.read_bytes()
    start = data.index(b"PK\x01\x02")
    last = data.rindex(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    entry = data[last:end]
    copies = b"".join(entry.replace(b"data/0", b"data/%d" % (i % 10)) for i in range(2000))
    directory = data[start:last] + copies
    count = 2001
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory), start, 0)
    file.write_bytes(data[:start] + directory + tail)
    return file


def with_flag(path, good, flag=1, method=0):
    file = archive(path, every(good, tensor()))
    data = bytearray(file.read_bytes())
    for mark, flags, how in ((b"PK\x03\x04", 6, 8), (b"PK\x01\x02", 8, 10)):
        at = data.index(mark)
        data[at + flags : at + flags + 2] = struct.pack("<H", flag)
        data[at + how : at + how + 2] = struct.pack("<H", method)
    file.write_bytes(data)
    return file


def legacy(path, code, storages=b"", order=b"\x80\x02](" + text("0") + b"e."):
    magic = b"\x80\x02\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."
    protocol = b"\x80\x02M\xe9\x03."
    machine = b"\x80\x02}(" + text("little_endian") + b"\x88u."
    path = path.with_suffix(".pt")
    path.write_bytes(magic + protocol + machine + code + order + storages)
    return path


def plain(data):
    def write(path, good):
        path.with_suffix(".pt").write_bytes(data)
        return path.with_suffix(".pt")

    return write


def coded(make):
    """A case of an archive with this program."""
    return lambda path, good: archive(path, make(good))


TORCH = {
    "deflated numbers": lambda path, good: plain(deflated())(path, good),
    "deflated program": lambda path, good: archive(
        path, every(good, tensor()) + b"N" * 20 * MIB, compress=zipfile.ZIP_DEFLATED
    ),
    "an entry that lies about its size": lying_entry,
    "overlapping entries": overlapping,
    "more numbers than the entry has": coded(lambda good: every(good, tensor(source=storage("0", 2**40)))),
    "a number for ever": coded(lambda good: every(good, tensor((2**40,), (0,)))),
    "two axes for ever": coded(lambda good: every(good, tensor((2**30, 2**30), (0, 0)))),
    "sides beyond any number": coded(lambda good: every(good, tensor((2**62, 2**62), (1, 1)))),
    "negative sides": coded(lambda good: every(good, tensor((-2, 2), (2, 1)))),
    "negative steps": coded(lambda good: every(good, tensor((2, 2), (-2, 1)))),
    "negative offset": coded(lambda good: every(good, tensor(offset=-4))),
    "an offset that is text": coded(lambda good: every(good, tensor(offset=text("0")))),
    "sides that are text": coded(lambda good: every(good, tensor((text("2"), text("2")), (2, 1)))),
    "sides that are true": coded(lambda good: every(good, tensor((b"\x88", b"\x88"), (1, 1)))),
    "sides of another count than steps": coded(lambda good: every(good, tensor((2, 2), (1,)))),
    "10 000 axes": coded(
        lambda good: program([(name, tensor((1,) * 10_000, (1,) * 10_000)) for name in good][:4])
    ),
    "a storage that is text": coded(lambda good: every(good, tensor(source=text("0")))),
    "a storage of another kind": coded(
        lambda good: every(good, tensor(source=b"(" + text("module") + text("x") * 4 + b"tQ"))
    ),
    "a storage of minus one": coded(lambda good: every(good, tensor(source=storage("0", -1)))),
    "an unknown kind of number": coded(lambda good: every(good, tensor(source=storage(kind="QInt8Storage")))),
    "200 000 names": coded(lambda good: many_names()),
    "5000 names": coded(lambda good: program([(f"{i}.weight", tensor()) for i in range(5000)])),
    "100 views of each number": lambda path, good: archive(
        path,
        program([(f"{i}", tensor((MIB // 8,), (1,), 0, storage("0", MIB // 8))) for i in range(100)]),
        [("0", bytes(MIB // 2))],
    ),
    "room for 8 GB": coded(lambda good: b"\x80\x02cbuiltins\nbytearray\n" + number(2**33) + b"\x85R."),
    "a set of code": coded(lambda good: b"\x80\x02cbuiltins\neval\n" + text("1") + b"\x85R."),
    "a call of a table": coded(lambda good: b"\x80\x02})R."),
    "a call of text": coded(lambda good: b"\x80\x02" + text("print") + b")R."),
    "an object": coded(lambda good: b"\x80\x02ctorch\nFloatStorage\n)\x81."),
    "another protocol": coded(lambda good: b"\x80\x05\x95" + b"\0" * 8 + b"N."),
    "nothing": coded(lambda good: b""),
    "an end at once": coded(lambda good: b"."),
    "no end": coded(lambda good: b"\x80\x02}"),
    "marks without end": coded(lambda good: b"(" * 150_000),
    "a million marks": coded(lambda good: b"(" * 1_000_000),
    "tables without end": coded(lambda good: b"}" * 1_000_000),
    "nested 150 000 deep": coded(lambda good: b")" + b"\x85" * 150_000 + b"."),
    "nested names": coded(lambda good: b"\x80\x02})" + b"\x86".join([b"q\x00h\x00"] * 60) + b"Ns."),
    "a table in itself": coded(lambda good: b"\x80\x02}q\x00" + text("a") + b"h\x00s."),
    "a list in itself": coded(lambda good: b"\x80\x02]q\x00h\x00a."),
    "memory that is not there": coded(lambda good: b"\x80\x02h\x07."),
    "a list": coded(lambda good: b"\x80\x02]."),
    "a number": coded(lambda good: b"\x80\x02K\x07."),
    "a table of numbers": coded(lambda good: every(good, b"K\x07")),
    "a table of lists": coded(lambda good: every(good, b"]")),
    "numbers for names": coded(lambda good: b"\x80\x02}K\x01" + tensor() + b"s."),
    "text that is none": coded(lambda good: b"\x80\x02}" + text(b"\xff\xfe") + tensor() + b"s."),
    "half a character for a name": coded(lambda good: b"\x80\x02}" + text("\ud800") + tensor() + b"s."),
    "a name of 900 kB": coded(lambda good: program([("x" * 900_000, tensor())])),
    "a name of 9 MB": coded(lambda good: program([("x" * 9_000_000, tensor())])),
    "text that claims 4 GB": coded(lambda good: b"\x80\x02X\xff\xff\xff\xff."),
    "a name without an end": coded(lambda good: b"c" + b"x" * 100_000),
    "numbers of odd letters in code": coded(lambda good: b"\x80\x02c\xff\xff\n\xff\n."),
    "200 000 entries": lambda path, good: plain(crowded())(path, good),
    "two programs": lambda path, good: archive(
        path, every(good, tensor()), more=[("other/data.pkl", b"\x80\x02}.")]
    ),
    "no program": lambda path, good: plain(_zip_of({"archive/data/0": b""}))(path, good),
    "an archive of nothing": plain(b"PK\x05\x06" + b"\0" * 18),
    "the other byte order": lambda path, good: archive(
        path, every(good, tensor()), more=[("archive/byteorder", b"big")]
    ),
    "numbers that are missing": lambda path, good: archive(path, every(good, tensor()), []),
    "locked": lambda path, good: with_flag(path, good, flag=1),
    "packed in a strange way": lambda path, good: with_flag(path, good, flag=0, method=99),
    "only the first four bytes": plain(b"PK\x03\x04"),
    "old: ten gigabytes": lambda path, good: legacy(
        path, every(good, tensor(source=storage("0", 10**10))), struct.pack("<q", 10**10)
    ),
    "old: minus one number": lambda path, good: legacy(
        path, every(good, tensor()), struct.pack("<q", -1) + bytes(16)
    ),
    "old: a storage too few": lambda path, good: legacy(path, every(good, tensor()), order=b"\x80\x02]."),
    "old: no storages": lambda path, good: legacy(path, every(good, tensor())),
    "old: order without end": lambda path, good: legacy(
        path, every(good, tensor()), order=b"\x80\x02]" + b"(" * 10**5
    ),
    "old: the wrong tensors": lambda path, good: legacy(
        path, program([("other", tensor())]), struct.pack("<q", 4) + bytes(16)
    ),
    "empty": plain(b""),
    "zeros": plain(bytes(MIB)),
    "text": plain(b"version https://git-lfs.example/spec/v1\n" * 10),
    "a web page": plain(b"<!DOCTYPE html><html>404</html>"),
}


def _zip_of(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return data.getvalue()


# -- safetensors ----------------------------------------------------------------------------------------------------------


def header(table, data=b"", length=None):
    """A case of a safetensors file with this header (a table, or bytes)."""

    def write(path, good):
        made = table(good) if callable(table) else table
        begin = made if isinstance(made, bytes) else json.dumps(made).encode()
        path = path.with_suffix(".safetensors")
        path.write_bytes(struct.pack("<Q", len(begin) if length is None else length) + begin + data)
        return path

    return write


def entry(shape=(2, 2), dtype="F32", offsets=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def each(**changes):
    return lambda good: {name: {**entry(), **changes} for name in good}


SAFETENSORS = {
    "an endless header": header(b"{}", length=2**63),
    "a header of 4 GB": header(b"{}", length=2**32),
    "a header of 20 MB": header(lambda good: b"{" + b" " * (20 * MIB) + b"}"),
    "200 000 names": header(lambda good: many_entries(), bytes(800_000)),
    "12 000 names": header(
        lambda good: {f"{i}": entry((1,), "U8", (i, i + 1)) for i in range(12_000)}, bytes(12_000)
    ),
    "no JSON": header(b"{this is none"),
    "not UTF-8": header(b"\xff\xfe\xfd"),
    "nested 100 000 deep": header(b"[" * 100_000),
    "a list": header([]),
    "a number": header(b"7"),
    "nothing in it": header({}),
    "null for a tensor": header(lambda good: dict.fromkeys(good)),
    "no shape": header(lambda good: {name: {"dtype": "F32", "data_offsets": [0, 4]} for name in good}),
    "an unknown kind": header(each(dtype="C99")),
    "a kind that is a list": header(each(dtype=[])),
    "shapes that are text": header(each(shape="2")),
    "sides that are text": header(each(shape=["2"])),
    "sides that are fractions": header(each(shape=[2.5, 2])),
    "negative sides": header(each(shape=[-1, 4])),
    "a gigantic side": header(each(shape=[2**40])),
    "gigantic sides": header(each(shape=[2**40, 2**40])),
    "a side beyond any number": header(each(shape=[10**400])),
    "10 000 axes": header(each(shape=[1] * 10_000)),
    "other offsets": header(each(data_offsets=[10**15, 10**15 + 16])),
    "offsets that are text": header(each(data_offsets="all"), bytes(16)),
    "overlapping tensors": header(each(), bytes(16)),
    "a hole": header(lambda good: {"a": entry(offsets=(0, 16)), "b": entry(offsets=(32, 48))}, bytes(48)),
    "more bytes than tensors": header(lambda good: {"a": entry()}, bytes(10_000)),
    "half a character for a name": header(lambda good: {"\ud800": entry()}, bytes(16)),
    "a name of 900 kB": header(lambda good: {"x" * 900_000: entry()}, bytes(16)),
    "control characters": header(lambda good: {"\x00\x1b[2J": entry()}, bytes(16)),
    "metadata that are a list": header(lambda good: {"__metadata__": [], **{name: entry() for name in good}}),
    "empty": header(b"", length=0),
    "7 bytes": lambda path, good: _bytes(path.with_suffix(".safetensors"), b"\0" * 7),
    "zeros": lambda path, good: _bytes(path.with_suffix(".safetensors"), bytes(MIB)),
    "a torch file": lambda path, good: _bytes(
        path.with_suffix(".safetensors"), _zip_of({"archive/data.pkl": b"."})
    ),
}


def _bytes(path, data):
    path.write_bytes(data)
    return path


# -- good files with something changed --------------------------------------------------------------------------------------


def mutations(count, seed):
    """Good files with bytes changed where they matter: in the names, shapes and tables of contents."""
    cases = {}
    for i in range(count):
        for ending in (".safetensors", ".pt"):
            cases[f"{ending[1:]} with bytes changed, {i}"] = _mutation(random.Random(seed + i), ending)
    return cases


def _mutation(rng, ending):
    def write(path, good):
        path = path.with_suffix(ending)
        few = {name: value.flatten()[:3].clone() if value.numel() else value for name, value in good.items()}
        save_file(few, path) if ending == ".safetensors" else torch.save(few, path)
        data = bytearray(path.read_bytes())
        end = 8 + int.from_bytes(data[:8], "little") if ending == ".safetensors" else len(data)
        for _ in range(rng.choice((1, 4, 40))):
            data[rng.randrange(min(end, len(data)))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        return path

    return write


# -- settings beside the weights ---------------------------------------------------------------------------------------------


def clip_configs(good_config):
    """{name: the whole of an open_clip_config.json}: a config that does not fit its folder's weights."""

    def changed(**parts):
        model = {
            **good_config,
            **{
                name: {**good_config.get(name, {}), **value} if isinstance(value, dict) else value
                for name, value in parts.items()
            },
        }
        return json.dumps({"model_cfg": model})

    absurd = {
        "vision_cfg": {
            "layers": (10**7, [10**6] * 4, [1, 10**9], 300, -1, "2", None, [[2]], 2.5, [10**400]),
            "width": (2**20, 10**12, 0, -32, "32", 3.5),
            "patch_size": (0, 10**6, -8, "8"),
            "image_size": (10**6, 10**9, 0, "32", [32, 10**6]),
            "head_width": (0, 10**6, -1),
            "mlp_ratio": (10**9, -1, "4"),
            "timm_model_name": (
                "eva_giant_patch14_224",
                "vit_giant_patch14_224",
                "no_such_network",
                "../../x",
                7,
            ),
        },
        "text_cfg": {
            "layers": (10**7, 300, -1, "2", None),
            "width": (2**20, 0, -16, "16"),
            "heads": (0, 10**6, -1, "2"),
            "vocab_size": (10**10, 0, -1, "49408"),
            "context_length": (10**9, 0, -1, "16"),
        },
    }
    cases = {
        f"{part}.{name} = {str(value)[:30]}": changed(**{part: {name: value}})
        for part, names in absurd.items()
        for name, values in names.items()
        for value in values
    }
    cases |= {f"embed_dim = {value}": changed(embed_dim=value) for value in (10**9, 0, -1, "16", None, 2.5)}
    cases |= {
        "a name of code": changed(text_cfg={"tokenizer_kwargs": {"bpe_path": "/dev/zero"}}),
        "a network to fetch": changed(text_cfg={"hf_model_name": "some/network"}),
        "another network to fetch": changed(vision_cfg={"timm_model_name": "hf-hub:some/network"}),
        "20 MB": changed() + " " * (20 * MIB),
        "nested 100 000 deep": "[" * 100_000,
        "a list": "[]",
        "text": '"text"',
        "half a character": changed(**{"\ud800": 1}),
        "an unknown setting": changed(vision_cfg={"x" * 100_000: 1}),
        "a multimodal one": changed(multimodal_cfg={"layers": 10**7}),
    }
    return cases


def classifier_settings(good):
    """{name: the `classifier` entry of a file's metadata}."""
    settings = json.loads(good)
    absurd = {
        "width": (3000, 10**9, 0, -8, "8", None, 2.5, [8], 10**400),
        "size": (0, 33, 10**9, -32, "64", None, 64.5, [64], True),
        "heads": ([10**9], [], [10] * 100_000, "ten", None, [[10]], [-1], [0.5], {}),
        "architecture": ("tree", None, 7, ["plain"], "x" * 100_000, "\ud800"),
        "depth": (10**6, 4),
    }
    cases = {
        f"{name} = {ascii(value)[:30]}": json.dumps({**settings, name: value})
        for name, values in absurd.items()
        for value in values
    }
    return cases | {
        "no JSON": "{",
        "a list": "[]",
        "a number": "7",
        "nothing": "{}",
        "nested": "[" * 100_000,
        "endless": json.dumps({**settings, "note": "x" * 900_000}),
    }


def statistics(folder):
    """{name: a function that writes an .npz}."""
    import numpy as np

    def saved(**arrays):
        def write(path):
            np.savez_compressed(path, **arrays)

        return write

    def headed(mean, covariance, size=None, kind="<f8"):
        """Arrays of zeros whose headers claim these shapes."""

        def write(path):
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
                for name, shape in (("mu", mean), ("sigma", covariance)):
                    begin = io.BytesIO()
                    np.lib.format.write_array_header_1_0(
                        begin, {"descr": kind, "fortran_order": False, "shape": shape}
                    )
                    zipped.writestr(f"{name}.npy", begin.getvalue() + bytes(64 if size is None else size))

        return write

    good = {"mu": np.zeros(3), "sigma": np.eye(3)}
    skew = np.zeros((2048, 2048))
    skew[0, 1] = 1
    return {
        "deflated to 400 MB": headed((50_000_000,), (3, 3), 400 * MIB),
        "a side of 10^12": headed((10**12,), (10**12, 10**12)),
        "100 000 features": headed((100_000,), (100_000, 100_000)),
        "5000 features": headed((5000,), (5000, 5000), 1000),
        "other sizes than shapes": headed((3,), (3, 3), 50 * MIB),
        "negative sides": headed((-3,), (-3, -3)),
        "no sides": headed((), ()),
        "objects": headed((3,), (3, 3), kind="|O"),
        "text": headed((3,), (3, 3), kind="<U100000"),
        "complex numbers": headed((3,), (3, 3), kind="<c16"),
        "a structure": headed((3,), (3, 3), kind="|V1000000"),
        "not a number": saved(mu=np.zeros(2048), sigma=np.full((2048, 2048), np.nan)),
        "not symmetric": saved(mu=np.zeros(2048), sigma=skew),
        "infinity": saved(mu=np.full(3, np.inf), sigma=np.eye(3)),
        "no sigma": saved(mu=np.zeros(3)),
        "other names": saved(mean=np.zeros(3), covariance=np.eye(3)),
        "other shapes": saved(mu=np.zeros(3), sigma=np.eye(4)),
        "200 000 arrays": lambda path: _bytes(path, crowded()),
        "an endless header": lambda path: _bytes(
            path,
            _zip_of({"mu.npy": b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f" + b"(" * MIB, "sigma.npy": b""}),
        ),
        "code in a header": lambda path: _bytes(
            path,
            _zip_of({f"{n}.npy": b"\x93NUMPY\x01\x00\x40\x00" + b"__import__('os')".ljust(64) for n in good}),
        ),
        "a short header": lambda path: _bytes(path, _zip_of({"mu.npy": b"\x93NUM", "sigma.npy": b""})),
        "no archive": lambda path: _bytes(path, os.urandom(1000)),
        "empty": lambda path: _bytes(path, b""),
        "a pickle": lambda path: _bytes(path, b"\x80\x02cos\nsystem\n."),
    }
