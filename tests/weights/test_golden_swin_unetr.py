"""SwinUNETR equals the published networks."""

import pytest
from support.golden_io import golden_cases
from support.golden_network import check_network

from nnunet_reca.architectures import SwinUNETR
from nnunet_reca.weights.swin_unetr import published_arguments, swin_unetr_rules


@pytest.mark.parametrize("case", golden_cases("SwinUNETR"), ids=str)
def test_golden_outputs_and_gradients_equal_the_published_network(case):
    constructor = case.config["constructor"]
    arguments, merging = published_arguments(
        constructor, recurrent=case.recurrent, duplicated="monai" not in case.config["reference_class"]
    )
    check_network(case, SwinUNETR(**arguments), swin_unetr_rules(constructor.get("spatial_dims", 3), merging))
