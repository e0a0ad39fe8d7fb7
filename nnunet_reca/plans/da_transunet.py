"""DA-TransUNet from a plan."""

from typing import Any

from nnunet_reca.plans.geometry import Geometry
from nnunet_reca.plans.network import Network, NetworkSize

#: Sun et al. 2024, R50-ViT-B/16; the RecA paper trains the same size.
BASE: NetworkSize = {
    "hidden_size": 768,
    "num_layers": 12,
    "num_heads": 12,
    "mlp_dim": 3072,
    "resnet_layers": [3, 4, 9],
    "resnet_width": 64,
    "bottleneck_channels": 512,
    "decoder_channels": [16, 64, 128, 256],
}
TINY: NetworkSize = {
    "hidden_size": 192,
    "num_layers": 4,
    "num_heads": 3,
    "mlp_dim": 384,
    "resnet_layers": [1, 1, 1],
    "resnet_width": 32,
    "bottleneck_channels": 128,
    "decoder_channels": [16, 32, 64, 128],
}


def plan_arguments(geometry: Geometry, size: NetworkSize) -> dict[str, Any]:
    """Arguments of :class:`nnunet_reca.architectures.DATransUnet`: all strides in the ResNet, the ViT behind it.

    Shallower plans keep the finest levels of the ResNet and the decoder.
    """
    return {
        **size,
        "strides": [list(s) for s in geometry.strides],
        "grid_size": list(geometry.map_sizes()[-1]),
        "resnet_layers": size["resnet_layers"][: geometry.poolings - 1],
        "decoder_channels": size["decoder_channels"][: geometry.poolings],
    }


DA_TRANSUNET = Network(
    name="DATransUnet",
    title="DA-TransUNet, carry through all layers of the transformer",
    class_path="nnunet_reca.architectures.da_transunet.DATransUnet",
    sizes={"base": BASE, "tiny": TINY},
    plan_arguments=plan_arguments,
    poolings=(2, 4),
    dimensions=(2,),
    windowed=False,
)
