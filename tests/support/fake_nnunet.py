"""nnU-Net's commands as small scripts that write what nnU-Net writes, in no time; and a raw data set for them."""

import json
import os
import stat
import sys
from pathlib import Path

from support.plan_factory import HIPPOCAMPUS_2D, HIPPOCAMPUS_3D, make_configuration, make_plans

DATASET = "Dataset998_Fake"
CASES = [f"case_{n}" for n in range(10)]
NAMES = (
    "nnUNetv2_extract_fingerprint",
    "nnUNetv2_plan_experiment",
    "nnUNetv2_preprocess",
    "nnUNetv2_train",
    "nnUNetv2_find_best_configuration",
    "nnUNetv2_predict",
    "nnUNetv2_apply_postprocessing",
    "nnUNetv2_evaluate_folder",
    "nnUNetv2_reca_compare",
)
#: what all of them are, by the name under which they are called
SCRIPT = r"""
import json, os, shutil, signal, sys, time, zipfile
from pathlib import Path

name, words = Path(sys.argv[0]).name, sys.argv[1:]
raw, preprocessed, results = (Path(os.environ[f"nnUNet_{n}"]) for n in ("raw", "preprocessed", "results"))
control = Path(os.environ["FAKE_CONTROL"])


def option(key, many=False):
    if key not in words:
        return None
    values = []
    for word in words[words.index(key) + 1 :]:
        if word.startswith("-"):
            break
        values.append(word)
    return values if many else values[0]


def write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def checkpoint(file, epoch):
    with zipfile.ZipFile(f"{file}.partial", "w") as archive:
        archive.writestr("epoch", str(epoch))
    os.replace(f"{file}.partial", file)


with open(control / "calls.txt", "a") as calls:
    shown = {k: os.environ.get(k) for k in ("CUDA_VISIBLE_DEVICES", "nnUNet_n_proc_DA", "OMP_NUM_THREADS")}
    calls.write(json.dumps({"name": name, "words": words, "time": time.time(), **shown}) + "\n")
(dataset,) = {p.name for p in raw.iterdir()}
data = preprocessed / dataset
if name == "nnUNetv2_extract_fingerprint":
    write(data / "dataset_fingerprint.json", {"spacings": []})
elif name == "nnUNetv2_plan_experiment":
    shutil.copy(raw / dataset / "dataset.json", data / "dataset.json")
    shutil.copy(control / "plans.json", data / "nnUNetPlans.json")
elif name == "nnUNetv2_preprocess":
    for label in sorted((raw / dataset / "labelsTr").iterdir()):
        case = label.name.split(".")[0]
        write(data / f"nnUNetPlans_{option('-c')}" / f"{case}.pkl", "")
        write(data / "gt_segmentations" / label.name, "")
elif name == "nnUNetv2_train":
    _, configuration, fold = words[:3]
    model = results / dataset / f"{option('-tr')}__{option('-p')}__{configuration}"
    folder = model / f"fold_{fold}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(data / f"{option('-p')}.json", model / "plans.json")
    shutil.copy(data / "dataset.json", model / "dataset.json")
    order = control / f"{option('-tr')}_{fold}"
    wanted = order.read_text() if order.exists() else ""
    if wanted == "workers" and os.fork() == 0:  # as nnU-Net's data loaders, which outlive a kill of the training
        order.unlink()
        time.sleep(600)
        os._exit(0)
    if wanted == "fail":
        sys.exit("RuntimeError: this training was told to fail")
    final, latest = folder / "checkpoint_final.pth", folder / "checkpoint_latest.pth"
    epochs = 4
    if "--val" not in words:
        start = 0
        if "--c" in words and (final.exists() or latest.exists()):
            start = int(zipfile.ZipFile(final if final.exists() else latest).read("epoch"))
        with open(folder / f"training_log_2026_1_1_00_00_{len(list(folder.glob('*.txt'))):02}.txt", "w") as log:
            for epoch in range(start, epochs):
                log.write(f"2026: Epoch {epoch}\n")
                log.flush()
                while (control / "hold").exists():
                    time.sleep(0.02)
                time.sleep(float(os.environ.get("FAKE_EPOCH", "0.01")))
                log.write(f"2026: Pseudo dice [np.float32({0.5 + epoch / 10})]\n2026: Epoch time: 100.0 s\n")
                log.flush()
                checkpoint(latest, epoch + 1)
                if wanted == "die" and epoch == 1:
                    order.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
            log.write("2026: Training done.\n")
        checkpoint(final, epochs)
        latest.unlink()
    cases = json.loads((data / "splits_final.json").read_text())[int(fold)]["val"]
    for case in cases:
        write(folder / "validation" / f"{case}.nii.gz", "")
    entries = [{"prediction_file": f"/elsewhere/{case}.nii.gz", "metrics": {}} for case in cases]
    write(folder / "validation" / "summary.json", {"metric_per_case": entries, "fold": fold})
elif name == "nnUNetv2_find_best_configuration":
    chosen = {"trainer": option("-tr"), "configuration": option("-c"), "plans_identifier": option("-p")}
    best = {"selected_model_or_models": [chosen], "postprocessing_file": "pp.pkl", "some_plans_file": "plans.json"}
    folds = [int(fold) for fold in option("-f", many=True)]
    write(results / dataset / "inference_information.json", {"folds": folds, "best_model_or_ensemble": best})
    write(results / dataset / "inference_instructions.txt", "predict")
elif name == "nnUNetv2_predict":
    for scan in Path(option("-i")).iterdir():
        write(Path(option("-o")) / scan.name.replace("_0000", ""), "")
elif name == "nnUNetv2_apply_postprocessing":
    shutil.copytree(option("-i"), option("-o"))
elif name == "nnUNetv2_evaluate_folder":
    write(Path(option("-o")), {})
elif name == "nnUNetv2_reca_compare":
    write(Path(option("-o")) / "report.html", " ".join(words))
"""


class FakeNnunet:
    """nnU-Net's three folders with a raw data set, and commands of its names.

    Args:
        folder: empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.control, self.study = folder, folder / "control", folder / "study"
        self.raw, self.preprocessed, self.results = (
            folder / name / DATASET for name in ("raw", "preprocessed", "results")
        )
        for place in (self.control, self.raw / "labelsTr", self.preprocessed.parent, self.results.parent):
            place.mkdir(parents=True)
        for part, ending in (("imagesTr", "_0000"), ("labelsTr", "")):
            (self.raw / part).mkdir(exist_ok=True)
            for case in CASES:
                (self.raw / part / f"{case}{ending}.nii.gz").touch()
        labels = {"background": 0, "a": 1, "b": 2}
        about = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": len(CASES), "file_ending": ".nii.gz"}
        (self.raw / "dataset.json").write_text(json.dumps(about))
        self.write_plans(**{"2d": HIPPOCAMPUS_2D, "3d_fullres": HIPPOCAMPUS_3D})
        self.bin = folder / "bin"
        self.bin.mkdir()
        script = self.bin / "fake"
        script.write_text(f"#!{sys.executable} -IS\n{SCRIPT}")  # no site-packages: starts at once
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        for name in NAMES:
            (self.bin / name).symlink_to(script)
        path = os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {
            "PATH": path,
            "FAKE_CONTROL": str(self.control),
            "TMPDIR": str(folder / "tmp"),
            **{f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")},
        }
        (folder / "tmp").mkdir()

    def write_plans(self, **configurations: dict) -> None:
        """What planning makes."""
        made = {}
        for name, configuration in configurations.items():
            own = {"data_identifier": f"nnUNetPlans_{name}"} if "patch_size" in configuration else {}
            made[name] = {**configuration, **own}
        plans = make_plans(**made) | {"dataset_name": DATASET, "plans_name": "nnUNetPlans"}
        (self.control / "plans.json").write_text(json.dumps(plans))

    def plan(self) -> None:
        """Plans, preprocessed data and the split, as they are after these steps."""
        plans = json.loads((self.control / "plans.json").read_text())
        files = {"dataset_fingerprint.json": {"spacings": []}, "nnUNetPlans.json": plans}
        files["dataset.json"] = json.loads((self.raw / "dataset.json").read_text())
        files["splits_final.json"] = [
            {"train": [c for c in CASES if c not in CASES[2 * n : 2 * n + 2]], "val": CASES[2 * n : 2 * n + 2]}
            for n in range(5)
        ]
        for name, content in files.items():
            (self.preprocessed / name).parent.mkdir(exist_ok=True)
            (self.preprocessed / name).write_text(json.dumps(content))
        for configuration in plans["configurations"]:
            for case in CASES:
                for file in (f"nnUNetPlans_{configuration}/{case}.pkl", f"gt_segmentations/{case}.nii.gz"):
                    (self.preprocessed / file).parent.mkdir(exist_ok=True)
                    (self.preprocessed / file).touch()

    def hold(self) -> Path:
        """Trainings stand still in their first epoch for as long as this file is there."""
        file = self.control / "hold"
        file.touch()
        return file

    def calls(self, name: str = "") -> list[dict]:
        """Commands that were run, in their order."""
        file = self.control / "calls.txt"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [line for line in lines if line["name"].endswith(name)]

    def fold(self, trainer: str, fold: int | str = 0, configuration: str = "3d_fullres") -> Path:
        """nnU-Net's folder of a training."""
        return self.results / f"{trainer}__nnUNetPlans__{configuration}" / f"fold_{fold}"

    def finished(self) -> dict[Path, tuple[int, int]]:
        """Time and size of all files of finished trainings."""
        folds = [summary.parent.parent for summary in self.results.glob("*/fold_*/validation/summary.json")]
        files = [file for fold in folds for file in fold.rglob("*") if file.is_file()]
        return {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in files}


__all__ = ["CASES", "DATASET", "FakeNnunet", "make_configuration"]
