"""What does bfloat16 cost in accuracy? A finished run's weights, evaluated by the engine in float32 and in bfloat16.

    python benchmarks/precision.py runs/dynamic-c/demo-camvid-seed0-KEY --data FOLDER

Prints mIoU and pixel accuracy of each backend and dtype, and how far bfloat16 lies from float32 (goal: 0.1 mIoU).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from finished_run import command, val_samples

from dynroute_core.engine.backend import BackendUnavailableError
from dynroute_core.engine.inference import InferenceEngine
from dynroute_core.evaluate import BackendName, evaluate
from dynroute_core.metrics import mean_iou, pixel_accuracy
from dynroute_core.runs.finished import FinishedRun

BACKENDS: tuple[BackendName, ...] = ("torch", "native")
GOAL = 0.1


def compare(folder: Path, data: Path | None) -> None:
    """Evaluates the run in `folder` with every backend and dtype, and prints a table."""
    run = FinishedRun.open(folder)
    chosen, model = run.experiment, run.model()
    samples = val_samples(chosen, data)
    print(f"{chosen.row}, {chosen.profile} profile, {chosen.data.name}, seed {chosen.seed}: {len(samples)} images")
    for backend in BACKENDS:
        single = 0.0
        for dtype in (torch.float32, torch.bfloat16):
            try:
                engine = InferenceEngine(model, dtype=dtype, backend=backend)
            except BackendUnavailableError as error:
                print(f"left out: {error}", file=sys.stderr)
                continue
            device = torch.device("cpu")
            found = evaluate(engine, samples, chosen.evaluate, classes=chosen.model.classes, device=device).confusion
            miou, accuracy = 100 * mean_iou(found), 100 * pixel_accuracy(found)
            line = f"{engine.describe():47} mIoU {miou:.3f}  pixel accuracy {accuracy:.3f}"
            if dtype == torch.float32:
                single = miou
            else:
                met = "met" if abs(miou - single) <= GOAL else "NOT MET"
                line += f"  {miou - single:+.3f} mIoU ({met}: within {GOAL})"
            print(line)


def main() -> int:
    """The command; returns its exit code."""
    return command("precision.py", __doc__ or "", compare)


if __name__ == "__main__":
    sys.exit(main())
