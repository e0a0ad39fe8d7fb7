"""Two checkouts of this repository side by side: seconds of inference and of a training step, in alternating turns.

The networks, sizes and inputs are those of ``step.py`` beside this file; both checkouts run its code, each in a process
of its own with its own package, and take turns, so that a slow minute hits both. The step is that of a training:
forward, backward, and the recipe's optimizer of the checkout. The largest difference among 20,000 outputs is told,
relative to their deviation. The last line is one JSON object. For example, against a worktree of another commit::

    git worktree add --detach /tmp/before 28dfc52
    python benchmarks/side_by_side.py /tmp/before --threads 1 2 --output benchmarks/results/side_by_side_cpu.json
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import measure

HERE = Path(__file__).resolve().parent
CASES = ("nnformer_64_b1", "swin_unet_224_b4", "da_transunet_224_b2")
KINDS = ("inference", "step")


class Checkout:
    """A process that has the networks of a checkout and runs them on demand."""

    def __init__(self, root: Path, variant: str, threads: int, clock: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-W", "ignore", __file__, "--worker", variant, str(threads), clock]
        self.process = subprocess.Popen(
            command, env=environment, cwd=root, encoding="utf-8", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.about = self.ask("about", "")

    def ask(self, what: str, case: str) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([what, case]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"expected an answer, the process of a checkout ended in {what} of {case}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def work(variant: str, threads: int, clock: str) -> None:
    """Answer requests, a line each, until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    import step
    import torch

    import nnunet_reca
    from nnunet_reca.trainers.recipe import BASE, build_optimizer

    torch.set_num_threads(threads)
    seconds = {"wall": time.perf_counter, "processor": time.process_time}[clock]
    case, run = "", None
    for line in sys.stdin:
        what, wanted = json.loads(line)
        answer: Any
        if what == "about":
            answer = {"package": str(Path(nnunet_reca.__file__).parent), "torch": torch.__version__}
        else:
            if wanted != case or run is None:
                run, case = None, wanted
                network, *sizes = step.CASES[case]
                run = step.Run(network, variant, *sizes)
                run.optimizer = build_optimizer(run.model, BASE)
            if what == "output":
                torch.manual_seed(0)
                out = run.inference().double().flatten()
                answer = [out.std().item(), out[:: max(1, out.numel() // 20000)].tolist()]
            else:
                start = seconds()
                getattr(run, what)()
                answer = seconds() - start
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def difference(outputs: list[Any]) -> float:
    """Largest difference of two outputs over the first one's deviation."""
    (deviation, first), (_, second) = outputs
    return max(abs(a - b) for a, b in zip(first, second, strict=True)) / deviation


def compare(case: str, kinds: list[str], checkouts: dict[str, Checkout], repeats: int) -> dict[str, Any]:
    row: dict[str, Any] = {"case": case, "difference": difference([c.ask("output", case) for c in checkouts.values()])}
    for kind in kinds:
        seconds: dict[str, list[float]] = {name: [] for name in checkouts}
        for turn in range(repeats + 1):
            for name, checkout in checkouts.items():
                value = checkout.ask(kind, case)
                if turn:  # the first is for warm-up
                    seconds[name].append(value)
        before, now = seconds.values()
        row[kind] = {
            **{name: round(statistics.median(values), 4) for name, values in seconds.items()},
            "ratio": round(statistics.median(now) / statistics.median(before), 3),
            "ratio_of_turns": round(statistics.median(n / b for n, b in zip(now, before, strict=True)), 3),
        }
    return row


def commit(root: Path) -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=False).stdout.strip()


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        return work(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="root of the other checkout")
    parser.add_argument("--cases", nargs="+", default=list(CASES), help="of step.py")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--variant", default="reca", help="of step.py")
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processor-time", action="store_true", help="for a busy machine, with one thread")
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    arguments = parser.parse_args()
    clock = "processor" if arguments.processor_time else "wall"
    roots = {"before": arguments.before.resolve(), "now": HERE.parent}
    result: dict[str, Any] = {"benchmark": "side_by_side", "clock": clock, "repeats": arguments.repeats}
    result |= {"commits": {name: commit(root) for name, root in roots.items()}, "rows": []}
    print("| case | threads | kind | before s | now s | ratio | of turns | difference |\n" + "| --- " * 8 + "|")
    for threads in arguments.threads:
        checkouts = {name: Checkout(root, arguments.variant, threads, clock) for name, root in roots.items()}
        result["torch"] = checkouts["now"].about["torch"]
        for case in arguments.cases:
            row = {"threads": threads, **compare(case, arguments.kinds, checkouts, arguments.repeats)}
            result["rows"].append(row)
            for kind in arguments.kinds:
                cells = (row[kind][column] for column in ("before", "now", "ratio", "ratio_of_turns"))
                shown = " | ".join(f"{cell:.3f}" for cell in cells)
                print(f"| {case} | {threads} | {kind} | {shown} | {row['difference']:.1e} |", flush=True)
        for checkout in checkouts.values():
            checkout.close()
    measure.finish(result, arguments.output)


if __name__ == "__main__":
    main()
