"""The CUDA sources compile, for the GPU and as plain C++; and the emulator that stands in for a GPU shows faults."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys

import pytest
import torch

from dynroute_kernels.cache import BuildError
from dynroute_kernels.cpu.build import compiler
from dynroute_kernels.cuda import build as cuda_build
from dynroute_kernels.cuda import operators as cuda_ops
from support.cuda_benches import emulator

FAULTS = {
    1: "a barrier that not every thread reaches",
    2: "different warp-wide calls",
    3: "no multiple of 32 bytes",
    4: "more shared memory",
}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", cuda_build.ARCHITECTURES)
def test_nvcc_compiles_every_kernel(architecture, tmp_path):
    """No GPU needed. Warnings are errors: nvcc warns of what it cannot unroll, of unused values and of host calls."""
    if cuda_build.find_nvcc() is None:
        pytest.skip("no nvcc: the CUDA sources are compiled as plain C++ only")
    output = tmp_path / "operators.o"
    command = [*cuda_build.check_command(architecture, output), "-Werror", "all-warnings"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert output.stat().st_size > 0


def fault(which: int, order: int = 0) -> tuple[int, torch.Tensor, str]:
    emulator(order)
    library = cuda_build.emulator_library()
    out = torch.full((64,), torch.nan)
    code = library.dynroute_fault(which, ctypes.c_void_p(out.data_ptr()))
    return code, out, library.dynroute_emulator_error().decode()


@pytest.mark.parametrize("which", FAULTS)
def test_the_emulator_stops_at(which):
    code, _, error = fault(which)
    assert code == 1 and FAULTS[which] in error
    assert fault(0)[0] == 0  # and goes on with the next kernel


def test_a_missing_barrier_shows_in_the_order_of_threads():
    """Forward, a thread reads what its neighbour has not written yet: NaN. Reversed, it reads what has been."""
    forward, reversed_ = fault(0)[1], fault(0, order=1)[1]
    assert forward[:63].isnan().all()
    assert torch.equal(reversed_[:63], torch.arange(1.0, 64))


def test_builds_are_kept(monkeypatch, tmp_path, capfd):
    """The second build of the same sources is none."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    if (command := compiler()) is None:
        pytest.skip("no C++ compiler")
    source = tmp_path / "nothing.cpp"
    source.write_text("int nothing() { return 0; }\n")
    command = [*command, "-shared", "-fPIC", str(source)]
    first = cuda_build._built("nothing", command)
    assert first.is_file() and "Building" in capfd.readouterr().err
    assert cuda_build._built("nothing", command) == first
    assert capfd.readouterr().err == ""


def test_what_is_missing_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda_build, "find_nvcc", lambda: None)
    with pytest.raises(BuildError, match="CUDA toolkit"):
        cuda_build.check_command("90", tmp_path / "x.o")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    with pytest.raises(BuildError, match="failed"):
        cuda_build._built("broken", [shutil.which("false") or "false"])


def test_cpu_tensors_need_the_emulator():
    """Without `emulate` no CPU kernel is there: nobody runs a thousand times slower by mistake."""
    code = (
        "import torch; from dynroute_kernels.cuda import operators\n"
        "torch.ops.dynroute_cuda.labels(torch.zeros(1, 2, 2, 2), torch.zeros(1, 8, 8, dtype=torch.uint8))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "NotImplementedError" in done.stderr
    assert cuda_ops.NAMESPACE in done.stderr
