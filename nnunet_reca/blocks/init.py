"""Weight initialisation shared by all networks."""

from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import nn

_initialize_convolution = InitWeights_He(1e-2)


def initialize_weights(module: nn.Module) -> None:
    """Initialise one module; nnU-Net applies it to every module of a new network.

    Linear layers: truncated normal of standard deviation 0.02, zero bias (Swin Transformer's and ViT's). Convolutions:
    He initialisation for LeakyReLU, zero bias (nnU-Net's). Norms and bias tables keep their constructor's values.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    else:
        _initialize_convolution(module)
