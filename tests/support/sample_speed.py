"""A speed record such as the benchmarks leave."""

from __future__ import annotations

from dynroute_suite.report.speed_record import SPEED_SCHEMA, BenchMachine, Goal, Measurement, SpeedRecord

TIME = Measurement(
    part="open",
    subject="model",
    height=64,
    width=128,
    items=1,
    share=1.0,
    macs=1e9,
    median_ms=2.0,
    low_ms=1.0,
    high_ms=3.0,
    runs=3,
)


MACHINE = BenchMachine(
    device="cpu",
    device_name="a processor",
    threads=2,
    instruction_set="torch AVX2, kernels avx2",
    allocator="default",
    versions={"torch": "2.14.1"},
    commit="0" * 40,
    dirty=False,
    peak_gmacs_per_s={"float32": 100.0},
)


RECORD = SpeedRecord(
    schema=SPEED_SCHEMA,
    kind="inference",
    title="Inference",
    short=True,
    machine=MACHINE,
    measurements=(TIME,),
    goals=(Goal(text="speed", wanted=2.0, measured=2.5, higher=True),),
)
