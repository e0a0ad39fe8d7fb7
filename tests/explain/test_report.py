"""The command, from a model's folder to files, for every network; and what it says when something does not fit."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from support.model_folder import TURNED, make_model_folder, write_image
from support.plan_factory import DATASET_JSON, make_configuration

from nnunet_reca.cli.explain import main
from nnunet_reca.explain.figures import draw_attention

SMALL_2D = make_configuration([32, 48], [[1, 1], [2, 2], [2, 2], [2, 2]], spacing=[0.75, 1.25])
SMALL_3D = make_configuration([16, 24, 16], [[1] * 3] + [[2] * 3] * 3, spacing=[2.0, 1.0, 1.0])
CASES = {
    "SwinUNETR_3d": ("nnUNetTrainerSwinUNETRReca_tiny", SMALL_3D, ["stage 1", "stage 2"]),
    "NnFormer_3d": ("nnUNetTrainerNnFormerReca_tiny_spatial", SMALL_3D, ["stage 1", "stage 2"]),
    "SwinUnet_2d": ("nnUNetTrainerSwinUnetReca_tiny", SMALL_2D, ["stage 1", "stage 2"]),
    "SwinUNETR_2d_bf16": ("nnUNetTrainerSwinUNETRReca_tiny_bf16_checkpoint", SMALL_2D, ["stage 1", "stage 2"]),
    "DATransUnet_2d": ("nnUNetTrainerDATransUnetReca_tiny", SMALL_2D, ["transformer"]),
}
SHAPE = (6, 30, 21)


@pytest.fixture(autouse=True)
def in_one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def drawn():
    """Figures are drawn; otherwise their files are empty, as drawing takes most of the time."""


@pytest.fixture(autouse=True)
def figures(request, monkeypatch):
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("nnunet_reca.explain.pictures.draw_attention", lambda file, *_: file.touch())
        monkeypatch.setattr("nnunet_reca.explain.pictures.draw_cuts", lambda file, *_: file.touch())


def make_case(folder, shape=SHAPE, channels=1, direction=TURNED):
    """An image of noise around a brighter box; empty at the border, which nnU-Net crops."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for channel in range(channels):
        image = np.zeros(shape, np.float32)
        image[1:, 2:-1] = random.normal(5, 1, (shape[0] - 1, shape[1] - 3, *shape[2:]))
        write_image(folder / f"case_{channel:04d}.nii.gz", image, direction)
    return folder / "case_0000.nii.gz"


def run(model, image, output, *options, mirrored=False):
    options = (*options, *([] if mirrored else ["--disable_tta"]))
    return main([*map(str, ("-i", image, "-m", model, "-o", output, "-device", "cpu", *options))])


def read(file):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


@pytest.mark.parametrize("case", CASES)
def test_the_report_is_complete_for_every_network(tmp_path, case, capsys, drawn):
    trainer, configuration, chains = CASES[case]
    model = make_model_folder(tmp_path, trainer, configuration, transpose=(1, 0, 2) if "2d" in case else (0, 2, 1))
    image = make_case(tmp_path / "images")
    reference = write_image(tmp_path / "reference.nii.gz", (read(image) > 5).astype(np.uint8))
    output = tmp_path / "out"
    assert run(model, image, output, "--voxel", 3, 11, 7, "-gt", reference) == 0
    said = capsys.readouterr().out
    content = json.loads((output / "explain.json").read_text())
    names = chains if len(chains) == 1 else [*chains, "all"]
    assert content["recurrent"] and content["voxel"] == [3, 11, 7] and content["case"] == "case"
    cuts = [(part, name) for part in ("carry", "attention") for name in names] + [("blocks", names[-1])]
    objects = ("Anterior", "Posterior")
    assert [(row["part"], row["chain"]) for row in content["cuts"]] == [cut for cut in cuts for _ in objects]
    assert len({(row["cut"], row["object"]) for row in content["cuts"]}) == len(content["cuts"]), "names are unique"
    assert all(f"{part} cut in {name}: 1 - Dice" in said for part, name in cuts)
    assert {row["attention"] for row in content["logits"]} == {"carry_on", "carry_off"}
    with (output / "logits.csv").open() as file:
        assert [row["chain"] for row in csv.DictReader(file)] == [row["chain"] for row in content["logits"]]
    with (output / "cuts.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(content["cuts"])
    planes = 1 if "2d" in case else 3
    assert len(list(output.glob("attention_*.png"))) == planes and (output / "cuts.png").stat().st_size > 5000
    maps = sorted(output.glob("attention_*.nii.gz"))
    assert len(maps) == 2 * len(content["attention"])
    for file in maps:
        attention = sitk.ReadImage(str(file))
        assert attention.GetPixelID() == sitk.sitkFloat32
        for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(attention, get)() == pytest.approx(getattr(sitk.ReadImage(str(image)), get)(), abs=1e-5)
        values = read(file)
        assert values.any() and not values[0].any() and not values[:, :2].any(), "nothing in the cropped border"
        if planes == 1:
            assert set(np.flatnonzero(values.any((0, 2)))) == {11}, "a 2D network sees one slice"


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIOWithReorient"])
def test_the_prediction_is_that_of_nnunets_command_whatever_reader_the_plan_names(tmp_path, reader):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    model = make_model_folder(tmp_path, "nnUNetTrainerSwinUNETRReca_tiny", SMALL_3D, reader=reader, transpose=(2, 0, 1))
    image = make_case(tmp_path / "images", direction=(0, 1, 0, 0, 0, 1, 1, 0, 0))
    output = tmp_path / "out"
    assert run(model, image, output, "--voxel", 3, 9, 7, mirrored=True) == 0
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    (tmp_path / "predicted").mkdir()
    predictor.predict_from_files_sequential(str(image.parent), str(tmp_path / "predicted"), save_probabilities=False)
    expected = read(tmp_path / "predicted" / "case.nii.gz")
    assert np.array_equal(expected, read(output / "prediction.nii.gz"))
    content = json.loads((output / "explain.json").read_text(encoding="utf-8"))
    assert content["voxel"] == [3, 9, 7] and content["predicted_label"] == expected[3, 9, 7]
    for file in output.glob("attention_*.nii.gz"):
        assert read(file)[3, 9, 7] > 0, "a token sees itself"


def test_with_a_reference_every_cut_is_scored_to_it(small, tmp_path):
    reference = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    file, output = write_image(tmp_path / "reference.nii.gz", reference), tmp_path / "out"
    assert run(*small, output, "--voxel", 3, 9, 7, "-gt", file, "--cuts", "carry") == 0
    prediction = read(output / "prediction.nii.gz")
    with (output / "cuts.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["part"] for row in rows} == {"carry"}
    assert len(rows) == 3 * 2 and any(float(row["dice_to_reference_change"]) for row in rows)
    for row in rows:
        first, second = (labels == DATASET_JSON["labels"][row["object"]] for labels in (prediction, reference))
        whole = 2 * (first & second).sum() / (first.sum() + second.sum())
        before = float(row["dice_to_reference"]) - float(row["dice_to_reference_change"])
        assert before == pytest.approx(whole) and 0 < whole < 1
        assert float(row["one_minus_dice"]) == 1 - float(row["dice_to_full_model"])


def test_the_largest_predicted_object_is_looked_at_by_default(tmp_path):
    model = make_model_folder(tmp_path, "nnUNetTrainerSwinUnetReca_tiny", SMALL_2D, folds=(2, 1, "all"))
    output = tmp_path / "out"
    assert run(model, make_case(tmp_path / "images"), output, "--label", "Posterior", "--heads", "max") == 0
    content = json.loads((output / "explain.json").read_text())
    assert read(output / "prediction.nii.gz")[tuple(content["voxel"])] == content["predicted_label"] == 2
    assert content["fold"] == "1" and content["attention_maps"] == "max over the heads"


def test_a_self_attention_twin_shows_its_attention_and_says_that_nothing_is_carried(tmp_path, capsys):
    model = make_model_folder(tmp_path, "nnUNetTrainerSwinUNETR_tiny", SMALL_3D)
    output = tmp_path / "out"
    assert run(model, make_case(tmp_path / "images"), output, "--voxel", 3, 9, 7) == 0
    assert "it has no carry" in capsys.readouterr().out
    text = (output / "explain.md").read_text(encoding="utf-8")
    assert "it has no carry" in text and text.count("carry") == 1 and "Q̂" not in text
    content = json.loads((output / "explain.json").read_text(encoding="utf-8"))
    assert not content["recurrent"] and "self_attention" in content["attention"][0]
    places = [("attention", "stage 1"), ("attention", "stage 2"), ("attention", "all"), ("blocks", "all")]
    assert [(row["part"], row["chain"]) for row in content["cuts"][::2]] == places
    assert {row["attention"] for row in content["logits"]} == {"self_attention"}
    assert not list(output.glob("*carry*")) and (output / "cuts.png").exists()
    assert len(list(output.glob("attention_*_self_attention.nii.gz"))) == 2
    assert len(list(output.glob("attention_*.png"))) == 3


def test_a_twin_whose_carry_alone_is_to_be_cut_has_no_cuts(tmp_path):
    model = make_model_folder(tmp_path, "nnUNetTrainerSwinUnet_tiny", SMALL_2D)
    output = tmp_path / "out"
    assert run(model, make_case(tmp_path / "images"), output, "--voxel", 3, 9, 7, "--cuts", "carry") == 0
    content = json.loads((output / "explain.json").read_text(encoding="utf-8"))
    assert content["cuts"] == [] and content["logits"] and not list(output.glob("cuts.*"))


@pytest.fixture
def scenes(monkeypatch, drawn):
    """What the figures show, by the name of their plane."""
    drawn = {}

    def noted(file, scene, columns):
        drawn[scene.plane.name] = scene
        draw_attention(file, scene, columns)

    monkeypatch.setattr("nnunet_reca.explain.pictures.draw_attention", noted)
    return drawn


def test_regions_and_several_channels(tmp_path, scenes):
    dataset = DATASET_JSON | {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
        "regions_class_order": [1, 2],
    }
    model = make_model_folder(tmp_path, "nnUNetTrainerSwinUNETRReca_tiny", SMALL_3D, dataset)
    make_case(tmp_path / "images", channels=2)
    output = tmp_path / "out"
    assert run(model, tmp_path / "images", output, "--voxel", 3, 9, 7, "--channel", 1) == 0
    rows = json.loads((output / "explain.json").read_text(encoding="utf-8"))["cuts"]
    assert {row["object"] for row in rows} == {"whole", "core"}
    second = read(tmp_path / "images" / "case_0001.nii.gz")
    low, high = np.percentile(second, (1, 99))
    for scene in scenes.values():
        flat = scene.plane.take(second, (3, 9, 7)[scene.plane.axis])
        assert np.allclose(scene.image, np.clip((flat - low) / (high - low), 0, 1), atol=1e-4)


@pytest.mark.parametrize("labels", [{"Anterior": "1", "Posterior": "2"}, {"Anterior": [1], "Posterior": [2]}])
def test_labels_are_read_as_nnunet_reads_them(tmp_path, scenes, labels):
    dataset = DATASET_JSON | {"labels": {"background": 0, **labels}}
    model = make_model_folder(tmp_path, "nnUNetTrainerSwinUnet_tiny", SMALL_2D, dataset)
    output = tmp_path / "out"
    assert run(model, make_case(tmp_path / "images"), output, "--label", "Posterior") == 0
    content = json.loads((output / "explain.json").read_text(encoding="utf-8"))
    assert content["predicted_label"] == 2
    (scene,) = scenes.values()
    assert scene.objects == ["Anterior", "Posterior"] and set(np.unique(scene.full)) <= {0, 1, 2}


def test_a_cascade_gets_its_previous_stage(tmp_path, capsys):
    cascade = SMALL_3D | {"previous_stage": "low"}
    model = make_model_folder(tmp_path, "nnUNetTrainerSwinUNETRReca_tiny", cascade)
    image = make_case(tmp_path / "images")
    assert run(model, image, tmp_path / "out", "--voxel", 3, 9, 7) == 1
    assert "a cascade: give its previous stage's prediction with -prev_stage_prediction" in capsys.readouterr().err
    predictions = []
    for label in (0, 2):
        previous = write_image(tmp_path / f"previous_{label}.nii.gz", np.full(SHAPE, label, np.uint8))
        output = tmp_path / f"out_{label}"
        assert run(model, image, output, "--voxel", 3, 9, 7, "-prev_stage_prediction", previous) == 0
        predictions.append(read(output / "prediction.nii.gz"))
    assert not np.array_equal(*predictions), "the network sees it"


@pytest.mark.parametrize("files", [1, 3])
def test_pictures_have_pixels_and_the_colours_of_one_file(tmp_path, scenes, files):
    from skimage import io

    dataset = DATASET_JSON | {"channel_names": {"0": "R", "1": "G", "2": "B"}, "file_ending": ".png"}
    configuration = SMALL_2D | {"spacing": [1.0, 1.0]}
    model = make_model_folder(
        tmp_path, "nnUNetTrainerSwinUnetReca_tiny", configuration, dataset, reader="NaturalImage2DIO"
    )
    picture = np.random.default_rng(0).integers(1, 255, (40, 60, 3), dtype=np.uint8)
    for number in range(files):
        content = picture if files == 1 else picture[..., number]
        io.imsave(tmp_path / f"eye_{number:04d}.png", content, check_contrast=False)
    output = tmp_path / "out"
    assert run(model, tmp_path / "eye", output, "--voxel", 17, 50) == 0
    content = json.loads((output / "explain.json").read_text(encoding="utf-8"))
    assert content["voxel"] == [0, 17, 50] and content["unit"] == "px"
    assert "mean distance (px)" in (output / "explain.md").read_text(encoding="utf-8")
    assert (output / "attention_slice.png").exists() and read(output / "prediction.nii.gz").shape == (40, 60)
    assert scenes["slice"].unit == "px" and scenes["slice"].colour.shape == ((40, 60, 3) if files == 1 else (40, 60))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return make_model_folder(folder, "nnUNetTrainerSwinUNETRReca_tiny", SMALL_3D), make_case(folder / "images")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--voxel", 6, 0, 0], "inside the image's array of shape (6, 30, 21), got (6, 0, 0)"),
        (["--voxel", 0, 11, 7], "inside the image's non-zero region, from [1, 2, 0] to [5, 28, 20]"),
        (["--voxel", 11, 7], "inside the image's array of shape"),
        (["-f", 3], "to have fold 3 with checkpoint_final.pth, got folds ['0']"),
        (["-chk", "checkpoint_best.pth"], "to have a fold with checkpoint_best.pth"),
        (["--label", "Heart"], "expected a label of ['Anterior', 'Posterior'] or its number, got 'Heart'"),
        (["--channel", 1], "expected a channel from 0 to 0, got 1"),
        (["-prev_stage_prediction", "x.nii.gz"], "the model is no cascade"),
        (["-gt", "missing.nii.gz"], "missing.nii.gz cannot be read"),
        (["-step_size", 0], "expected a step size above 0 and up to 1"),
        (["-device", "nonsense"], "expected a device that works here, got 'nonsense'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line_and_nothing_is_written(small, tmp_path, capsys, options, message):
    assert run(*small, tmp_path / "out", *options) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("nnUNetv2_reca_explain: ")
    assert not (tmp_path / "out").exists()


def test_a_reference_of_another_shape_is_refused(small, tmp_path, capsys):
    reference = write_image(tmp_path / "other.nii.gz", np.zeros((6, 30, 20), np.uint8))
    assert run(*small, tmp_path / "out", "-gt", reference) == 1
    assert "the image's shape (6, 30, 21), got (6, 30, 20)" in capsys.readouterr().err


def test_a_folder_with_files_is_left_alone_and_an_earlier_report_replaced(small, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    for options in ([], ["--overwrite"]):
        assert run(*small, output, "--voxel", 3, 9, 7, *options) == 1
        assert not capsys.readouterr().out and os.listdir(output) == ["notes.txt"], "refused before any prediction"
    (output / "notes.txt").unlink()
    assert run(*small, output, "--voxel", 3, 9, 7) == 0
    (output / "notes.txt").write_text("mine")
    assert run(*small, output, "--voxel", 3, 9, 8, "--overwrite") == 0
    content = json.loads((output / "explain.json").read_text(encoding="utf-8"))
    assert content["voxel"] == [3, 9, 8] and set(os.listdir(output)) == {*content["files"], "notes.txt"}


def test_models_of_other_networks_are_refused(small, tmp_path, capsys):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    from support.plan_factory import make_plans

    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 2,
            "features_per_stage": [4, 8],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3] * 3] * 2,
            "strides": [[1] * 3, [2] * 3],
            "n_conv_per_stage": [1, 1],
            "n_conv_per_stage_decoder": [1],
        },
        "_kw_requires_import": ["conv_op"],
    }
    plans = make_plans(x=SMALL_3D | {"architecture": architecture})
    manager = PlansManager(plans)
    network = nnUNetTrainer.build_network_architecture(manager, manager.get_configuration("x"), 1, 3, False)
    model = tmp_path / "nnUNetTrainer__nnUNetPlans__x"
    (model / "fold_0").mkdir(parents=True)
    content = {"network_weights": network.state_dict(), "trainer_name": "nnUNetTrainer"}
    torch.save(content | {"init_args": {"configuration": "x"}}, model / "fold_0" / "checkpoint_final.pth")
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(DATASET_JSON))
    assert run(model, small[1], tmp_path / "out") == 1
    assert "expected a network of nnunet_reca, got PlainConvUNet" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "message"), [(None, "it has no plans.json"), (b"broken", "cannot be loaded")])
def test_folders_without_a_model_are_refused(small, tmp_path, capsys, content, message):
    model = Path(small[0]) if content else tmp_path
    if content:
        (tmp_path / "fold_0").mkdir()
        (tmp_path / "fold_0" / "checkpoint_final.pth").write_bytes(content)
        for name in ("plans.json", "dataset.json"):
            (tmp_path / name).write_text((model / name).read_text())
    assert run(tmp_path, small[1], tmp_path / "out") == 1
    assert message in capsys.readouterr().err
