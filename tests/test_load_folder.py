"""Load Images (Folder): which files, in which order, turned how; and nothing outside of the input folder."""

import os

import folder_paths
import numpy as np
import pytest
import torch
from noisesearch.nodes.folder import INPUT, NoiseSearchLoadFolder, folders
from PIL import Image


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """ComfyUI's input folder: two pictures, a text and a folder `more` with a folder of its own."""
    folder = tmp_path / "input"
    (folder / "more" / "inner").mkdir(parents=True)
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(folder))
    Image.new("RGB", (8, 4), (255, 0, 0)).save(folder / "b.png")
    Image.new("RGB", (6, 6), (0, 0, 255)).save(folder / "a.WEBP", lossless=True)
    (folder / "notes.txt").write_text("no picture")
    Image.new("RGB", (5, 5)).save(folder / "more" / "c.png")
    Image.new("RGB", (5, 5)).save(folder / "more" / "inner" / "d.png")
    return folder


def loaded(folder=INPUT, at_most=100):
    """{name: image}, in order."""
    images, names = NoiseSearchLoadFolder.execute(folder, at_most).result
    return dict(zip(names, images, strict=True))


def test_the_images_of_a_folder_come_by_name_each_in_its_size(inputs):
    images = loaded()
    assert list(images) == ["a.WEBP", "b.png"]
    assert [tuple(image.shape) for image in images.values()] == [(1, 6, 6, 3), (1, 4, 8, 3)]
    assert images["b.png"].dtype == torch.float32
    assert images["b.png"].unique(dim=2).flatten().tolist() == [1, 0, 0] * 4


def test_folders_are_offered_and_not_looked_into(inputs):
    assert folders() == [INPUT, "more", "more/inner"]
    assert list(loaded("more")) == ["c.png"] and list(loaded("more/inner")) == ["d.png"]


def test_only_so_many(inputs):
    assert list(loaded(at_most=1)) == ["a.WEBP"]


def test_an_image_is_turned_as_the_camera_was(inputs):
    picture = Image.new("RGB", (8, 4))
    picture.paste((255, 255, 255), (0, 0, 2, 4))  # its left side
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: to be turned a quarter to the right
    picture.save(inputs / "more" / "c.png", exif=exif)
    (image,) = loaded("more").values()
    assert image.shape == (1, 8, 4, 3)
    assert image[0, :2].min() == 1 and image[0, 2:].max() == 0  # now its top


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "1", "CMYK"])
def test_every_kind_of_pixels_comes_as_rgb(mode, inputs):
    Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode).save(inputs / "more" / "c.tif")
    (inputs / "more" / "c.png").unlink()
    (image,) = loaded("more").values()
    assert image.shape == (1, 4, 4, 3) and image.min() == 1


def test_sixteen_bits_are_not_cut(inputs):
    grey = np.full((4, 4), 0x8000, np.uint16)
    Image.fromarray(grey).save(inputs / "more" / "c.png")
    (image,) = loaded("more").values()
    assert image.flatten().unique().tolist() == pytest.approx([0x8000 / 0xFFFF])


def test_an_animation_gives_its_first_picture(inputs):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 255, 255), (0, 0, 0))]
    frames[0].save(inputs / "more" / "c.gif", save_all=True, append_images=frames[1:])
    (inputs / "more" / "c.png").unlink()
    (image,) = loaded("more").values()
    assert image.min() == 1


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_file_that_is_no_image_is_named(content, inputs):
    (inputs / "more" / "zebra.png").write_bytes(content)
    with pytest.raises(ValueError, match="'zebra.png' in the input folder is not an image that can be read"):
        loaded("more")


def test_an_empty_folder_says_what_belongs_there(inputs):
    (inputs / "more" / "c.png").unlink()
    with pytest.raises(ValueError, match="no image in 'more'. Put some into it: files that end in .*png"):
        loaded("more")


@pytest.mark.parametrize(
    "folder", ["..", "more/..", "../input", "/", "", "nothing", ".", None, 3, ["more"], "\ud800"]
)
def test_nothing_outside_of_the_input_folder_is_read(folder, inputs):
    for reads in (loaded, lambda folder: NoiseSearchLoadFolder.fingerprint_inputs(folder, 100)):
        with pytest.raises(ValueError, match="There is no folder .*There are: .*more/inner") as refused:
            reads(folder)
        assert str(refused.value).encode()


def test_a_changed_file_makes_the_node_run_again(inputs):
    before = NoiseSearchLoadFolder.fingerprint_inputs("more", 100)
    assert NoiseSearchLoadFolder.fingerprint_inputs("more", 100) == before
    os.utime(inputs / "more" / "c.png", (1, 1))
    after = NoiseSearchLoadFolder.fingerprint_inputs("more", 100)
    assert after != before
    Image.new("RGB", (5, 5)).save(inputs / "more" / "z.png")
    assert NoiseSearchLoadFolder.fingerprint_inputs("more", 100) not in (before, after)
