"""Bad bytes in checkpoints and foreign weights; and nothing in the package can unpickle or run what a file says."""

from __future__ import annotations

import ast
import io
import json
import os
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from dynroute_core.checkpoint import FORMAT, Snapshot, load_snapshot, save_snapshot
from dynroute_core.model import Segmenter
from dynroute_core.space import ModelConfig
from dynroute_core.system.errors import BlockedError
from dynroute_core.weights.files import file_hash, give_weights, read_weights
from support.damage import bombard, bounded, damaged

ROOT = Path(__file__).parents[3]
TENSORS = {"model/a": torch.arange(6.0).reshape(2, 3), "rng/cpu": torch.arange(9, dtype=torch.uint8)}
FACTS: dict[str, object] = {"key": "0" * 64, "iteration": 3, "durations": {"train_s": 0.5}}
STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(4)}


def test_a_damaged_checkpoint_is_a_named_error_or_the_same(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_snapshot(path, Snapshot(TENSORS, FACTS))
    whole = path.read_bytes()

    def accept(found: Snapshot, _: bytes) -> None:
        assert found.facts == FACTS and found.tensors.keys() == TENSORS.keys()
        assert all(torch.equal(found.tensors[name], tensor) for name, tensor in TENSORS.items())

    tried, refused = bombard(load_snapshot, path, damaged(whole, 400), accept=accept)
    assert tried == 400 and refused > 300


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_foreign_weights_are_a_named_error_or_finite_tensors(tmp_path: Path, legacy: bool) -> None:
    """Archives have checksums. The older format has none: what is read there is at least plain and finite."""
    path = tmp_path / "given.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()

    def accept(found: dict[str, torch.Tensor], _: bytes) -> None:
        assert all(tensor.isfinite().all() and tensor.numel() <= 64 for tensor in found.values())
        assert legacy or all(torch.equal(found[name], tensor) for name, tensor in STATE.items())

    tried, refused = bombard(read_weights, path, damaged(whole, 250), accept=accept)
    assert tried == 250 and 50 < refused < 250


def header(entries: dict[str, object], *, length: int | None = None, body: bytes = b"") -> bytes:
    """A safetensors file whose header says what it is told to."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def one(dtype: str, shape: list[int], offsets: list[int]) -> dict[str, object]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


META = {"__metadata__": {"format": FORMAT, "facts": "{}", "sha256": "0" * 64}}


@pytest.mark.parametrize(
    "content",
    [
        header({}, length=2**63 - 1),
        header({}, length=10**8),
        header(one("F32", [2], [0, 4]), body=bytes(8)),
        header(one("F32", [2**40, 2**40], [0, 8]), body=bytes(8)),
        header(one("F32", [2**62, 4], [0, 0])),
        header(one("F32", [-1], [0, 4]), body=bytes(4)),
        header(one("F99", [1], [0, 4]), body=bytes(4)),
        header(one("F4", [4], [0, 2]), body=bytes(2)),
        header(one("C64", [1], [0, 8]), body=bytes(8)),
        header(one("F8_E4M3", [4], [0, 4]), body=bytes(4)),
        header(one("F32", [1], [0, 4]), body=struct.pack("<f", float("nan"))),
        header(one("F32", [1], [2**40, 2**40 + 4]), body=bytes(4)),
        header(META | one("F4", [4], [0, 2]), body=bytes(2)),
        header({"__metadata__": {"format": FORMAT}}),
        header({"__metadata__": 5}),
    ],
)
def test_headers_that_lie(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lying.safetensors"
    path.write_bytes(content)
    for read in (read_weights, load_snapshot):
        with bounded(), pytest.raises(BlockedError, match=r"lying\.safetensors"):
            read(path)


@pytest.mark.parametrize("facts", ['{"a": NaN}', '{"a": 1, "a": 2}', "[]", "[" * 10**5, '{"a": 1e999}'])
def test_facts_are_strict_json_whatever_their_checksum(tmp_path: Path, facts: str) -> None:
    from dynroute_core.checkpoint import _digest

    metadata = {"format": FORMAT, "facts": facts, "sha256": _digest(TENSORS, facts)}
    (tmp_path / "own.safetensors").write_bytes(save(TENSORS, metadata=metadata))
    with pytest.raises(BlockedError, match=r"own\.safetensors is not a readable checkpoint"):
        load_snapshot(tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_snapshot(tmp_path / "own.safetensors", Snapshot(TENSORS, {"a": float("nan")}))


def inflated(path: Path) -> None:
    """The same archive, its entries compressed, one of them a thousandfold."""
    whole = io.BytesIO()
    torch.save(STATE, whole)
    with zipfile.ZipFile(whole) as read, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in read.infolist():
            file.writestr(entry.filename, read.read(entry))
        file.writestr("archive/data/9", bytes(1 << 24))


def test_archives_that_would_be_inflated(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    inflated(path)
    assert path.stat().st_size < 1 << 16
    with bounded(), pytest.raises(BlockedError, match=r"bomb\.pth .*compressed, as no checkpoint is"):
        read_weights(path)


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (torch.ones(1).expand(10**12), "claims more values"),
        (torch.ones(3).to_sparse(), "no plain tensor"),
        (torch.ones(3, device="meta"), "no plain tensor"),
        (torch.ones(3, dtype=torch.complex64), "no plain tensor"),
        (torch.tensor([1.0, float("inf")]), "not finite"),
    ],
)
def test_tensors_that_no_network_has(tmp_path: Path, tensor: torch.Tensor, why: str) -> None:
    torch.save({"a": tensor}, tmp_path / "odd.pth")
    with bounded(), pytest.raises(BlockedError, match=rf"odd\.pth.*{why}"):
        read_weights(tmp_path / "odd.pth")


def test_weights_of_another_kind_of_number_are_no_weights(tmp_path: Path) -> None:
    model = Segmenter(ModelConfig(layers=2, channels=4))
    state = {name: tensor.to(torch.int64) for name, tensor in model.state_dict().items()}
    torch.save(state, tmp_path / "whole.pth")
    with pytest.raises(BlockedError, match=r"mistyped: .* holds torch\.int64, the network wants torch\.float32"):
        give_weights(model, tmp_path / "whole.pth", use="evaluate")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for read in (read_weights, load_snapshot, file_hash):
        for name in ("pipe", "folder", "zeros", "none"):
            with bounded(), pytest.raises(BlockedError, match=name):
                read(tmp_path / name)


# Nothing unpickles.

FORBIDDEN_MODULES = {"cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_CALLS = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "torch.jit.load",
    "torch.hub.load",
    "os.system",
    "os.popen",
}


def dotted(node: ast.expr) -> str:
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def told(call: ast.Call, name: str) -> object:
    return next((getattr(word.value, "value", ...) for word in call.keywords if word.arg == name), None)


def unsafe(source: str) -> list[str]:
    """What in a source could run a program that a file holds."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names}
            modules = {node.module or ""} if isinstance(node, ast.ImportFrom) else names
            found += sorted({module.split(".")[0] for module in modules} & FORBIDDEN_MODULES)
            if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "yaml"):
                found.append(f"from {node.module} import")  # hides what is called
        elif isinstance(node, ast.Attribute) and dotted(node).startswith("pickle.") and node.attr != "UnpicklingError":
            found.append(dotted(node))
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in FORBIDDEN_NAMES | FORBIDDEN_CALLS or (
                name.startswith("yaml.") and not name.startswith("yaml.safe_")
            ):
                found.append(name)
            if name == "torch.load" and told(node, "weights_only") is not True:
                found.append("torch.load without weights_only=True")
            if told(node, "allow_pickle") not in (None, False) or told(node, "shell") not in (None, False):
                found.append(f"{name} with allow_pickle or shell")
    return found


def test_nothing_unpickles_or_runs_what_a_file_says() -> None:
    sources = [
        ROOT / "reproduce.py",
        *(p for f in ("dynroute_core", "kernels", "benchmarks") for p in (ROOT / f).rglob("*.py")),
    ]
    assert len(sources) > 100
    assert {str(path): found for path in sources if (found := unsafe(path.read_text()))} == {}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                assert unsafe("".join(cell["source"])) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(b'')",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "import torch\ntorch.load('x', weights_only=False)",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        *("import yaml\nyaml.load(x, Loader=y)", "import shelve", "import marshal", "eval('1')", "exec('1')"),
        "import subprocess\nsubprocess.run('x', shell=True)",
    ],
)
def test_the_rule_can_fire(source: str) -> None:
    assert unsafe(source)
    assert not unsafe("import pickle, torch\nmodel.eval()\ntorch.load('x', weights_only=True)\npickle.UnpicklingError")
