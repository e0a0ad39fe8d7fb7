import inspect
import pickle
import subprocess
import sys

import pytest

from nnunet_reca import trainers
from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.trainers.names import TrainerName, base_names, parse_trainer_name

RECA = "nnUNetTrainerSwinUNETRReca"


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ("", {}),
        ("_tiny", {"size": "tiny"}),
        ("_7epochs", {"epochs": 7}),
        ("_seed0", {"seed": 0}),
        ("_lr3en4", {"learning_rate": 3e-4}),
        ("_lr15en4_seed0_7epochs", {"learning_rate": 1.5e-3, "seed": 0, "epochs": 7}),
        ("_seed21_7epochs", {"seed": 21, "epochs": 7}),
        ("_spatial_7epochs", {"alignment": "_spatial", "epochs": 7}),
        ("_bf16", {"precision": "bf16"}),
        ("_tiny_spatial_fp32_9epochs", {"size": "tiny", "alignment": "_spatial", "precision": "fp32", "epochs": 9}),
        ("_checkpoint", {"use_checkpoint": True}),
        ("_tiny_checkpoint_seed3_5epochs", {"size": "tiny", "use_checkpoint": True, "seed": 3, "epochs": 5}),
        ("_tiny_spatial_1234epochs", {"size": "tiny", "alignment": "_spatial", "epochs": 1234}),
    ],
)
def test_options_are_read_in_their_fixed_order(options, values):
    assert parse_trainer_name(RECA + options) == TrainerName("SwinUNETR", True, values)


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
            "_seed",
            "_seed-1",
            "_seed03",
            "_5epochs_seed1",
            "_seed1_checkpoint",
            "_lr1e-3",
            "_lr0.001",
            "_lr10en4",
            "_lr0en4",
            "_lr1en03",
            "_lr1en0",
            "_lr1en400",
            "_seed1_lr1en3",
            "_seed\N{ARABIC-INDIC DIGIT TWO}",
        )
    ],
)
def test_unknown_options_name_the_grammar(name):
    with pytest.raises(ValueError, match="expected a trainer name of the form .*_tiny_lr3en4_50epochs"):
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
    assert trainer.__name__ == trainer.__qualname__ == name and "__" not in name


def test_twins_are_one_class_with_a_switch():
    for name in base_names()[::2]:
        sa, reca = getattr(trainers, name), getattr(trainers, f"{name}Reca")
        assert issubclass(reca, sa) and reca.reca_recurrent and not sa.reca_recurrent
        assert reca.reca_network == sa.reca_network


@pytest.mark.parametrize("name", [*base_names(), f"{RECA}_tiny_seed4_3epochs"])
def test_trainers_say_what_they_train_and_where_their_code_is(name):
    trainer = getattr(trainers, name)
    said = inspect.getdoc(trainer)
    assert (
        NETWORKS[trainer.reca_network].title.split(", ")[0] in said
        and ("Recurrent-Attention" in said) == trainer.reca_recurrent
    )
    assert ("3D" in said) == (3 in NETWORKS[trainer.reca_network].dimensions)
    assert "seed4" not in name or said.endswith("Options: size tiny, seed 4, epochs 3.")
    assert inspect.getsourcefile(trainer) == trainers.__file__
    assert "rewrite_plan" in inspect.getsource(trainer.rewritten)


def test_every_network_of_the_table_has_both_trainers():
    assert base_names() == [f"nnUNetTrainer{network}{twin}" for network in NETWORKS for twin in ("", "Reca")]
    assert set(base_names()) <= set(dir(trainers))


def test_a_name_is_read_without_torch_or_nnunet():
    code = f"""
import sys
from nnunet_reca import trainers
trainers.parse_trainer_name({RECA + "_tiny_5epochs"!r})
print(sorted({{"torch", "nnunetv2", "numpy"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
