"""Runs that are ended and go on: by kill -9, by Ctrl-C, with other settings; the same seed gives the same network."""
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from conftest import ROOT
from mobilens_train import detect
from mobilens_train.loop import Average, rate_at
from onnx import numpy_helper

STEPS = 60


def command(card, pictures, out, *more, steps=STEPS):
    return ["--card", str(card), "--yolo", str(pictures), "--class", "red=0", "--class", "blue=1", "--crops", "60", "130", "--steps", str(steps), "--batch", "2",
            "--freeze", "0", "--warm-up", "4", "--checkpoint-every", "5", "--threads", "1", "--no-program", "--name", "new", "--out", str(out), *more]


def start(arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "train"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "mobilens_train.detect", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_step(process, out, step):
    """Until the log says so; the process must still run then."""
    end = time.monotonic() + 300
    while not (out / "log.jsonl").exists() or len((out / "log.jsonl").read_text().splitlines()) < step:
        assert process.poll() is None and time.monotonic() < end, process.stdout.read()
        time.sleep(0.01)


def weights_of(out):
    return {i.name: numpy_helper.to_array(i) for i in onnx.load(str(out / "new.onnx")).graph.initializer}


def same_weights(a, b):
    a, b = weights_of(a), weights_of(b)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(card, pictures, tmp_path_factory):
    """A run that was not ended, with hard negatives after its half."""
    out = tmp_path_factory.mktemp("whole")
    assert detect.main(command(card, pictures, out, "--rounds", "2")) == 0
    return out


def test_a_killed_run_gives_the_same_network(card, pictures, whole, tmp_path):
    process = start(command(card, pictures, tmp_path, "--rounds", "2"))
    wait_for_step(process, tmp_path, 12)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "new.onnx").exists()
    assert detect.main(command(card, pictures, tmp_path, "--rounds", "2")) == 0
    assert same_weights(tmp_path, whole)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))
    losses = [[json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()] for out in (tmp_path, whole)]
    assert losses[0] == losses[1]


def test_ctrl_c_saves_and_the_same_command_goes_on(card, pictures, whole, tmp_path):
    process = start(command(card, pictures, tmp_path, "--rounds", "2"))
    wait_for_step(process, tmp_path, 7)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130 and "the same command goes on" in output
    assert detect.main(command(card, pictures, tmp_path, "--rounds", "2")) == 0
    assert same_weights(tmp_path, whole)


def test_the_same_seed_the_same_network_another_seed_another(card, pictures, whole, tmp_path):
    assert detect.main(command(card, pictures, tmp_path / "same", "--rounds", "2")) == 0
    assert detect.main(command(card, pictures, tmp_path / "other", "--rounds", "2", "--seed", "1")) == 0
    assert same_weights(tmp_path / "same", whole) and not same_weights(tmp_path / "other", whole)


def test_a_checkpoint_of_other_settings_is_refused(card, pictures, tmp_path, capsys):
    assert detect.main(command(card, pictures, tmp_path, steps=2)) == 0
    assert detect.main(command(card, pictures, tmp_path, steps=3)) == 2
    said = capsys.readouterr().err
    assert "steps 2, now 3" in said and len(said.splitlines()) == 1


def test_a_run_ends_early_when_the_loss_does_not_fall(card, pictures, tmp_path, capsys):
    assert detect.main(command(card, pictures, tmp_path, "--patience", "3", "--rate", "1e-9")) == 0
    assert "ended early" in capsys.readouterr().out
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) < STEPS


def test_a_rate_that_is_too_large_says_so(card, pictures, tmp_path, capsys):
    assert detect.main(command(card, pictures, tmp_path, "--rate", "1e30", "--warm-up", "0")) == 2
    assert "lower the rate" in capsys.readouterr().err


def test_frozen_convolutions_and_the_backbone_rate(card, pictures, tmp_path):
    before = {i.name: numpy_helper.to_array(i) for i in onnx.load(str(card.parent / "small.onnx")).graph.initializer}
    assert detect.main([*command(card, pictures, tmp_path / "frozen", steps=3), "--freeze", "2"]) == 0
    frozen = weights_of(tmp_path / "frozen")
    moved = {name for name in before if before[name].dtype == np.float32 and not np.array_equal(before[name], frozen[name])}
    assert moved & {"stem.weight", "a1.weight"} == set() and {"a2.weight", "c1.weight", "boxes0.weight"} <= moved
    assert detect.main([*command(card, pictures, tmp_path / "slow", steps=3), "--backbone-rate", "0"]) == 0
    slow = weights_of(tmp_path / "slow")
    assert np.array_equal(before["c1.weight"], slow["c1.weight"]) and not np.array_equal(before["scores0.weight"], slow["scores0.weight"])


def test_the_log_the_grid_and_the_schedule(whole):
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert lines[0].keys() >= {"step", "s", "loss", "classes", "boxes"}
    assert (whole / "step00000.png").exists()
    assert [round(rate_at(s, 100, 10), 3) for s in (0, 9, 10, 55, 100)] == [0.1, 1.0, 1.0, 0.5, 0.0]
    assert rate_at(99, 100, 10, "constant") == 1.0


def test_the_average_is_off_with_a_decay_of_0():
    import torch

    p = [torch.nn.Parameter(torch.ones(2))]
    off, on = Average(p, 0.0), Average(p, 0.99)
    with torch.no_grad():
        p[0].fill_(3.0)
    off.update(p), on.update(p)
    assert torch.equal(off.values[0], p[0]) and 1 < on.values[0][0] < 3
