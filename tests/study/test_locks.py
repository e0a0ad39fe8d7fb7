"""Locks and devices end with the processes that hold them."""

import os
import subprocess
import sys
import threading
import time

import pytest

from nnunet_reca.study.locks import grasp, held, take_devices, wait_for

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from nnunet_reca.study.locks import grasp
lock = grasp(Path(sys.argv[1]))
child = subprocess.Popen([sys.executable, "-IS", "-c", "import time; time.sleep(60)"], pass_fds=(lock,))
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def own_devices(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_a_lock_lives_as_long_as_any_process_that_inherited_it(tmp_path):
    file = tmp_path / "some" / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    assert held(file) and grasp(file) is None
    holder.kill()
    holder.wait()
    assert held(file)  # a training whose guard was killed
    os.kill(child, 9)
    os.close(wait_for(file))
    assert not held(file)


def test_looking_at_a_lock_makes_no_file(tmp_path):
    assert not held(tmp_path / "lock") and list(tmp_path.iterdir()) == []


def test_no_device_is_given_twice_and_those_with_fewer_jobs_come_first():
    (first,), _ = take_devices(["0", "1"], 1, slots=2)
    (second,), _ = take_devices(["0", "1"], 1, slots=2)
    (third,), _ = take_devices(["0", "1"], 1, slots=2)
    assert sorted([first, second]) == ["0", "1"] and third == "0"


def test_a_job_waits_for_a_device_until_one_is_given_back():
    _, held_by_other = take_devices(["0"], 1)
    said, got = [], []
    waiter = threading.Thread(target=lambda: got.extend(take_devices(["0"], 1, waits=lambda: said.append("waits"))[0]))
    waiter.start()
    time.sleep(0.2)
    assert said == ["waits"] and got == []
    for descriptor in held_by_other:
        os.close(descriptor)
    waiter.join(5)
    assert got == ["0"]


def test_several_devices_are_taken_together_or_not_at_all():
    take_devices(["0"], 1)
    done = []
    threading.Thread(target=lambda: done.append(take_devices(["0", "1"], 2)), daemon=True).start()
    time.sleep(0.2)
    names, _ = take_devices(["0", "1"], 1)  # the one that is free was not kept by the job that needs two
    assert names == ["1"] and not done
