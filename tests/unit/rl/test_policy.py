"""A stored policy comes back as it was, and nothing else is taken for one."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("safetensors")

from schedtuna.errors import PolicyError, SchedtunaError, UsageError
from schedtuna.rl.policy import (
    FILE_NAME,
    Network,
    PolicyFit,
    PolicyManifest,
    TrainedPolicy,
    load_policy,
    save_policy,
    shapes,
)
from schedtuna.rl.tensors import flatten, read_tensors, restore, write_tensors

FIT = PolicyFit(environment="schedtuna/PickNext-v0", nr_observed=3, nr_actions=2, features=["a", "b", "c"])


def make_policy(rng, hidden=(4,), fit=FIT):
    arrays = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes(fit.nr_observed, hidden, fit.nr_actions).items()
    }
    layers = tuple((arrays[f"layer{i}.weight"], arrays[f"layer{i}.bias"]) for i in range(len(hidden) + 1))
    network = Network(layers, "tanh", arrays["observation.mean"], arrays["observation.variance"] ** 2)
    manifest = PolicyManifest(
        schedtuna_version="1",
        algorithm="ppo",
        fit=fit,
        hidden=list(hidden),
        seed=1,
        nr_steps=9,
        cpu_seconds=0.5,
    )
    return TrainedPolicy(manifest, network)


@given(seed=st.integers(0, 2**32 - 1), hidden=st.lists(st.integers(1, 6), max_size=3))
@settings(max_examples=50)
def test_what_is_stored_comes_back(tmp_path_factory, seed, hidden):
    policy = make_policy(np.random.default_rng(seed), hidden)
    path = tmp_path_factory.getbasetemp() / f"{seed}.safetensors"
    save_policy(policy, path)
    found = load_policy(path)
    assert found.manifest == policy.manifest
    observations = np.random.default_rng(seed).normal(size=(20, 3))
    assert np.array_equal(found.network.scores(observations), policy.network.scores(observations))


def damaged(content, kind, place):
    if kind == "cut":
        return content[: place % len(content)]
    flipped = bytearray(content)
    flipped[place % len(content)] ^= 1 << (place % 7)
    return bytes(flipped)


@given(kind=st.sampled_from(["cut", "flip"]), place=st.integers(0, 10_000))
@settings(max_examples=300)
def test_a_damaged_file_is_refused_or_still_a_policy(tmp_path_factory, kind, place):
    """Whatever a bit more or less does, nothing but errors of ours comes out of it."""
    whole = tmp_path_factory.getbasetemp() / "whole.safetensors"
    path = whole.with_name("damaged.safetensors")
    if not whole.exists():
        save_policy(make_policy(np.random.default_rng(1)), whole)
    path.write_bytes(damaged(whole.read_bytes(), kind, place))
    try:
        found = load_policy(path)
    except SchedtunaError:
        return
    assert kind == "flip"
    assert found.act(np.zeros((2, 3))).shape == (2,)


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_hostile_files_are_refused(tmp_path, capsys):
    path = tmp_path / FILE_NAME
    for content in (
        b"",
        b"\xff" * 8,
        pickle.dumps(Evil()),
        (2**40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        len(deep := b"[" * 100_000).to_bytes(8, "little") + deep,
    ):
        path.write_bytes(content)
        with pytest.raises(PolicyError, match="can't be used"):
            load_policy(path)
    assert capsys.readouterr().out == ""
    with pytest.raises(PolicyError, match="there is no"):
        load_policy(tmp_path / "none")


def altered(policy, path, **changes):
    arrays, content = {}, json.loads(policy.manifest.model_dump_json()) | changes
    for i, (weights, biases) in enumerate(policy.network.layers):
        arrays |= {f"layer{i}.weight": weights, f"layer{i}.bias": biases}
    arrays |= {"observation.mean": policy.network.mean, "observation.variance": policy.network.variance}
    write_tensors(path, arrays, content)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden": [5]}, "does not describe layer0"),
        ({"hidden": [10**9]}, "4096"),
        ({"version": 99}, "knows those up to 1"),
        ({"seed": -1}, "seed"),
        ({"unknown": 1}, "unknown"),
        ({"fit": {"environment": "x", "nr_observed": 10**12, "nr_actions": 2}}, "nr_observed"),
    ],
)
def test_a_manifest_that_lies_is_refused(tmp_path, changes, told):
    altered(make_policy(np.random.default_rng(1)), tmp_path / FILE_NAME, **changes)
    with pytest.raises(PolicyError, match=told):
        load_policy(tmp_path)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    policy = make_policy(np.random.default_rng(1))
    policy.network.layers[0][0][0, 0] = np.nan
    save_policy(policy, tmp_path / FILE_NAME)
    with pytest.raises(PolicyError, match=r"layer0\.weight"):
        load_policy(tmp_path)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"environment": "schedtuna/Swap-v0"}, "not for schedtuna/Swap-v0"),
        ({"nr_actions": 3}, "2 actions"),
        ({"nr_observed": 4}, "sees 3 numbers"),
        ({"features": ["a", "b", "d"]}, "other ones: c, d"),
    ],
)
def test_a_policy_is_refused_where_it_does_not_fit(other, told):
    policy = make_policy(np.random.default_rng(1))
    policy.require_fit(FIT)
    with pytest.raises(UsageError, match=told):
        policy.require_fit(FIT.model_copy(update=other))


def test_only_allowed_actions_are_taken():
    policy = make_policy(np.random.default_rng(1))
    observations = np.random.default_rng(2).normal(size=(50, 3))
    masks = np.tile([True, False], (50, 1))
    assert set(policy.act(observations)) == {0, 1}
    assert set(policy.act(observations, masks)) == {0}
    masks[7] = False
    with pytest.raises(PolicyError, match="allows no action"):
        policy.act(observations, masks)


numbers = st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False)
words = st.text("ab._", max_size=4)
plain = st.none() | st.booleans() | numbers | words
arrays = st.lists(st.integers(-9, 9), max_size=4).map(lambda values: np.array(values, np.float32))
trees = st.recursive(
    plain | arrays,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.integers(), inner, max_size=3),
    max_leaves=10,
)


def same(one, other):
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@given(tree=trees)
@settings(max_examples=300)
def test_any_tree_of_a_checkpoint_comes_back(tree):
    found = {}
    skeleton = json.loads(json.dumps(flatten(tree, found)))
    assert same(restore(skeleton, found), tree)


def test_a_tree_is_stored(tmp_path):
    inner = {"b": np.zeros((0, 3)), 1: [True, np.array(2, np.float32)]}
    tree = {"a.b": np.ones(2), "a": inner}
    found = {}
    skeleton = flatten(tree, found)
    write_tensors(tmp_path / "tree", found, {"tree": skeleton})
    read, content = read_tensors(tmp_path / "tree")
    assert content["tree"] == skeleton
    assert same(restore(content["tree"], read), tree)
