"""A small study with nnU-Net itself, from raw data to the page and the evaluation of test scans."""

import json
import os
import re
import shutil
import sys

import pytest
from support.copy_cases import copy_cases
from support.workspace import EXAMPLE, Workspace

from nnunet_reca.study.spec import STEPS

pytest.importorskip("snakemake")
pytestmark = pytest.mark.slow

TWINS = ("nnUNetTrainerPrimusS_tiny_1epochs", "nnUNetTrainerPrimusSReca_tiny_1epochs")


def test_two_twins_train_and_end_on_a_page(tmp_path):
    workspace = Workspace(tmp_path)
    raw = workspace.folder / "raw" / EXAMPLE.name
    copy_cases(EXAMPLE, raw, 5, 1)
    (scan,) = (raw / "imagesTs").iterdir()
    reference = EXAMPLE / "labelsTs" / scan.name.replace("_0000", "")
    (raw / "labelsTs").mkdir()
    shutil.copy(reference, raw / "labelsTs")
    study = tmp_path / "study"
    words = ("-d", 4, "-tr", *TWINS, "-f", 0, "--seeds", 7, "--device", "cpu", "-o", study, "--retries", 0)
    alone = [f"{step}=1" for step in STEPS]  # two jobs beside each other
    with workspace:
        path = os.pathsep.join([str(workspace.preloaded), os.environ["PATH"]])
        options = ("--set-threads", *alone, "--cores", 2)
        said = workspace.run(sys.executable, "-m", "nnunet_reca.cli.study", *words, *options, PATH=path)
    page = study / EXAMPLE.name / "comparison" / "report.html"
    assert f"page: {page}" in said
    assert {"PrimusS", "PrimusSReca"} <= set(re.findall(r"\w+", page.read_text(encoding="utf-8")))
    assert (study / EXAMPLE.name / "predictions" / reference.name).is_file()
    evaluation = json.loads((study / EXAMPLE.name / "evaluation.json").read_text())
    assert 0 <= evaluation["foreground_mean"]["Dice"] <= 1
    best = json.loads((study / EXAMPLE.name / "inference_information.json").read_text())
    assert set(best["all_results"]) == {
        f"{twin.replace('_1epochs', '_seed7_1epochs')}__nnUNetPlans__3d_fullres" for twin in TWINS
    }
    assert "all 9 jobs are done" in workspace.run(sys.executable, "-m", "nnunet_reca.cli.study", study)
