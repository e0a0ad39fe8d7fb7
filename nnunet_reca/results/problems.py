"""One error for everything that is wrong, not only for what is wrong first."""

from collections.abc import Sequence


class Problems(ValueError):
    """Several faults; the message has a line for each."""

    def __init__(self, problems: Sequence[str], headline: str = "the models cannot be compared") -> None:
        self.problems, self.headline = tuple(problems), headline
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{headline}, {len(problems)} problem{'s' * (len(problems) > 1)}:{lines}")

    def __reduce__(self) -> tuple[type["Problems"], tuple[Sequence[str], str]]:
        """Pickles the arguments, not the message."""
        return type(self), (self.problems, self.headline)


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    text = (str(error).splitlines() or [""])[0]
    return f"no entry {text}" if isinstance(error, KeyError) else text or type(error).__name__
