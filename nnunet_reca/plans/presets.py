"""Hyper-parameters of the networks: the published sizes, and ``tiny`` ones for CPUs and quick looks."""

from typing import Any

#: Hatamizadeh et al. 2022; the RecA paper trains the same size.
SWIN_UNETR_BASE: dict[str, Any] = {
    "feature_size": 48,
    "depths": [2, 2, 2, 2],
    "num_heads": [3, 6, 12, 24],
    "windows": [7, 7, 7, 7],
}
#: Chosen by measurement (benchmarks/tiny_preset.py): on two CPU threads width 12 learns more per second than width 24,
#: whose time goes to convolutions at full resolution; heads are 12 wide.
SWIN_UNETR_TINY: dict[str, Any] = {**SWIN_UNETR_BASE, "feature_size": 12, "num_heads": [1, 2, 4, 8]}

#: Zhou et al. 2023, and the RecA code's defaults.
NNFORMER_BASE: dict[str, Any] = {
    "embed_dim": 192,
    "depths": [2, 2, 2, 2],
    "num_heads": [6, 12, 24, 48],
    "windows": [4, 4, 8, 4],
}
NNFORMER_TINY: dict[str, Any] = {**NNFORMER_BASE, "embed_dim": 48, "num_heads": [2, 4, 8, 16]}

#: Cao et al. 2022 with the depths of Swin-T, which the RecA paper trains (41.3 M parameters) and ImageNet weights fit.
SWIN_UNET_BASE: dict[str, Any] = {
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
    "windows": [7, 7, 7, 7],
}
SWIN_UNET_TINY: dict[str, Any] = {**SWIN_UNET_BASE, "embed_dim": 48, "depths": [2, 2, 2, 2]}

#: Sun et al. 2024, R50-ViT-B/16; the RecA paper trains the same size.
DA_TRANSUNET_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_layers": 12,
    "num_heads": 12,
    "mlp_dim": 3072,
    "resnet_layers": [3, 4, 9],
    "resnet_width": 64,
    "bottleneck_channels": 512,
    "decoder_channels": [256, 128, 64, 16],
}
DA_TRANSUNET_TINY: dict[str, Any] = {
    "hidden_size": 192,
    "num_layers": 4,
    "num_heads": 3,
    "mlp_dim": 384,
    "resnet_layers": [1, 1, 1],
    "resnet_width": 32,
    "bottleneck_channels": 128,
    "decoder_channels": [128, 64, 32, 16],
}

PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("SwinUNETR", "base"): SWIN_UNETR_BASE,
    ("SwinUNETR", "tiny"): SWIN_UNETR_TINY,
    ("NnFormer", "base"): NNFORMER_BASE,
    ("NnFormer", "tiny"): NNFORMER_TINY,
    ("SwinUnet", "base"): SWIN_UNET_BASE,
    ("SwinUnet", "tiny"): SWIN_UNET_TINY,
    ("DATransUnet", "base"): DA_TRANSUNET_BASE,
    ("DATransUnet", "tiny"): DA_TRANSUNET_TINY,
}
