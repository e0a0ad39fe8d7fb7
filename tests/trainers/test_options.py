"""The table of options: what names, plans, trainers and pages make of it."""

import copy
import dataclasses
import re
from pathlib import Path

import pytest
import torch
from support.plan_factory import DATASET_JSON, HIPPOCAMPUS_2D, HIPPOCAMPUS_3D, make_plans
from support.trainer_factory import CPU, initialized_trainer, new_trainer

from nnunet_reca import trainers
from nnunet_reca.blocks.carry import parse_carry
from nnunet_reca.cli import plan
from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.trainers import options as table_of_options
from nnunet_reca.trainers.names import GRAMMAR, base_names, longest_names, parse_trainer_name
from nnunet_reca.trainers.options import NUMBER_OR_ZERO, OPTIONS, Option, alternatives, rewrite_arguments, table

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


def make_trainer(name):
    plans = make_plans(**{"2d": HIPPOCAMPUS_2D, "3d_fullres": HIPPOCAMPUS_3D})
    return getattr(trainers, name)(plans, "2d", 0, copy.deepcopy(DATASET_JSON), CPU)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.suffix)
@pytest.mark.parametrize("base", base_names())
def test_every_option_is_taken_where_it_is_allowed_and_refused_with_its_reason_elsewhere(base, option):
    name = base + option.example()
    parsed = parse_trainer_name(base)
    if option.allowed(NETWORKS[parsed.network], parsed.recurrent):
        value = option.number.read(option.number.example) if option.number else option.value
        assert parse_trainer_name(name).options == {option.sets: value}
    else:
        with pytest.raises(ValueError, match=f"expected _{option.suffix} only with {option.only_with} .*{name}"):
            parse_trainer_name(name)


@pytest.mark.parametrize("rows", alternatives(), ids=lambda rows: rows[0].sets)
def test_options_that_set_the_same_exclude_each_other_and_stand_together(rows):
    assert [option.sets for option in OPTIONS].count(rows[0].sets) == len(rows)
    for option in rows:
        for other in rows:
            with pytest.raises(ValueError, match="expected a trainer name of the form"):
                parse_trainer_name(base_names()[1] + option.example() + other.example())


def test_names_of_all_options_together_are_read():
    read = {name: parse_trainer_name(name).options for name in longest_names()}
    assert {sets for options in read.values() for sets in options} == {option.sets for option in OPTIONS}
    for option in OPTIONS:
        assert any(option.example() in name for name in read)
        assert f"_{option.suffix}" in GRAMMAR


@pytest.mark.parametrize(
    ("options", "recurrent", "arguments"),
    [
        ({}, True, {"size": "base", "carry": "sum"}),
        ({}, False, {"size": "base", "carry": "none"}),
        ({"alignment": "_spatial", "size": "tiny"}, True, {"size": "tiny", "carry": "sum_spatial"}),
        ({"use_checkpoint": True, "seed": 3}, True, {"size": "base", "carry": "sum", "use_checkpoint": True}),
        ({"precision": "bf16", "epochs": 3}, True, {"size": "base", "carry": "sum"}),
    ],
)
def test_options_become_arguments_of_the_plan(options, recurrent, arguments):
    assert rewrite_arguments(options, recurrent=recurrent) == arguments


@pytest.mark.parametrize("name", longest_names())
def test_every_name_rewrites_the_plan_as_the_networks_arguments_say(folders, name):
    trainer = make_trainer(name)
    kwargs = trainer.configuration_manager.network_arch_init_kwargs
    assert kwargs["use_checkpoint"] is True and trainer.num_epochs == 1 and trainer.seed == 0
    assert parse_carry(kwargs["carry"], windows=NETWORKS[trainer.reca_network].windowed).kind != "none"
    plain = make_trainer(name.split("_")[0])
    assert plain.num_epochs == 1000 and "use_checkpoint" not in plain.configuration_manager.network_arch_init_kwargs


def test_a_seed_in_the_name_goes_before_the_one_in_the_environment(folders, monkeypatch):
    monkeypatch.setenv("nnUNet_reca_seed", "5")
    seeds = [make_trainer(f"nnUNetTrainerSwinUNETRReca_tiny{s}_2epochs").seed for s in ("", "_seed0", "_seed7")]
    assert seeds == [5, 0, 7]
    monkeypatch.delenv("nnUNet_reca_seed")
    assert make_trainer("nnUNetTrainerSwinUNETRReca_tiny_2epochs").seed is None


def test_trainings_of_different_seeds_lie_beside_each_other_and_say_theirs(folders):
    made = [make_trainer(f"nnUNetTrainerSwinUNETRReca_tiny_seed{s}_2epochs") for s in (1, 12)]
    assert len({trainer.output_folder for trainer in made}) == 2
    for trainer, seed in zip(made, (1, 12), strict=True):
        assert f"_seed{seed}_" in trainer.output_folder
        assert f"Seed: {seed}" in Path(trainer.log_file).read_text(encoding="utf-8")


def test_the_name_seeds_as_the_variable_does(folders, monkeypatch):
    def initial_weights(seed_in_name, variable):
        monkeypatch.setenv("nnUNet_reca_seed", variable)
        trainer = initialized_trainer(folders, f"nnUNetTrainerSwinUnetReca_tiny{seed_in_name}_2epochs", "2d")
        return torch.cat([p.detach().flatten() for p in trainer.network.parameters()])

    by_name, by_variable, other = initial_weights("_seed9", "4"), initial_weights("", "9"), initial_weights("", "4")
    assert torch.equal(by_name, by_variable) and not torch.equal(by_name, other)


@pytest.fixture
def with_rows(monkeypatch):
    """Adds rows to the table, before those of the seed and the epochs."""
    before = set(vars(trainers))

    def add(*rows):
        monkeypatch.setattr(table_of_options, "OPTIONS", (*OPTIONS[:-2], *rows, *OPTIONS[-2:]))
        table_of_options._expression.cache_clear()

    yield add
    monkeypatch.undo()
    table_of_options._expression.cache_clear()
    for name in set(vars(trainers)) - before:
        delattr(trainers, name)


def test_a_row_is_all_that_a_new_option_takes(with_rows, folders):
    with_rows(
        Option("wide", "MLPs of eight times the width", "mlp_ratio", "plan", 8.0),
        Option("narrow", "MLPs of twice the width", "mlp_ratio", "plan", 2.0),
        Option("lucky<N>", "a number for luck", "luck", "trainer", number=NUMBER_OR_ZERO),
    )
    trainer = make_trainer("nnUNetTrainerSwinUNETRReca_tiny_wide_lucky0_2epochs")
    assert trainer.configuration_manager.network_arch_init_kwargs["mlp_ratio"] == 8.0
    assert trainer.reca_options["luck"] == 0 and "wide_lucky0" in trainer.output_folder
    network = trainer.build_network_architecture(trainer.plans_manager, trainer.configuration_manager, 1, 3, False)
    assert network.encoder.stages[0].blocks[0].mlp.fc1.out_features == 8 * 12
    with pytest.raises(ValueError, match="expected a trainer name of the form"):
        parse_trainer_name("nnUNetTrainerSwinUNETRReca_wide_narrow")
    assert "[_wide|_narrow][_lucky<N>][_seed<N>]" in table_of_options.grammar()
    planned = plan._parser().parse_args(["-d", "1", "-tr", "nnUNetTrainerPrimusS_lucky7", "-gpu_memory_target", "8"])
    assert plan.plans_name(planned, "nnUNetPlans") == "nnUNetRecaPlans_PrimusS_lucky7_8G"
    planned.trainer = "nnUNetTrainerPrimusS"
    assert plan.plans_name(planned, "nnUNetPlans") == "nnUNetRecaPlans_PrimusS_8G"
    assert "| `_wide` | MLPs of eight times the width |\n" in table()


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="source distributions have no documentation")
def test_pages_that_show_the_options_have_the_tables_rows_and_the_grammar():
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    showing = {name: text for name, text in texts.items() if "| part | meaning |" in text}
    assert "choosing-a-network.md" in showing
    for text in showing.values():
        assert re.findall(r"^\| part \| meaning \|\n(?:\|.*\n)+", text, flags=re.MULTILINE) == [table() + "\n"]
    for text in texts.values():
        shown = re.findall(r"nnUNetTrainer<Network>(\S+)", text)
        assert set(shown) <= {GRAMMAR.split(">", 1)[1]}


@pytest.mark.parametrize(("network", "size"), [(name, size) for name in NETWORKS for size in NETWORKS[name].sizes])
def test_a_learning_rate_in_the_name_is_the_trainings_whatever_the_recipe_of_its_network_says(folders, network, size):
    configuration = "3d_fullres" if 3 in NETWORKS[network].dimensions else "2d"
    base = f"nnUNetTrainer{network}Reca" + ("_tiny" if size == "tiny" else "")
    trainer = new_trainer(folders, f"{base}_lr125en3_1epochs", configuration)
    assert trainer.initial_lr == trainer.recipe.initial_lr == 0.125
    own = new_trainer(folders, base, configuration).recipe
    assert trainer.recipe == dataclasses.replace(own, initial_lr=0.125) != own
