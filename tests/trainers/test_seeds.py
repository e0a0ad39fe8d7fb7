"""Seeds in trainer names."""

import pytest

from nnunet_reca.trainers.names import longest_names, parse_trainer_name
from nnunet_reca.trainers.seeds import split_seed, takes_seed, with_seed

NAMES = [split_seed(name)[0] for name in longest_names()]
NAMES += ["nnUNetTrainerSwinUNETR", "nnUNetTrainerPrimusSReca_gated", "nnUNetTrainerSwinUNETRReca_tiny_5epochs"]


@pytest.mark.parametrize("name", NAMES)
def test_seeds_stand_where_the_grammar_wants_them(name):
    assert parse_trainer_name(with_seed(name, 11)).options["seed"] == 11
    assert split_seed(with_seed(name, 0)) == (name, "0") and split_seed(name) == (name, None)


def test_names_of_this_package_take_a_seed_others_may_have_one():
    assert takes_seed("nnUNetTrainerSwinUNETRReca_tiny") and not takes_seed("nnUNetTrainer_5epochs")
    assert not takes_seed("nnUNetTrainerMine_seed1") and split_seed("nnUNetTrainerMine_seed1")[1] == "1"
    assert not takes_seed("nnUNetTrainerSwinUNETR_unheard")
