"""Read tensors from the files in which weights are published."""

import contextlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: keys under which training codes keep the state dict
_CONTAINERS = ("network_weights", "state_dict", "model", "model_state_dict", "net", "network", "weights")
#: prefixes that wrappers put before every name
_WRAPPERS = ("module.", "_orig_mod.", "swin_unet.", "backbone.", "model.", "network.")


def read_checkpoint(file: str | Path, *, trust: bool = False) -> dict[str, Tensor]:
    """Named tensors of a checkpoint, without containers and wrappers' prefixes.

    Args:
        file: ``.npz``, ``.safetensors``, or anything that ``torch.load`` reads.
        trust: allow pickled objects other than tensors, which may run code.

    Raises:
        ValueError: if the file does not exist, cannot be read, or holds no tensors.
    """
    return named_tensors(read_content(file, trust=trust), file)


def read_content(file: str | Path, *, trust: bool = False) -> Any:
    """What a checkpoint holds, as :func:`read_checkpoint` reads it, with everything beside the tensors."""
    file = Path(file)
    if not file.is_file():
        raise ValueError(f"expected a weights file, got {file}, which does not exist")
    return _load(file, trust=trust)


def named_tensors(content: Any, file: str | Path) -> dict[str, Tensor]:
    """Named tensors of a checkpoint's content; ``file`` is its name, for messages."""
    while isinstance(content, Mapping):
        inner = next((content[k] for k in _CONTAINERS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        raise ValueError(f"expected {file} to hold a state dict, got {type(content).__name__}")
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ValueError(f"expected {file} to hold named tensors, got keys {sorted(map(str, content))[:8]}")
    return _unwrapped(tensors)


def _load(file: Path, *, trust: bool) -> Any:
    try:
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}
        if file.suffix == ".safetensors":
            return _load_safetensors(file)
        with _numbers_allowed():
            return torch.load(file, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        hint = "" if trust else "; if you trust its source, say --trust-pickle"
        raise ValueError(f"{file} is damaged, or holds pickled objects other than tensors{hint}") from error
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{file} needs code that is not here: {error}; save its state dict alone") from error
    except Exception as error:  # every reader has its own exceptions for damaged files
        raise ValueError(f"{file} cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}") from error


def _numbers_allowed() -> contextlib.AbstractContextManager[None]:
    """nnU-Net's checkpoints hold numpy's numbers in their log, which run no code; allowed from torch 2.5 on."""
    if not hasattr(torch.serialization, "safe_globals"):
        return contextlib.nullcontext()
    kinds = {type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64, np.bool_)}
    return torch.serialization.safe_globals([np.float32(0).__reduce__()[0], np.dtype, *kinds])


def _load_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ValueError("reading it needs the package safetensors; pip install safetensors") from error
    return load_file(file)


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop prefixes that all names share."""
    while True:
        prefix = next((p for p in _WRAPPERS if all(n.startswith(p) for n in tensors)), None)
        if prefix is None:
            return tensors
        tensors = {n.removeprefix(prefix): t for n, t in tensors.items()}
