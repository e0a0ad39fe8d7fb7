"""Small instances of every network, with sizes in which swapped axes fail."""

import json

import torch

from nnunet_reca.architectures import DATransUnet, NnFormer, Primus, SwinUnet, SwinUNETR

SMALL = {"feature_size": 12, "depths": [2, 2], "num_heads": [2, 3], "window_sizes": [[2, 3, 2], [2, 2, 3]]}
HYBRID = {"hidden_size": 96, "num_heads": 3, "mlp_dim": 60, "resnet_width": 32, "bottleneck_channels": 64}
CASES = {
    "swin_unetr_3d": (
        SwinUNETR,
        {"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]], **SMALL},
        (16, 24, 8),
    ),
    "swin_unetr_anisotropic": (
        SwinUNETR,
        {
            "strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]],
            "kernel_sizes": [[1, 3, 3], [1, 3, 3], [3, 3, 3], [3, 3, 3]],
            **SMALL,
        },
        (6, 24, 16),
    ),
    "swin_unetr_2d_shallow": (
        SwinUNETR,
        {
            "strides": [[1, 1], [2, 2], [2, 2]],
            "feature_size": 24,
            "depths": [3],
            "num_heads": [4],
            "window_sizes": [[3, 5]],
        },
        (20, 28),
    ),
    "nnformer_3d": (
        NnFormer,
        {
            "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
            "patch_embed_strides": [[2, 2, 2], [1, 2, 2]],
            "embed_dim": 12,
            "depths": [2, 3, 2],
            "num_heads": [2, 3, 4],
            "window_sizes": [[2, 3, 2], 3, [2, 1, 3]],
            "drop_path_rate": 0.1,
        },
        (16, 48, 32),
    ),
    "nnformer_anisotropic_shifts": (
        NnFormer,
        {
            "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 1]],
            "patch_embed_strides": [[1, 2, 2], [1, 2, 2]],
            "embed_dim": 8,
            "depths": [2, 1, 3],
            "num_heads": [1, 2, 4],
            "window_sizes": [[2, 3, 5], [5, 3, 2], [2, 2, 3]],
            "shift_sizes": [[1, 0, 3], 1, 0],
            "drop_path_rate": 0.0,
        },
        (6, 48, 40),
    ),
    "nnformer_2d_two_stages": (
        NnFormer,
        {
            "strides": [[1, 1], [2, 2]],
            "patch_embed_strides": [[2, 2], [2, 1]],
            "embed_dim": 14,
            "depths": [3, 2],
            "num_heads": [7, 4],
            "window_sizes": [[3, 5], 2],
            "drop_path_rate": 0.0,
        },
        (40, 28),
    ),
    "swin_unet_2d": (
        SwinUnet,
        {
            "strides": [[1, 1], [4, 2], [2, 2], [1, 3], [2, 2]],
            "embed_dim": 12,
            "depths": [2, 1, 3, 2],
            "num_heads": [2, 3, 4, 6],
            "window_sizes": [[3, 5], 4, [2, 3], 2],
        },
        (48, 72),
    ),
    "swin_unet_3d_one_merge": (
        SwinUnet,
        {
            "strides": [[1, 1, 1], [2, 4, 4], [2, 2, 2]],
            "embed_dim": 6,
            "depths": [2, 2],
            "num_heads": [2, 3],
            "window_sizes": [3, [3, 2, 3]],
        },
        (12, 24, 40),
    ),
    "swin_unet_anisotropic": (
        SwinUnet,
        {
            "strides": [[1, 1, 1], [1, 4, 4], [1, 2, 2], [2, 2, 2]],
            "embed_dim": 12,
            "depths": [2, 2, 2],
            "num_heads": [2, 3, 4],
            "window_sizes": [[2, 3, 4], [2, 3, 3], 2],
        },
        (6, 32, 48),
    ),
    "da_transunet": (
        DATransUnet,
        {
            "strides": [[1, 1], [2, 2], [2, 2], [2, 2], [2, 2]],
            "grid_size": [2, 3],
            "num_layers": 3,
            "resnet_layers": [2, 1, 1],
            "decoder_channels": [7, 8, 12, 24],
            **HYBRID,
        },
        (32, 48),
    ),
    "da_transunet_anisotropic_other_grid": (
        DATransUnet,
        {
            "strides": [[1, 1], [2, 2], [2, 1], [3, 2]],
            "grid_size": [4, 2],
            "num_layers": 2,
            "resnet_layers": [1, 2],
            "decoder_channels": [8, 12, 24],
            "n_skip": 1,
            **HYBRID,
        },
        (36, 28),
    ),
    "da_transunet_shallow": (
        DATransUnet,
        {
            "strides": [[1, 1], [1, 2], [2, 2]],
            "grid_size": [3, 5],
            "num_layers": 2,
            "resnet_layers": [1],
            "decoder_channels": [8, 12],
            "skip_attention": [True],
            **HYBRID,
        },
        (6, 20),
    ),
    "primus_3d": (
        Primus,
        {
            "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
            "grid_size": [3, 2, 4],
            "version": 1,
            "embed_dim": 36,
            "depth": 3,
            "num_heads": 3,
        },
        (12, 8, 16),
    ),
    "primus_v2_one_pooling": (
        Primus,
        {
            "strides": [[1, 1], [2, 2]],
            "grid_size": [5, 7],
            "version": 2,
            "stem_channels": [6, 9],
            "embed_dim": 44,
            "depth": 2,
            "num_heads": 2,
            "drop_path_rate": 0.0,
        },
        (10, 14),
    ),
    "primus_v3_anisotropic": (
        Primus,
        {
            "strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 1]],
            "grid_size": [3, 2, 3],
            "version": 3,
            "stem_channels": [4, 6, 8, 10],
            "embed_dim": 30,
            "depth": 3,
            "num_heads": 3,
        },
        (6, 16, 12),
    ),
}


#: the first case of each network; what PyTorch does alike in all geometries and takes long is looked at in these
FIRST = {network: name for name, (network, *_) in reversed(CASES.items())}.values()


def build(network, arguments, **more):
    torch.manual_seed(0)
    return network(2, 5, **json.loads(json.dumps(arguments)), **more)
