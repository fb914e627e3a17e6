"""What every recipe shares: schedule, average of weights, checkpoints, logs, early stop."""
import json
import math
import signal
import sys
import time
from pathlib import Path

import torch

from .options import settings_of


def rate_at(step, steps, warm_up, schedule="cosine"):
    """Share of the learning rate: a line up, then a cosine down (Loshchilov & Hutter, "SGDR", equation 5, one period)
    or a constant."""
    if step < warm_up:
        return (step + 1) / warm_up
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


class Average:
    """Exponential moving average of the parameters (Polyak & Juditsky); early steps are averaged over fewer. With a
    decay of 0 it is the parameters themselves."""

    def __init__(self, parameters, decay=0.99):
        self.decay, self.step = decay, 0
        self.values = [p.detach().clone() for p in parameters]

    def update(self, parameters):
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for value, p in zip(self.values, parameters):
            value.lerp_(p.detach(), 1 - decay)

    def into(self, parameters):
        """Puts the average into the parameters and returns what was there."""
        before = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            for value, p in zip(self.values, parameters):
                p.copy_(value)
        return before


class Log:
    """A JSON line for each step to `log.jsonl`, and to TensorBoard if it is installed; progress on standard error."""

    def __init__(self, folder, every=20):
        self.path, self.every = Path(folder) / "log.jsonl", every
        self.start, self.first = time.monotonic(), 0
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder))
        except ImportError:
            self.board = None

    def go_on(self, step):
        """Drops the lines after `step`, which are written again."""
        self.first = step
        if self.path.exists():
            lines = [line for line in self.path.read_text().splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            self.path.write_text("".join(f"{line}\n" for line in kept))

    def write(self, step, steps, **figures):
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, "s": round(time.monotonic() - self.start, 2), **figures}) + "\n")
        if self.board:
            for name, value in figures.items():
                self.board.add_scalar(name, value, step)
        if step % self.every == 0 or step == steps:
            left = (time.monotonic() - self.start) / max(step - self.first, 1) * (steps - step)
            text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"step {step}/{steps}  {text}  {left:.0f} s left", flush=True)


def check_device(name):
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}") from error


def run_recipe(program, train, args):
    """`train(args)` with the threads, the seed and the device of `args`. What is wrong with the input is one line on
    standard error and exit code 2."""
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    try:
        check_device(getattr(args, "device", "cpu"))
        return train(args)
    except (OSError, ValueError, KeyError, FloatingPointError) as error:
        print(f"{program}: {type(error).__name__ + ' ' if isinstance(error, KeyError) else ''}{error}", file=sys.stderr)
        return 2


def trainer_of(args, module, shares=None):
    """The trainer that the flags of `options.training_flags` ask for."""
    return Trainer(
        module, args.out, args.steps, args.rate, warm_up=args.warm_up, decay=args.decay, average=args.average, patience=args.patience,
        checkpoint_every=args.checkpoint_every, schedule=args.schedule, shares=shares, settings=settings_of(args),
    )


class OtherRun(ValueError):
    """The folder holds the checkpoint of a run with other settings."""


class Trainer:
    """Runs `step_loss(step)` until the steps are done, the loss no longer falls, or Ctrl-C; then the parameters hold
    their average. A run that was ended goes on from its last checkpoint, and gives what it would have given.

    `shares`: the share of the rate of some parameters, by id; those with 0 are not trained. `settings`: what the run
    depends on; a checkpoint of other settings is refused.
    """

    def __init__(self, module, folder, steps, rate, warm_up=50, decay=1e-4, average=0.99, patience=None, checkpoint_every=50,
                 schedule="cosine", shares=None, settings=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        shares = shares or {}
        self.parameters = [p for p in module.parameters() if p.requires_grad and shares.get(id(p), 1.0) > 0]
        # Running means and variances of batch norms, which are averaged and kept like parameters.
        self.values = self.parameters + [b for b in module.buffers() if b.is_floating_point()]
        groups = {}
        for p in self.parameters:
            groups.setdefault(shares.get(id(p), 1.0), []).append(p)
        self.optimizer = torch.optim.AdamW([{"params": ps, "share": share} for share, ps in groups.items()], lr=rate, weight_decay=decay)
        self.average = Average(self.values, average)
        self.steps, self.rate, self.warm_up, self.schedule = steps, rate, warm_up, schedule
        self.patience, self.checkpoint_every = patience, checkpoint_every
        self.settings = json.loads(json.dumps(settings or {}, default=str))
        self.log = Log(self.folder)
        self.step, self.best, self.best_step, self.smooth = 0, math.inf, 0, None
        self.stopped = False

    def _save(self, state):
        data = {
            "step": self.step, "best": self.best, "best_step": self.best_step, "smooth": self.smooth, "settings": self.settings,
            "parameters": [p.detach() for p in self.values], "optimizer": self.optimizer.state_dict(),
            "average": (self.average.step, self.average.values), "torch": torch.get_rng_state(), "state": state(),
        }
        part = self.folder / "checkpoint.part"
        torch.save(data, part)
        part.replace(self.folder / "checkpoint.pt")

    def _resume(self, restore):
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            self.log.go_on(0)
            return
        data = torch.load(path, weights_only=False, map_location="cpu")
        was = data.get("settings", {})
        other = [f"{name} {was.get(name)}, now {self.settings.get(name)}" for name in sorted({*was, *self.settings}) if was.get(name) != self.settings.get(name)]
        if other:
            raise OtherRun(f"{path} is of a run with {'; '.join(other)}: use another --out, or remove it")
        self.step, self.best, self.best_step, self.smooth = data["step"], data["best"], data["best_step"], data["smooth"]
        with torch.no_grad():
            for p, value in zip(self.values, data["parameters"]):
                p.copy_(value)
        self.optimizer.load_state_dict(data["optimizer"])
        self.average.step = data["average"][0]
        self.average.values = [value.to(p.device) for p, value in zip(self.values, data["average"][1])]
        torch.set_rng_state(data["torch"])
        restore(data["state"])
        self.log.go_on(self.step)
        print(f"goes on after step {self.step} of {path}", flush=True)

    def _stalled(self):
        return bool(self.patience) and self.step - self.best_step > self.patience

    def averaged(self, work):
        """Calls `work` while the parameters hold their average."""
        before = self.average.into(self.values)
        try:
            return work()
        finally:
            with torch.no_grad():
                for p, value in zip(self.values, before):
                    p.copy_(value)

    def run(self, step_loss, state=lambda: None, restore=lambda s: None):
        """`step_loss(step)` returns the loss and figures to log; `state` and `restore` keep what the samples depend on.
        Returns whether the training is done; not after Ctrl-C, after which the same command goes on."""
        self._resume(restore)

        def stop(*_):
            self.stopped = True

        before = {kind: signal.signal(kind, stop) for kind in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self.step < self.steps and not self.stopped and not self._stalled():
                for group in self.optimizer.param_groups:
                    group["lr"] = self.rate * group.get("share", 1.0) * rate_at(self.step, self.steps, self.warm_up, self.schedule)
                loss, figures = step_loss(self.step)
                value = loss.item()
                if not math.isfinite(value):
                    raise FloatingPointError(f"step {self.step + 1}: the loss is {value}; lower the rate (--rate)")
                self.optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.parameters, 10.0)
                self.optimizer.step()
                self.average.update(self.values)
                self.step += 1
                self.smooth = value if self.smooth is None else 0.95 * self.smooth + 0.05 * value
                if self.smooth < self.best:
                    self.best, self.best_step = self.smooth, self.step
                self.log.write(self.step, self.steps, loss=value, **figures)
                if self.step % self.checkpoint_every == 0:
                    self._save(state)
            if self._stalled():
                print(f"the loss has not fallen for {self.patience} steps: ended early", flush=True)
            self._save(state)
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)
        self.average.into(self.values)
        return self.step >= self.steps or not self.stopped
