"""Whatever stands in `--set`, `--route`, notebook parameters and settings of records: an experiment that a machine can
have, or a UsageError; and no name leads out of its folder."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynroute_core.experiments import CommonNetwork, Experiment, experiment, with_settings
from dynroute_core.runs.folders import run_folder
from dynroute_core.runs.route_files import find_route
from dynroute_core.settings import setting_names
from dynroute_core.space import RoutingSpace
from dynroute_core.system.errors import DynrouteError, UsageError
from dynroute_suite.notebook.request import Parameter, plain_parameter
from support.commands import session_of
from support.damage import SEED, bounded

BASE = experiment("common-a", profile="smoke")
GATED = experiment("dynamic-a", profile="smoke")
VALUES = (
    *("0", "-1", "1", "null", "true", "[]", "{}", '""', "NaN", "Infinity", "-1e308", "1e308", "1e999", "1.5", "9" * 18),
    *("9" * 25, "9" * 5000, "[" * 3000, '{"a":' * 500, "../../etc", "\udcff", "\0", '{"weight": 1}', '["init>keep"]'),
    *('{"name": "../../x", "paths": ["init>up"]}', "[1e308]", "[0.0]", "[1, 1]", "<script>", "cuda:99999999999999"),
)


def judged(base: Experiment, given_settings: Mapping[str, str]) -> bool:
    """Whether it was taken; then it can be written, walked and run. Any error but a UsageError is raised as it is."""
    with bounded():
        try:
            made = with_settings(base, given_settings)
        except UsageError as error:
            assert str(error)
            return False
        assert msgspec.json.decode(msgspec.json.encode(made), type=Experiment) == made
        assert len(RoutingSpace.of(made.model).cells) <= 4 * made.model.layers + 1
        assert all(1 <= side <= 1 << 19 for view in made.evaluate.views for side in made.evaluate.nominal_size(view))
        folder = Path("runs") / run_folder(made, "0" * 64)
        assert ".." not in folder.parts and len(folder.name) <= 200
    return True


def test_settings_by_hand_and_by_chance() -> None:
    draw, taken, tried = random.Random(SEED), 0, 0
    for base in (BASE, GATED):
        names = setting_names(base)
        for name in names:
            for value in VALUES:
                taken, tried = taken + judged(base, {name: value}), tried + 1
        for _ in range(200):
            chosen = draw.sample(names, 3)
            taken, tried = taken + judged(base, {name: draw.choice(VALUES) for name in chosen}), tried + 1
    print(f"--set: {tried} inputs, {tried - taken} refused, seed {SEED}")
    assert 100 < taken < tried


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(setting_names(GATED)) | st.text(max_size=12), st.text(max_size=20), max_size=3))
def test_any_text_is_a_setting_or_a_usage_error(chosen: dict[str, str]) -> None:
    judged(GATED, chosen)


def test_a_part_of_what_was_taken_away() -> None:
    with pytest.raises(UsageError, match="budget was set to something without weight"):
        with_settings(GATED, {"train.budget": "null", "train.budget.weight": "1"})


@pytest.mark.parametrize("key", ["../../..", "*", "[0-9]", "ABC", "0" * 65, "g"])
def test_a_source_key_is_no_pattern_and_no_path(key: str) -> None:
    with pytest.raises(ValueError, match="the first digits of a key"):
        CommonNetwork(source="dynamic-a", source_key=key)


@settings(max_examples=150)
@given(st.text(max_size=30) | st.text(max_size=9).map(lambda name: f"{name}.json#{name}"))
def test_any_text_is_a_route_or_a_named_error(text: str) -> None:
    with bounded():
        try:
            assert find_route(text, RoutingSpace.of(GATED.model)) is not None
        except DynrouteError as error:
            assert str(error)


parameters = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**63, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.suite
@settings(max_examples=200)
@given(parameters)
def test_a_parameter_means_the_same_in_the_cell(value: Parameter) -> None:
    """What papermill writes into the notebook is data, whatever the text: no parameter becomes a program."""
    from papermill.translators import PythonTranslator

    plain = plain_parameter(value, "x")
    assert json.loads(msgspec.json.encode(plain)) == value
    assert ast.literal_eval(PythonTranslator.translate(plain)) == value


def test_parameters_that_no_notebook_can_hold() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    for value in (float("nan"), Path("x"), (1,), {1: 2}, "\udcff", ["\udc00"], {"\ud800": 1}, deep, 2**70):
        with pytest.raises(UsageError, match="notebook parameter x"):
            plain_parameter(value, "x")


@pytest.mark.parametrize(
    "words", ["--seed 99999999999999999999999999", "--timeout nan", "--timeout -1", "--device cuda:x"]
)
def test_command_lines_that_no_run_can_have(words: str) -> None:
    with pytest.raises(UsageError):
        session_of("--row", "dynamic-a", *words.split())
