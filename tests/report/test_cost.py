import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from support.plan_factory import DATASET_JSON, HIPPOCAMPUS_3D, make_configuration, make_plans
from torch.utils.flop_counter import FlopCounterMode

from nnunet_reca import trainers
from nnunet_reca.memory import training_memory
from nnunet_reca.report.cost import cost_of
from nnunet_reca.report.models import Model
from nnunet_reca.results.files import ModelName
from nnunet_reca.results.labels import Labels
from nnunet_reca.results.logs import TrainingLog

SMALL = make_configuration([16, 16, 16], [[1] * 3] + [[2] * 3] * 2)


def model(tmp_path, trainer, plans, configuration="3d_fullres"):
    import json

    (tmp_path / "plans.json").write_text(json.dumps(plans))
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET_JSON))
    return Model(ModelName(trainer, "nnUNetPlans", configuration), tmp_path, ("0",), Labels({}, None), {})


def logs(*seconds):
    log = TrainingLog()
    for n, value in enumerate(seconds):
        log.add(f": Epoch {n} \n: Epoch time: {value} s \n")
    return log


def test_parameters_and_flops_are_those_of_the_network_that_is_trained(tmp_path):
    import torch

    plans = make_plans(**{"3d_fullres": HIPPOCAMPUS_3D | {"batch_dice": False}})
    trainer = trainers.nnUNetTrainerSwinUNETRReca_tiny
    network = trainer.new_network(plans, "3d_fullres", DATASET_JSON).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.to("meta")(torch.empty(1, 1, 40, 56, 40, device="meta"))
    saved = trainer.rewritten(plans, "3d_fullres")
    cost = cost_of(model(tmp_path, "nnUNetTrainerSwinUNETRReca_tiny", saved), [])
    assert cost.parameters == sum(p.numel() for p in network.parameters())
    assert cost.flops == counter.get_total_flops() > 0 and not cost.notes
    step = training_memory(trainer.__name__, plans, "3d_fullres", DATASET_JSON)
    assert cost.peak_memory is None and cost.estimated_memory == step.total / 2**30


def test_memory_is_estimated_only_where_no_log_has_a_peak(tmp_path):
    log = logs(10)
    log.peak_memory = 3.5
    cost = cost_of(model(tmp_path, "nnUNetTrainer", make_plans(**{"3d_fullres": conv_plan()})), [logs(10), log])
    assert cost.peak_memory == 3.5 and cost.estimated_memory is None


def test_a_trainer_that_is_not_installed_here_is_counted_by_its_plan(tmp_path):
    cost = cost_of(model(tmp_path, "nnUNetTrainerElsewhere", make_plans(**{"3d_fullres": conv_plan()})), [])
    assert cost.parameters and "does not find nnUNetTrainerElsewhere" in cost.notes[0]


def conv_plan():
    """A plain convolution network of two stages."""
    configuration = make_configuration([16, 16, 16], [[1] * 3, [2] * 3])
    configuration["architecture"]["arch_kwargs"] |= {
        "features_per_stage": [4, 8],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
    }
    configuration["architecture"]["_kw_requires_import"] = ["conv_op"]
    return configuration


def test_convolutions_of_stock_networks_are_counted_by_hand(tmp_path):
    cost = cost_of(model(tmp_path, nnUNetTrainer.__name__, make_plans(**{"3d_fullres": conv_plan()})), [])
    encoder = (27 * 1 * 4 + 4) + (27 * 4 * 8 + 8)
    decoder = (8 * 8 * 4 + 4) + (27 * 8 * 4 + 4)  # transposed convolution of 2^3, convolution of both maps
    head = 4 * 3 + 3
    assert cost.parameters == encoder + decoder + head


def test_a_network_that_cannot_be_built_is_a_note_not_an_error(tmp_path):
    cost = cost_of(model(tmp_path, "nnUNetTrainer", make_plans(**{"3d_fullres": SMALL})), [])
    assert cost.parameters is None and cost.flops is None
    assert any("parameters and FLOPs not known" in note for note in cost.notes)


def test_epoch_time_is_the_median_over_all_folds(tmp_path):
    found = model(tmp_path, "nnUNetTrainer", make_plans(**{"3d_fullres": SMALL}))
    cost = cost_of(found, [logs(100, 10, 12), logs(14, 16)])
    assert cost.epoch_seconds == pytest.approx(14) and cost.epochs == (2, 3) and cost.peak_memory is None


def test_a_cascade_says_that_its_first_stage_comes_on_top(tmp_path):
    cascade = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    plans = make_plans(**{"3d_fullres": conv_plan(), "3d_cascade_fullres": cascade})
    stages = [cost_of(model(tmp_path, "nnUNetTrainer", plans, c), []) for c in ("3d_fullres", "3d_cascade_fullres")]
    assert any("the cost of 3d_lowres comes on top" in note for note in stages[1].notes)
    labels = len(DATASET_JSON["labels"]) - 1  # the first stage's segmentation comes in as a channel for each
    assert stages[1].parameters - stages[0].parameters == 27 * labels * 4
