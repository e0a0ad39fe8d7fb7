"""After any kind of installation nnU-Net's own look-up finds the trainers with no variable set."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROBE = """
import json, os, sys
report = {"heavy": sorted({"torch", "nnunetv2", "numpy", "timm"} & set(sys.modules))}
report["variable"] = os.environ.get("nnUNet_extTrainer")
if os.environ.get("ASSIGNED"):
    os.environ["nnUNet_extTrainer"] = os.environ["ASSIGNED"]
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
name = "nnUNetTrainerSwinUNETRReca_tiny_3epochs"
try:
    first, second = find(name), find(name)
    import pickle
    report["same"] = first is second is pickle.loads(pickle.dumps(first))
    report["base"] = sys.modules[first.__mro__[1].__module__].__file__
    report["another"] = find("nnUNetTrainerSwinUNETRReca_tiny_4epochs").__name__
except RuntimeError as error:
    report["error"] = str(error)
print(json.dumps(report))
"""


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """sdist, and the wheel built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    return out


def make_environment(folder: Path) -> Path:
    """A fresh environment that borrows nnU-Net and torch from this one, without this one's start-up hooks."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    site = Path(run(folder / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "zz_borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def install(python: Path, *what):
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--quiet"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, *what)


def probe(python: Path, **variables) -> dict:
    ours = {"nnUNet_extTrainer", "NNUNET_RECA_NO_DISCOVERY", "PYTHONPATH"}
    environment = {k: v for k, v in os.environ.items() if k not in ours} | variables
    return json.loads(run(python, "-c", PROBE, env=environment, cwd=python.parent).splitlines()[-1])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, distributions):
    """Python of an environment with the wheel; its start-up hook is that of an editable installation."""
    python = make_environment(tmp_path_factory.mktemp("wheel") / "env")
    install(python, next(distributions.glob("*.whl")))
    return python


@pytest.fixture(scope="module")
def editable(tmp_path_factory):
    python = make_environment(tmp_path_factory.mktemp("editable") / "env")
    install(python, "-e", ROOT)
    return python


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_installation_is_enough_for_the_stock_look_up(request, kind):
    python = request.getfixturevalue(kind)
    report = probe(python)
    assert report.get("same") is True, report
    place = Path(report["base"])
    assert place.is_relative_to(ROOT / "nnunet_reca" if kind == "editable" else python.parents[1])
    assert report["heavy"] == [], "the start-up hook must not import anything that takes time"


def test_users_own_trainer_folders_stay_first_and_ours_are_found(wheel, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainerSwinUNETRReca_tiny_3epochs(nnUNetTrainer): pass\n"
    )
    report = probe(wheel, nnUNet_extTrainer=str(tmp_path))
    assert report["variable"].split(os.pathsep)[0] == str(tmp_path)
    assert len(report["variable"].split(os.pathsep)) == 2
    assert report["base"].endswith("nnUNetTrainer.py"), "the user's class of the same name wins"
    assert report["another"] == "nnUNetTrainerSwinUNETRReca_tiny_4epochs"


def test_programs_that_assign_the_variable_find_ours(wheel, tmp_path):
    report = probe(wheel, ASSIGNED=str(tmp_path))
    assert report.get("same") is True, report


def test_opt_out_switches_the_hook_off_and_the_documented_export_replaces_it(wheel):
    assert "Could not find requested nnunet trainer" in probe(wheel, NNUNET_RECA_NO_DISCOVERY="1")["error"]
    shim = run(wheel, "-c", "from nnunet_reca._discovery import shim_directory as d; print(d())").strip()
    assert probe(wheel, NNUNET_RECA_NO_DISCOVERY="1", nnUNet_extTrainer=shim)["same"] is True


def test_wheel_from_the_sdist_carries_hook_shim_and_types(distributions):
    import zipfile

    names = zipfile.ZipFile(next(distributions.glob("*.whl"))).namelist()
    for name in (
        "nnunet_reca.pth",
        "nnunet_reca.start",
        "nnunet_reca/_discovery/shim/nnunet_reca_trainers.py",
        "nnunet_reca/_discovery/last/nnunet_reca_misspelt.py",
        "nnunet_reca/py.typed",
        "nnunet_reca/study/Snakefile",
    ):
        assert name in names
    assert not any(n.startswith(("tests/", "examples/", "benchmarks/")) for n in names)
