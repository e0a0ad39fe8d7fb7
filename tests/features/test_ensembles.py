"""Folds and networks together: fold ensembles, probabilities, the best configuration over different networks."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from support.feature_models import MODELS, SLICES, VOLUMES
from support.raw_data import PLAIN

pytestmark = pytest.mark.slow

#: the command compares every trainer with every configuration; the function takes any list of models
FIND_BEST = """
import json, sys
from nnunetv2.evaluation.find_best_configuration import find_best_configuration
find_best_configuration(4, json.loads(sys.argv[1]), num_processes=1, folds=(0, 1))
"""


@pytest.fixture(scope="module")
def predicted(cross_validated):
    """Probabilities of single folds, of two folds, of the other network, and of both; and the best configuration."""
    folder = cross_validated.folder / "predictions"
    folds = {"first": (0,), "second": (1,), "both": (0, 1)}
    options = ("--save_probabilities", "-f")
    commands = [
        cross_validated.prediction(folder / name, VOLUMES, "3d_fullres", *options, *f) for name, f in folds.items()
    ]
    commands.append(cross_validated.prediction(folder / "slices", SLICES, "2d", *options, 0, 1))
    ensemble = ("nnUNetv2_ensemble", "-i", folder / "both", folder / "slices", "-o", folder / "networks", "-np", 1)
    models = [{"plans": "nnUNetPlans", "configuration": c, "trainer": t} for t, c in MODELS]
    best = ("python", "-c", FIND_BEST, json.dumps(models))
    cross_validated.run_all(*commands, (*ensemble, "--save_npz"), best)
    return folder


def test_two_folds_average_their_logits(predicted):
    """Their softmax is the normalised geometric mean of the folds' probabilities."""
    (file,) = sorted((predicted / "both").glob("*.npz"))[:1]
    first, second, both = (
        np.load(predicted / n / file.name)["probabilities"].astype(np.float64) for n in ("first", "second", "both")
    )
    assert np.abs(first - second).max() > 0.01
    mean = np.sqrt(first * second)
    np.testing.assert_allclose(both, mean / mean.sum(0), atol=5e-3)


def test_two_networks_average_their_probabilities(predicted):
    (file,) = sorted((predicted / "both").glob("*.npz"))[:1]
    volumes, slices, together = (
        np.load(predicted / n / file.name)["probabilities"] for n in ("both", "slices", "networks")
    )
    np.testing.assert_allclose(together, (volumes + slices) / 2, atol=5e-3)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(predicted / "networks" / file.name.replace("npz", "nii.gz"))))
    assert (labels == (volumes + slices).argmax(0)).mean() > 0.999


def test_best_configuration_may_be_an_ensemble_of_different_networks(predicted, cross_validated):
    results = cross_validated.folder / "results" / cross_validated.name(PLAIN)
    found = json.loads((results / "inference_information.json").read_text())
    names = [f"{t}__nnUNetPlans__{c}" for t, c in MODELS]
    ensemble = f"ensemble___{names[0]}___{names[1]}___0_1"
    assert set(found["all_results"]) == {*names, ensemble}
    splits = json.loads((cross_validated.folder / "preprocessed" / results.name / "splits_final.json").read_text())
    held_out = {case for fold in (0, 1) for case in splits[fold]["val"]}
    summary = json.loads((results / "ensembles" / ensemble / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == len(held_out) > 1
    best = found["best_model_or_ensemble"]
    assert best["result_on_crossval_pre_pp"] == max(found["all_results"].values())
    assert all((m["trainer"], m["configuration"]) in MODELS for m in best["selected_model_or_models"])
