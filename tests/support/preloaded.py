"""Commands that start from one process which has imported nnU-Net: importing takes longer than their work in tests.

:func:`preloaded` makes a folder of commands for the PATH. Each hands its words, folder, environment and open files to
a server, which forks a process for it; that process runs the entry point and its exit status is the command's. Worker
processes that nnU-Net spawns are forked from a server, too, and know nothing but what is sent to them.
"""

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

TRAINER = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
#: what nnU-Net imports, too, when it looks for a trainer
LOOKED_THROUGH = "nnunetv2.training.nnUNetTrainer.primus.primus_trainers"
CLIENT = """#!{python} -IS
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    asked = json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    files = array.array("i", [0, 1, 2])
    server.sendmsg([len(asked).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
    server.sendall(asked)
    sys.exit(int.from_bytes(server.recv(1) or b"\\1", "big"))
"""


@contextlib.contextmanager
def preloaded(environment: dict[str, str]) -> Iterator[Path]:
    """Folder of ``python`` and all commands of nnU-Net and this package, while their server runs.

    Args:
        environment: of the server and of workers that nnU-Net spawns; commands have that of their caller.
    """
    with tempfile.TemporaryDirectory() as name:
        address = Path(name) / "server"
        commands = [entry.name for entry in entry_points(group="console_scripts") if entry.name.startswith("nnUNetv2_")]
        for command in ("python", *commands):
            file = Path(name) / command
            file.write_text(CLIENT.format(python=sys.executable, address=str(address)))
            file.chmod(0o755)
        server = subprocess.Popen([sys.executable, __file__, address], env=environment, stdout=subprocess.PIPE)
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        try:
            yield Path(name)
        finally:
            server.terminate()
            server.wait()


def serve(address: str) -> None:
    """Fork a process for every command that asks, until terminated."""
    take_less()
    context_of, workers = multiprocessing.get_context, multiprocessing.get_context("forkserver")
    workers.set_forkserver_preload([TRAINER])
    forkserver.ensure_running()
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]  # commands share it, and are not its parent
    multiprocessing.get_context = lambda method=None: workers if method == "spawn" else context_of(method)  # type: ignore
    for module in (TRAINER, LOOKED_THROUGH):
        importlib.import_module(module)
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            client, _ = listener.accept()
            with contextlib.suppress(ChildProcessError):  # none is left
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            with client:
                if os.fork() == 0:
                    listener.close()
                    return attend(client)


def take_less() -> None:
    """Threads and processes for a share of the cores, as tests run beside each other, and small samples of voxels."""
    cores = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    os.cpu_count = lambda: cores
    pool = multiprocessing.Pool  # nnU-Net lists a folder's files by twelve processes
    multiprocessing.Pool = lambda processes=None, *more: pool(min(processes or cores, cores), *more)  # type: ignore
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    begin = DatasetFingerprintExtractor.__init__

    def begin_with_few(extractor: DatasetFingerprintExtractor, *arguments: Any, **options: Any) -> None:
        begin(extractor, *arguments, **options)
        extractor.num_foreground_voxels_for_intensitystats = 1e5  # drawn again and again from the few there are: 1e8

    DatasetFingerprintExtractor.__init__ = begin_with_few


def attend(client: socket.socket) -> None:
    """Run what a client asks for in a process of its own, and tell the client its exit status."""
    length, files, _, _ = socket.recv_fds(client, 8, 3)
    asked = b""
    while len(asked) < int.from_bytes(length, "big"):
        asked += client.recv(1 << 16)
    if child := os.fork():
        ended = os.pidfd_open(child)
        while ended not in select.select([client, ended], [], [])[0]:  # the client is gone: it was killed
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        client.send(bytes([status if status >= 0 else 128 - status]))
        os._exit(0)
    client.close()
    for number, (name, file) in enumerate(zip(("stdin", "stdout", "stderr"), files, strict=True)):
        os.dup2(file, number)
        os.close(file)
        stream = getattr(sys, name)  # of another kind of file, perhaps, than the one that it writes to from now on
        lines = 1 if stream.line_buffering else -1
        setattr(sys, name, open(number, stream.mode, lines, stream.encoding, stream.errors, closefd=False))
    command, words, folder, environment = json.loads(asked)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    run(command, words)


def run(command: str, words: list[str]) -> None:
    """What the command does: an entry point, or Python's ``-m``, ``-c`` or a script."""
    if command != "python":
        sys.argv = [command, *words]
        (entry,) = entry_points(group="console_scripts", name=command)
        sys.exit(entry.load()())
    option, *rest = words
    if option == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(rest[0], {"__name__": "__main__"})
    elif option == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(option).parent))
        runpy.run_path(option, run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
