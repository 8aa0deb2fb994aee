"""Records, routes and curves for the tests of the report, from a network with random gates on random images."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import msgspec
import torch

from dynroute_core.cost import cost_table
from dynroute_core.data.labels import CITYSCAPES
from dynroute_core.experiments import Experiment, experiment
from dynroute_core.model import RoutingOutput, Segmenter
from dynroute_core.runs.record import (
    SCHEMA,
    CostRange,
    Costs,
    CurvePoint,
    DataFacts,
    Durations,
    ImageFacts,
    ImageRoute,
    MachineFacts,
    Metrics,
    Record,
    Routes,
    SourceFacts,
    TrainingFacts,
)
from dynroute_core.space import ModelConfig, RoutingSpace

HEIGHT, WIDTH = 256, 512


@lru_cache(maxsize=16)
def random_output(config: ModelConfig, images: int, seed: int, bias: float) -> RoutingOutput:
    """A forward pass in evaluation mode over random images; gate biases are normal around `bias`."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = Segmenter(config).eval()
    for cell in model.space.cells:
        gate = model.cell(cell).gate
        if gate is not None:
            assert gate.factors.bias is not None
            gate.factors.bias.data = bias + 0.8 * torch.randn(gate.factors.bias.shape, generator=generator)
            # Coarse cells close more often, and as one: this gives closed and dead cells, not only closed paths.
            if torch.rand((), generator=generator) < 0.12 * cell.scale + 0.05:
                gate.factors.bias.data -= 2.5
            gate.factors.weight.data *= 1.5
    pictures = torch.rand(images, 3, 64, 128, generator=generator) * 255
    with torch.no_grad():
        return model(pictures)


def sample_routes(
    config: ModelConfig, *, row: str = "dynamic-a", images: int = 6, seed: int = 1, bias: float = 0.4
) -> Routes:
    """Routes as the pipeline writes them."""
    output = random_output(config, images, seed, bias)
    space = RoutingSpace.of(config)
    return Routes(
        schema=SCHEMA,
        row=row,
        key="0" * 64,
        layers=config.layers,
        channels=config.channels,
        cells=tuple(str(cell) for cell in space.cells),
        paths=tuple(f"{cell}>{path}" for cell, path in space.all_paths),
        images=tuple(
            ImageRoute(
                name=f"street_{index:06d}",
                states="".join("ocd"[int(output.gates[cell].state[index])] for cell in space.cells),
                factors=tuple(float(value) for cell in space.cells for value in output.gates[cell].factors[index]),
                true_positive=(10,) * config.classes,
                false_positive=(5,) * config.classes,
                false_negative=(5,) * config.classes,
            )
            for index in range(images)
        ),
    )


def sample_record(
    config: ModelConfig | None = None,
    *,
    row: str = "dynamic-a",
    profile: str = "demo",
    data: str = "streets",
    images: int = 6,
    seed: int = 1,
    bias: float = 0.4,
    height: int = HEIGHT,
    width: int = WIDTH,
) -> Record:
    """A record whose costs are those of `sample_routes` with the same arguments."""
    config = config or ModelConfig(layers=4, channels=4, gate="small")
    output = random_output(config, images, seed, bias)
    columns = {}
    for accounting in ("paper", "repo"):
        cost = output.cost(height=height, width=width, accounting=accounting)
        table = cost_table(config, height=height, width=width, accounting=accounting)
        columns[accounting] = (cost.realised_macs.tolist(), table.all_closed, table.all_open)
        columns["expected"] = (cost.expected_macs.tolist(), 0, table.all_open_expected)
    ranges = {
        name: CostRange(
            mean_macs=sum(values) / len(values),
            min_macs=min(values),
            max_macs=max(values),
            all_closed_macs=closed,
            all_open_macs=opened,
        )
        for name, (values, closed, opened) in columns.items()
    }
    iou: dict[str, float | None] = {name: round(91.7 * 0.9**k, 3) for k, name in enumerate(CITYSCAPES.names)}
    iou["train"] = None
    return Record(
        schema=SCHEMA,
        row=row,
        profile=profile,
        seed=0,
        key="0" * 64,
        started="2026-01-01T00:00:00Z",
        config=plain_settings(replace(experiment(row, profile=profile, data=data), model=config)),
        data=DataFacts(
            name=data,
            train_fingerprint="a" * 64,
            val_fingerprint="b" * 64,
            train_images=200,
            val_images=images,
            class_names=CITYSCAPES.names,
        ),
        source=SourceFacts(commit="c" * 40, dirty=False, hash="d" * 64),
        machine=MachineFacts(
            device="cpu", device_name="a processor", threads=1, backend="model", versions={"torch": "2.7.0"}
        ),
        durations=Durations(train_s=240.0, precise_bn_s=10.0, evaluate_s=20.0),
        training=TrainingFacts(
            iterations=600, final_loss=1.0, final_expected_macs=1e7, resumed_at=(), parameters=12345
        ),
        metrics=Metrics(
            miou_percent=41.234,
            frequency_weighted_iou_percent=60.0,
            mean_accuracy_percent=50.0,
            pixel_accuracy_percent=80.0,
            class_iou_percent=iou,
        ),
        costs=Costs(nominal_height=height, nominal_width=width, **ranges),
        images=tuple(
            ImageFacts(
                name=f"street_{index:06d}",
                paper_macs=columns["paper"][0][index],
                repo_macs=columns["repo"][0][index],
                expected_macs=columns["expected"][0][index],
                miou_percent=30.0 + index,
                pixel_accuracy_percent=70.0 + index,
            )
            for index in range(images)
        ),
    )


def plain_settings(settings: Experiment) -> dict[str, object]:
    """Settings as a record read from a file holds them."""
    plain = msgspec.json.decode(msgspec.json.encode(settings))
    assert isinstance(plain, dict)
    return plain


def published_protocol(record: Record) -> Record:
    """The record as if the row's own network had met 500 Cityscapes images by the published protocol."""
    first = record.images[0]
    many = tuple(replace(first, name=f"image_{index:03d}") for index in range(500))
    return replace(
        record,
        profile="full",
        config=plain_settings(experiment(record.row, profile="full", data="cityscapes")),
        data=replace(record.data, name="cityscapes", val_images=500),
        costs=replace(record.costs, nominal_height=1024, nominal_width=2048),
        images=many,
    )


def sample_curve(points: int = 60) -> list[CurvePoint]:
    """A plausible curve: falling loss, poly lr, a cost that sinks from half-way on."""
    return [
        CurvePoint(
            iteration=10 * (k + 1),
            loss=2.4 * 0.97**k + 0.5 + 0.05 * (k % 3),
            segmentation_loss=2.4 * 0.97**k + 0.45 + 0.05 * (k % 3),
            budget_loss=0.05,
            lr=0.05 * (1 - k / points) ** 0.9 * min(1, (k + 1) / 4),
            expected_macs=2.4e7 * (1 if k < points / 2 else 0.97 ** (k - points / 2)),
            train_miou_percent=45 * (1 - 0.95**k),
            seconds=0.3,
        )
        for k in range(points)
    ]
