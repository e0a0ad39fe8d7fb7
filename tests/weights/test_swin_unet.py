import pytest
import torch

from nnunet_reca.weights import rename
from nnunet_reca.weights.swin_unet import published_arguments, swin_unet_rules


def test_windows_shrink_to_the_maps_of_the_published_image_size():
    arguments = published_arguments({"img_size": 96, "window_size": 7}, recurrent=True)
    assert arguments["window_sizes"] == [7, 7, 6, 3]


def test_arguments_without_effect_are_dropped():
    constructor = {"depths_decoder": [1, 2, 2, 2], "choice": "Max", "use_checkpoint": True, "drop_rate": 0.1}
    assert published_arguments(constructor, recurrent=False) == published_arguments({}, recurrent=False)


@pytest.mark.parametrize(
    ("constructor", "message"),
    [
        ({"ape": True}, "ape=False, got True"),
        ({"patch_size": 2}, "patch_size=4, got 2"),
        ({"depths": [2, 2, 2]}, "depths of 4 stages, got 3"),
        ({"img_size": [224, 192]}, r"img_size of the published Swin-Unet as one number, got \[224, 192\]"),
        ({"memory": 1, "extra": 2}, "got extra, memory"),
    ],
)
def test_arguments_of_another_network_raise(constructor, message):
    with pytest.raises(ValueError, match=message):
        published_arguments(constructor, recurrent=True)


def test_merged_sublattices_are_put_in_row_major_order():
    weight = torch.tensor([0, 2, 1, 3]).repeat_interleave(3)[None]
    renamed = rename({"layers.1.downsample.reduction.weight": weight}, swin_unet_rules())
    assert renamed["encoder.downsamples.1.reduction.weight"].tolist() == [sorted(weight[0].tolist())]


def test_parameters_that_reca_never_uses_are_dropped():
    source = {"layers_up.1.upsample.norm.bias": torch.ones(2), "decoder0.norm.bias": torch.ones(2)}
    assert list(rename(source, swin_unet_rules())) == ["decoder.expands.1.norm.bias"]


def test_equal_sides_count_as_one_number():
    arguments = published_arguments({"img_size": [96, 96], "window_size": (5, 5)}, recurrent=True)
    assert arguments == published_arguments({"img_size": 96, "window_size": 5}, recurrent=True)
