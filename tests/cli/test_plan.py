import json
import math

import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from support.fingerprints import NAME, plan, write_data_set

from nnunet_reca.cli import plan as command
from nnunet_reca.plans.wishes import GB

DATA = {"shape": [60, 115, 113], "spacing": [2.5, 4.0, 4.0], "channels": 1, "classes": 6, "cases": 70}
SWIN = "nnUNetTrainerSwinUNETRReca"
STOCK = "nnUNetPlans"


def step_memory(trainer, plans, configuration, dataset_json, device):
    """A step's memory that grows with the batch's voxels; nnU-Net's own network takes half of others'."""
    made = PlansManager(plans).get_configuration(configuration)
    voxel = 4000 if trainer == "nnUNetTrainer" else 8000
    return int(0.5 * GB + made.batch_size * math.prod(made.patch_size) * voxel)


@pytest.fixture
def home(folders, monkeypatch):
    """nnU-Net's folders with a data set that has a fingerprint; estimates are made up."""
    monkeypatch.setattr(command, "step_memory", step_memory)
    write_data_set(folders, **DATA)
    return folders / "preprocessed" / NAME


def run(capsys, *words, trainer=SWIN):
    status = command.main(["-d", "998", "-tr", trainer, *map(str, words)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def written(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize(
    "words, name",
    [
        ((), "nnUNetRecaPlans_SwinUNETRReca_4G"),
        (("-device", "cpu"), "nnUNetRecaPlans_SwinUNETRReca_4G_cpu"),
        (("-pl", "nnUNetPlannerResEncM"), "nnUNetResEncUNetMRecaPlans_SwinUNETRReca_4G"),
        (("-overwrite_plans_name", "mine"), "mine"),
    ],
)
def test_plans_have_a_name_of_their_own_and_nnunets_planner_in_them(home, capsys, words, name):
    status, said, _ = run(capsys, "-gpu_memory_target", 4, "-c", "2d", *words)
    made = written(home, name)
    assert status == 0 and made["plans_name"] == name and f"written: {home / name}.json" in said
    assert made["experiment_planner_used"] == (words[1] if "-pl" in words else "ExperimentPlanner")
    assert PlansManager(made).experiment_planner_class is not None
    assert made["planned_for"]["trainer"] == SWIN and made["planned_for"]["device"] == (
        "cpu" if "cpu" in words else "cuda"
    )


@pytest.mark.parametrize(
    "trainer, network",
    [
        ("nnUNetTrainerSwinUNETR", "SwinUNETR"),
        (
            "nnUNetTrainerNnFormerReca_tiny_gated_spatial_bf16_checkpoint_lr3en4_seed3_50epochs",
            "NnFormerReca_tiny_gated_spatial_bf16_checkpoint",
        ),
        ("nnUNetTrainer", "nnUNetTrainer"),
        ("nnUNetTrainerNoMirroring", "NoMirroring"),
        ("nnUNetTrainer_100epochs", "100epochs"),  # nnU-Net splits names of folders by two underscores
    ],
)
def test_names_of_plans_tell_the_options_that_take_memory_and_no_others(trainer, network):
    options = command._parser().parse_args(["-d", "1", "-tr", trainer, "-gpu_memory_target", "7.5"])
    assert command.plans_name(options, "nnUNetPlans") == f"nnUNetRecaPlans_{network}_7.5G"


def test_preprocessed_data_are_those_of_nnunets_plans_where_they_are_equal_and_are_asked_for_where_they_lack(
    home, folders, capsys
):
    _, said, _ = run(capsys, "-gpu_memory_target", 4)
    name = "nnUNetRecaPlans_SwinUNETRReca_4G"
    own = written(home, name)["configurations"]
    assert [own[c]["data_identifier"] for c in ("2d", "3d_fullres")] == [f"{name}_2d", f"{name}_3d_fullres"]
    assert f"now: nnUNetv2_preprocess -d 998 -plans_name {name} -c 2d 3d_fullres" in said

    plan(folders, ExperimentPlanner, **DATA)  # nnU-Net's own
    stock = written(home, STOCK)
    stock["configurations"]["2d"]["spacing"] = [9.0, 9.0]
    (home / f"{STOCK}.json").write_text(json.dumps(stock))
    (home / "nnUNetPlans_3d_fullres").mkdir()
    (home / "nnUNetPlans_3d_fullres" / "case.pkl").touch()
    _, said, _ = run(capsys, "-gpu_memory_target", 8)
    shared = written(home, "nnUNetRecaPlans_SwinUNETRReca_8G")["configurations"]
    assert shared["3d_fullres"]["data_identifier"] == "nnUNetPlans_3d_fullres"
    assert shared["2d"]["data_identifier"] == own["2d"]["data_identifier"]  # not of plans with another spacing
    assert "-plans_name nnUNetRecaPlans_SwinUNETRReca_8G -c 2d\n" in said
    assert f"nnUNetv2_train 998 3d_fullres FOLD -tr {SWIN} -p nnUNetRecaPlans_SwinUNETRReca_8G" in said


def test_data_that_plans_of_this_name_made_before_with_another_spacing_are_not_taken_for_theirs(home, capsys):
    words = ("-gpu_memory_target", 4, "-c", "2d", "-overwrite_plans_name", "mine", "--overwrite")
    run(capsys, *words)
    (home / "mine_2d").mkdir()
    (home / "mine_2d" / "case.pkl").touch()
    assert "now: nnUNetv2_train" in run(capsys, *words)[1]
    before = written(home, "mine")
    before["configurations"]["2d"]["spacing"] = [9.0, 9.0]
    (home / "mine.json").write_text(json.dumps(before))
    assert "now: nnUNetv2_preprocess -d 998 -plans_name mine -c 2d" in run(capsys, *words)[1]


def test_other_plans_of_the_name_are_replaced_only_if_told_and_configurations_of_somebodys_own_stay(home, capsys):
    words = ("-gpu_memory_target", 4, "-c", "3d_fullres", "-overwrite_plans_name", "mine")
    run(capsys, *words)
    file = home / "mine.json"
    assert run(capsys, *words)[1].count("unchanged: ") == 1
    changed = json.loads(file.read_text())
    changed["configurations"]["3d_fullres"]["batch_size"] = 77
    changed["configurations"]["large"] = {"inherits_from": "3d_fullres", "batch_size": 99}
    file.write_text(json.dumps(changed))
    status, _, error = run(capsys, *words)
    assert status == 1 and "whose content differs; say --overwrite" in error
    assert json.loads(file.read_text()) == changed
    status, said, _ = run(capsys, *words, "--overwrite")
    made = json.loads(file.read_text())["configurations"]
    assert status == 0 and "overwritten: " in said
    assert made["3d_fullres"]["batch_size"] != 77 and made["large"]["batch_size"] == 99


def test_like_plans_for_what_nnunets_own_network_takes_with_other_plans(home, folders, capsys):
    plan(folders, ExperimentPlanner, **DATA)
    stock = written(home, STOCK)
    status, said, _ = run(capsys, "--like", STOCK)
    made = written(home, f"nnUNetRecaPlans_SwinUNETRReca_like_{STOCK}")
    assert status == 0
    for name in ("2d", "3d_fullres"):
        target = step_memory("nnUNetTrainer", stock, name, {}, "cuda")
        assert made["planned_for"]["training_step"][name]["target_bytes"] == target
        assert f"{name}: nnU-Net's own network takes {target / GB:.2f} GB with {name} of {STOCK}: the target" in said
        assert 0.8 * target < step_memory(SWIN, made, name, {}, "cuda") <= target


@pytest.mark.parametrize(
    "words, trainer, said",
    [
        (("-gpu_memory_target", 0), SWIN, "expected a memory target above 0 GB, got 0"),
        (("-gpu_memory_target", "nan"), SWIN, "expected a memory target above 0 GB, got nan"),
        (("-gpu_memory_target", 0.4), SWIN, "expected a target of at least 0.5"),
        (("-gpu_memory_target", 4, "-d", "997"), SWIN, "got '997', which is in none of nnU-Net's folders"),
        (("-gpu_memory_target", 4, "-d", "Dataset997_No"), SWIN, "got 'Dataset997_No', which is in none"),
        (("-gpu_memory_target", 4), "nnUNetTrainerSwinUNETRReka", "did you mean nnUNetTrainerSwinUNETRReca?"),
        (("-gpu_memory_target", 4), "nnUNetTrainerSwinUNETR_large", "expected a trainer name of the form"),
        (
            ("-gpu_memory_target", 4),
            "nnUNetTrainerOfNobody",
            "expected a trainer that nnU-Net finds, got 'nnUNetTrainerOfNobody'",
        ),
        (("-gpu_memory_target", 4, "-pl", "Planner"), SWIN, "expected a planner of nnU-Net, such as"),
        (("-gpu_memory_target", 4, "-c", "4d"), SWIN, "got 4d; it plans 3d_lowres"),
        (("-gpu_memory_target", 4, "-c", "3d_fullres"), "nnUNetTrainerDATransUnet", "use the configuration 2d"),
        (("-gpu_memory_target", 4, "-overwrite_plans_name", "a__b"), SWIN, "without __, by which nnU-Net splits"),
        (("--like", "nnUNetPlan"), SWIN, "Dataset998_Drawn, none yet, got 'nnUNetPlan'"),
    ],
)
def test_bad_input_is_one_clear_line_and_writes_no_plans(home, capsys, words, trainer, said):
    status, _, error = run(capsys, *words, trainer=trainer)
    assert status == 1 and said in error and error.count("\n") == 1
    assert not list(home.glob("*Plans*"))


def test_a_data_set_without_fingerprint_says_how_to_get_one(home, capsys):
    (home / "dataset_fingerprint.json").unlink()
    status, _, error = run(capsys, "-gpu_memory_target", 4)
    assert status == 1 and "run nnUNetv2_extract_fingerprint -d 998" in error


def test_it_says_where_more_memory_changes_nothing(home, capsys):
    _, said, _ = run(capsys, "-gpu_memory_target", 4000)
    assert said.count("more memory changes nothing") == 2
    _, said, _ = run(capsys, "-gpu_memory_target", 4)
    assert "more memory changes nothing" not in said
