"""The transformer encoder of DA-TransUNet (RecA-S) equals the published one."""

import pytest
from support.golden_io import golden_cases
from support.golden_network import check_network

from nnunet_reca.blocks import VitEncoder
from nnunet_reca.weights.vit import vit_encoder_rules


@pytest.mark.parametrize("case", golden_cases("VitEncoder"), ids=str)
def test_golden_outputs_and_gradients_equal_the_published_encoder(case):
    c = case.config["constructor"]
    widths = (c["hidden_size"], c["num_layers"], c["num_heads"], c["mlp_dim"])
    encoder = VitEncoder(*widths, dropout=c["dropout_rate"], carry="sum" if case.recurrent else "none")
    check_network(case, encoder, vit_encoder_rules("encoder.", ""))
