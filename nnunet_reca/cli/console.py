"""Commands print on any console: what its encoding lacks is replaced, and never ends a command."""

import codecs
import functools
import sys
from collections.abc import Callable
from typing import TextIO

ERRORS = "nnunet_reca_readable"
#: signs of our texts -> what stands for them on consoles that lack them; a number must keep its sign
_STAND_INS = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{SUPERSCRIPT TWO}": "^2",
    "\N{SUPERSCRIPT THREE}": "^3",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{UPWARDS ARROW}": "^",
    "\N{DOWNWARDS ARROW}": "v",
}


def on_any_console(main: Callable[..., int]) -> Callable[..., int]:
    """Decorator of a command's ``main``: standard output and standard error take every text."""

    @functools.wraps(main)
    def command(arguments: list[str] | None = None) -> int:
        make_printable(sys.stdout, sys.stderr)
        return main(arguments)

    return command


def say(line: str) -> None:
    """Print a line at once, also where output is no terminal."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def make_printable(*streams: TextIO | None) -> None:
    """Let streams replace what their encoding lacks; those that are no console or pipe stay as they are."""
    codecs.register_error(ERRORS, _readable)
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=ERRORS)


def _readable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Stand-in for what cannot be encoded: ASCII for signs of our texts, the bytes of a file's name, else ``?``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if 0xDC80 <= ord(character) <= 0xDCFF:  # Python's stand-in for a byte of a name that it could not decode
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return _STAND_INS.get(character, "?"), error.start + 1
