"""DATransUNet equals the published networks."""

import pytest
from golden_io import golden_cases
from golden_network import check_network

from nnunet_reca.architectures import DATransUNet
from nnunet_reca.weights.da_transunet import da_transunet_arguments, da_transunet_rules


@pytest.mark.parametrize("case", golden_cases("datransunet_"), ids=str)
def test_golden_outputs_and_gradients_equal_the_published_network(case):
    recurrent = "RecA" in case.config["reference_class"]
    arguments = da_transunet_arguments(case.config["constructor"], recurrent=recurrent)
    rules = da_transunet_rules(arguments["resnet_layers"], arguments["skip_attention"])
    check_network(case, DATransUNet(**arguments), rules)
