"""What the benchmarks share: alternating timings, peak memory of a process of its own, versions, results as JSON."""

import argparse
import gc
import json
import multiprocessing
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

#: precisions and the dtype of their autocast
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
Work = Callable[[], object]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments of every benchmark."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    result.add_argument("--threads", type=int, default=2, help="of the CPU")
    result.add_argument("--repeats", type=int, default=5, help="timed, after one for warm-up")
    result.add_argument("--processes", type=int, default=3, help="in each of which peak memory is measured once")
    result.add_argument(
        "--processor-time", action="store_true", help="instead of the clock's; with --threads 1, for a busy machine"
    )
    result.add_argument("--output", type=Path, help="also write the JSON there")
    return result


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def alternate(works: Mapping[str, Work], arguments: argparse.Namespace) -> dict[str, float]:
    """Median seconds of each work, in rounds in which each runs once, so that a slow minute hits all alike."""
    clock = time.process_time if arguments.processor_time else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(arguments.repeats + 1):
        for name, work in works.items():
            synchronize(arguments.device)
            start = clock()
            work()
            synchronize(arguments.device)
            if turn:
                seconds[name].append(clock() - start)
    return {name: round(statistics.median(values), 7) for name, values in seconds.items()}


def _peak_on_cuda(build: Callable[..., Work], arguments: tuple[Any, ...]) -> float:
    torch._dynamo.reset()  # what other networks were compiled to counts against a limit
    work = build(*arguments)
    gc.collect()  # networks before it may be held by cycles
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _peak(build: Callable[..., Work], arguments: tuple[Any, ...], threads: int, pipe: Any) -> None:
    torch.set_num_threads(threads)
    work = build(*arguments)
    before = resident("VmRSS")
    work()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak counts from here
    work()
    pipe.send(resident("VmHWM") - before)


def resident(name: str) -> float:
    """MiB of this process: now, VmRSS, or at its peak, VmHWM."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split(f"{name}:")[1].split()[0]) / 2**10


def peak_memory(build: Callable[..., Work], *arguments: Any, options: argparse.Namespace) -> float:
    """MiB, resident or on the GPU, that ``build(*arguments)()`` adds at its peak: median over new processes.

    The second call counts: in a training step it holds the optimizer's state, which the first one only creates. On
    Linux freed memory goes back to the system at once, so that the peak is that of what is in use.
    """
    if options.device == "cuda":  # the allocator counts, in any process
        return round(_peak_on_cuda(build, arguments), 1)
    peaks = [in_process(_peak, build, arguments, options.threads) for _ in range(options.processes)]
    return round(statistics.median(peaks), 1)


def in_process(target: Callable[..., None], *arguments: Any, method: str = "spawn") -> Any:
    """What ``target(*arguments, pipe)`` sends, run in a process of its own.

    A spawned one gives freed memory back to the system at once; a forked one does what this one does.
    """
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**16)  # of glibc, read when a process is spawned
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*arguments, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    finally:
        process.join()


def _processor() -> str:
    """Model of the CPU."""
    try:
        models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        models = []
    return models[0] if models else platform.processor() or platform.machine()


def environment(arguments: argparse.Namespace) -> dict[str, Any]:
    """Device, versions, commit and way of measuring that a result belongs to."""
    device = arguments.device
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8", check=False)
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": arguments.threads,
        "clock": "processor" if arguments.processor_time else "wall",
        "repeats": arguments.repeats,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }


def finish(result: dict[str, Any], output: Path | None) -> None:
    """Print the result as one line of JSON, and write it."""
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))
