"""Plans from before nnU-Net 2.5, and those of fine-tuning: trainings and predictions as with new ones."""

import copy

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from support.model_folder import make_model_folder, write_image
from support.plan_factory import HIPPOCAMPUS_2D, in_old_format
from support.trainer_factory import PLANNED, initialized_trainer, random_batch

SWIN = "nnUNetTrainerSwinUNETRReca_tiny"
NAMED = {"architecture": {"network_class_name": "ResEncL", "arch_kwargs": {}, "_kw_requires_import": []}}
FORMATS = {"before_2.5": in_old_format, "fine_tuning": lambda configuration: copy.deepcopy(configuration) | NAMED}
OLD = {
    name: configuration if "inherits_from" in configuration else in_old_format(configuration)
    for name, configuration in PLANNED.items()
}


@pytest.mark.parametrize("configuration", ["2d", "3d_lowres", "3d_cascade_fullres"])
def test_old_plans_train_a_step_at_the_scales_of_new_ones(folders, configuration):
    trainer = initialized_trainer(folders, SWIN, configuration, planned=OLD)
    assert np.isfinite(trainer.train_step(random_batch(trainer))["loss"])
    scales = trainer._get_deep_supervision_scales()
    new = initialized_trainer(folders, SWIN, configuration)
    assert scales == new._get_deep_supervision_scales()


@pytest.mark.parametrize("kind", FORMATS)
def test_saved_plans_of_other_formats_predict(tmp_path, kind):
    model = make_model_folder(tmp_path, SWIN, FORMATS[kind](HIPPOCAMPUS_2D))
    scan = write_image(tmp_path / "a_0000.nii.gz", np.random.default_rng(0).random((3, 50, 44), np.float32))
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False, use_mirroring=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_final.pth")
    predictor.predict_from_files_sequential([[str(scan)]], [str(tmp_path / "out")])
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz"))).shape == (3, 50, 44)
