"""nnU-Net's planners with an estimate of ours in place of theirs; a made-up one here, which costs no time."""

import contextlib
import io
import json
import math

import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncM,
)
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support.fingerprints import NAME, quick_estimates, write_data_set

from nnunet_reca import trainers
from nnunet_reca.plans.planner import find_planner, plan
from nnunet_reca.plans.wishes import GB, Wishes

MODEST = {"shape": [60, 115, 113], "spacing": [2.5, 4.0, 4.0], "channels": 1, "classes": 6, "cases": 70}
LARGE = {"shape": [250, 320, 320], "spacing": [1.0, 0.8, 0.8], "channels": 1, "classes": 3, "cases": 100}
FLAT = {"shape": [1, 256, 256], "spacing": [999.0, 1.0, 1.0], "channels": 3, "classes": 3, "cases": 160}


class Memory:
    """A network's parameters and, for each voxel of a batch and input channel, some bytes; counts the questions."""

    def __init__(self, dataset_json, fixed=0.5 * GB, voxel=4000):
        self.dataset_json, self.fixed, self.voxel, self.asked = dataset_json, fixed, voxel, []

    def __call__(self, plans, name):
        manager = PlansManager(json.loads(json.dumps(plans)))
        configuration = manager.get_configuration(name)
        channels = determine_num_input_channels(manager, configuration, self.dataset_json)
        self.asked.append((name, tuple(configuration.patch_size), configuration.batch_size))
        one = math.prod(configuration.patch_size) * (self.voxel + 200 * channels)
        return int(self.fixed + configuration.batch_size * one)


def planned(folders, data, gb, planner=ExperimentPlanner, memory=None, **wishes):
    memory = memory or Memory(write_data_set(folders, **data))
    return plan(planner, NAME, Wishes(memory, lambda name: int(gb * GB), **wishes)), memory


def topology(configuration):
    return {**configuration, "batch_size": None, "data_identifier": None}


@pytest.mark.parametrize(
    "planner, data",
    [(ExperimentPlanner, LARGE), (ExperimentPlanner, FLAT), (nnUNetPlannerResEncM, MODEST)],
)
def test_with_nnunets_own_estimate_the_plans_are_nnunets_own(folders, planner, data):
    """Patch, topology, spacing, preprocessing, low resolution and cascade; batches are rounded down instead of to the
    nearest, and room is not left to a patch that shrank."""
    write_data_set(folders, **data)
    with contextlib.redirect_stdout(io.StringIO()), quick_estimates():
        stock = planner(NAME)
        stock.plan_experiment()
        expected = json.loads((folders / "preprocessed" / NAME / f"{stock.plans_identifier}.json").read_text())
        per_image = {2: (stock.UNet_reference_val_2d, 12), 3: (stock.UNet_reference_val_3d, 2)}

        def memory(plans, name):
            made = PlansManager(plans).get_configuration(name)
            architecture = made.configuration["architecture"]
            size = stock.static_estimate_VRAM_usage(
                made.patch_size, data["channels"], data["classes"], *(architecture[key] for key in architecture)
            )
            target, batch = per_image[len(made.patch_size)]
            smallest = batch if planner is nnUNetPlannerResEncM else 2  # whose loop asks for its reference batch
            return round(1e6 * size / target * max(made.batch_size, smallest) / batch)

        outcome = plan(planner, NAME, Wishes(memory, lambda name: 1_000_000))
    made = outcome.plans
    assert list(made["configurations"]) == list(expected["configurations"])
    for name, configuration in expected["configurations"].items():
        assert topology(made["configurations"][name]) == topology(configuration)
        if "batch_size" in configuration:
            assert 0 <= configuration["batch_size"] - made["configurations"][name]["batch_size"] <= 1
    about = {key: value for key, value in expected.items() if key != "configurations"}
    assert {key: made[key] for key in about} == about


@pytest.mark.parametrize("data", [MODEST, FLAT])
def test_plans_fit_and_one_image_more_does_not_unless_nnunet_forbids_it(folders, data):
    sizes = []
    for gb in (2, 4, 24):
        outcome, memory = planned(folders, data, gb)
        for name, found in outcome.planned.items():
            made = outcome.plans["configurations"][name]
            one_more = {**outcome.plans, "configurations": {name: {**made, "batch_size": made["batch_size"] + 1}}}
            assert memory(outcome.plans, name) == found.memory <= gb * GB
            assert found.largest_batch or memory(one_more, name) > gb * GB
            assert made["batch_size"] >= 2
        made = outcome.plans["configurations"]["2d"]
        sizes.append(math.prod(made["patch_size"]) * made["batch_size"])
    assert sizes[0] < sizes[1] <= sizes[2]


def test_a_configuration_takes_few_estimates(folders):
    _, memory = planned(folders, LARGE, 10, configurations=("2d", "3d_fullres"))
    assert len(memory.asked) == len(set(memory.asked)) <= 45  # twenty low resolutions are tried on the way
    patches = {size for name, size, _ in memory.asked if name == "3d_fullres"}
    assert len(patches) <= 6


def test_the_second_stage_of_a_cascade_fits_with_the_labels_of_the_first(folders):
    data = {**LARGE, "classes": 20}
    memory = Memory(write_data_set(folders, **data), voxel=2000)
    for gb in (4, 4.5):
        outcome, _ = planned(folders, data, gb, memory=memory)
        found = {name: memory(outcome.plans, name) for name in outcome.plans["configurations"]}
        assert found["3d_fullres"] < found["3d_cascade_fullres"] <= gb * GB
        assert found == {name: outcome.planned[name].memory for name in found}


def test_only_what_was_wished_for_is_in_the_plans_and_what_it_needs(folders):
    def names(*wished):
        return set(planned(folders, LARGE, 8, configurations=wished)[0].plans["configurations"])

    assert names("2d") == {"2d"} and names("3d_fullres") == {"3d_fullres"}
    assert names("3d_cascade_fullres") == {"3d_fullres", "3d_lowres", "3d_cascade_fullres"}
    with pytest.raises(ValueError, match="got 3d_lowres; it plans 3d_lowres and the cascade only where"):
        planned(folders, MODEST, 8, configurations=("3d_lowres",))


def test_configurations_that_the_network_does_not_take_are_left_out_unless_they_are_asked_for(folders):
    suits = trainers.nnUNetTrainerDATransUnet.rewritten
    outcome, _ = planned(folders, MODEST, 8, suits=suits)
    assert list(outcome.plans["configurations"]) == ["2d"]
    assert "expected a 2D configuration" in outcome.left_out["3d_fullres"]
    with pytest.raises(ValueError, match="expected a 2D configuration"):
        planned(folders, MODEST, 8, suits=suits, configurations=("3d_fullres",))


def test_a_target_too_small_for_any_patch_says_what_the_smallest_needs_and_that_is_enough(folders):
    suits = trainers.nnUNetTrainerSwinUNETRReca.rewritten
    with pytest.raises(ValueError, match=r"at least 0\.5\d GB for 3d_fullres.*takes, got 0\.10 GB") as error:
        planned(folders, MODEST, 0.1, suits=suits)
    least = float(str(error.value).split("at least ")[1].split(" GB")[0])
    outcome, _ = planned(folders, MODEST, least, suits=suits, configurations=("3d_fullres",))
    made = outcome.plans["configurations"]["3d_fullres"]
    assert made["batch_size"] == 2
    trainers.nnUNetTrainerSwinUNETRReca.rewritten(outcome.plans, "3d_fullres")
    with pytest.raises(ValueError, match="at least"):
        planned(folders, MODEST, least - 0.01, suits=suits, configurations=("3d_fullres",))


def test_nothing_but_nnunets_copy_of_the_data_sets_description_is_written(folders):
    write_data_set(folders, **MODEST)
    before = {file.name for file in (folders / "preprocessed" / NAME).iterdir()}
    planned(folders, MODEST, 8)
    assert {file.name for file in (folders / "preprocessed" / NAME).iterdir()} - before == {"dataset.json"}


@pytest.mark.parametrize("name", ["nnUNetPlannerMissing", "DatasetFingerprintExtractor", "np"])
def test_an_unknown_planner_is_an_error(name):
    with pytest.raises(ValueError, match=f"expected a planner of nnU-Net, such as .*, got {name!r}"):
        find_planner(name)
