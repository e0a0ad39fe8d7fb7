"""Hyper-parameters of the networks: the published sizes, and ``tiny`` ones for CPUs and quick looks."""

from typing import Any

#: Hatamizadeh et al. 2022, table 1 and MONAI's BraTS bundle; the RecA paper trains the same size.
SWIN_UNETR_BASE: dict[str, Any] = {"feature_size": 48, "depths": [2, 2, 2, 2], "num_heads": [3, 6, 12, 24]}

#: Chosen by measurement (benchmarks/tiny_preset.py): on two CPU threads width 12 learns more per second than width 24,
#: whose time goes to convolutions at full resolution; heads are 12 wide.
SWIN_UNETR_TINY: dict[str, Any] = {"feature_size": 12, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}

PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("SwinUNETR", "base"): SWIN_UNETR_BASE,
    ("SwinUNETR", "tiny"): SWIN_UNETR_TINY,
}
