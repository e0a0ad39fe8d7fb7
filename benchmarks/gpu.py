"""Everything about GPUs by one command, within eight minutes: tests, attention, steps next to MONAI, memory, training.

Parts are processes of their own with a time budget each; one that fails or runs out of time is recorded, and the rest
goes on. After each command the result is written, and what is done there already, on the same device and commit, is
not run again. At the end stands a table of the targets; the last line is one JSON object. For example::

    make gpu                                       # with a CUDA device
    python benchmarks/gpu.py --only step memory    # some parts
    python benchmarks/gpu.py --dry-run             # on the CPU, with tiny sizes: shows that the script works
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import measure

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "results" / "gpu.json"
#: characters of a failed command's output that are kept
TAIL = 1500


class Command(NamedTuple):
    """One process of a part: its name in the result and its words behind ``python``; ``{output}`` is what it writes."""

    name: str
    words: list[str]


class Part(NamedTuple):
    seconds: int
    commands: list[Command]


def script(name: str, label: str, words: str) -> Command:
    return Command(label, [str(HERE / f"{name}.py"), *words.split(), "--output", "{output}"])


def pytest(name: str, words: list[str]) -> Command:
    file = str(HERE.parent / "tests" / "test_cuda.py")
    return Command(name, ["-m", "pytest", "-q", "-m", "gpu", file, *words, "--junitxml", "{output}"])


STEP = "--device cuda --cases swin_unetr_96_b2 --kinds step --repeats 5 --precision"
#: of a GPU; together 480 s
PARTS = {
    "tests": Part(130, [pytest("pytest", ["-k", "not compiled"]), pytest("pytest compiled", ["-k", "compiled"])]),
    "attention": Part(
        60,
        [
            script(
                "attention",
                precision,
                f"--device cuda --precision {precision} --head-dim 16 --batch 2 --cases 10 1 8 --repeats 5",
            )
            for precision in ("fp16", "fp32")
        ],
    ),
    "step": Part(
        150,
        [
            *(script("step", p, f"{STEP} {p} --variants sa reca reca_checkpoint monai") for p in ("fp16", "bf16")),
            *(
                script("step", f"{p} compiled", f"{STEP} {p} --variants sa reca monai --compile --no-memory")
                for p in ("fp16", "bf16")
            ),
            script("step", "fp16 compiled, memory", f"{STEP} fp16 --variants reca monai --compile --no-time"),
        ],
    ),
    "memory": Part(50, [script("epoch", "step", "--device cuda --kinds memory")]),
    "train": Part(90, [script("epoch", "epoch", "--device cuda --kinds epoch --compile")]),
}
ONE = "--threads 1 --repeats 1 --processes 1"
#: the same on the CPU, with as little as shows that all of it works
DRY = {
    "tests": Part(
        900, [pytest("pytest", ["-k", "2d_shallow or carry or inference or epoch or norms or (fused and 14)"])]
    ),
    "attention": Part(300, [script("attention", "fp32", f"{ONE} --cases 11")]),
    "step": Part(
        300,
        [script("step", "fp32", f"{ONE} --cases swin_unetr_dry_b1 --kinds step --variants sa reca monai --no-memory")],
    ),
    "memory": Part(300, [script("epoch", "step", f"{ONE} --small --networks SwinUNETR --kinds memory")]),
    "train": Part(300, [script("epoch", "epoch", f"{ONE} --small --networks SwinUnet --kinds epoch --steps 2")]),
}


def run_command(command: Command, seconds: float, folder: Path, variables: dict[str, str]) -> dict[str, Any]:
    """Status, seconds and the result of one command; or the end of its output."""
    output, log = folder / "output", folder / "log"
    output.unlink(missing_ok=True)
    words = [sys.executable, *(word.replace("{output}", str(output)) for word in command.words)]
    start = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            words, stdout=stream, stderr=subprocess.STDOUT, env=os.environ | variables, start_new_session=True
        )
        try:
            process.wait(seconds)
            status = "failed" if process.returncode else "done"
        except subprocess.TimeoutExpired:
            status = "out of time"
        finally:  # also where this script is interrupted
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its own session: nothing of it stays behind
                process.wait()
    found: dict[str, Any] = {"status": status, "seconds": round(time.monotonic() - start, 1)}
    if output.exists():
        found["result"] = read_result(output)
    if status != "done":
        found["output"] = log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
    return found


def read_result(file: Path) -> Any:
    """A benchmark's JSON, or numbers of tests and names of those that failed."""
    text = file.read_text(encoding="utf-8")
    if not text.startswith("<"):
        return json.loads(text)
    cases = ElementTree.fromstring(text).findall(".//testcase")
    bad = [c.get("name", "") for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sum(c.find("skipped") is not None for c in cases)
    return {"tests": len(cases), "skipped": skipped, "failed": bad}


def run_parts(parts: dict[str, Part], only: list[str], result: dict[str, Any], save: Callable[[], None]) -> None:
    """Run what is not done yet, and save after each command."""
    variables = {"RECA_GPU_TESTS_ON": "cpu"} if result["dry_run"] else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in only:
            left, done = float(parts[name].seconds), result["parts"].setdefault(name, {})
            for command in parts[name].commands:
                if done.get(command.name, {}).get("status") == "done":
                    print(f"{name}, {command.name}: done before", flush=True)
                    continue
                found: dict[str, Any] = {"status": "out of time", "seconds": 0.0}
                if left > 0:
                    found = run_command(command, left, Path(folder), variables)
                left -= found["seconds"]
                done[command.name] = found
                print(f"{name}, {command.name}: {found['status']} in {found['seconds']} s", flush=True)
                print(found.get("output", ""), end="")
                save()


class Target(NamedTuple):
    """What was wanted: at most ``limit``; and what was found, None where it was not measured."""

    text: str
    limit: float
    found: float | None

    @property
    def verdict(self) -> str:
        return "not measured" if self.found is None else "met" if self.found <= self.limit else "missed"


def targets(parts: dict[str, Any]) -> list[Target]:
    """All targets, whether measured or not."""

    def result(part: str, command: str) -> dict[str, Any]:
        return parts.get(part, {}).get(command, {}).get("result") or {}

    tests = [result("tests", name) for name in parts.get("tests", {})]
    ran = sum(t.get("tests", 0) - t.get("skipped", 0) for t in tests)
    found = [Target("failed tests", 0, sum(len(t.get("failed", [])) for t in tests) if ran else None)]
    for name in dict.fromkeys(["fp16", "bf16", "fp16 compiled", "bf16 compiled", *parts.get("step", {})]):
        rows = result("step", name).get("rows", [])
        for text, limit, kind, variant, base in (
            ("step, RecA / MONAI", 0.50, "step_s", "reca", "monai"),
            ("step, RecA / SA", 1.03, "step_s", "reca", "sa"),
            ("memory, RecA / MONAI", 0.45, "step_mib", "reca", "monai"),
            ("memory, RecA with _checkpoint / MONAI", 0.45, "step_mib", "reca_checkpoint", "monai"),
        ):
            compiled, asked = "compiled" in name, rows and variant in rows[0][kind]
            if asked or not (compiled or name == "fp32"):
                found.append(Target(f"{text}, {name}", limit, ratio(rows, kind, variant, base)))
    rows = [row for row in result("memory", "step").get("rows", []) if "ratio" in row]
    errors = [abs(row["ratio"] - 1) for row in rows]
    found.append(Target("error of the estimated memory, median", 0.10, statistics.median(errors) if errors else None))
    found.append(Target("error of the estimated memory, worst", 0.20, max(errors, default=None)))
    rows = result("train", "epoch").get("rows", [])
    found.append(Target("trainings that failed", 0, sum("epoch_failed" in row for row in rows) if rows else None))
    return [*found, *attention_targets(parts.get("attention", {}))]


def ratio(rows: list[dict[str, Any]], kind: str, variant: str, base: str) -> float | None:
    if not rows or not {variant, base} <= rows[0][kind].keys():
        return None
    return rows[0][kind][variant] / rows[0][kind][base]


def attention_targets(commands: dict[str, Any]) -> Iterator[Target]:
    """Whether the implementation that the package chooses is the fastest of all, in training."""
    for precision, command in commands.items():
        for row in (command.get("result") or {}).get("rows", []):
            large = len(row["window"]) == 3
            on_cpu = "training_mib" not in row
            chosen = ("pieces" if on_cpu else "kinds") if large else "masked"
            times = row["training"]
            best = min(times, key=times.get)
            where = f"window {row['window']}, map {row['map']}, {'' if row['shifted'] else 'not '}shifted, {precision}"
            text = f"attention, {chosen} / fastest ({best}), {where}"
            yield Target(text, 1.10, times[chosen] / times[best] if chosen in times else None)


def show(found: list[Target]) -> None:
    print("\n| target | at most | found | |\n| --- | --- | --- | --- |")
    for target in found:
        value = "–" if target.found is None else f"{target.found:.2f}"
        print(f"| {target.text} | {target.limit:.2f} | {value} | {target.verdict} |")


def begin(arguments: argparse.Namespace, about: dict[str, Any]) -> dict[str, Any]:
    """The result so far, if it is of this device and commit, or a new one."""
    if arguments.output.exists() and not arguments.again:
        before = json.loads(arguments.output.read_text(encoding="utf-8"))
        same = ("device", "commit", "torch", "dry_run")
        if [before.get(key) for key in same] == [about[key] for key in same]:
            return before
    return {**about, "parts": {}}


def main() -> None:
    parser = measure.parser(__doc__)
    parser.set_defaults(output=None, device="cuda")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts, default all")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, with tiny sizes")
    parser.add_argument("--again", action="store_true", help="also what was done before")
    arguments = parser.parse_args()
    if arguments.dry_run:
        arguments.device = "cpu"
    elif not measure.torch.cuda.is_available():
        parser.error("expected a CUDA device, got none; --dry-run runs on the CPU")
    if arguments.output is None:
        arguments.output = Path(tempfile.mkdtemp()) / "gpu.json" if arguments.dry_run else OUTPUT
    about = {"benchmark": "gpu", "dry_run": arguments.dry_run, **measure.environment(arguments)}
    result = begin(arguments, about)

    def save() -> None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        result["targets"] = [{**t._asdict(), "verdict": t.verdict} for t in targets(result["parts"])]
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    run_parts(DRY if arguments.dry_run else PARTS, arguments.only, result, save)
    save()
    show(targets(result["parts"]))
    print(f"\nwritten to {arguments.output}")
    measure.finish(result, None)
    failed = [
        f"{n}, {c}" for n, part in result["parts"].items() for c, found in part.items() if found["status"] != "done"
    ]
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
