"""Golden vectors: input, weights, output and gradients of the published code, read from case directories.

Tensors without a stored state dict are regenerated bit-exactly from (seed, name, shape, range). Case directories are
collected from ``tests/golden``, from ``../shared/golden`` beside the repository, and from ``$RECA_GOLDEN_DIR``.
"""

import hashlib
import json
import os
import zlib
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "tests" / "golden", ROOT.parent / "shared" / "golden"]


#: published classes whose cases some test runs
NETWORKS = {
    "SwinUNETR": ["SwinUNETRRecA", "monai.networks.nets.SwinUNETR"],
    "NnFormer": ["nnFormerRecA", "nnFormer"],
    "SwinUnet": ["RecASwinTransformerSys_Encoder", "SwinTransformerSys"],
    "DATransUnet": ["DA_Transformer_RecA", "DA_Transformer"],
    "VitEncoder": ["Encoder"],
}
OPERATORS = {
    "window": ["WindowAttention", "WindowRecurrentAttention"],
    "cross": ["WindowAttention_kv"],
    "sequential": ["Attention"],
}


def all_golden_cases() -> list["GoldenCase"]:
    """Every case found; of two with one name, that of ``$RECA_GOLDEN_DIR`` is taken."""
    named = [Path(p) for p in os.environ.get("RECA_GOLDEN_DIR", "").split(os.pathsep) if p]
    empty = [str(folder) for folder in named if not any(folder.rglob("config.json"))]
    if empty:
        raise ValueError(f"expected golden cases in RECA_GOLDEN_DIR, found none in {', '.join(empty)}")
    found = {p.parent.name: p.parent for f in (*reversed(FOLDERS), *named) for p in f.rglob("config.json")}
    return [GoldenCase(found[name]) for name in sorted(found)]


def golden_cases(kind: str) -> list["GoldenCase"]:
    """The cases of a key of :data:`NETWORKS` or :data:`OPERATORS`, told by their published class."""
    return [case for case in all_golden_cases() if case.published_class in {**NETWORKS, **OPERATORS}[kind]]


def uniform(seed: int, name: str, shape, low: float, high: float) -> np.ndarray:
    state = np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode()) & 0xFFFFFFFF)
    values = state.random_sample(int(np.prod(shape)) if len(shape) else 1)
    return (low + (high - low) * values).astype(np.float32).reshape(shape)


class GoldenCase:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.config = json.loads((folder / "config.json").read_text())
        self.seed = self.config["seed"]

        # some classes carry a remark behind their name
        self.published_class = self.config["reference_class"].split(" ")[0]
        file = self.config["reference_file"].split("/")[-1]
        self.recurrent = "RecA" in file + self.published_class

    def __repr__(self) -> str:
        return self.name

    @cached_property
    def gradients(self) -> dict:
        return json.loads((self.folder / "grads.json").read_text())

    @cached_property
    def manifest(self) -> list[dict]:
        return json.loads((self.folder / "weights.json").read_text())["tensors"]

    def array(self, stem: str) -> torch.Tensor:
        return torch.from_numpy(np.load(self.folder / f"{stem}.npy"))

    def stems(self, prefix: str) -> list[str]:
        return sorted(p.stem for p in self.folder.glob(f"{prefix}*.npy"))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Float tensors of the published state dict, checked against the manifest's hashes."""
        stored = self.folder / "state_dict.safetensors"
        if stored.exists():
            from safetensors.numpy import load_file

            state = load_file(stored)
        else:
            state = {
                t["name"]: uniform(self.seed, t["name"], t["shape"], t["lo"], t["hi"])
                for t in self.manifest
                if t["rule"] != "untouched"
            }
        for t in self.manifest:
            if t["name"] in state:
                digest = hashlib.sha256(np.ascontiguousarray(state[t["name"]]).tobytes()).hexdigest()[:16]
                assert digest == t["sha256_16"], f"{self.name}: {t['name']} differs from the manifest"
        return {n: torch.from_numpy(np.array(a)) for n, a in state.items()}

    def loss_weight(self, output: str, shape) -> torch.Tensor:
        """R in loss = sum of (output * R)."""
        return torch.from_numpy(uniform(self.seed, f"loss/{output}", shape, -1.0, 1.0)).double()

    def gradient_direction(self, name: str, shape) -> torch.Tensor:
        """U in dot = sum of (gradient * U)."""
        return torch.from_numpy(uniform(self.seed, f"graddir/{name}", shape, -1.0, 1.0)).double()
