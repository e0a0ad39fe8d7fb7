import json
import os
import sys
import tempfile

import pytest
import torch
from support.estimates import needs_estimates
from support.plan_factory import DATASET_JSON, make_configuration, make_plans

from nnunet_reca._discovery import shim_directory
from nnunet_reca.cli import doctor
from nnunet_reca.trainers.names import base_names, longest_names
from nnunet_reca.trainers.variables import SMALLEST


@pytest.fixture
def healthy(folders, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", shim_directory())
    for variable in ("nnUNet_n_proc_DA", "nnUNet_def_n_proc", *SMALLEST):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("NNUNET_RECA_NO_DISCOVERY", raising=False)
    return folders


def report(capsys, *titles: str) -> tuple[int, str]:
    """Status and text of the whole report, or of some of its checks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "CHECKS", {t: check for t, check in doctor.CHECKS.items() if not titles or t in titles})
        status = doctor.main([])
    return status, capsys.readouterr().out


def test_healthy_installation_is_ready_and_says_what_is_picked_up(healthy, capsys):
    status, text = report(capsys)
    assert status == 0 and text.endswith("Ready to train\n")
    for part in (
        f"torch {torch.__version__.split('+')[0]}",
        "nnunetv2 2.",
        "nnU-Net finds nnUNetTrainerSwinUNETRReca in nnunet_reca.trainers",
        f"nnU-Net finds {longest_names()[0]} in",
        "Settings\n  [ok] none in the environment\nTrainers",
        str(healthy / "results"),
    ):
        assert part in text


@pytest.mark.parametrize(("variable", "status"), [("nnUNet_raw", 0), ("nnUNet_preprocessed", 1), ("nnUNet_results", 1)])
def test_unset_folder_names_the_export(healthy, capsys, monkeypatch, variable, status):
    monkeypatch.delenv(variable)
    found, text = report(capsys, "Folders")
    assert found == status
    assert f"{variable} is not set" in text and f"-> export {variable}=" in text


def test_missing_folder_names_the_mkdir(healthy, capsys):
    (healthy / "results").rmdir()
    status, text = report(capsys, "Folders")
    assert status == 0 and f"does not exist: nnU-Net makes it\n      -> mkdir -p {healthy / 'results'}" in text


def test_a_file_in_place_of_a_folder_is_a_problem(healthy, capsys, monkeypatch):
    (healthy / "file").touch()
    for folder in (healthy / "file", healthy / "file" / "results"):
        monkeypatch.setenv("nnUNet_results", str(folder))
        status, text = report(capsys, "Folders")
        assert status == 1 and f"{folder} is not a folder" in text


def read_only(monkeypatch, *folders):
    """Folders that take no file, whoever runs the tests."""
    real = tempfile.TemporaryFile

    def temporary(dir):
        if str(dir) in map(str, folders):
            raise OSError(30, "Read-only file system")
        return real(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", temporary)


def test_results_that_take_no_file_are_a_problem_unless_a_data_set_in_them_does(healthy, capsys, monkeypatch):
    read_only(monkeypatch, healthy / "results")
    status, text = report(capsys, "Folders")
    assert status == 1 and "is not writable: Read-only file system" in text
    (healthy / "results" / "Dataset321_Liver").mkdir()
    status, text = report(capsys, "Folders")
    assert status == 0 and "takes no new data sets: Read-only file system" in text


def test_data_that_nobody_may_write_can_be_trained_on(healthy, capsys, monkeypatch):
    read_only(monkeypatch, healthy / "raw", healthy / "preprocessed")
    status, text = report(capsys, "Folders")
    assert status == 0 and f"[ok] nnUNet_raw = {healthy / 'raw'}\n" in text
    assert f"[warning] nnUNet_preprocessed = {healthy / 'preprocessed'} takes no new data sets" in text


def test_trainers_out_of_reach_are_named_once_with_the_export(healthy, capsys, monkeypatch):
    monkeypatch.setenv("NNUNET_RECA_NO_DISCOVERY", "1")
    monkeypatch.setenv("nnUNet_extTrainer", str(healthy))
    status, text = report(capsys, "Trainers")
    assert status == 1
    assert f"nnU-Net does not find {base_names()[1]}, {longest_names()[0]}: in none" in text
    assert text.count("does not find") == 1
    assert f"-> export nnUNet_extTrainer={shim_directory()}" in text


@pytest.mark.parametrize("spelling", ["{}/", "{}/../shim", "{}/."])
def test_the_shim_directory_is_known_in_any_spelling(healthy, capsys, monkeypatch, spelling):
    monkeypatch.setenv("NNUNET_RECA_NO_DISCOVERY", "1")
    monkeypatch.setenv("nnUNet_extTrainer", spelling.format(shim_directory()))
    status, text = report(capsys, "Trainers")
    assert status == 0 and "[warning] NNUNET" not in text


def test_another_class_of_the_same_name_is_reported_with_its_place(healthy, capsys, monkeypatch):
    (healthy / "theirs.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainerSwinUNETR(nnUNetTrainer): pass\n"
    )
    monkeypatch.setenv("nnUNet_extTrainer", f"{healthy}{os.pathsep}{shim_directory()}")
    status, text = report(capsys, "Trainers")
    assert status == 0 and f"nnU-Net finds another nnUNetTrainerSwinUNETR first: {healthy / 'theirs.py'}" in text
    assert "theirs" not in sys.modules
    monkeypatch.setenv("nnUNet_extTrainer", f"{shim_directory()}{os.pathsep}{healthy}")
    assert "finds another" not in report(capsys, "Trainers")[1], "ours come first"


#: what a trainer file of another project may do when it is imported -> what the doctor says of it
BROKEN = {
    "import missing_library": ("ModuleNotFoundError: No module named 'missing_library'", "install missing_library"),
    "from os import no_such_name": ("ImportError: cannot import name 'no_such_name' from 'os'", "correct"),
    "def broken(:": ("SyntaxError: ", "correct"),
    "1 / 0": ("ZeroDivisionError: ", "correct"),
    "import sys; sys.exit(3)": ("SystemExit: 3", "correct"),
    "import torch; torch.no_such_function": ("AttributeError: module 'torch' has no attribute", "correct"),
    "def __getattr__(name): raise RuntimeError('none here')": ("RuntimeError: none here", "correct"),
}


@pytest.mark.parametrize("line", BROKEN)
@pytest.mark.parametrize("before", [True, False], ids=["before ours", "after ours"])
def test_a_broken_trainer_folder_of_others_is_named_once_and_stops_ours_only_where_it_comes_first(
    healthy, capsys, monkeypatch, line, before
):
    folder = healthy / "theirs"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "__init__.py").touch()
    file = folder / "package" / "their_trainers.py"
    file.write_text(line + "\n")
    places = [str(folder), shim_directory()]
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(places if before else places[::-1]))
    status, text = report(capsys, "Trainers")
    said, remedy = BROKEN[line]
    assert status == before
    found = [lines for lines in text.split("  [") if str(file) in lines]
    assert len(found) == 1 and f"nnU-Net cannot search {folder}: {file}: {said}" in found[0]
    assert found[0].startswith("PROBLEM]" if before else "warning]")
    assert f"-> {remedy}" in found[0] and f"take {folder} out of nnUNet_extTrainer" in found[0]
    assert "does not find" not in text and ("nnU-Net finds nnUNetTrainerSwinUNETRReca " in text) != before


def test_a_broken_file_among_nnunets_own_trainers_is_named_once(healthy, capsys, monkeypatch, tmp_path):
    import nnunetv2

    stock = tmp_path / "nnunetv2" / "training" / "nnUNetTrainer"
    stock.mkdir(parents=True)
    (stock / "copied.py").write_text("import missing_library")
    monkeypatch.setattr(nnunetv2, "__path__", [str(tmp_path / "nnunetv2")])
    monkeypatch.setattr(nnunetv2.training.nnUNetTrainer, "__path__", [str(stock)])
    status, text = report(capsys, "Trainers")
    assert status == 1 and text.count("missing_library'") == 1
    assert f"nnU-Net cannot search its own trainers: {stock / 'copied.py'}: ModuleNotFoundError" in text


def test_import_failure_is_a_finding_not_a_crash(healthy, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    status, text = report(capsys)
    assert status == 1 and "timm cannot be imported" in text and "-> pip install" in text


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("2.6.2", "PROBLEM"),
        ("2.8.1rc1", None),
        ("2.9.0.dev3", None),
        ("2.8.1+site", None),
        ("3.0", "warning"),
        ("x", None),
    ],
)
def test_only_an_nnunet_that_is_too_old_is_a_problem(healthy, capsys, monkeypatch, version, status):
    real = doctor.importlib.metadata.version
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda n: version if n == "nnunetv2" else real(n))
    found, text = report(capsys, "Packages")
    assert found == (status == "PROBLEM")
    assert (f"[{status}] nnunetv2 {version} is " in text) == (status is not None)
    assert ('pip install "nnunetv2>=2.8.1,<3"' in text) == (status is not None)


@pytest.mark.parametrize(
    ("variable", "value", "status"),
    [
        ("nnUNet_n_proc_DA", "0", "warning"),
        ("nnUNet_n_proc_DA", " 3 ", "ok"),
        ("nnUNet_n_proc_DA", "-1", "PROBLEM"),
        ("nnUNet_n_proc_DA", "", "PROBLEM"),
        ("nnUNet_n_proc_DA", "two", "PROBLEM"),
        ("nnUNet_def_n_proc", "1", "ok"),
        ("nnUNet_def_n_proc", "0", "PROBLEM"),
        ("nnUNet_reca_seed", "0", "ok"),
        ("nnUNet_reca_seed", "", None),
        ("nnUNet_reca_seed", "-1", "PROBLEM"),
        ("nnUNet_reca_iterations_per_epoch", "0", "PROBLEM"),
    ],
)
def test_settings_are_problems_where_nnunet_or_a_trainer_stops_at_them(
    healthy, capsys, monkeypatch, variable, value, status
):
    monkeypatch.setenv(variable, value)
    found, text = report(capsys, "Settings")
    assert found == (status == "PROBLEM")
    lines = [line for line in text.splitlines() if variable in line and "->" not in line]
    assert len(lines) == (status is not None) and all(line.startswith(f"  [{status}] ") for line in lines)


def test_nothing_is_looked_up_with_settings_at_which_nnunet_stops(healthy, capsys, monkeypatch):
    monkeypatch.setenv("nnUNet_def_n_proc", "many")
    status, text = report(capsys, "Settings", "Trainers")
    assert status == 1 and "Trainers\n  [warning] not looked up" in text and "finds" not in text


def test_a_check_that_breaks_keeps_what_it_found_before(healthy, capsys, monkeypatch):
    def breaks():
        yield doctor.Finding(doctor.Status.OK, "so far")
        raise OSError("no more")

    monkeypatch.setitem(doctor.CHECKS, "Device", breaks)
    status, text = report(capsys, "Device", "Settings")
    assert status == 1 and "[ok] so far\n  [PROBLEM] the check failed: OSError: no more\nSettings" in text


@needs_estimates
def test_memory_of_a_training_by_configuration_and_part(healthy, capsys):
    folder = healthy / "preprocessed" / "Dataset999_Test"
    folder.mkdir()
    configuration = make_configuration([24, 24, 24], [[1] * 3, *[[2] * 3] * 3], batch_dice=False)
    plans = make_plans(**{"3d_fullres": configuration, "broken": configuration | {"patch_size": [25, 24, 24]}})
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans), encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON), encoding="utf-8")
    assert doctor.main(["-d", "999", "-tr", "nnUNetTrainerPrimusSReca_tiny"]) == 0
    text = capsys.readouterr().out
    assert (
        "3d_fullres, nnUNetTrainerPrimusSReca_tiny on cuda: estimated memory of a training step\n  parameters" in text
    )
    assert "fits in 8 GB: yes" in text and "broken: expected" in text
    assert doctor.main(["-d", "998", "-tr", "nnUNetTrainerPrimusSReca_tiny"]) == 1
    assert "998" in capsys.readouterr().out


def test_memory_needs_data_set_and_trainer(capsys):
    with pytest.raises(SystemExit, match="2"):
        doctor.main(["-d", "4"])
    assert "expected -d and -tr together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [({"avx2", "amx_bf16", "avx512_bf16"}, "(AMX)"), ({"avx512_bf16"}, "(AVX-512)"), ({"avx512_f"}, None)],
    ids=["amx", "avx512", "neither"],
)
@pytest.mark.parametrize("told_by", ["torch", "linux"])
def test_bfloat16_units_are_named_where_the_processor_has_them(capsys, monkeypatch, tmp_path, flags, says, told_by):
    capabilities = {"num_sockets": 1, "amx_bf16": False, **dict.fromkeys(flags, True)} if told_by == "torch" else {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    (tmp_path / "cpuinfo").write_text(f"model name\t: some\nflags\t\t: fpu {' '.join(sorted(flags))}\n")
    read_flags = doctor._processor_flags
    monkeypatch.setattr(doctor, "_processor_flags", lambda: read_flags(str(tmp_path / "cpuinfo")))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    status, text = report(capsys, "Device")
    assert status == 0
    assert ("bfloat16" in text and says in text and "_bf16" in text) if says else "bfloat16" not in text
