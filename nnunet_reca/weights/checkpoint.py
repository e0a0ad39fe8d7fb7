"""Read tensors from the files in which weights are published."""

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: kinds of numbers that numpy's scalars and arrays in a checkpoint's log may have
_NUMBERS = "?bBhHiIlLqQefdgSU"


def read_checkpoint(file: str | Path, *, trust: bool = False) -> dict[str, Tensor]:
    """Named tensors of a checkpoint, as :func:`named_tensors` names them.

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


def named_tensors(content: Any, file: str | Path = "the source") -> dict[str, Tensor]:
    """Every tensor of a checkpoint's content, however deep, with floats in float32.

    Keys of the containers around a tensor stand before its name, with a colon after each:
    ``state_dict:net.patch_embed.proj.weight``.

    Args:
        content: of the file.
        file: its name, for messages.

    Raises:
        ValueError: if there are no tensors.
    """
    if not isinstance(content, Mapping | nn.Module):
        raise ValueError(f"expected {file} to hold a state dict, got {type(content).__name__}")
    tensors = dict(_tensors(content, ""))
    if not tensors:
        keys = sorted(map(str, content)) if isinstance(content, Mapping) else []
        raise ValueError(f"expected {file} to hold named tensors, got keys {keys[:8]}")
    return tensors


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Tensors in dicts, lists and whole pickled networks, with their names."""
    if isinstance(value, nn.Module):
        value = value.state_dict()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor):
        yield name, value.detach().float() if value.is_floating_point() else value.detach()
        return
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from _tensors(entry, f"{name}:{key}" if name else str(key))


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
    kinds = {type(np.dtype(kind)) for kind in _NUMBERS}
    # numpy 2 renamed the module of the functions that build them, whichever numpy is here
    builders = [np.float32(0).__reduce__()[0], np.zeros(1).__reduce__()[0]]
    spelled = [_as_in(f"numpy.{core}.multiarray", builder) for core in ("core", "_core") for builder in builders]
    return torch.serialization.safe_globals([*spelled, np.ndarray, np.dtype, *kinds])


def _as_in(module: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under another module's name, by which the safe unpickler looks it up."""

    @functools.wraps(function)
    def alias(*arguments: Any) -> Any:
        return function(*arguments)

    alias.__module__, alias.__qualname__ = module, function.__name__
    return alias


def _load_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ValueError("reading it needs the package safetensors; pip install safetensors") from error
    return load_file(file)
