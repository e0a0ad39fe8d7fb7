"""Bytes of the storages that are alive, by what they are for."""

import enum
import weakref
from collections.abc import Iterable

from torch import Tensor


class Kind(enum.Enum):
    """What a storage is for."""

    PARAMETERS = "parameters"
    GRADIENTS = "gradients"
    OPTIMIZER = "optimizer"
    ACTIVATIONS = "activations"
    TEMPORARIES = "temporaries"


class Ledger:
    """Counts storages from when they are first seen to their end; views share one.

    A new storage is a temporary until :meth:`mark` says what it is for.

    Args:
        unit: bytes of which the allocator gives a multiple.

    Attributes:
        now: bytes alive, by kind.
        total: bytes alive.
        peak: bytes by kind at the moment when most were alive.
    """

    def __init__(self, unit: int = 1) -> None:
        self.now = dict.fromkeys(Kind, 0)
        self.total = 0
        self.peak = dict(self.now)
        self._largest = 0
        self._unit = unit
        self._storages: dict[int, tuple[weakref.ref[object], int, Kind]] = {}

    def see(self, tensor: Tensor) -> int:
        """Count a tensor's storage, unless it is known; returns its key."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._storages:
            size = -(-storage.nbytes() // self._unit) * self._unit
            self._storages[key] = (weakref.ref(storage, lambda _: self._end(key)), size, Kind.TEMPORARIES)
            self.now[Kind.TEMPORARIES] += size
            self.total += size
            self.look()
        return key

    def mark(self, tensors: Iterable[Tensor], kind: Kind, *, only: Kind | None = None) -> None:
        """Say what the storages of tensors are for; with ``only``, of those that were for that so far."""
        for tensor in tensors:
            key = self.see(tensor)
            reference, size, before = self._storages[key]
            if before is not kind and only in (None, before):
                self._storages[key] = (reference, size, kind)
                self.now[before] -= size
                self.now[kind] += size

    def look(self, extra: int = 0) -> None:
        """Compare this moment, and ``extra`` bytes of temporaries for its length, with the peak."""
        if self.total + extra > self._largest:
            self._largest = self.total + extra
            self.peak = dict(self.now)
            self.peak[Kind.TEMPORARIES] += extra

    def restart(self) -> None:
        """Forget the peak so far."""
        self._largest = 0
        self.look()

    def _end(self, key: int) -> None:
        _, size, kind = self._storages.pop(key)
        self.now[kind] -= size
        self.total -= size
