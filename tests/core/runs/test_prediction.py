"""`predict`: labels and route are those of an evaluation, at any size, from any file that is a picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dynroute_core.data.dataset import DataError, Sample
from dynroute_core.engine.inference import InferenceEngine
from dynroute_core.evaluate import EvaluateConfig, predict_image
from dynroute_core.experiments import experiment, with_settings
from dynroute_core.model import Segmenter
from dynroute_core.runs import prediction
from dynroute_core.runs.finished import TrainedSegmenter
from dynroute_core.runs.prediction import LONGEST_SIDE, STRETCH, PredictedPicture, enlarged_labels, predict
from dynroute_core.space import RoutingSpace
from support.sample_models import settled, shaken, small_config

CPU = torch.device("cpu")
SETTINGS = {"model.layers": "3", "evaluate.shortest": "48"}


@pytest.fixture(scope="module")
def model() -> TrainedSegmenter:
    torch.manual_seed(3)
    made = TrainedSegmenter(with_settings(experiment("dynamic-c", profile="smoke"), SETTINGS))
    settled(made)
    return made.eval()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours: as in a photograph, neighbours are alike."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def evaluated(model: Segmenter, rgb: np.ndarray, shortest: int) -> np.ndarray:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    sample = Sample("x", bgr, np.zeros(rgb.shape[:2], np.uint8))
    return predict_image(model, sample, EvaluateConfig(shortest=shortest), CPU).labels.numpy()


@pytest.mark.parametrize("size", [(96, 160), (161, 97), (48, 64), (20, 30), (300, 401)])
def test_labels_are_those_of_an_evaluation(model: TrainedSegmenter, size: tuple[int, int]) -> None:
    said = predict(model, picture(*size))
    assert said.labels.shape == size and said.labels.dtype == np.uint8
    assert min(said.shown) == 48
    # Sums in another order: where two logits tie to the last bits, another class may win.
    assert (said.labels != evaluated(model, picture(*size), 48)).mean() < 1e-3


def test_the_size_is_asked_for_or_the_pictures_own() -> None:
    model = shaken(Segmenter(small_config())).eval()
    rgb = picture(70, 90)
    assert predict(model, rgb).shown == (70, 90)
    assert predict(model, rgb, shortest=35).shown == (35, 45)
    assert np.array_equal(predict(model, rgb).labels, evaluated(model, rgb, 0))


def test_without_a_size_of_its_own_a_run_showed_its_images_as_they_are() -> None:
    chosen = experiment("dynamic-c", profile="smoke")
    assert chosen.evaluate.shortest == 0
    assert TrainedSegmenter(chosen).shortest == min(chosen.data.height, chosen.data.width)


def test_cost_and_route_are_the_networks(model: TrainedSegmenter) -> None:
    rgb = picture(96, 160)
    said = predict(model, rgb)
    assert said.shown == (48, 80) and said.counted == (64, 96)
    images = prediction._as_images(rgb, said.shown)
    with torch.inference_mode():
        output = model(images)
    assert said.route == output.routes()[0]
    assert said.macs == float(output.cost(height=64, width=96, accounting="paper").realised_macs[0])


def test_a_route_has_one_id_and_another_route_another(model: TrainedSegmenter) -> None:
    said = predict(model, picture(48, 64))
    paths = list(RoutingSpace.of(model.config).all_paths)
    one, same, other = (
        PredictedPicture(said.labels, said.shown, frozenset(route), said.taken).route_id
        for route in (paths, reversed(paths), paths[1:])
    )
    assert one == same != other and len(one) == prediction.ROUTE_DIGITS


def test_an_engine_computes_the_same(model: TrainedSegmenter) -> None:
    rgb = picture(200, 320)
    own, engine = predict(model, rgb), predict(model, rgb, engine=InferenceEngine(model, backend="torch"))
    assert own.route == engine.route and own.macs == engine.macs
    assert (own.labels != engine.labels).mean() < 1e-3  # norms are folded: ties may go the other way


def test_a_file_is_read_upright_whatever_its_kind(model: TrainedSegmenter, tmp_path: Path) -> None:
    rgb = picture(64, 96)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90° clockwise"
    for name, options in (("a.png", {}), ("a.webp", {"lossless": True})):
        Image.fromarray(np.rot90(rgb)).save(tmp_path / name, exif=exif, **options)
        said = predict(model, tmp_path / name)
        assert np.array_equal(said.labels, predict(model, rgb).labels), name
    Image.fromarray(np.rot90(rgb)).save(tmp_path / "a.jpg", exif=exif)
    assert predict(model, str(tmp_path / "a.jpg")).labels.shape == (64, 96)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 \(4, 4\).*H×W×3"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        ([[0]], "list"),
        (np.zeros((1, LONGEST_SIDE + 1, 3), np.uint8), "Cut it up"),
    ],
)
def test_what_is_no_picture_is_refused(model: TrainedSegmenter, wrong: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        predict(model, wrong)  # type: ignore[arg-type]


def test_a_file_that_is_none_and_a_network_in_training_are_refused(model: TrainedSegmenter, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    for name in ("x.png", "nowhere.png"):
        with pytest.raises(DataError, match=name):
            predict(model, tmp_path / name)
    with pytest.raises(ValueError, match=r"eval\(\)"):
        predict(Segmenter(small_config()), picture(8, 8))
    with pytest.raises(ValueError, match="shortest=-1"):
        predict(model, picture(8, 8), shortest=-1)


def test_a_thin_picture_is_not_blown_up(model: TrainedSegmenter) -> None:
    said = predict(model, picture(2, 4000))
    assert said.labels.shape == (2, 4000) and max(said.shown) == STRETCH * 48


@pytest.mark.parametrize("size", [(33, 47), (12, 9), (7, 200), (64, 3)])
def test_strips_are_the_whole_enlargement(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(6, 12, 17)
    whole = torch.nn.functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
    best = whole.topk(2, dim=0).values
    clear = best[0] - best[1] > 1e-5  # roundings of float32 are below 1e-6 here
    for values in (1, 6 * size[1] * 5, 1 << 20):  # a row at a time, five, all
        monkeypatch.setattr(prediction, "STRIP_VALUES", values)
        assert torch.equal(enlarged_labels(logits.clone(), *size)[clear], whole.argmax(0).to(torch.uint8)[clear])
    assert clear.float().mean() > 0.99


@pytest.mark.slow
def test_twelve_megapixels_take_little_memory() -> None:
    """Its logits at full size would be 19 × 48 MB."""
    code = (
        "import resource, numpy as np, torch\n"
        "from dynroute_core import Segmenter, ModelConfig, predict\n"
        "torch.set_num_threads(1)\n"
        "model = Segmenter(ModelConfig(layers=3, channels=4)).eval()\n"
        "predict(model, np.zeros((300, 400, 3), np.uint8), shortest=128)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "said = predict(model, np.zeros((3000, 4000, 3), np.uint8), shortest=128)\n"
        "print(said.labels.shape, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *shape, grown = done.stdout.rsplit(maxsplit=1)
    assert shape == ["(3000, 4000)"]
    assert float(grown) < 400  # MB: picture, labels, and some strips of 32 MB
