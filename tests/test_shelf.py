"""What a search holds in memory."""

import pytest
import torch
from noisesearch.sampling.shelf import Kept, Shelf

LATENT = torch.zeros(256)  # 1 KiB


def test_images_stay_for_the_best_and_the_worst_latents_go_first():
    shelf = Shelf(images=2, cap=4096)
    for id in range(6):
        shelf.put(id, Kept(latent=LATENT.clone(), image=LATENT.clone()))
    shelf.rank([5, 3, 1, 0, 2, 4])
    assert list(shelf.kept) == [0, 1, 3, 5]
    assert [id for id, kept in shelf.kept.items() if kept.image is not None] == [3, 5]
    assert shelf.total == 4096
    with pytest.raises(RuntimeError, match="candidate 4 is no longer in memory"):
        shelf[4]


def test_unfinished_samples_go_but_not_those_a_round_starts_from():
    shelf = Shelf(images=1, cap=4096)
    shelf.put(0, Kept(latent=LATENT.clone()))
    for id in range(1, 6):
        shelf.put(id, Kept(state=LATENT.clone()))
    assert len(shelf.kept) == 6  # the running round is never touched
    shelf.make_room({1, 4})
    assert list(shelf.kept) == [0, 1, 4, 5]
