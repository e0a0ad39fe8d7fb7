import pickle

import pytest

from nnunet_reca import trainers
from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.trainers import names
from nnunet_reca.trainers.names import TrainerName, base_names, parse_trainer_name

RECA = "nnUNetTrainerSwinUNETRReca"


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ("", {}),
        ("_tiny", {"size": "tiny"}),
        ("_7epochs", {"epochs": 7}),
        ("_spatial_7epochs", {"alignment": "spatial", "epochs": 7}),
        ("_bf16", {"precision": "bf16"}),
        ("_tiny_spatial_fp32_9epochs", {"size": "tiny", "alignment": "spatial", "precision": "fp32", "epochs": 9}),
        ("_checkpoint", {"checkpoint": True}),
        ("_tiny_spatial_checkpoint_5epochs", {"size": "tiny", "alignment": "spatial", "checkpoint": True, "epochs": 5}),
        ("_tiny_spatial_1234epochs", {"size": "tiny", "alignment": "spatial", "epochs": 1234}),
    ],
)
def test_options_are_read_in_their_fixed_order(options, values):
    assert parse_trainer_name(RECA + options) == TrainerName(RECA, "swin_unetr", **values)


def test_spatial_without_a_carry_raises():
    with pytest.raises(ValueError, match="_spatial only with Recurrent-Attention"):
        parse_trainer_name("nnUNetTrainerSwinUNETR_spatial")


@pytest.mark.parametrize(
    "name",
    [
        f"{RECA}{o}"
        for o in (
            "_huge",
            "_spatial_tiny",
            "_5epochs_tiny",
            "_0epochs",
            "_05epochs",
            "_fp16",
            "_bf16_tiny",
            "_checkpoint_spatial",
            "_tiny_",
            "_epochs",
            "_5epoch",
        )
    ],
)
def test_unknown_options_name_the_grammar(name):
    with pytest.raises(ValueError, match="expected a trainer name of the form .*_tiny_50epochs"):
        getattr(trainers, name)


def test_wrong_case_suggests_the_right_name():
    with pytest.raises(ValueError, match=f"did you mean {RECA}"):
        parse_trainer_name("nnUNetTrainerSwinUNETRRecA_tiny")


@pytest.mark.parametrize(
    "name", ["nnUNetTrainer", "nnUNetTrainerSwinUNETRV2", "nnUNetTrainer_5epochs", "__path__", "x"]
)
def test_names_of_others_are_not_ours(name):
    assert parse_trainer_name(name) is None
    with pytest.raises(AttributeError):
        getattr(trainers, f"{name}_missing")


@pytest.mark.parametrize("name", [*base_names(), f"{RECA}_tiny", f"{RECA}_tiny_3epochs"])
def test_each_name_is_one_picklable_class_called_so(name):
    trainer = getattr(trainers, name)
    assert trainer is getattr(trainers, name) is pickle.loads(pickle.dumps(trainer))
    assert trainer.__name__ == name and "__" not in name


def test_twins_are_one_class_with_a_switch():
    for name in base_names()[::2]:
        sa, reca = getattr(trainers, name), getattr(trainers, f"{name}Reca")
        assert issubclass(reca, sa) and reca.reca_recurrent and not sa.reca_recurrent
        assert reca.reca_network == sa.reca_network


def test_names_know_the_networks_that_plans_know():
    assert set(names.NETWORKS) == set(NETWORKS)
    assert names.WINDOWED == {name for name, network in NETWORKS.items() if network.windowed}
