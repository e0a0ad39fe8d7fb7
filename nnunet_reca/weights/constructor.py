"""Constructor arguments of published classes, read one by one so that none is overlooked."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any


class Constructor:
    """Arguments of a published class.

    Args:
        name: of the network, for messages.
        given: the arguments.
        ignored: names without an effect on the network or its outputs in eval mode.
        fixed: names for which only one value is supported.

    Raises:
        ValueError: if an argument of ``fixed`` has another value.
    """

    def __init__(
        self,
        name: str,
        given: Mapping[str, Any],
        *,
        ignored: Collection[str] = (),
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self._left = {k: v for k, v in given.items() if k not in ignored}
        for key, value in (fixed or {}).items():
            if (got := self._left.pop(key, value)) != value:
                raise ValueError(f"expected the published {name} with {key}={value!r}, got {got!r}")

    def take(self, key: str, default: Any = None) -> Any:
        """Remove and return an argument, lists for tuples."""
        value = self._left.pop(key, default)
        return list(value) if isinstance(value, tuple) else value

    def take_number(self, key: str, default: int) -> int:
        """Remove and return an argument that is one number, or equal numbers per axis."""
        value = self.take(key, default)
        if isinstance(value, Sequence) and len(set(value)) == 1:
            value = value[0]
        if not isinstance(value, int):
            raise ValueError(f"expected {key} of the published {self.name} as one number, got {value!r}")
        return value

    def close(self) -> None:
        """Raise a ValueError if arguments are left that this translation does not know."""
        if self._left:
            raise ValueError(f"expected published {self.name} arguments, got {', '.join(sorted(self._left))}")
