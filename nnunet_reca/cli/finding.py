"""One line of the doctor's report."""

from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """Outcome of a check; only a problem keeps a training from starting."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        status: outcome.
        text: what was found.
        remedy: what to do about it, empty if nothing.
    """

    status: Status
    text: str
    remedy: str = ""


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
