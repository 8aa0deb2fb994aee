"""Pre-training of a row's backbone on ImageNet: image classification, then the backbone alone as weights for `--init`.

    python -m dynroute_suite.pretraining --data FOLDER [--row dynamic-raw-imagenet] [--profile full]

FOLDER holds `train/CLASS/*` and `val/CLASS/*` (torchvision's ImageFolder). Two rows of the published table start from
such weights; how they were made was never said. The recipe here is the common one for residual networks: He et al.,
Deep Residual Learning for Image Recognition (CVPR 2016), section 3.4, with the schedule of torchvision's classification
reference: SGD, batch 256, lr 0.1 divided by 10 after each third of 90 epochs, random resized crops of 224 and flips.
Batch norm is not decayed, as in the rows' own training; gates are trained along, without a budget.

The classification head is ours too: each of the last layer's maps is averaged over its positions, and one linear layer
reads them side by side, so that every scale that the segmentation head will read is trained.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from dynroute_core.checkpoint import Snapshot, load_snapshot, restore_training, save_snapshot, training_tensors
from dynroute_core.experiments import RISKY_RATE, experiment
from dynroute_core.model import Segmenter
from dynroute_core.nonfinite import NonFiniteLossError
from dynroute_core.optimizer import make_optimizer
from dynroute_core.recipe import TrainConfig
from dynroute_core.runs.record import CHECKPOINT
from dynroute_core.space import ModelConfig
from dynroute_core.system.errors import EXIT_DONE, EXIT_INTERRUPTED, BlockedError, DynrouteError, UsageError
from dynroute_core.system.files import make_folder, remove_stale, write_whole
from dynroute_core.system.locks import locked
from dynroute_core.system.machine import pick_device
from dynroute_core.system.provenance import source_hash
from dynroute_core.system.signals import Signals
from dynroute_core.system.strict_json import to_json
from dynroute_core.weights.files import save_weights
from dynroute_suite.pretraining.photographs import Labelled, TrainPhotographs, ValPhotographs, collate, open_folder

BACKBONE, RESULT = "backbone.safetensors", "pretrain.json"
StepReport = Callable[[int, int, float], None]  # iterations done, of how many, the loss


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """The recipe. lr is what batch `batch` gets (0.1 at 256; scale it linearly). crop, resize: pixels; val images are
    resized to a shortest edge of `resize`, then cropped centrally."""

    epochs: int = 90
    batch: int = 256
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    crop: int = 224
    resize: int = 256
    seed: int = 0
    workers: int = 4
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        for name in ("epochs", "crop", "resize", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: give a whole number of at least 1.")
        if self.batch < 2 or self.workers < 0 or self.seed < 0 or not self.lr > 0:
            raise UsageError("give a batch of at least 2, an lr above 0, and workers and seed of at least 0.")


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """How a pre-training ended. final_loss: mean over the last tenth of the iterations. top1_percent: single crop."""

    key: str
    model: ModelConfig
    config: PretrainConfig
    classes: int
    train_images: int
    val_images: int
    iterations: int
    final_loss: float
    top1_percent: float


class Classifier(nn.Module):
    """A row's backbone with a classification head. The segmentation head stays as initialised, and is not saved."""

    def __init__(self, model: ModelConfig, classes: int) -> None:
        super().__init__()
        self.network = Segmenter(model)
        self.widths = [self.network.space.channels_at(cell.scale) for cell in self.network.space.last_cells]
        self.linear = nn.Linear(sum(self.widths), classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W BGR images, 0..255 → logits N×classes."""
        maps = self.network.features(images)
        pooled = [
            images.new_zeros(len(images), width) if features is None else features.mean((2, 3))
            for features, width in zip(maps, self.widths, strict=True)
        ]
        logits: Tensor = self.linear(torch.cat(pooled, 1))
        return logits


def fitting_lr(batch: int) -> float:
    """The recipe's learning rate, scaled linearly to a batch."""
    recipe = PretrainConfig()
    return recipe.lr * batch / recipe.batch


def learning_rate(config: PretrainConfig, iteration: int, iterations: int) -> float:
    """Divided by 10 after each third of the iterations."""
    return float(config.lr * 0.1 ** (3 * iteration // iterations))


class _Pretraining:
    """One attempt: from the last checkpoint, if any, to the backbone."""

    def __init__(self, model: ModelConfig, config: PretrainConfig, data: Path, out: Path, device: torch.device) -> None:
        self.model, self.config, self.out, self.device = model, config, out, device
        self.train, self.val = open_folder(data, "train"), open_folder(data, "val")
        if self.train.classes != self.val.classes:
            raise BlockedError(f"{data}: train and val have other classes. Every class needs a folder in both.")
        if config.batch > len(self.train.samples):
            raise UsageError(f"batch {config.batch} of {len(self.train.samples)} images: give a smaller --batch.")
        self.iterations = config.epochs * (len(self.train.samples) // config.batch)
        self.key = self._key(data)
        torch.manual_seed(config.seed)
        self.network = Classifier(model, len(self.train.classes)).to(device).to(memory_format=torch.channels_last)
        recipe = TrainConfig(lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
        self.optimizer = make_optimizer(self.network, recipe)
        self.iteration, self.late = 0, torch.zeros((), dtype=torch.float64)
        if (out / CHECKPOINT).exists():
            self._restore(load_snapshot(out / CHECKPOINT))

    def _key(self, data: Path) -> str:
        """sha256 over network, recipe, sources, and names and sizes of all images: hashing ImageNet takes an hour."""
        digest = hashlib.sha256(source_hash().encode())
        recipe = {name: value for name, value in asdict(self.config).items() if name not in _NEUTRAL}
        digest.update(json.dumps([asdict(self.model), recipe], sort_keys=True).encode())
        for path, _ in self.train.samples + self.val.samples:
            try:
                size = path.stat().st_size
            except OSError as error:
                raise BlockedError(f"cannot read {path}: {error.strerror or error}. Restore or remove it.") from error
            digest.update(f"{path.relative_to(data)} {size}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def steps(self) -> Iterator[float]:
        """Trains to the end; the loss of each iteration. A step is finished when it is yielded."""
        self.network.train()
        for images, labels in map(_require_batch, self._loader(self.iteration)):
            lr = learning_rate(self.config, self.iteration, self.iterations)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            loss = F.cross_entropy(self.network(self._move_batch(images)), labels.to(self.device))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            value = float(loss.detach())
            if not np.isfinite(value):
                raise self._loss_error(value)
            self.optimizer.step()
            if self.iteration >= self.iterations - self._late_count():
                self.late += value
            self.iteration += 1
            yield value

    def _loss_error(self, loss: float) -> NonFiniteLossError:
        photographs, path = self._photographs(), self.out / CHECKPOINT
        (positions,) = photographs.batches(self.config.batch, self.iteration, self.iteration + 1)
        good = f"The last good checkpoint is {path}." if path.exists() else "There is no checkpoint yet."
        return NonFiniteLossError(
            f"the loss is {loss} at iteration {self.iteration} (files: {', '.join(map(photographs.file, positions))}). "
            f"Lower --lr, which is {self.config.lr:g} with --batch {self.config.batch} (the recipe's for this batch is "
            f"{fitting_lr(self.config.batch):g}), or look at these files. {good}"
        )

    def _photographs(self) -> TrainPhotographs:
        return TrainPhotographs(self.train, crop=self.config.crop, seed=self.config.seed)

    def _late_count(self) -> int:
        return max(self.iterations // 10, 1)

    def _move_batch(self, images: Tensor) -> Tensor:
        return images.to(self.device, non_blocking=True).float().contiguous(memory_format=torch.channels_last)

    def _loader(self, start: int) -> DataLoader[Labelled | DynrouteError]:
        photographs = self._photographs()
        batches = photographs.batches(self.config.batch, start, self.iterations)
        return DataLoader(photographs, batch_sampler=batches, num_workers=self.config.workers, collate_fn=collate)

    @torch.inference_mode()
    def top1_percent(self) -> float:
        """The share of val images whose class comes first."""
        self.network.eval()
        photographs = ValPhotographs(self.val, resize=self.config.resize, crop=self.config.crop)
        loader = DataLoader(
            photographs, batch_size=self.config.batch, num_workers=self.config.workers, collate_fn=collate
        )
        hits = sum(
            int((self.network(self._move_batch(x)).argmax(1).cpu() == y).sum()) for x, y in map(_require_batch, loader)
        )
        return 100 * hits / len(photographs)

    def save(self) -> None:
        tensors = training_tensors(self.network, self.optimizer) | {"late": self.late}
        save_snapshot(self.out / CHECKPOINT, Snapshot(tensors, {"key": self.key, "iteration": self.iteration}))

    def _restore(self, snapshot: Snapshot) -> None:
        path, tensors = self.out / CHECKPOINT, snapshot.tensors
        if snapshot.facts.get("key") != self.key:
            raise BlockedError(f"{path} is of other settings, images or sources. Give another --out, or delete it.")
        iteration = snapshot.facts.get("iteration")
        try:
            if type(iteration) is not int or not 0 <= iteration <= self.iterations:
                raise ValueError(f"iteration is {iteration!r}")
            restore_training(snapshot, self.network, self.optimizer)
            self.iteration, self.late = iteration, tensors["late"]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise BlockedError(f"{path} is incomplete ({error}). Delete it to start anew.") from error

    def finish(self, report: StepReport, signals: Signals) -> Pretrained:
        signals.hold()
        for loss in self.steps():
            report(self.iteration, self.iterations, loss)
            due = self.iteration % self.config.checkpoint_every == 0 or self.iteration == self.iterations
            if due or signals.pending:
                self.save()
            signals.raise_pending()
        signals.release()
        result = Pretrained(
            key=self.key,
            model=self.model,
            config=self.config,
            classes=len(self.train.classes),
            train_images=len(self.train.samples),
            val_images=len(self.val.samples),
            iterations=self.iterations,
            final_loss=float(self.late) / self._late_count(),
            top1_percent=self.top1_percent(),
        )
        save_weights(self.out / BACKBONE, self.network.network, head=False)
        write_whole(self.out / RESULT, to_json(result))
        return result


def _require_batch(found: list[Tensor] | DynrouteError) -> list[Tensor]:
    """A batch; raises the error that came in its place."""
    if isinstance(found, DynrouteError):
        raise found
    return found


_NEUTRAL = ("workers", "checkpoint_every")  # settings that cannot change a number


def pretrain(
    model: ModelConfig,
    config: PretrainConfig,
    *,
    data: Path,
    out: Path,
    device: str = "auto",
    report: StepReport = lambda done, total, loss: None,
) -> Pretrained:
    """Trains a backbone and writes it, with what it was trained on, to `out`; goes on where a checkpoint lies there.

    Raises BlockedError for images that are missing or broken, UsageError for settings that do not fit them,
    NonFiniteLossError, and KeyboardInterrupt on SIGINT and SIGTERM, after writing a checkpoint.
    """
    if model.paths:
        raise UsageError("a fixed network's head may read fewer maps: pre-train a row with gates, or network-fix.")
    make_folder(out)
    with locked(out), Signals() as signals:
        remove_stale(out)
        return _Pretraining(model, config, data, out, pick_device(device)).finish(report, signals)


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    made = argparse.ArgumentParser(prog="python -m dynroute_suite.pretraining", allow_abbrev=False)
    add = made.add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="with train/CLASS/ and val/CLASS/ below it")
    add("--row", default="dynamic-raw-imagenet", help="the row whose backbone is trained")
    add("--profile", default="full", help="of that row: full (the default), demo or smoke")
    add("--for", default="cityscapes", dest="target", metavar="DATA", help="the row's data set; demo depends on it")
    add("--out", type=Path, metavar="FOLDER", help="default: runs/pretrain/ROW-PROFILE-DATA")
    add("--device", default="auto", help="auto (the default), cpu, cuda or cuda:N")
    for name, value in asdict(PretrainConfig()).items():
        add(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default {value}")
    arguments = made.parse_args(words)
    try:
        row = experiment(arguments.row, profile=arguments.profile, data=arguments.target)
        config = PretrainConfig(**{name: getattr(arguments, name) for name in asdict(PretrainConfig())})
        if config.lr >= RISKY_RATE * fitting_lr(config.batch):
            print(
                f"pretrain: --lr {config.lr:g} with --batch {config.batch} may diverge after hours: the recipe's rate "
                f"for this batch is {fitting_lr(config.batch):g}",
                file=sys.stderr,
            )
        out = arguments.out or Path("runs") / "pretrain" / f"{row.row}-{row.profile}-{row.data.name}"
        done = pretrain(
            row.model, config, data=arguments.data, out=out, device=arguments.device, report=_print_progress
        )
    except DynrouteError as error:
        print(f"pretrain: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\npretrain: interrupted; the same command goes on.", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(f"top-1 {done.top1_percent:.1f} % over {done.val_images} images after {done.iterations} iterations")
    print(f"{out / BACKBONE}: give it to reproduce.py --row {row.row} --profile {row.profile} --init {out / BACKBONE}")
    return EXIT_DONE


def _print_progress(done: int, total: int, loss: float) -> None:
    if done % 20 == 0 or done == total:
        print(f"{done} of {total}  loss {loss:.3f}", file=sys.stderr, flush=True)
