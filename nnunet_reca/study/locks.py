"""Locks that end with the processes that hold them, however these end; and devices, which are locks, too."""

import contextlib
import errno
import getpass
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

#: seconds between two looks at a lock that somebody else holds
PATIENCE = 0.5
#: file systems that know no locks; there a job has to do without
_WITHOUT = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def grasp(file: Path, *, shared: bool = False) -> int | None:
    """Take a lock; None where somebody else has it.

    Args:
        shared: with others who share it.

    Returns:
        A file descriptor. The lock ends when it is closed here and in all processes that inherited it.
    """
    import fcntl

    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # of somebody who shares the results
        descriptor = os.open(file, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        if not shared:
            os.ftruncate(descriptor, 0)  # what an earlier holder noted
    except OSError as error:
        if error.errno in _WITHOUT:
            return descriptor
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    return descriptor


def held(file: Path) -> bool:
    """Whether somebody holds a lock. Nothing is made where there is no such file."""
    import fcntl

    try:
        descriptor = os.open(file, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(descriptor)
    return False


def wait_for(file: Path, waits: Callable[[], None] = lambda: None, *, shared: bool = False) -> int:
    """Take a lock as soon as it is free.

    Args:
        waits: called once where it is not free at once.
        shared: with others who share it.
    """
    descriptor = grasp(file, shared=shared)
    if descriptor is None:
        waits()
    while descriptor is None:
        _end_orphans(file)
        time.sleep(PATIENCE)
        descriptor = grasp(file, shared=shared)
    return descriptor


def sign(descriptor: int, group: int) -> None:
    """Note in a lock of ours who works under it.

    Args:
        group: process group of the work, whose leader is the work itself.
    """
    about = {"host": os.uname().nodename, "holder": os.getpid(), "group": group}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(about).encode(), 0)


def _end_orphans(file: Path) -> None:
    """End what is left of work whose leader and holder were both killed.

    A killed training leaves workers that load data for nobody, for ever, and hold what they inherited.
    """
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        here = about["host"] == os.uname().nodename
        if here and not alive(about["holder"]) and not alive(about["group"]):
            os.killpg(about["group"], signal.SIGKILL)
    except (OSError, ValueError, KeyError, TypeError):  # nobody signed, or nothing is left
        return


def alive(process: int) -> bool:
    """Whether a process of this machine runs; one that only waits for its parent's attention does not."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    except OSError:  # no /proc
        return True
    return state.rpartition(")")[2].split()[0] != "Z"


def device_folder() -> Path:
    """Where this user's processes on this machine agree on devices."""
    return Path(tempfile.gettempdir()) / f"nnunet_reca_{getpass.getuser()}"


def take_devices(
    names: Sequence[str], number: int, slots: int = 1, waits: Callable[[], None] = lambda: None
) -> tuple[list[str], list[int]]:
    """Take devices that nobody else has, as soon as there are enough.

    Args:
        names: to choose from.
        number: of devices.
        slots: jobs that may have a device at a time; devices with fewer jobs come first.
        waits: called once where there are not enough at once.

    Returns:
        Names, and file descriptors that hold them.
    """
    said = False
    while True:
        with _one_at_a_time():
            found = _free(names, number, slots)
        if found:
            return [name for name, _ in found], [descriptor for _, descriptor in found]
        if not said:
            waits()
            said = True
        time.sleep(PATIENCE)


def _free(names: Sequence[str], number: int, slots: int) -> list[tuple[str, int]]:
    """As many free devices as asked for, or none."""
    taken: list[tuple[str, int]] = []
    for slot in range(slots):
        for name in names:
            if len(taken) == number or name in [other for other, _ in taken]:
                continue
            file = device_folder() / f"gpu_{name}.{slot}.lock"
            descriptor = grasp(file)
            if descriptor is not None:
                taken.append((name, descriptor))
            else:
                _end_orphans(file)
    if len(taken) == number:
        return taken
    for _, descriptor in taken:
        os.close(descriptor)
    return []


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """So that two who want two devices each never wait for each other with one each."""
    descriptor = wait_for(device_folder() / "choice.lock")
    try:
        yield
    finally:
        os.close(descriptor)
