"""Minimal nnU-Net plans and data sets for tests."""

import copy
from typing import Any

from nnunet_reca.plans.networks import NETWORKS

#: networks that differ from each other in more than width and depth
KINDS = {name: network for name, network in NETWORKS.items() if "tiny" in network.sizes}


def make_plans(**configurations: dict[str, Any]) -> dict[str, Any]:
    """A plans file with the given configurations, each of patch size and strides."""
    return {
        "dataset_name": "Dataset999_Test",
        "plans_name": "nnUNetPlans",
        "label_manager": "LabelManager",
        "image_reader_writer": "SimpleITKIO",
        "continue_training": False,
        "configurations": copy.deepcopy(configurations),
    }


def make_configuration(patch_size: list[int], strides: list[list[int]], **more: Any) -> dict[str, Any]:
    """A configuration like those of nnU-Net's default planner."""
    return {
        "data_identifier": "nnUNetPlans_test",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch_size,
        "spacing": [1.0] * len(patch_size),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": len(strides),
                "strides": strides,
                "kernel_sizes": [[3] * len(patch_size)] * len(strides),
            },
            "_kw_requires_import": [],
        },
        **more,
    }


def in_old_format(configuration: dict[str, Any], network: str = "PlainConvUNet") -> dict[str, Any]:
    """The configuration as nnU-Net before 2.5 wrote it: without an architecture."""
    old = copy.deepcopy(configuration)
    arguments = old.pop("architecture")["arch_kwargs"]
    stages = len(arguments["strides"])
    return old | {
        "UNet_class_name": network,
        "UNet_base_num_features": 32,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "num_pool_per_axis": [stages - 1] * len(old["patch_size"]),
        "pool_op_kernel_sizes": arguments["strides"],
        "conv_kernel_sizes": arguments["kernel_sizes"],
    }


HIPPOCAMPUS_3D = make_configuration([40, 56, 40], [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]])
HIPPOCAMPUS_2D = make_configuration([56, 40], [[1, 1], [2, 2], [2, 2], [2, 2]])
DATASET_JSON = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "Anterior": 1, "Posterior": 2},
    "numTraining": 5,
    "file_ending": ".nii.gz",
}
