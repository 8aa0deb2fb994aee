"""`--predict`: what it leaves of pictures of every kind, and what it says of those that are none."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from dynroute_core.checkpoint import Weights
from dynroute_core.data.datasets import DATASETS
from dynroute_core.data.labels import CITYSCAPES
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.prediction import predict
from dynroute_core.runs.record import CHECKPOINT
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, BlockedError
from dynroute_suite.command import pictures as pictures_module
from dynroute_suite.command import predict as predict_module
from dynroute_suite.command.options import parser
from dynroute_suite.command.pictures import BEGUN, COLUMNS, LABELS, OVERLAYS, ROUTES, TABLE
from dynroute_suite.command.predict import network_of
from support.commands import call

SHARE = "share_"


def photograph(height: int, width: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures, and what lies beside pictures."""
    here = tmp_path / "photos"
    here.mkdir()
    photograph(60, 90).save(here / "a.png")
    photograph(80, 50, seed=1).save(here / "b.jpg")
    photograph(40, 40, seed=2).save(here / "C.WebP", "WEBP")
    photograph(9, 9).save(here / "._a.png")
    (here / "notes.txt").write_text("no picture")
    (here / "deeper").mkdir()
    photograph(9, 9).save(here / "deeper" / "d.png")
    monkeypatch.chdir(tmp_path)
    return here


@pytest.fixture
def weights(finished: FinishedRun) -> tuple[str, ...]:
    """The words for a run of one's own."""
    return "--weights", str(finished.folder / CHECKPOINT), "--device", "cpu"


def lines(out: Path) -> list[dict[str, str]]:
    with (out / TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(out: Path) -> list[str]:
    """Every file there, hidden ones too."""
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_a_folder_becomes_labels_overlays_routes_and_a_table(
    folder: Path, weights: tuple[str, ...], finished: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path("made")
    assert call("--predict", folder, *weights, "--out", out) == EXIT_DONE
    every = ("C", "a", "b")
    kinds = ((LABELS, "png"), (OVERLAYS, "jpg"), (ROUTES, "svg"))
    assert names(out) == sorted([TABLE, *(f"{kind}/{name}.{end}" for kind, end in kinds for name in every)])
    assert [line["file"] for line in lines(out)] == [str(folder / name) for name in ("C.WebP", "a.png", "b.jpg")]

    model, picture = finished.model(), Image.open(folder / "a.png")
    said = predict(model, np.array(picture))
    labels = Image.open(out / LABELS / "a.png")
    assert labels.mode == "P" and np.array_equal(np.array(labels), said.labels)
    assert tuple(labels.getpalette()[3 * int(said.labels[0, 0]) :][:3]) == CITYSCAPES.colors[said.labels[0, 0]]
    overlay = Image.open(out / OVERLAYS / "a.jpg")
    assert overlay.size == picture.size
    half = (np.array(picture).astype(float) + np.array(labels.convert("RGB"))) / 2
    assert np.abs(np.array(overlay) - half).mean() < 8  # JPEG keeps colours at half the size
    ElementTree.parse(out / ROUTES / "a.svg")

    (line,) = (line for line in lines(out) if line["name"] == "a")
    assert [line[name] for name in ("height", "width", "route")] == ["60", "90", said.route_id]
    assert (int(line["shown_height"]), int(line["shown_width"])) == said.shown
    assert float(line["macs"]) == said.macs and float(line["milliseconds"]) > 0
    shares = {name.removeprefix(SHARE): float(value) for name, value in line.items() if name.startswith(SHARE)}
    assert list(line) == [*COLUMNS, *(SHARE + name for name in CITYSCAPES.names)]
    for index, name in enumerate(CITYSCAPES.names):
        assert shares[name] == pytest.approx((said.labels == index).mean(), abs=1e-6)  # six digits are written
    shown = capsys.readouterr().out
    assert "3 pictures" in shown and str(out.resolve() / TABLE) in shown


def test_a_picture_held_upright_is_segmented_upright(folder: Path, weights: tuple[str, ...]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90° clockwise"
    photograph(60, 90).transpose(Image.Transpose.ROTATE_90).save(folder / "held.png", exif=exif)
    assert call("--predict", folder / "held.png", folder / "a.png", *weights) == EXIT_DONE
    held, plain = (Image.open(f"predictions/{LABELS}/{name}.png") for name in ("held", "a"))
    assert held.size == (90, 60) and np.array_equal(np.array(held), np.array(plain))


def test_without_out_they_lie_where_the_command_was_called(folder: Path, weights: tuple[str, ...]) -> None:
    assert call("--predict", folder / "a.png", *weights) == EXIT_DONE
    assert len(lines(folder.parent / "predictions")) == 1


def test_pictures_of_one_name_keep_apart_and_one_picture_counts_once(folder: Path, weights: tuple[str, ...]) -> None:
    photograph(30, 40).save(folder / "A.jpg")
    photograph(30, 40).save(folder / "a-2.png")
    given = (folder / "a-2.png", folder / "a.png", folder, folder / "deeper" / ".." / "a.png")
    assert call("--predict", *given, *weights) == EXIT_DONE
    found = {Path(line["file"]).name: line["name"] for line in lines(Path("predictions"))}
    assert found == {"a-2.png": "a-2", "a.png": "a", "A.jpg": "A-3", "C.WebP": "C", "b.jpg": "b"}


def test_what_cannot_be_read_is_told_and_the_rest_is_done(
    folder: Path, weights: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (folder / "a.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    Image.new("RGB", (65_501, 1)).save(folder / "long.png")
    words = ("--predict", folder, folder / "notes.txt", *weights, "--json")
    assert call(*words) == EXIT_FAILED
    shown = capsys.readouterr()
    for name in ("cut.png", "empty.jpg", "notes.txt"):
        assert name in shown.err.split("4 of 7 could not be read:")[1]
    answer = json.loads(shown.out)
    assert answer["exit_code"] == EXIT_FAILED
    states = {Path(row["file"]).name: row["state"] for row in answer["rows"]}
    bad = {"cut.png", "empty.jpg", "notes.txt", "long.png"}
    assert states == {"a.png": "done", "b.jpg": "done", "C.WebP": "done"} | dict.fromkeys(bad, "unreadable")
    assert all(row["message"] for row in answer["rows"] if row["state"] == "unreadable")
    assert {row["folder"] for row in answer["rows"] if row["state"] == "done"} == {str(Path("predictions").resolve())}
    assert {line["name"] for line in lines(Path("predictions"))} == {"a", "b", "C"}


def test_where_nothing_can_be_read_nothing_is_left(folder: Path, weights: tuple[str, ...]) -> None:
    assert call("--predict", folder / "notes.txt", *weights, "--out", "deep/made") == EXIT_FAILED
    assert not Path("deep").exists()


def test_a_name_that_is_no_text_is_a_name(
    folder: Path, weights: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    for name in (b"p\xff.png", b"q\xff.png"):
        shutil.copy(folder / "a.png", os.path.join(os.fsencode(folder), name))
    (folder / os.fsdecode(b"q\xff.png")).write_bytes(b"no picture")
    assert call("--predict", folder, *weights) == EXIT_FAILED
    assert "q\\udcff.png is not a readable" in capfd.readouterr().out
    assert {line["name"] for line in lines(Path("predictions"))} == {"a", "b", "C", "p_"}


@pytest.mark.parametrize("words", [("--predict", "nowhere"), ("--predict", "photos/deeper/none.png")])
def test_what_is_not_there_is_told_before_any_work(
    folder: Path, weights: tuple[str, ...], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words, folder, *weights) == EXIT_BLOCKED
    assert "there is no such file or folder" in capsys.readouterr().err
    assert not Path("predictions").exists()


def test_a_folder_without_pictures_is_told(
    folder: Path, weights: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("none").mkdir()
    photograph(9, 9).save("none/.hidden.png")
    assert call("--predict", "none", *weights) == EXIT_BLOCKED
    assert "holds no pictures (.png" in capsys.readouterr().err


def test_predictions_that_are_there_are_kept_unless_forced(
    folder: Path, weights: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--predict", folder / "a.png", *weights, "--out", "made")
    assert call(*words) == EXIT_DONE
    (Path("made") / "mine.txt").write_text("kept")
    before = names(Path("made"))
    assert call("--predict", folder / "b.jpg", *words[2:]) == EXIT_USAGE
    assert "holds predictions already" in capsys.readouterr().err and names(Path("made")) == before
    assert call("--predict", folder / "b.jpg", *words[2:], "--force") == EXIT_DONE
    assert names(Path("made")) == [name.replace("a.", "b.") for name in before]


def test_what_others_made_is_never_replaced(
    folder: Path, weights: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / LABELS).mkdir()
    for others in (None, "image,label\n"):  # with a table of theirs, too
        if others:
            (folder / TABLE).write_text(others)
        assert call("--predict", folder, *weights, "--out", folder, "--force") == EXIT_USAGE
        assert "holds labels of something else" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt, BlockedError("the disk is full.")])
def test_what_ends_half_way_leaves_nothing(
    folder: Path, weights: tuple[str, ...], error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The second picture is interrupted, or does not fit the disk."""
    written, original = [], predict_module.write_whole

    def write(path: Path, content: bytes, *, settle: bool = True) -> None:
        if len(written) == 4:
            assert names(Path("made")), "nothing was begun"
            raise error
        written.append(path)
        original(path, content, settle=settle)

    monkeypatch.setattr(predict_module, "write_whole", write)
    code = call("--predict", folder, *weights, "--out", "made")
    assert code == (EXIT_INTERRUPTED if error is KeyboardInterrupt else EXIT_BLOCKED)
    assert not Path("made").exists()
    if error is KeyboardInterrupt:
        assert "the same command begins anew" in capsys.readouterr().err


def test_what_a_killed_one_left_is_cleared_away(folder: Path, weights: tuple[str, ...]) -> None:
    left = Path("predictions") / BEGUN / LABELS
    left.mkdir(parents=True)
    (left / "old.png").write_bytes(b"half")
    assert call("--predict", folder / "a.png", *weights) == EXIT_DONE
    assert not [name for name in names(Path("predictions")) if "old" in name or BEGUN in name]


def test_one_that_was_killed_while_its_files_went_to_their_place_is_begun_anew(
    folder: Path, weights: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some folders are in their place, the table is not."""

    def killed(begun: Path, out: Path) -> None:
        os.rename(begun / LABELS, out / LABELS)
        shutil.copytree(begun, out.with_name("left"))
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(pictures_module, "_publish", killed)
        call("--predict", folder / "b.jpg", *weights)
    Path("left").rename(Path("predictions") / BEGUN)  # a killed process cleans nothing up
    assert names(Path("predictions"))
    assert call("--predict", folder / "a.png", *weights) == EXIT_DONE
    assert names(Path("predictions")) == [f"{LABELS}/a.png", f"{OVERLAYS}/a.jpg", TABLE, f"{ROUTES}/a.svg"]


def test_a_link_to_nowhere_is_a_picture_that_cannot_be_read(
    folder: Path, weights: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "gone.png").symlink_to("nowhere.png")
    assert call("--predict", folder, *weights) == EXIT_FAILED
    assert "gone.png" in capsys.readouterr().out.split("1 of 4 could not be read:")[1]


def test_two_commands_do_not_write_to_one_folder(
    folder: Path, weights: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pictures_module.appearing(Path("predictions").resolve()) as begun:
        (begun / LABELS / "theirs.png").write_bytes(b"")
        assert call("--predict", folder, *weights) == EXIT_BLOCKED
        assert "another process is at work" in capsys.readouterr().err
        assert (begun / LABELS / "theirs.png").exists()
    assert not Path("predictions").exists()


def test_a_folder_that_cannot_be_written_is_told(
    folder: Path, weights: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    assert call("--predict", folder, *weights, "--out", "file/made") == EXIT_BLOCKED
    assert "Choose another --out folder" in capsys.readouterr().err


# Whose network it is.


def network(*words: str):
    return network_of(parser("").parse_args(["--predict", "x", *words]))


def test_weights_that_ship_are_asked_for_by_row(
    results: Path, folder: Path, finished: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--predict", folder / "a.png", "--row", "dynamic-a", "--device", "cpu") == EXIT_DONE
    assert network("--row", "dynamic-a").experiment == finished.experiment
    assert network("--row", "dynamic-a", "--weights", "shipped").experiment == finished.experiment
    assert call("--predict", folder / "a.png", "--out", "other") == EXIT_BLOCKED
    assert "no weights of dynamic-c ship. Some of these do: dynamic-a." in capsys.readouterr().err
    assert not Path("other").exists()


def test_a_file_beside_its_record_needs_no_other_word(finished: FinishedRun, results: Path, tmp_path: Path) -> None:
    place = results / "dynamic-a" / "smoke-streets-seed0"
    for file in (finished.folder / CHECKPOINT, place / "weights.safetensors"):
        assert network("--weights", str(file)).experiment.weights == Weights(file=str(file))
    assert network("--weights", str(file)).classes is DATASETS["streets"].classes


def test_a_file_alone_needs_the_row_and_what_differs(finished: FinishedRun, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    shutil.copy(finished.folder / CHECKPOINT, alone)
    with pytest.raises(ValueError, match=r"has no record\.json beside it.*give --row"):
        network("--weights", str(alone))
    words = ("--weights", str(alone), "--row", "dynamic-a", "--profile", "smoke")
    assert network(*words, "--set", "model.layers=3").experiment.model == finished.experiment.model
    with pytest.raises(BlockedError, match="dynamic-a at the smoke profile has"):
        network(*words)
    with pytest.raises(BlockedError, match="no such file"):
        network("--weights", str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--all", "--predict with --all"),
        ("--init x", "--predict with --init"),
        ("--seeds 2", "--predict with --seeds"),
        ("--dry-run", "--predict with --dry-run"),
        ("--route all-open", "--predict with --route"),
        ("--row dynamic-a --row dynamic-c", "give one --row"),
        ("--profile smoke", "Give --row and --weights FILE"),
        ("--row dynamic-a --set model.layers=3", "Give --row and --weights FILE"),
        ("--data camvid --weights shipped", "Give --row and --weights FILE"),
        ("--row dynamic-x", "unknown row 'dynamic-x'"),
        ("--row dynamic-a --weights x.pth --profile smal", "unknown profile 'smal'"),
    ],
)
def test_words_that_do_not_go_together(folder: Path, words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--predict", folder, *words.split()) == EXIT_USAGE
    assert said in capsys.readouterr().err


def test_a_picture_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--predict") == EXIT_USAGE
    assert "expected at least one argument" in capsys.readouterr().err
