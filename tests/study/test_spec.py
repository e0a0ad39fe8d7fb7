"""What study.yaml may say, and that it says everything."""

from pathlib import Path

import pytest
from support.fake_nnunet import DATASET

from nnunet_reca.cli.study import main
from nnunet_reca.results.problems import Problems
from nnunet_reca.study.spec import FILE, STEPS, differences, plans_of, read_study, study_of, text_of
from nnunet_reca.trainers.find import find_trainer

pytest.importorskip("yaml")
STUDIES = Path(__file__).resolve().parents[2] / "benchmarks" / "studies"
SMALL = {"datasets": ["Dataset998_Fake"], "trainers": ["nnUNetTrainer"]}


def test_everything_that_is_wrong_is_said_at_once():
    wrong = {
        "trainers": [],
        "folds": ["all"],
        "seeds": [-1],
        "device": "tpu",
        "retries": "often",
        "ensembles": "yes",
        "steps": {"cook": {}},
        "colour": "red",
        "configurations": ["2d", "2d"],
    }
    with pytest.raises(Problems) as error:
        study_of(wrong)
    said = "\n".join(error.value.problems)
    for part in (
        "trainers: expected at least one",
        "folds: expected folds as numbers, got all",
        "seeds: expected a whole number of at least 0, got -1",
        "device: expected cuda, cpu, mps, got 'tpu'",
        "retries: expected a whole number",
        "ensembles: expected true or false",
        "steps: expected steps of fingerprint",
        "colour: no such entry",
        "configurations: expected each once, got 2d",
        "datasets: expected at least one",
    ):
        assert part in said
    assert len(error.value.problems) == 10


def test_written_study_reads_back_as_it_was(tmp_path):
    changed = {"seeds": [0, 2], "folds": [1], "steps": {"train": {"threads": 4, "slurm_partition": "gpu"}}}
    study = study_of({**SMALL, **changed, "planners": ["nnUNetPlannerResEncM"], "environment": {"A": 1}})
    (tmp_path / FILE).write_text(text_of(study))
    assert study_of(read_study(tmp_path / FILE)) == study
    assert study.plans == ("nnUNetResEncUNetMPlans",)
    assert study.step("train") == {**STEPS["train"], "threads": 4, "slurm_partition": "gpu", "gpu": 1, "nodes": 1}


def test_differences_name_each_changed_entry():
    before, after = study_of(SMALL), study_of({**SMALL, "seeds": [0, 1], "steps": {"train": {"mem_mb": 1}}})
    assert differences(before, after)[0] == "seeds: none -> 0 1"
    assert [line.split(":")[0] for line in differences(before, after)] == ["seeds", "steps"]
    assert differences(before, before) == []


def test_a_data_set_is_the_same_by_number_and_by_name(nnunet):
    assert study_of({**SMALL, "datasets": [998]}).datasets == (DATASET,)
    with pytest.raises(Problems, match="several times"):
        study_of({**SMALL, "datasets": [998, DATASET]})


def test_plans_of_every_known_planner_are_what_nnunet_calls_them():
    from nnunet_reca.study import spec

    for planner, plans in spec.PLANNERS.items():
        known = dict(spec.PLANNERS)
        del spec.PLANNERS[planner]
        try:
            assert plans_of(planner) == plans
        finally:
            spec.PLANNERS.clear()
            spec.PLANNERS.update(known)
    with pytest.raises(ValueError, match="expected a planner of nnU-Net"):
        plans_of("NoPlanner")


def test_gpus_are_asked_for_only_on_cuda_and_only_by_what_computes_there():
    study = study_of({**SMALL, "num_gpus": 2})
    assert study.resources("train")["gpu"] == 2 and study.resources("predict")["gpu"] == 1
    assert "gpu" not in study.resources("preprocess")
    assert "gpu" not in study_of({**SMALL, "device": "cpu"}).resources("train")


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    (tmp_path / FILE).write_text("datasets: [4\ntrainers: :")
    with pytest.raises(ValueError, match="study.yaml cannot be read"):
        read_study(tmp_path / FILE)


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_committed_studies_read_as_studies_of_trainers_that_exist(file):
    study = study_of(read_study(file))
    assert study.seeds == (0, 1, 2)
    for trainer in study.trainers:
        assert find_trainer(trainer).__name__ == trainer


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        (["theirs/study.yaml"], "theirs"),
        (["theirs"], "theirs"),
        (["theirs/rates.yaml"], "results/reca_study_rates"),
        (["theirs/rates.yaml", "-o", "here"], "here"),
    ],
)
def test_a_file_of_another_name_is_a_study_in_a_folder_of_its_own(tmp_path, monkeypatch, given, folder):
    """So that several of them can lie side by side, and where they lie nothing is written."""
    (tmp_path / "theirs").mkdir()
    for name in (FILE, "rates.yaml"):
        (tmp_path / "theirs" / name).write_text(text_of(study_of({"datasets": [4], "trainers": [name]})))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    asked = []
    monkeypatch.setattr("nnunet_reca.study.run.run", lambda request, say: asked.append(request) or 0)
    assert main(given) == 0
    assert asked[0].folder == tmp_path / folder
    assert asked[0].content["trainers"] == ["rates.yaml" if "rates" in given[0] else FILE]


@pytest.mark.parametrize(("key", "other"), [("trainers", ["nnUNetTrainer"]), ("datasets", [997]), ("seeds", [1])])
def test_a_file_does_not_take_the_place_of_another_study_of_its_name(tmp_path, monkeypatch, capsys, key, other):
    """Of another folder's file of this name, or of changes that were made in the study's own folder."""
    asked = {**SMALL, "trainers": ["nnUNetTrainer_5epochs"], "seeds": [0]}
    folder = tmp_path / "reca_study_rates"
    folder.mkdir()
    (folder / FILE).write_text(text_of(study_of(asked)))
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    monkeypatch.setattr("nnunet_reca.study.run.run", lambda request, say: 0)
    file = tmp_path / "rates.yaml"
    file.write_text(text_of(study_of({**asked, key: other})))
    assert main([str(file)]) == 1
    assert f"expected a study with the {key} of the one in {folder}" in capsys.readouterr().err
    assert main([str(file), "-o", str(tmp_path / "other")]) == 0
    file.write_text(text_of(study_of({**asked, key: [*asked[key], *other]})))
    assert main([str(file)]) == 0
