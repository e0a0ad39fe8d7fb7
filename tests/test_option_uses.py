"""Every option of a trainer's name, for both twins, against what the pages say that one does with a trained model."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from support.model_folder import make_model_folder, write_image
from support.plan_factory import DATASET_JSON, make_configuration
from torch.nn.attention import SDPBackend, sdpa_kernel

from nnunet_reca.cli.convert_weights import main as convert
from nnunet_reca.cli.explain import main as explain
from nnunet_reca.explain import run
from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.report.cost import cost_of
from nnunet_reca.report.models import Model
from nnunet_reca.results.files import ModelName
from nnunet_reca.results.labels import Labels
from nnunet_reca.trainers.names import PREFIX
from nnunet_reca.trainers.options import alternatives

TINY = "_tiny"
CONFIGURATION = make_configuration([32, 48], [[1, 1], [2, 2], [2, 2]], spacing=[0.75, 1.25])


def names():
    """Every option alone in a network of windows, and as many as go together in each paper's network."""
    bearing = [rows for rows in alternatives() if rows[0].in_step]
    for option in (option for rows in bearing for option in rows):
        yield PREFIX + "SwinUNETRReca" + "".join({TINY: None, option.example(): None})
    papers = {kind.class_path: name for name, kind in reversed(NETWORKS.items())}  # the first of each
    for number, network in enumerate(papers.values()):
        kind, recurrent = NETWORKS[network], number % 2 == 1
        allowed = [[option for option in rows if option.allowed(kind, recurrent)] for rows in bearing]
        yield PREFIX + network + "Reca" * recurrent + "".join(rows[0].example() for rows in allowed if rows)


@pytest.fixture(scope="module", params=dict.fromkeys(names()))
def model(request, tmp_path_factory):
    """Folder of a trained model."""
    return make_model_folder(tmp_path_factory.mktemp("model"), request.param, CONFIGURATION)


def network_of(model):
    """As docs/deployment.md loads it."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_final.pth")
    return predictor.network.eval()


@torch.no_grad()
def float32(network, x):
    """Output without the precision of the trainer's name."""
    return type(network).forward(network, x)


@torch.no_grad()
def test_exported_files_compute_what_the_network_computes_in_float32(model, tmp_path):
    """Without the exporter's optimizer, which ``test_export.py`` runs for every network."""
    network, x = network_of(model), torch.randn(1, 1, 32, 48)
    expected = float32(network, x)
    with sdpa_kernel(SDPBackend.MATH):
        program = torch.export.export(network, (x,))
        onnx = torch.onnx.export(program, (x,), dynamo=True, verbose=False, optimize=False)
    onnx.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(program.module()(x), expected, atol=1e-5, rtol=1e-5)
    dtype = torch.bfloat16 if "_bf16" in model.name else torch.float32
    assert network(x).dtype == dtype, "its own precision is back after the export"


def test_a_case_is_explained(model, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "draw", lambda *_: None)
    scan = write_image(tmp_path / "a_0000.nii.gz", np.random.default_rng(0).random((2, 30, 44), np.float32))
    words = ("-i", scan, "-m", model, "-o", tmp_path / "out", "-device", "cpu", "--disable_tta", "--voxel", 1, 9, 20)
    assert explain(list(map(str, words))) == 0
    assert len(json.loads((tmp_path / "out" / "explain.json").read_text(encoding="utf-8"))["attention"]) >= 1


def test_parameters_and_flops_are_known_to_the_comparison(model):
    trainer = model.name.split("__")[0]
    cost = cost_of(Model(ModelName(trainer, "nnUNetPlans", "x"), model, ("0",), Labels({}, None), {}), [])
    assert cost.parameters and cost.flops and not cost.notes


def test_weights_move_to_another_training(model, folders, tmp_path):
    planned = folders / "preprocessed" / "Dataset999_Test"
    planned.mkdir()
    (planned / "nnUNetPlans.json").write_text((model / "plans.json").read_text())
    (planned / "dataset.json").write_text(json.dumps(DATASET_JSON))
    source, output = model / "fold_0" / "checkpoint_final.pth", tmp_path / "weights.pth"
    words = (source, "-tr", model.name.split("__")[0], "-d", "Dataset999_Test", "-c", "x", "-o", output)
    assert convert(list(map(str, words))) == 0
    before = torch.load(source, weights_only=False)["network_weights"]
    after = torch.load(output, weights_only=False)["network_weights"]
    kept = {name for name in after if ".seg_layers." not in name}
    assert kept and all(torch.equal(after[name], before[name]) for name in kept)
