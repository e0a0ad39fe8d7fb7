"""Swin-Unet equals the published networks."""

import pytest
from support.golden_io import golden_cases
from support.golden_network import check_network

from nnunet_reca.architectures import SwinUnet
from nnunet_reca.weights.swin_unet import published_arguments, swin_unet_rules


@pytest.mark.parametrize("case", golden_cases("SwinUnet"), ids=str)
def test_golden_outputs_and_gradients_equal_the_published_network(case):
    arguments = published_arguments(case.config["constructor"], recurrent=case.recurrent)
    check_network(case, SwinUnet(**arguments), swin_unet_rules())
