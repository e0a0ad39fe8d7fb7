"""Copy the first cases of an nnU-Net raw data set: ``python copy_cases.py SOURCE TARGET [CASES]``."""

import json
import shutil
import sys
from pathlib import Path


def copy_cases(source: Path, target: Path, cases: int | None = None, test_cases: int | None = None) -> None:
    """Copy a raw data set, with as many training and test cases as asked for; None copies all there are.

    Raises:
        ValueError: if the source has fewer training cases.
    """
    dataset = json.loads((source / "dataset.json").read_text())
    labels = sorted((source / "labelsTr").iterdir())[:cases]
    if cases and len(labels) < cases:
        raise ValueError(f"expected {cases} training cases in {source}, got {len(labels)}; ask for fewer")
    names = [file.name.removesuffix(dataset["file_ending"]) for file in labels]
    scans = sorted((source / "imagesTs").glob("*"))
    test_names = sorted({file.name.removesuffix(dataset["file_ending"])[:-5] for file in scans})[:test_cases]
    images = [f for f in (source / "imagesTr").iterdir() if f.name.removesuffix(dataset["file_ending"])[:-5] in names]
    scans = [f for f in scans if f.name.removesuffix(dataset["file_ending"])[:-5] in test_names]
    for part, files in (("labelsTr", labels), ("imagesTr", images), ("imagesTs", scans)):
        (target / part).mkdir(parents=True)
        for file in files:
            shutil.copy(file, target / part)
    (target / "dataset.json").write_text(json.dumps(dataset | {"numTraining": len(labels)}))


if __name__ == "__main__":
    number = int(sys.argv[3]) if len(sys.argv) > 3 else None
    copy_cases(Path(sys.argv[1]), Path(sys.argv[2]), number, number)
