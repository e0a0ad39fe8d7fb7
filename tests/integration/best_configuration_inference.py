"""Find the best configuration, predict the test cases with it and post-process them.

The last steps of nnU-Net's integration test, as stock commands; a cascade gets the prediction of its previous stage.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import SimpleITK as sitk

#: folds that predict; nnU-Net's test takes these two of the five, too
FOLDS = (0, 3)
PREVIOUS_STAGE = {"3d_cascade_fullres": "3d_lowres"}


def run(*words: object) -> None:
    """Run a command, its output being ours."""
    subprocess.run([str(w) for w in words], check=True)


class Inference:
    """Predictions of one data set's test cases, each configuration once."""

    def __init__(self, dataset: int, trainer: str, output: Path, device: str) -> None:
        self.dataset, self.trainer, self.output, self.device = dataset, trainer, output, device
        self.name = next(Path(os.environ["nnUNet_raw"]).glob(f"Dataset{dataset:03d}_*")).name
        self.scans = Path(os.environ["nnUNet_raw"]) / self.name / "imagesTs"
        self.results = Path(os.environ["nnUNet_results"]) / self.name

    def predict(self, configuration: str) -> Path:
        """Segmentations and probabilities of the test cases, with those of the previous stage first."""
        folder = self.output / configuration
        if not folder.exists():
            previous = PREVIOUS_STAGE.get(configuration)
            stage = ("-prev_stage_predictions", self.predict(previous)) if previous else ()
            words = ("nnUNetv2_predict", "-i", self.scans, "-o", folder, "-d", self.dataset, "-c", configuration)
            options = ("-tr", self.trainer, "-f", *FOLDS, "-device", self.device, "--save_probabilities")
            run(*words, *options, *stage)
        return folder

    def predict_best(self, best: dict) -> Path:
        """Post-processed predictions of the best model or ensemble."""
        folders = [self.predict(model["configuration"]) for model in best["selected_model_or_models"]]
        target = folders[0]
        if len(folders) > 1:
            target = self.output / "ensemble"
            run("nnUNetv2_ensemble", "-i", *folders, "-o", target)
        final = self.output / "postprocessed"
        files = ("-pp_pkl_file", best["postprocessing_file"], "-plans_json", best["some_plans_file"])
        dataset = ("-dataset_json", folders[0] / "dataset.json")
        run("nnUNetv2_apply_postprocessing", "-i", target, "-o", final, *files, *dataset)
        return final

    def check(self, final: Path) -> None:
        """One segmentation per test case, of its size, with the labels of the data set and never the ignore label.

        Raises:
            ValueError: if not.
        """
        dataset = json.loads((self.scans.parent / "dataset.json").read_text())
        regions = (np.ravel(value).tolist() for label, value in dataset["labels"].items() if label != "ignore")
        known = {int(value) for region in regions for value in region}
        for scan in sorted(self.scans.iterdir()):
            image = sitk.ReadImage(str(scan))
            segmentation = sitk.ReadImage(str(final / scan.name.replace("_0000", "")))
            labels = set(np.unique(sitk.GetArrayFromImage(segmentation)).tolist())
            if segmentation.GetSize() != image.GetSize() or not labels <= known:
                raise ValueError(
                    f"expected size {image.GetSize()} and labels of {known} for {scan.name}, "
                    f"got {segmentation.GetSize()} and {labels}"
                )


def main() -> None:
    """Run all steps and write one line: the best configuration and its Dice in cross-validation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-d", type=int, required=True, help="data set id")
    parser.add_argument("-tr", required=True, help="trainer")
    parser.add_argument("-c", nargs="+", required=True, help="configurations")
    parser.add_argument("-o", type=Path, required=True, help="folder for predictions")
    parser.add_argument("--summary", type=Path, required=True, help="file for the line")
    parser.add_argument("-device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    inference = Inference(options.d, options.tr, options.o, options.device)
    run("nnUNetv2_find_best_configuration", options.d, "-tr", options.tr, "-c", *options.c)
    information = json.loads((inference.results / "inference_information.json").read_text())
    best = information["best_model_or_ensemble"]
    inference.check(inference.predict_best(best))
    chosen = " + ".join(model["configuration"] for model in best["selected_model_or_models"])
    options.summary.write_text(f"{chosen} {best['result_on_crossval_post_pp']:.3f}\n")


if __name__ == "__main__":
    main()
