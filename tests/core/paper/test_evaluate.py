"""Evaluation against predictions, confusion and costs worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from dynroute_core.cost import cost_table
from dynroute_core.engine.inference import InferenceEngine
from dynroute_core.evaluate import PLAIN, TTA_SCALES, EvaluateConfig, as_input, evaluate, predict_image, predict_labels
from dynroute_core.metrics import mean_iou
from dynroute_core.model import Segmenter
from support.sample_models import images, mixed_model, shaken, small_config

CPU = torch.device("cpu")
CONFIG = EvaluateConfig(nominal_height=96, nominal_width=160)


@dataclass(frozen=True)
class Sample:
    name: str
    image: np.ndarray
    label: np.ndarray


def samples(count=4, label_size=(64, 80)):
    rng = np.random.default_rng(3)
    pictures = images(count, 64, 80).permute(0, 2, 3, 1).numpy()
    labels = rng.choice([0, 1, 2, 3, 4, 255], size=(count, *label_size)).astype(np.uint8)
    return [Sample(f"image_{k}", pictures[k], labels[k]) for k in range(count)]


@pytest.fixture(scope="module")
def model():
    return mixed_model(small_config(), seed=4)


def run(model, given, **settings):
    return evaluate(model, given, CONFIG, classes=5, device=CPU, **settings)


def by_hand(model, sample):
    with torch.no_grad():
        output = model(torch.from_numpy(sample.image.copy()).permute(2, 0, 1)[None])
    predicted = output.logits[0].argmax(0).numpy()
    confusion = np.zeros((5, 5), dtype=np.int64)
    for label, guess in zip(sample.label.flatten(), predicted.flatten(), strict=True):
        if label != 255:
            confusion[label, guess] += 1
    return output, confusion


def test_confusion_equals_a_count_by_hand(model):
    given = samples()
    evaluation = run(model, given)
    expected = [by_hand(model, sample)[1] for sample in given]
    assert [image.name for image in evaluation.images] == [sample.name for sample in given]
    for image, confusion in zip(evaluation.images, expected, strict=True):
        np.testing.assert_array_equal(image.confusion, confusion)
    np.testing.assert_array_equal(evaluation.confusion, sum(expected))
    assert evaluation.confusion.sum() == sum((sample.label != 255).sum() for sample in given)


def test_costs_states_and_factors_per_image(model):
    given = samples()
    for sample, image in zip(given, run(model, given).images, strict=True):
        output, _ = by_hand(model, sample)
        for accounting, macs in (("paper", image.route.macs.paper), ("repo", image.route.macs.repo)):
            cost = output.cost(height=96, width=160, accounting=accounting)
            assert macs == pytest.approx(cost.realised_macs[0].item(), rel=1e-12)
            assert image.route.macs.expected == pytest.approx(cost.expected_macs[0].item(), rel=1e-12)
        head = [cost_table(model.config, height=96, width=160, accounting=a).head for a in ("paper", "repo")]
        assert image.route.macs.paper - image.route.macs.repo == pytest.approx(head[0] - head[1], rel=1e-6)
        assert head[0] > head[1]
        assert image.route.states.tolist() == [int(gate.state[0]) for gate in output.gates.values()]
        flat = [f for gate in output.gates.values() for f in gate.factors[0].tolist()]
        assert image.route.factors.tolist() == pytest.approx(flat, abs=1e-6)  # kept as float32
        assert image.route.factors.shape == (len(model.space.all_paths),)


def test_an_image_does_not_depend_on_its_neighbours(model):
    given = samples()
    together = run(model, given).images
    for sample, image in zip(reversed(given), reversed(together), strict=True):
        (alone,) = run(model, [sample]).images
        np.testing.assert_array_equal(alone.confusion, image.confusion)
        assert alone.route.macs.paper == image.route.macs.paper
        np.testing.assert_array_equal(alone.route.factors, image.route.factors)


@pytest.mark.parametrize("size", [(64, 80), (128, 160), (50, 99), (1, 1)])
def test_labels_of_another_size_get_resized_logits(model, size):
    (sample,) = samples(1, label_size=size)
    output, _ = by_hand(model, samples(1)[0])
    resized = F.interpolate(output.logits, size=size, mode="bilinear", align_corners=False).argmax(1)
    assert torch.equal(predict_labels(output.logits, *size), resized)
    confusion = run(model, [sample]).confusion
    seen = sample.label != 255
    assert confusion.sum() == seen.sum()
    assert np.trace(confusion) == (resized[0].numpy() == sample.label)[seen].sum()


def test_logits_are_resized_before_the_best_class_is_taken():
    """Half-way between 0.9:0.1 and 0:1 the second class leads; the nearer pixel's winner would be the first."""
    logits = torch.tensor([[[[0.9, 0.0]], [[0.1, 1.0]]]])
    assert predict_labels(logits, 1, 4).tolist() == [[[0, 0, 1, 1]]]
    assert predict_labels(logits, 1, 2).tolist() == [[[0, 1]]]
    assert predict_labels(logits, 1, 3)[0, 0, 1] == 1


def test_input_is_the_images_own_numbers():
    sample = samples(1)[0]
    flipped = replace(sample, image=sample.image[:, ::-1])  # a view with negative strides, as flipping gives
    x = as_input(flipped, CONFIG, CPU)
    assert (x.shape, x.dtype) == ((1, 3, 64, 80), torch.float32)
    assert x[0, 2, 5, 7].item() == sample.image[5, 80 - 1 - 7, 2]


def test_smaller_images_are_measured_at_the_labels_size(model):
    """The network sees the antialiased image; its logits, enlarged, are compared with the label as it is."""
    sample = samples(1)[0]
    config = replace(CONFIG, shortest=32)
    small = np.array(Image.fromarray(sample.image).resize((40, 32), Image.Resampling.BILINEAR))
    x = as_input(sample, config, CPU)
    assert torch.equal(x[0].permute(1, 2, 0), torch.from_numpy(small).float())
    with torch.inference_mode():
        predicted = predict_labels(model(x).logits, 64, 80)[0].numpy()
    found = evaluate(model, [sample], config, classes=5, device=CPU).confusion
    seen = sample.label != 255
    assert found.sum() == seen.sum()
    assert np.trace(found) == (predicted == sample.label)[seen].sum()


# --- test-time augmentation ------------------------------------------------------------------------------------------

TTA = replace(CONFIG, scales=TTA_SCALES, flip=True)


def test_views_of_the_published_augmentation():
    """Six scales, each mirrored too; the image as it is comes first, for its route is the one that is kept."""
    views = EvaluateConfig(scales=TTA_SCALES, flip=True).views
    assert views[0] == PLAIN
    assert len(views) == 12
    assert {view.scale * 1024 for view in views} == {512, 768, 1024, 1280, 1536, 2048}
    assert {view.scale for view in views if view.flipped} == set(TTA_SCALES)
    assert EvaluateConfig().views == (PLAIN,)


@pytest.mark.parametrize("shortest", [0, 40])
def test_augmented_logits_are_the_average_over_scales_and_flips(model, shortest):
    """By hand: Pillow's resizing, numpy's mirroring, a mean of twelve maps of logits at the label's size."""
    sample = samples(1, label_size=(64, 80))[0]
    maps = []
    for scale in TTA_SCALES:
        height = round(scale * (shortest or 64))
        size = (int(height * 80 / 64 + 0.5), height)
        shown = np.array(Image.fromarray(sample.image).resize(size, Image.Resampling.BILINEAR))
        for flipped in (False, True):
            x = torch.from_numpy((shown[:, ::-1] if flipped else shown).copy()).permute(2, 0, 1)[None]
            with torch.no_grad():
                logits = model(x.float()).logits
            logits = F.interpolate(logits, size=(64, 80), mode="bilinear", align_corners=False)[0].numpy()
            maps.append(logits[:, :, ::-1] if flipped else logits)
    mean = np.mean(maps, axis=0)
    found = predict_image(model, sample, replace(TTA, shortest=shortest), CPU).labels.numpy()
    best, second = np.sort(mean, axis=0)[::-1][:2]
    # float64: twelve maps summed in another order than a mean of them move a logit by far less than this.
    differs = (found != mean.argmax(0)) & (best - second > 1e-9)
    assert not differs.any()
    assert (maps[4].argmax(0) != mean.argmax(0)).any()  # one view alone says something else


def test_flipping_alone_makes_a_mirror_image_come_out_mirrored(model):
    (sample,) = samples(1)
    mirrored = replace(sample, image=sample.image[:, ::-1].copy())
    flip = replace(CONFIG, flip=True)
    one, other = (predict_image(model, each, flip, CPU).labels for each in (sample, mirrored))
    plain = predict_image(model, mirrored, CONFIG, CPU).labels
    assert torch.equal(other, one.flip(-1))
    assert not torch.equal(plain, predict_image(model, sample, CONFIG, CPU).labels.flip(-1))


def test_an_augmented_cost_is_the_sum_over_the_views_and_the_route_is_the_first_views(model):
    (sample,) = samples(1)
    config = replace(CONFIG, scales=(0.5, 1.0), flip=True)
    with torch.inference_mode():
        said = predict_image(model, sample, config, CPU)
        sums = dict.fromkeys(("paper", "repo", "expected"), 0.0)
        for view in config.views:
            output = model(as_input(sample, config, CPU, view))
            size = {"height": round(96 * view.scale), "width": round(160 * view.scale)}
            for accounting in ("paper", "repo"):
                sums[accounting] += output.cost(**size, accounting=accounting).realised_macs.item()
            sums["expected"] += output.cost(**size, accounting="paper").expected_macs.item()
        plain = predict_image(model, sample, CONFIG, CPU)
    assert said.route.macs == pytest.approx(tuple(sums.values()), rel=1e-12)
    np.testing.assert_array_equal(said.route.states, plain.route.states)
    np.testing.assert_array_equal(said.route.factors, plain.route.factors)


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0, 1.0), (float("inf"),), (float("nan"),), (1.0, 1.0)])
def test_impossible_scales_are_refused(scales):
    with pytest.raises(ValueError, match="scales="):
        EvaluateConfig(scales=scales)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="shortest=-1"):
        EvaluateConfig(shortest=-1)


def test_progress_and_no_gradients(model):
    seen = []
    evaluation = run(model, samples(), each=seen.append)
    assert tuple(seen) == evaluation.images
    assert not torch.is_grad_enabled() or all(p.grad is None for p in model.parameters())


def test_an_empty_split_gives_an_empty_evaluation(model):
    evaluation = run(model, [])
    assert evaluation.images == ()
    assert evaluation.confusion.sum() == 0


def test_a_label_that_is_no_class_is_an_error(model):
    (sample,) = samples(1)
    sample.label[0, 0] = 200
    with pytest.raises(ValueError, match="outside"):
        run(model, [sample])


@pytest.mark.parametrize("size", [{"nominal_height": 0}, {"nominal_width": -1}])
def test_impossible_nominal_sizes_are_refused(size):
    with pytest.raises(ValueError, match="at least 1"):
        EvaluateConfig(**size)


@pytest.mark.parametrize("label_size", [(64, 80), (128, 160)])
def test_the_engine_evaluates_as_the_model_does(model, label_size):
    """In float64 to the pixel: logits differ by 1e-14, and no two tie that closely here."""
    given = samples(label_size=label_size)
    theirs = run(model, given)
    ours = run(InferenceEngine(model, dtype=torch.float64, backend="torch"), given)
    np.testing.assert_array_equal(ours.confusion, theirs.confusion)
    for one, other in zip(ours.images, theirs.images, strict=True):
        assert one.route.macs.paper == pytest.approx(other.route.macs.paper, rel=1e-12)
        assert one.route.states.tolist() == other.route.states.tolist()


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_the_engine_in_float32_differs_where_logits_tie_alone(backend):
    """Four layers of float32: logits agree to 2e-6 of the largest, some 16 ulp. A label may differ where its two best
    are as near, and mIoU by as much."""
    given = samples()
    single = shaken(Segmenter(small_config())).eval()  # every path open: no image whose logits are all alike
    theirs, ours = run(single, given), run(InferenceEngine(single, backend=backend), given)
    ties = 0
    for sample in given:
        best, second = by_hand(single, sample)[0].logits.topk(2, dim=1).values.unbind(1)
        ties += int((best - second <= 4e-6 * best.abs().max()).sum())
    moved = np.abs(ours.confusion - theirs.confusion).sum() / 2
    assert moved <= ties < 0.01 * sum(sample.label.size for sample in given)
    smallest = min(np.bincount(np.concatenate([s.label[s.label != 255].ravel() for s in given]), minlength=5))
    assert abs(mean_iou(ours.confusion) - mean_iou(theirs.confusion)) <= 2 * ties / smallest


def test_an_engine_holds_no_full_size_logits(model, monkeypatch):
    engine = InferenceEngine(model, dtype=torch.float64, backend="torch")
    monkeypatch.setattr(InferenceEngine, "__call__", lambda *_: pytest.fail("logits were asked for"))
    assert run(engine, samples(1)).confusion.sum() > 0
