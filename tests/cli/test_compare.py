import contextlib
import csv
import hashlib
import importlib
import importlib.metadata
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.results_factory import DATASET, Results, blobs, shifted, two_models

from nnunet_reca.cli.compare import main
from nnunet_reca.report import compare as report

TWO = ("-d", "999", "-tr", "nnUNetTrainerA", "nnUNetTrainerB", "-f", "0", "1", "-np", "1")


def run(capsys, *arguments):
    status = main([str(a) for a in arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def refused(capsys, *arguments):
    """Message of a run that must fail, without a traceback; progress bars may precede it."""
    status, _, error = run(capsys, *arguments)
    assert status == 1 and error.count("nnUNetv2_reca_compare: ") == 1 and "Traceback" not in error
    return error.split("nnUNetv2_reca_compare: ")[1]


def digests(folder: Path):
    return {p: hashlib.sha1(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def results_of(folder: Path):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """nnU-Net's folders with two models of two folds, and the report on them in ``report``."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        point_to(folder, patch)
        two_models(folder)
        before = digests(folder)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert main([*TWO, "-o", str(folder / "report")]) == 0
    return folder, before, printed.getvalue()


@pytest.fixture
def made(home, monkeypatch):
    """The same, with nnU-Net's variables pointing there; tests leave it as it is."""
    point_to(home[0], monkeypatch)
    return home


def point_to(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("raw", "preprocessed", "results"):
        (folder / name).mkdir(exist_ok=True)
        patch.setenv(f"nnUNet_{name}", str(folder / name))


def test_a_report_has_page_tables_numbers_and_figures_and_changes_no_input(made):
    home, before, printed = made
    folder = home / "report"
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert names >= {"report.html", "tables.md", "tables.tex", "results.json"}
    assert names >= {"cases.csv", "means.csv", "differences.csv", "cost.csv"}
    assert names >= {f"figures/{n}.png" for n in ("paired", "labels", "training", "overlay_1")}
    assert str(folder / "report.html") in printed
    after = digests(home)
    assert {p: d for p, d in after.items() if folder not in p.parents} == before
    assert not [p for p in home.iterdir() if p.name.startswith(".")]


def test_numbers_are_nnunets_and_hand_computable(made):
    found = results_of(made[0] / "report")
    b = next(p for p in (made[0] / "results" / DATASET).iterdir() if "TrainerB" in p.name)
    summaries = [json.loads((b / f"fold_{f}" / "validation" / "summary.json").read_text()) for f in range(2)]
    theirs = [entry["metrics"]["1"]["Dice"] for s in summaries for entry in s["metric_per_case"]]
    (pooled,) = [m for m in found["means"] if (m["model"], m["label"], m["fold"]) == (b.name, "Liver", "pooled")]
    assert pooled["dice"] == pytest.approx(np.mean(theirs)) and pooled["cases"] == 8
    # a box moved by one or two voxels of 1.1 mm: its trailing face is that far from the other's
    distances = {c["case"]: c["hd95"] for c in found["cases"] if c["model"] == b.name and c["label"] == "Liver"}
    assert distances["case_00"] == pytest.approx(1.1) and distances["case_01"] == pytest.approx(2.2)
    (dice,) = [d for d in found["differences"] if d["metric"] == "dice" and d["label"] == "mean"]
    assert (dice["wins"], dice["ties"], dice["losses"], dice["cases"]) == (0, 4, 4, 8)


def test_runs_of_a_model_are_compared_as_one_model_by_one_command(folders, capsys):
    results = Results(folders)
    arrays = {f"c{n}": blobs(n) for n in range(6)}
    for case, array in arrays.items():
        results.reference(case, array)
    by = {"A_seed0": 1, "A_seed1": 2, "A_seed2": 1, "B_seed0_5epochs": 1, "B_seed1_5epochs": 1, "C": 2}
    for name, voxels in by.items():
        results.model(f"nnUNetTrainer{name}", {"0": {case: shifted(array, voxels) for case, array in arrays.items()}})
    words = ("-d", 999, "-tr", *(f"nnUNetTrainer{name}" for name in by), "-f", 0, "-np", 1, "--overlays", 1)
    status, printed, error = run(capsys, *words)
    assert status == 0, error
    folder = results.results / "reca_comparison_A-seeds_0_1_2_vs_B_5epochs-seeds_0_1_vs_C_fold_0"
    found = results_of(folder)
    assert [m.split("__")[0] for m in found["models"]] == ["nnUNetTrainerA", "nnUNetTrainerB_5epochs", "nnUNetTrainerC"]
    assert [(r["run"], r["folder"].split("__")[0].removeprefix("nnUNetTrainer")) for r in found["runs"]] == [
        *[("0", "A_seed0"), ("1", "A_seed1"), ("2", "A_seed2")],
        *[("0", "B_seed0_5epochs"), ("1", "B_seed1_5epochs"), ("", "C")],
    ]
    assert len(found["cases"]) == 6 * 6 * 2 and {c["run"] for c in found["cases"]} == {"0", "1", "2", ""}
    means = {(m["model"].split("__")[0][-1], m["run"]): m["dice"] for m in found["means"] if m["label"] == "mean"}
    assert means["A", "all"] == pytest.approx((2 * means["A", "0"] + means["A", "1"]) / 3) and means["A", "0"] > 0
    assert [(d["reference_runs"], d["model_runs"]) for d in found["differences"][:2:1]][0] == (3, 2)
    assert {c["trainings"] for c in found["cost"]} == {3, 2, 1}
    page = page_of(folder)
    assert "3 runs: seed 0, seed 1, seed 2" in page and "Every run over all 6 cases" in page
    assert page.index("In short") < page.index("What the cases say") and (folder / "figures" / "runs.png").is_file()
    assert printed.startswith(found["summary"][0])


def test_runs_of_one_model_alone_are_compared_with_each_other(folders, capsys):
    results = two_models(folders, folds=1, cases=2)
    for seed in range(2):
        results.model(f"nnUNetTrainerA_seed{seed}", {"0": {f"case_0{n}": shifted(blobs(n), seed) for n in range(2)}})
    words = ("-d", 999, "-f", 0, "-np", 1, "--overlays", 0, "-tr", "nnUNetTrainerA_seed0", "nnUNetTrainerA_seed1")
    status, _, error = run(capsys, *words, "-o", folders / "report")
    assert status == 0, error
    found = results_of(folders / "report")
    assert [m.split("__")[0] for m in found["models"]] == ["nnUNetTrainerA_seed0", "nnUNetTrainerA_seed1"]
    assert {d["reference_runs"] for d in found["differences"]} == {1}


def test_csv_and_json_hold_the_same_cases(made):
    folder = made[0] / "report"
    with (folder / "cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    records = results_of(folder)["cases"]
    assert len(rows) == len(records) == 2 * 8 * 2
    assert [float(r["nsd"]) for r in rows] == [r["nsd"] for r in records]


def test_the_page_is_self_contained(made):
    folder = made[0] / "report"
    text = (folder / "report.html").read_text()
    assert "<script" not in text and not re.search(r"(?:https?:)?//[a-z]", re.sub(r'base64,[^"]*', "", text))
    sources = re.findall(r'(?:src|href)="([^"]{0,22})', text)
    assert sources and all(source.startswith("data:") for source in sources)
    assert text.count("data:image/png;base64,") == len(list((folder / "figures").iterdir()))


def test_two_processes_give_the_same_numbers_as_one(made, tmp_path, capsys):
    status, _, _ = run(capsys, *TWO[:-1], "2", "-o", tmp_path / "again", "--overlays", "0")
    assert status == 0
    first, second = (results_of(f) for f in (made[0] / "report", tmp_path / "again"))
    assert first["cases"] == second["cases"] and first["differences"] == second["differences"]


def test_the_default_folder_is_in_the_results_and_found_again(folders, capsys):
    results = two_models(folders, folds=1, cases=2)
    arguments = (*TWO[:-4], "0", "-np", "1", "--overlays", "0")
    assert run(capsys, *arguments)[0] == 0
    assert (results.results / "reca_comparison_A_vs_B_fold_0" / "report.html").is_file()
    assert "say --overwrite" in refused(capsys, *arguments)
    assert run(capsys, *arguments, "--overwrite")[0] == 0


def test_overwrite_replaces_reports_only(folders, capsys):
    two_models(folders, folds=1, cases=2)
    (folders / "mine").mkdir()
    (folders / "mine" / "thesis.txt").write_text("years of work")
    message = refused(capsys, *TWO, "-o", folders / "mine", "--overwrite")
    assert "is not one" in message and (folders / "mine" / "thesis.txt").read_text() == "years of work"
    assert "got the file" in refused(capsys, *TWO, "-o", folders / "mine" / "thesis.txt", "--overwrite")


def test_a_failure_late_on_leaves_the_old_report_and_no_half_of_a_new_one(made, capsys, monkeypatch):
    folder = made[0] / "report"
    before = digests(made[0])

    def broken(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(report, "_write", broken)
    assert "disk full" in refused(capsys, *TWO, "-o", folder, "--overwrite")
    assert digests(made[0]) == before and not [p for p in made[0].iterdir() if p.name.startswith(".")]


def test_every_unreadable_file_is_named(folders, capsys):
    results = two_models(folders)
    files = [
        results.results / "nnUNetTrainerA__nnUNetPlans__3d_fullres" / "fold_0" / "validation" / "case_00.nii.gz",
        results.references / "case_12.nii.gz",
    ]
    for file in files:
        file.write_bytes(b"no image")
    message = refused(capsys, *TWO, "-o", folders / "report")
    assert all(f"{file} cannot be read" in message for file in files) and "2 problems" in message
    assert not (folders / "report").exists()


def test_predictions_that_are_not_the_summarys_are_named(folders, capsys):
    results = two_models(folders, folds=1)
    file = results.results / "nnUNetTrainerB__nnUNetPlans__3d_fullres" / "fold_0" / "validation" / "case_03.nii.gz"
    results.write(file, blobs(3))
    message = refused(capsys, "-d", 999, "-tr", "nnUNetTrainerA", "nnUNetTrainerB", "-f", 0, "-np", 1)
    assert f"{file}: Dice of Liver is 1.0000, summary.json says" in message and "validate again" in message


def test_missing_references_are_named_and_raw_ones_stand_in(folders, capsys):
    results = two_models(folders, folds=1, cases=2)
    moved = results.raw / "labelsTr" / "case_00.nii.gz"
    (results.references / "case_00.nii.gz").rename(moved)
    arguments = ("-d", 999, "-tr", "nnUNetTrainerA", "nnUNetTrainerB", "-f", 0, "-np", 1, "--overlays", 0)
    assert run(capsys, *arguments, "-o", folders / "report")[0] == 0
    moved.unlink()
    assert "case_00: no reference" in refused(capsys, *arguments, "-o", folders / "other")


def test_regions_ignore_label_empty_masks_and_three_models(folders, capsys):
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    results = Results(folders, labels, regions_class_order=[1, 2])
    arrays = {f"c{n}": blobs(n) for n in range(3)}
    arrays["c1"][arrays["c1"] == 2] = 0  # no core
    for case, array in arrays.items():
        array[:, :, 11:] = 3
        results.reference(case, array)
    known = {case: np.where(array == 3, 0, array) for case, array in arrays.items()}
    results.model("nnUNetTrainerA", {"0": known})
    results.model("nnUNetTrainerB", {"0": {case: np.where(a == 0, 1, a) for case, a in known.items()}})
    results.model("nnUNetTrainerC", {"0": {case: np.zeros_like(a) for case, a in known.items()}})
    names = [f"nnUNetTrainer{n}" for n in "ABC"]
    status, _, error = run(capsys, "-d", 999, "-tr", *names, "-f", 0, "-np", 1, "-o", folders / "report", "--all-pairs")
    assert status == 0, error
    found = results_of(folders / "report")
    assert found["labels"] == ["whole", "core"]
    by = {(c["model"].split("__")[0][-1], c["case"], c["label"]): c for c in found["cases"]}
    assert by["A", "c0", "whole"]["dice"] == 1 and by["A", "c0", "whole"]["hd95"] == 0
    assert by["A", "c1", "core"]["dice"] is None and by["A", "c1", "core"]["hd95"] is None
    assert by["C", "c0", "core"]["one_empty"] and by["C", "c0", "core"]["nsd"] == 0
    diagonal = np.linalg.norm(np.multiply(arrays["c0"].shape, results.spacing))
    assert by["C", "c0", "core"]["hd95"] == pytest.approx(diagonal)
    assert {(d["reference"][13], d["model"][13]) for d in found["differences"]} == {("A", "B"), ("A", "C"), ("B", "C")}


def test_2d_images_are_measured_in_pixels(folders, capsys):
    results = Results(folders, {"background": 0, "cell": 1}, ".png")
    arrays = {f"c{n}": blobs(n, (1,), (1, 17, 13)) for n in range(2)}
    for case, array in arrays.items():
        results.reference(case, array)
    results.model("nnUNetTrainerA", {"0": arrays}, "2d")
    results.model("nnUNetTrainerB", {"0": {case: shifted(array, 2) for case, array in arrays.items()}}, "2d")
    status, _, error = run(capsys, *TWO[:5], "-c", "2d", "-f", 0, "-np", 1, "-o", folders / "report")
    assert status == 0, error
    found = results_of(folders / "report")
    assert found["unit"] == "px" and {c["hd95"] for c in found["cases"]} == {0.0, 2.0}
    assert "HD95 (px)" in (folders / "report" / "tables.md").read_text()


def test_configurations_of_one_trainer_and_cascades_are_models_of_their_own(folders, capsys):
    results = two_models(folders, folds=1, cases=2)
    cases = {f"case_0{n}": blobs(n) for n in range(2)}
    results.model("nnUNetTrainerA", {"0": cases}, "2d")
    results.model("nnUNetTrainerA", {"0": cases}, "3d_cascade_fullres")
    configurations = ("3d_fullres", "2d", "3d_cascade_fullres")
    words = ("-tr", "nnUNetTrainerA", "-c", *configurations, "-f", 0, "-np", 1, "--overlays", 1)
    status, _, error = run(capsys, "-d", DATASET, *words, "-o", folders / "report")
    assert status == 0, error
    assert [m.split("__")[2] for m in results_of(folders / "report")["models"]] == list(configurations)
    assert "comes on top" in (folders / "report" / "tables.md").read_text()


def test_the_intersection_says_what_it_left_out(folders, capsys):
    results = two_models(folders, folds=1)
    results.model("nnUNetTrainerC", {"0": {f"case_0{n}": blobs(n) for n in range(3)}})
    words = ("-d", 999, "-tr", "nnUNetTrainerA", "nnUNetTrainerC", "-f", 0, "-np", 1, "--overlays", 0)
    assert "fold 0: 1 case (case_03) validated with" in refused(capsys, *words, "-o", folders / "report")
    assert run(capsys, *words, "-o", folders / "report", "--intersection")[0] == 0
    assert "(case_03) validated with" in (folders / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-d", "998", "-tr", "A", "B"), "Could not find a dataset with the ID 998"),
        (("-d", "999", "-tr", "A"), "at least two models"),
        (("-d", "999", "-tr", "A", "B", "-f", "x"), "expected folds as whole numbers or all"),
        (("-d", "999", "-tr", "A", "B", "--tolerance", "0"), "--tolerance greater than 0"),
        (("-d", "999", "-tr", "A", "B", "--tolerance", "inf"), "--tolerance greater than 0 and finite, got inf"),
        (("-d", "999", "-tr", "A", "B", "-np", "0"), "-np of at least 1"),
        (("-d", "999", "-tr", "A", "B", "-f", "0", "all"), "all by itself"),
    ],
)
def test_wrong_requests_are_one_message(folders, capsys, arguments, message):
    Results(folders)
    assert message in refused(capsys, *arguments)


def test_two_processes_say_the_same_and_leave_the_heavy_libraries_to_others(made, tmp_path):
    """The command's own process must stay small, see benchmarks/compare_memory.py."""
    words = [*TWO[:-1], "2", "-o", str(tmp_path / "report")]
    code = "import sys; from nnunet_reca.cli.compare import main; status = main(sys.argv[1:])"
    code += "; heavy = {'torch', 'monai'} & sys.modules.keys(); sys.exit(f'{status} {heavy}' if status or heavy else 0)"
    subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=subprocess.DEVNULL)
    ours, expected = results_of(tmp_path / "report"), results_of(made[0] / "report")
    assert ours.pop("arguments") != expected.pop("arguments") and ours == expected


def test_what_is_missing_is_named_with_two_processes_too(folders, capsys):
    words = ("-d", 999, "-tr", "nnUNetTrainerA", "nnUNetTrainerB", "-f", 0, "-np")
    results = Results(folders)
    results.reference("c0", blobs(0))
    message = refused(capsys, *words, 2)
    assert "nnUNetTrainerA" in message and "nnUNetTrainerB" in message
    assert message == refused(capsys, *words, 1)


def killed(request):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_one_message(made, monkeypatch, capsys):
    monkeypatch.setattr(report, "_gather", killed)
    assert "ended early" in (message := refused(capsys, *TWO[:-1], "2")) and "say -np 1" in message


def test_a_reader_that_cannot_be_sent_is_named(made, monkeypatch, capsys):
    monkeypatch.setattr("nnunet_reca.report.gather.reader_of", lambda plans: lambda: None)
    monkeypatch.setattr(report, "_in_new_process", lambda function, request: function(request))
    assert "the reader function cannot be sent to another process" in refused(capsys, *TWO[:-1], "2")


def test_fold_all_is_compared_with_a_warning(folders, capsys):
    results = Results(folders)
    arrays = {f"c{n}": blobs(n) for n in range(2)}
    for case, array in arrays.items():
        results.reference(case, array)
    for by, name in enumerate("AB"):
        results.model(f"nnUNetTrainer{name}", {"all": {case: shifted(array, by) for case, array in arrays.items()}})
    status, _, error = run(capsys, *TWO[:5], "-f", "all", "-np", 1, "-o", folders / "report")
    assert status == 0, error
    assert {m["fold"] for m in results_of(folders / "report")["means"]} == {"all", "pooled"}
    assert '<p class="warning">Fold all is validated on its own training cases' in page_of(folders / "report")


def page_of(folder: Path):
    return (folder / "report.html").read_text()


def test_what_can_fail_early_fails_before_cases_are_measured(folders, capsys, monkeypatch):
    results = two_models(folders, folds=1, cases=2)
    monkeypatch.setattr("nnunet_reca.report.measure.measure", lambda *_, **__: pytest.fail("measured"))
    assert "cannot be written" in refused(capsys, *TWO[:-4], 0, "-o", results.raw / "dataset.json" / "report")
    for model in results.results.iterdir():
        plans = json.loads((model / "plans.json").read_text())
        (model / "plans.json").write_text(json.dumps(plans | {"image_reader_writer": "OursIO"}))
    assert "expected the reader 'OursIO'" in refused(capsys, *TWO[:-4], 0, "-o", folders / "report")


def test_a_package_of_another_distribution_and_an_unreadable_log_are_no_errors(folders, capsys, monkeypatch):
    results = two_models(folders, folds=1, cases=2)
    log = next(results.results.glob("*TrainerA*/fold_0/training_log*"))
    log.unlink()
    log.mkdir()  # no file that can be read

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    status, _, error = run(capsys, *TWO[:-4], 0, "-np", 1, "--overlays", 0, "-o", folders / "report")
    assert status == 0, error
    assert results_of(folders / "report")["versions"]["pandas"] == importlib.import_module("pandas").__version__
    assert f"{log} cannot be read" in page_of(folders / "report")


def test_a_false_positive_is_drawn_and_a_loss(folders, capsys):
    results = Results(folders)
    empty, wrong = np.zeros_like(blobs(0)), blobs(0)
    results.reference("nothing", empty)
    results.model("nnUNetTrainerC", {"0": {"nothing": empty}})
    results.model("nnUNetTrainerD", {"0": {"nothing": wrong}})
    words = ("-d", 999, "-tr", "nnUNetTrainerC", "nnUNetTrainerD", "-f", 0, "-np", 1, "-o", folders / "report")
    status, _, error = run(capsys, *words)
    assert status == 0, error
    differences = results_of(folders / "report")["differences"]
    (dice,) = [d for d in differences if (d["metric"], d["label"]) == ("dice", "mean")]
    assert (dice["losses"], dice["difference"], dice["rightly_empty"]) == (1, -1, 1)
    assert (folders / "report" / "figures" / "overlay_1.png").is_file()


def test_results_of_another_system_without_checkpoints_and_logs_are_compared_and_the_page_says_so(folders, capsys):
    results = two_models(folders, folds=2, cases=2)
    for fold in results.results.glob("*TrainerA*/fold_*"):
        (fold / "checkpoint_final.pth").unlink()
        next(fold.glob("training_log*")).unlink()
        file = fold / "validation" / "summary.json"
        summary = json.loads(file.read_text())
        for entry in summary["metric_per_case"]:
            entry["prediction_file"] = "C:\\nnUNet\\validation\\" + Path(entry["prediction_file"]).name
        file.write_text(json.dumps(summary))
    status, _, error = run(capsys, *TWO, "--overlays", 0, "-o", folders / "report")
    assert status == 0, error
    found = results_of(folders / "report")["remarks"]
    assert len(found) == 2 and all(
        text.startswith("nnUNetTrainerA__nnUNetPlans__3d_fullres, folds 0, 1: there is no ") for text in found
    )
    assert all(text in page_of(folders / "report") for text in found)


def test_lists_of_files_with_paths_of_another_system_are_found_by_their_names(folders, capsys):
    results = two_models(folders, folds=1, cases=2)
    cases = [f"case_0{n}" for n in range(2)]
    listed = {
        case: {"label": f"D:\\data\\labelsTr\\{case}.nii.gz", "images": [f"imagesTr\\{case}_0000.nii.gz"]}
        for case in cases
    }
    file = results.raw / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"dataset": listed}))
    for case in cases:
        (results.references / f"{case}.nii.gz").rename(results.raw / "labelsTr" / f"{case}.nii.gz")
    status, _, error = run(capsys, *TWO[:-4], 0, "-np", 1, "--overlays", 1, "-o", folders / "report")
    assert status == 0, error
    assert "The image was not found" not in page_of(folders / "report")


def test_plans_whose_name_holds_the_separator_are_models_like_any_others(folders, capsys):
    results = two_models(folders, folds=1, cases=2)
    predictions = {"0": {f"case_0{n}": blobs(n) for n in range(2)}}
    for name in ("ptPlans__ONE", "ptPlans__TWO"):
        results.model("nnUNetTrainerA", predictions, plans_name=name)
    words = ("-d", 999, "-f", 0, "-np", 1, "--overlays", 0, "-tr", "nnUNetTrainerA__nnUNetPlans__3d_fullres")
    status, _, error = run(capsys, *words, "nnUNetTrainerA__ptPlans__ONE__3d_fullres", "-o", folders / "named")
    assert status == 0, error
    assert "ptPlans__ONE: nnUNetTrainerA__ptPlans__ONE__3d_fullres" in page_of(folders / "named")
    words = ("-d", 999, "-tr", "nnUNetTrainerA", "-p", "ptPlans__ONE", "ptPlans__TWO", "-f", 0, "-np", 1)
    status, _, error = run(capsys, *words, "--overlays", 0)
    assert status == 0, error
    assert (results.results / "reca_comparison_A-ptPlans__ONE_vs_A-ptPlans__TWO_fold_0" / "report.html").is_file()
    assert "-p ptPlans__ONE" in refused(capsys, *words[:8], 1, "-o", folders / "untrained")


@pytest.mark.parametrize("labels", [{"Liver": "1", "Spleen": "2"}, {"Liver": [1], "Spleen": [2]}], ids=["text", "list"])
def test_labels_as_text_or_in_lists_of_one_keep_their_names(folders, capsys, labels):
    two_models(folders, folds=1, cases=2, labels={"background": 0, **labels})
    status, _, error = run(capsys, *TWO[:-4], 0, "-np", 1, "--overlays", 1, "-o", folders / "report")
    assert status == 0, error
    assert results_of(folders / "report")["labels"] == ["Liver", "Spleen"]
