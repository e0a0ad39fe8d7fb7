"""Test scans are predicted as nnU-Net's choice asks for, with the commands that it would have typed."""

import json

import pytest
from support.fake_nnunet import DATASET
from support.plan_factory import HIPPOCAMPUS_3D, make_plans

from nnunet_reca.study import inference
from nnunet_reca.study.inference import Inference

SA, RECA = "nnUNetTrainerSwinUNETR", "nnUNetTrainerSwinUNETRReca"


@pytest.fixture
def predict(nnunet, monkeypatch):
    """Commands of a prediction by chosen models, as lists of words; they write nothing but their folders."""

    def call(*models):
        commands = []

        def run(*words):
            commands.append([str(word) for word in words])
            inference.Path(commands[-1][commands[-1].index("-o") + 1]).mkdir(parents=True)

        plans = make_plans(
            **{
                "3d_fullres": HIPPOCAMPUS_3D,
                "3d_lowres": HIPPOCAMPUS_3D,
                "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
            }
        )
        for trainer, configuration in models:
            nnunet.fold(trainer, 0, configuration).mkdir(parents=True)
            for stage in {configuration, "3d_lowres"}:
                model = nnunet.fold(trainer, 0, stage).parent
                model.mkdir(exist_ok=True)
                (model / "plans.json").write_text(json.dumps(plans))
        chosen = [{"trainer": t, "configuration": c, "plans_identifier": "nnUNetPlans"} for t, c in models]
        best = {"selected_model_or_models": chosen, "postprocessing_file": "pp.pkl", "some_plans_file": "plans.json"}
        place = nnunet.study / DATASET
        place.mkdir(parents=True)
        information = {"folds": [0, 2], "best_model_or_ensemble": best}
        (place / "inference_information.json").write_text(json.dumps(information))
        monkeypatch.setattr(inference, "_run", run)
        Inference(nnunet.study, DATASET, "cpu", 2).run()
        assert (place / "predictions").is_dir() and not (place / "prediction_steps" / "postprocessed").exists()
        return [" ".join(command) for command in commands]

    return call


def test_one_model_is_predicted_and_post_processed(predict):
    first, last = predict((RECA, "3d_fullres"))
    assert f"-d {DATASET} -c 3d_fullres -tr {RECA} -p nnUNetPlans -f 0 2 -device cpu" in first
    assert "--continue_prediction" in first and "--save_probabilities" not in first
    assert last.startswith("nnUNetv2_apply_postprocessing") and "-pp_pkl_file pp.pkl" in last


def test_an_ensemble_is_made_of_probabilities(predict):
    *models, ensemble, _ = predict((SA, "3d_fullres"), (RECA, "3d_fullres"))
    assert len(models) == 2 and all("--save_probabilities" in words for words in models)
    assert ensemble.startswith("nnUNetv2_ensemble -i ") and all(words.split()[4] in ensemble for words in models)


def test_a_cascade_begins_with_its_earlier_stage(predict):
    stage, cascade, _ = predict((RECA, "3d_cascade_fullres"))
    assert "-c 3d_lowres" in stage and "-prev_stage_predictions" not in stage
    assert f"-prev_stage_predictions {stage.split()[4]}" in cascade
