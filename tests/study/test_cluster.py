"""On SLURM: what the command adds to Snakemake's options, and what it says beforehand."""

import importlib.util
from types import SimpleNamespace

import pytest

from nnunet_reca.study import engine
from nnunet_reca.study.cluster import (
    cancel_waiting,
    has_accounting,
    job_prefix,
    on_slurm,
    slurm_options,
    slurm_problems,
    value_of,
)
from nnunet_reca.study.spec import study_of

SLURM = ("--executor", "slurm", "--jobs", "32")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Stand-ins of SLURM's commands and of the plug-in; ``cluster.accounting`` is what scontrol says."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    found = importlib.util.find_spec
    there = SimpleNamespace(programs=programs, plugin=True)
    name = "snakemake_executor_plugin_slurm"
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: there.plugin if n == name else found(n))

    def stand_in(program, prints):
        script = programs / program
        script.write_text(f"#!/bin/sh\necho {program} \"$@\" >> {programs}/calls\necho '{prints}'\n")
        script.chmod(0o755)

    def accounting(kind):
        lines = f"AccountingStorageHost   = localhost\nAccountingStorageType   = accounting_storage/{kind}"
        stand_in("scontrol", f"Configuration data as of today\n{lines}")

    there.accounting, there.stand_in = accounting, stand_in
    accounting("slurmdbd")
    stand_in("sbatch", "1")
    return there


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("--jobs 32", "32"),
        ("--jobs=32", "32"),
        ("-j 32", "32"),
        ("-j32", "32"),
        ("--keep-going --jobs", ""),
        ("--jobs --keep-going", ""),
        ("--jobscript 32", None),
        ("", None),
    ],
)
def test_options_are_read_as_snakemake_takes_them(words, value):
    assert value_of(words.split(), "--jobs", "-j") == value


@pytest.mark.parametrize("words", ["--executor slurm", "--executor=slurm", "-e slurm", "--jobs 2 -e slurm"])
def test_jobs_go_to_slurm_however_it_is_said(words):
    assert on_slurm(words.split())
    assert not on_slurm(words.replace("slurm", "local").split())


def test_clusters_without_accounting_are_asked_by_squeue(cluster, tmp_path):
    assert has_accounting() and "--slurm-status-command" not in slurm_options(SLURM, tmp_path)
    cluster.accounting("none")
    assert slurm_options(SLURM, tmp_path)[-2:] == ["--slurm-status-command", "squeue"]
    (cluster.programs / "scontrol").unlink()
    assert has_accounting()


def test_what_the_user_says_is_not_said_again(cluster, tmp_path):
    cluster.accounting("none")
    given = (*SLURM, "--slurm-status-command=sacct", "--slurm-no-requeue", "-w", "5", "--slurm-logdir", "elsewhere")
    given += ("--slurm-jobname-prefix", "mine")
    assert slurm_options(given, tmp_path) == []
    assert slurm_options(SLURM, tmp_path)[:7] == [
        *("--slurm-jobname-prefix", job_prefix(tmp_path)),
        *("--slurm-logdir", str(tmp_path / "logs" / "slurm")),
        *("--latency-wait", "60"),
        "--slurm-requeue",
    ]


def test_of_an_earlier_run_the_jobs_of_this_study_that_wait_are_cancelled_and_no_others(cluster, tmp_path):
    other = job_prefix(tmp_path / "other")
    names = {
        11: f"{job_prefix(tmp_path)}_4b2c",
        12: f"{other}_4b2c",
        13: "training",
        14: f"{job_prefix(tmp_path)}_77aa",
    }
    assert cancel_waiting(tmp_path) == []  # no squeue
    cluster.stand_in("squeue", "\n".join(f"{number}|{name}" for number, name in names.items()))
    cluster.stand_in("scancel", "")
    assert cancel_waiting(tmp_path) == ["11", "14"]
    asked, cancelled = (cluster.programs / "calls").read_text().splitlines()
    assert "--states=PENDING" in asked and cancelled == "scancel --state=PENDING 11 14"
    assert cancel_waiting(tmp_path / "third") == []


def test_missing_plugin_sbatch_and_number_of_jobs_are_said_together(cluster):
    assert not list(slurm_problems(SLURM))
    assert not list(slurm_problems(("--executor", "slurm", "--profile", "mine")))
    cluster.plugin = None
    (cluster.programs / "sbatch").unlink()
    plugin, program, jobs = slurm_problems(("--executor", "slurm"))
    assert "pip install snakemake-executor-plugin-slurm" in plugin
    assert "sbatch is not on the PATH" in program and "say --jobs 32" in jobs


def test_jobs_on_slurm_know_nothing_of_the_cores_and_devices_of_this_machine(cluster, tmp_path):
    """Snakemake hands ``--cores`` on to the jobs, and a limit of GPUs would be one of the whole cluster."""
    study = study_of({"datasets": [4], "trainers": ["nnUNetTrainer"], "retries": 2})
    words = engine.command(study, engine.Request(tmp_path, {}, SLURM))
    assert value_of(words, "--cores", "-c") is value_of(words, "--resources") is None
    assert value_of(words, "--executor") == "slurm" and value_of(words, "--jobs") == "32"


def test_retries_are_the_commands_and_no_rules(cluster, tmp_path):
    """The word of a rule counts in the Snakemake inside of a job, too, and there would be retries of retries."""
    study = study_of({"datasets": [4], "trainers": ["nnUNetTrainer"], "retries": 2})
    assert value_of(engine.command(study, engine.Request(tmp_path, {}, SLURM)), "--retries") == "2"
    assert value_of(engine.command(study, engine.Request(tmp_path, {}, (*SLURM, "--retries", "7"))), "--retries") == "7"
    assert "retries:" not in engine.SNAKEFILE.read_text()


def test_gpus_of_a_training_are_on_one_machine():
    study = study_of({"datasets": [4], "trainers": ["nnUNetTrainer"], "num_gpus": 2})
    assert study.resources("train") | {"gpu": 2, "nodes": 1} == study.resources("train")
    assert "nodes" not in study.resources("preprocess")
