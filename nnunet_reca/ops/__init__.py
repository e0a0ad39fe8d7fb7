"""Pure tensor functions, 2D and 3D by one code path."""

from nnunet_reca.ops.norm import instance_norm, instance_norm_leaky_relu, layer_norm
from nnunet_reca.ops.position_embedding import resize_position_embedding
from nnunet_reca.ops.recurrent_attention import (
    attention_query,
    carry_query,
    join_heads,
    recurrent_attention,
    split_heads,
)
from nnunet_reca.ops.relative_position import bias_table_rows, relative_position_index
from nnunet_reca.ops.rotary import rotary_embedding, rotate
from nnunet_reca.ops.window_attention import window_attention
from nnunet_reca.ops.windows import (
    crop_map,
    fit_windows,
    frame_map,
    merge_windows,
    pad_to_multiple,
    partition_windows,
    shift_map,
    shifted_window_mask,
)

__all__ = [
    "attention_query",
    "bias_table_rows",
    "carry_query",
    "crop_map",
    "fit_windows",
    "frame_map",
    "instance_norm",
    "instance_norm_leaky_relu",
    "join_heads",
    "layer_norm",
    "merge_windows",
    "pad_to_multiple",
    "partition_windows",
    "recurrent_attention",
    "relative_position_index",
    "resize_position_embedding",
    "rotary_embedding",
    "rotate",
    "shift_map",
    "shifted_window_mask",
    "split_heads",
    "window_attention",
]
