"""What ``benchmarks/gpu.py`` promises whatever its parts do. CI runs the whole of it on the CPU in a job of its own."""

import argparse
import json
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import torch


def python(gpu, name, program):
    return gpu.Command(name, ["-c", program, "{output}"])


def test_failures_and_overruns_are_recorded_and_the_rest_goes_on(script, tmp_path, capsys):
    gpu = script("gpu")
    good = "import sys; open(sys.argv[1], 'w').write('{\"rows\": [1]}'); open(r'%s', 'a').write('x')" % (
        tmp_path / "ran"
    )
    parts = {
        "bad": gpu.Part(60, [python(gpu, "one", "raise SystemExit('no such kernel')"), python(gpu, "two", good)]),
        "slow": gpu.Part(2, [python(gpu, "one", "import time; time.sleep(60)")]),
        "last": gpu.Part(60, [python(gpu, "one", good)]),
    }
    result, saved = {"dry_run": True, "parts": {}}, []
    start = time.monotonic()
    gpu.run_parts(parts, list(parts), result, lambda: saved.append(json.dumps(result)))
    assert time.monotonic() - start < 50 and len(saved) == 4
    found = {(part, name): c["status"] for part, commands in result["parts"].items() for name, c in commands.items()}
    assert found == {
        ("bad", "one"): "failed",
        ("bad", "two"): "done",
        ("slow", "one"): "out of time",
        ("last", "one"): "done",
    }
    assert "no such kernel" in result["parts"]["bad"]["one"]["output"]
    assert result["parts"]["last"]["one"]["result"] == {"rows": [1]}
    gpu.run_parts(parts, ["bad", "last"], result, lambda: None)  # what is done is not done again
    assert (tmp_path / "ran").read_text() == "xx"
    assert "done before" in capsys.readouterr().out


def test_numbers_of_tests_and_names_of_failed_ones_are_read(script, tmp_path):
    file = tmp_path / "tests.xml"
    file.write_text(
        '<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure/></testcase>'
        '<testcase name="c"><skipped/></testcase></testsuite></testsuites>'
    )
    assert script("gpu").read_result(file) == {"tests": 3, "skipped": 1, "failed": ["b"]}


def test_targets_are_met_missed_or_not_measured(script):
    step = {"rows": [{"step_s": {"reca": 0.4, "sa": 0.38, "monai": 1.0}, "step_mib": {"reca": 41, "monai": 100}}]}
    parts = {
        "step": {"fp16": {"result": step}, "bf16": {"status": "failed"}},
        "tests": {"pytest": {"result": {"tests": 5, "skipped": 5, "failed": []}}},
        "memory": {"step": {"result": {"rows": [{"ratio": 0.95}, {"ratio": 1.3}, {"memory_failed": "…"}]}}},
    }
    found = {t.text: (t.found and round(t.found, 2), t.verdict) for t in script("gpu").targets(parts)}
    assert found["step, RecA / MONAI, fp16"] == (0.4, "met")
    assert found["step, RecA / SA, fp16"] == (1.05, "missed")
    assert found["memory, RecA / MONAI, fp16"] == (0.41, "met")
    assert found["step, RecA / MONAI, bf16"] == (None, "not measured")
    assert found["failed tests"] == (None, "not measured")  # all skipped
    assert found["error of the estimated memory, worst"] == (0.3, "missed")


def test_every_command_for_a_gpu_is_understood_and_the_budgets_are_eight_minutes(script, monkeypatch):
    gpu = script("gpu")
    assert sum(part.seconds for part in gpu.PARTS.values()) <= 480 and gpu.PARTS.keys() == gpu.DRY.keys()
    parse, seen = argparse.ArgumentParser.parse_args, []

    class Understood(Exception):
        pass

    def stop(parser, *words):
        seen.append(parse(parser, *words))
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    commands = [c for parts in (gpu.PARTS, gpu.DRY) for part in parts.values() for c in part.commands]
    benchmarks = [c.words for c in commands if c.words[0].endswith(".py")]
    for file, *words in benchmarks:
        with mock.patch.object(sys, "argv", [file, *words]), pytest.raises(Understood):
            script(Path(file).stem).main()
    assert len(seen) == len(benchmarks) == 13 and {options.device for options in seen[:9]} == {"cuda"}


def test_flex_attention_gives_what_the_others_give(script):
    """Without gradients, which it lacks on the CPU."""
    attention = script("attention")
    torch.manual_seed(0)
    block = attention.SwinBlock(16, 2, (2, 3), (1, 1))
    x = torch.randn(2, 5, 9, 16)
    with torch.inference_mode():
        torch.testing.assert_close(attention.way(block, "flex")(x), attention.way(block, "kinds")(x))
