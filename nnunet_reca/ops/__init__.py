"""Pure tensor functions, 2D and 3D by one code path."""

from nnunet_reca.ops.cpu_attention import Windows, attends_in_pieces, piece_attention
from nnunet_reca.ops.norm import instance_norm
from nnunet_reca.ops.pieces import window_pieces
from nnunet_reca.ops.position_embedding import resize_position_embedding
from nnunet_reca.ops.recurrent_attention import (
    attention_bias,
    attention_query,
    carry_query,
    recurrent_attention,
    split_heads,
    window_recurrent_attention,
)
from nnunet_reca.ops.relative_position import bias_table_rows, relative_position_index
from nnunet_reca.ops.slabs import (
    Moments,
    SlabConvolution,
    convolution,
    empty_map,
    infers_on_cpu,
    iterate_slabs,
    runs_in_slabs,
    slab_depth,
    upsample_slices,
)
from nnunet_reca.ops.windows import (
    crop_map,
    fit_windows,
    merge_windows,
    pad_to_multiple,
    partition_windows,
    realign_windows,
    shift_map,
    shifted_window_mask,
)

__all__ = [
    "Moments",
    "SlabConvolution",
    "Windows",
    "attends_in_pieces",
    "attention_bias",
    "attention_query",
    "bias_table_rows",
    "carry_query",
    "convolution",
    "crop_map",
    "empty_map",
    "fit_windows",
    "infers_on_cpu",
    "instance_norm",
    "merge_windows",
    "pad_to_multiple",
    "partition_windows",
    "piece_attention",
    "realign_windows",
    "recurrent_attention",
    "relative_position_index",
    "resize_position_embedding",
    "runs_in_slabs",
    "shift_map",
    "shifted_window_mask",
    "slab_depth",
    "iterate_slabs",
    "split_heads",
    "upsample_slices",
    "window_pieces",
    "window_recurrent_attention",
]
