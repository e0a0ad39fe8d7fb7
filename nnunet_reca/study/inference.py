"""Prediction of the test scans by what nnU-Net chose: ``python -m nnunet_reca.study.inference DATASET``.

Runs stock commands in the study's folder: each chosen model, those of earlier stages of cascades first; the ensemble;
the post-processing. A prediction that was interrupted goes on with the scans that are left.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnunet_reca.results.files import ModelName, read_json
from nnunet_reca.study import nnunet
from nnunet_reca.study.jobs import Job
from nnunet_reca.study.states import outcome


class Inference:
    """Predictions of one data set's test scans, each model once.

    Args:
        folder: of the study.
        dataset: full name.
        device: cuda, cpu or mps.
        processes: that preprocess and export.
    """

    def __init__(self, folder: Path, dataset: str, device: str, processes: int) -> None:
        self.dataset, self.device, self.processes = dataset, device, max(1, processes)
        self.information = read_json(outcome(folder, Job("best", dataset)))
        self.target = outcome(folder, Job("predict", dataset))
        self.steps = self.target.with_name("prediction_steps")
        self.folds: Sequence[int] = self.information["folds"]

    def run(self) -> None:
        """Predict, combine, post-process; the outcome is moved into place when it is whole."""
        best = self.information["best_model_or_ensemble"]
        self._forget_other(best)
        models = [
            ModelName(m["trainer"], m["plans_identifier"], m["configuration"]) for m in best["selected_model_or_models"]
        ]
        together = len(models) > 1
        folders = [self.predict(model, probabilities=together) for model in models]
        combined = folders[0]
        if together:
            combined = self.steps / "ensemble"
            _run("nnUNetv2_ensemble", "-i", *folders, "-o", combined, "-np", self.processes)
        final = self.steps / "postprocessed"
        files = ("-pp_pkl_file", best["postprocessing_file"], "-plans_json", best["some_plans_file"])
        described = ("-dataset_json", nnunet.results(self.dataset) / str(models[0]) / "dataset.json")
        _run("nnUNetv2_apply_postprocessing", "-i", combined, "-o", final, *files, *described, "-np", self.processes)
        shutil.rmtree(self.target, ignore_errors=True)
        final.rename(self.target)

    def predict(self, model: ModelName, *, probabilities: bool) -> Path:
        """Segmentations of a model, with those of the stage before first.

        Returns:
            Their folder.
        """
        folder = self.steps / str(model)
        plans = read_json(nnunet.results(self.dataset) / str(model) / "plans.json")
        stage = nnunet.resolved(plans, model.configuration).get("previous_stage")
        earlier: Sequence[Any] = ()
        if stage:
            before = ModelName(model.trainer, model.plans, str(stage))
            earlier = ("-prev_stage_predictions", self.predict(before, probabilities=False))
        words = ("nnUNetv2_predict", "-i", nnunet.raw(self.dataset) / "imagesTs", "-o", folder, "-d", self.dataset)
        chosen = ("-c", model.configuration, "-tr", model.trainer, "-p", model.plans, "-f", *self.folds)
        workers = self.processes if self.processes > 1 else 0  # with one core, all in one process
        options = ("-device", self.device, "-npp", workers, "-nps", workers, "--continue_prediction")
        _run(*words, *chosen, *options, *earlier, *(("--save_probabilities",) if probabilities else ()))
        return folder

    def _forget_other(self, best: Any) -> None:
        """Remove what was predicted by another choice, or of other scans."""
        note, now = self.steps / "choice.json", {"best": best, "scans": nnunet.scans(self.dataset, "imagesTs")}
        if nnunet.content(note) != now:
            shutil.rmtree(self.steps, ignore_errors=True)
            nnunet.write_record(note, now)
        for unfinished in ("ensemble", "postprocessed"):
            shutil.rmtree(self.steps / unfinished, ignore_errors=True)


def _run(*words: Any) -> None:
    command = [str(word) for word in words]
    sys.stdout.write(f"$ {' '.join(command)}\n")
    sys.stdout.flush()
    done = subprocess.run(command)
    if done.returncode:
        raise SystemExit(done.returncode)


def main(arguments: list[str] | None = None) -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(prog="python -m nnunet_reca.study.inference")
    parser.add_argument("dataset")
    parser.add_argument("-device", default="cuda")
    parser.add_argument("-np", type=int, default=2)
    options = parser.parse_args(arguments)
    Inference(Path.cwd(), options.dataset, options.device, options.np).run()


if __name__ == "__main__":
    main()
