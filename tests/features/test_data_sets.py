"""Data sets of any kind: regions, ignore label, several channels, anisotropic spacing, colour images; fine-tuning."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from skimage import io
from support.feature_models import VOLUMES
from support.raw_data import CHANNELS, COLOUR, IGNORE, REGIONS

pytestmark = pytest.mark.slow

NNFORMER, DA_TRANSUNET = (f"nnUNetTrainer{n}Reca_tiny_1epochs" for n in ("NnFormer", "DATransUnet"))


@pytest.fixture(scope="module")
def trained(cross_validated):
    """Trainings from scratch, and two that start from another data set's weights; all predict."""
    workspace = cross_validated
    source = workspace.model(VOLUMES, "3d_fullres") / "fold_0" / "checkpoint_final.pth"
    start = workspace.folder / "start.pth"
    words = ("-d", CHANNELS, "-c", "3d_fullres", "-tr", VOLUMES, "-o", start)
    workspace.report, *_ = workspace.run_all(
        ("nnUNetv2_reca_convert_weights", source, *words),
        workspace.training(NNFORMER, "3d_fullres", dataset=REGIONS),
        workspace.training(VOLUMES, "3d_fullres", "-pretrained_weights", source, dataset=REGIONS, fold=4),
        workspace.training(VOLUMES, "3d_fullres", "-pretrained_weights", start, dataset=CHANNELS, fold=3),
        workspace.training(DA_TRANSUNET, "2d", dataset=COLOUR),
        workspace.prediction(workspace.folder / "regions", NNFORMER, "3d_fullres", "-f", 0, dataset=REGIONS),
        workspace.prediction(workspace.folder / "channels", VOLUMES, "3d_fullres", "-f", 3, dataset=CHANNELS),
        workspace.prediction(workspace.folder / "colour", DA_TRANSUNET, "2d", "-f", 0, dataset=COLOUR),
    )
    return workspace


def summary_of(workspace, trainer, configuration, dataset, fold=0):
    file = workspace.model(trainer, configuration, dataset=dataset) / f"fold_{fold}" / "validation" / "summary.json"
    return json.loads(file.read_text())


def read(file):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


@pytest.mark.parametrize(("trainer", "fold"), [(NNFORMER, 0), (VOLUMES, 4)])
def test_regions_have_a_head_and_a_score_each_and_ignored_voxels_none(trained, trainer, fold):
    weights = trained.checkpoint(trainer, "3d_fullres", dataset=REGIONS, fold=fold)["network_weights"]
    assert weights["decoder.seg_layers.0.bias"].shape == (2,)
    summary = summary_of(trained, trainer, "3d_fullres", REGIONS, fold)
    assert set(summary["mean"]) == {"(1, 2)", "1"}
    for case in summary["metric_per_case"]:
        reference = read(case["reference_file"])
        annotated = int((reference != IGNORE).sum())
        assert 0 < annotated < reference.size
        for region, labels in (("(1, 2)", [1, 2]), ("1", [1])):
            counts = case["metrics"][region]
            assert sum(counts[k] for k in ("TP", "FP", "FN", "TN")) == annotated
            assert counts["n_ref"] == np.isin(reference, labels).sum()


def test_prediction_never_holds_the_ignore_label(trained):
    files = sorted((trained.folder / "regions").glob("*.nii.gz"))
    assert len(files) == 2
    assert all(set(np.unique(read(file))) <= {0, 1, 2} for file in files)


def test_anisotropic_volumes_of_two_channels_train_with_dummy_2d_augmentation(trained):
    model = trained.model(VOLUMES, "3d_fullres", dataset=CHANNELS)
    planned = json.loads((model / "plans.json").read_text())["configurations"]["3d_fullres"]
    assert planned["spacing"] == [4.0, 1.0, 1.0]
    assert planned["architecture"]["arch_kwargs"]["strides"][1] == [1, 2, 2]
    (log,) = (model / "fold_3").glob("training_log*.txt")
    assert "do_dummy_2d_data_aug: True" in log.read_text()
    weights = trained.checkpoint(VOLUMES, "3d_fullres", dataset=CHANNELS, fold=3)["network_weights"]
    assert weights["encoder.patch_embed.proj.weight"].shape[1:] == (2, 1, 2, 2)
    scans = trained.folder / "raw" / trained.name(CHANNELS) / "imagesTs"
    for file in (trained.folder / "channels").glob("*.nii.gz"):
        segmentation, scan = (sitk.ReadImage(str(f)) for f in (file, scans / file.name.replace(".nii", "_0001.nii")))
        assert segmentation.GetSize() == scan.GetSize() and segmentation.GetSpacing() == scan.GetSpacing()
        assert set(np.unique(sitk.GetArrayFromImage(segmentation))) <= {0, 1}


def test_colour_images_are_three_channels_and_predict_pictures(trained):
    model = trained.model(DA_TRANSUNET, "2d", dataset=COLOUR)
    assert json.loads((model / "plans.json").read_text())["image_reader_writer"] == "NaturalImage2DIO"
    weights = trained.checkpoint(DA_TRANSUNET, "2d", dataset=COLOUR)["network_weights"]
    assert weights["encoder.resnet.root.0.weight"].shape[1] == 3
    assert set(summary_of(trained, DA_TRANSUNET, "2d", COLOUR)["mean"]) == {"1", "2"}
    scans = sorted((trained.folder / "raw" / trained.name(COLOUR) / "imagesTs").iterdir())
    assert len(scans) == 2
    for scan in scans:
        labels = io.imread(trained.folder / "colour" / scan.name.replace("_0000", ""))
        assert labels.shape == io.imread(scan).shape[:2] and set(np.unique(labels)) <= {0, 1, 2}


def closeness(first, second):
    """Correlation of two tensors."""
    return float(np.corrcoef(first.flatten(), second.flatten())[0, 1])


def test_checkpoint_starts_a_training_on_the_same_plan_with_other_labels(trained):
    """Straight through nnU-Net's option: all but the heads, which are of another number of classes."""
    source = trained.checkpoint(VOLUMES, "3d_fullres")["network_weights"]
    tuned = trained.checkpoint(VOLUMES, "3d_fullres", dataset=REGIONS, fold=4)["network_weights"]
    assert {n for n in source if source[n].shape != tuned[n].shape} == {
        n for n in source if n.startswith("decoder.seg_layers.")
    }
    matrices = [n for n, w in source.items() if w.ndim > 1 and "seg_layers" not in n]
    assert min(closeness(source[n], tuned[n]) for n in matrices) > 0.8


def test_converted_checkpoint_starts_a_training_of_other_channels_labels_and_plan(trained):
    source = trained.checkpoint(VOLUMES, "3d_fullres")["network_weights"]
    tuned = trained.checkpoint(VOLUMES, "3d_fullres", dataset=CHANNELS, fold=3)["network_weights"]
    assert "layout: SwinUNETR of nnunet_reca" in trained.report
    for adapted in (
        "encoder.patch_embed.proj.weight: convolution [1, 2, 2, 2] -> [2, 1, 2, 2]",
        "merging folded to stride (1, 2, 2)",
    ):
        assert adapted in trained.report
    equal = [n for n, w in source.items() if w.ndim > 1 and w.shape == tuned[n].shape and n.startswith("encoder.")]
    assert len(equal) > 10
    assert min(closeness(source[n], tuned[n]) for n in equal if "bias_table" not in n) > 0.8
