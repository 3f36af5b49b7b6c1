from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from soilpipe.pretrain.memory_diverse import keep_diverse

# Sixteen values of one quarter, plus or minus: unit length, and every product is exact in float32.
streams = st.integers(1, 24).flatmap(
    lambda n: arrays(np.float32, (n, 16), elements=st.sampled_from([np.float32(0.25), np.float32(-0.25)]))
)


def by_definition(embeddings: np.ndarray, capacity: int) -> list[int]:
    """The paper's rule word for word: every distance anew for every crop."""
    memory: list[int] = []
    for index in range(len(embeddings)):
        memory.append(index)
        if len(memory) > capacity:
            vectors = embeddings[memory]
            likeness = vectors @ vectors.T
            np.fill_diagonal(likeness, -np.inf)
            nearest = likeness.max(axis=1) if len(memory) > 1 else np.zeros(1)
            memory.pop(int(nearest.argmax()))  # the first of equals is the oldest
    return memory


@settings(deadline=None, max_examples=200)
@given(streams, st.integers(0, 12))
def test_the_memory_is_that_of_the_definition(embeddings: np.ndarray, capacity: int) -> None:
    assert keep_diverse(embeddings, capacity).tolist() == by_definition(embeddings, capacity)


def test_it_is_that_of_the_definition_for_real_numbers_too() -> None:
    rng = np.random.default_rng(3)
    for n, capacity in ((300, 40), (150, 149), (60, 1)):
        embeddings = rng.standard_normal((n, 8)).astype(np.float32)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        assert keep_diverse(embeddings, capacity).tolist() == by_definition(embeddings, capacity)


def test_static_ground_does_not_push_out_what_was_seen_once() -> None:
    rng = np.random.default_rng(0)
    rare = np.eye(32, dtype=np.float32)[:8]
    ground = np.eye(32, dtype=np.float32)[20] + 0.01 * rng.standard_normal((200, 32)).astype(np.float32)
    ground /= np.linalg.norm(ground, axis=1, keepdims=True)
    stream = np.concatenate([ground[:100], rare, ground[100:]])
    kept = keep_diverse(stream, 12)
    assert set(range(100, 108)) <= set(kept.tolist())


def test_of_two_alike_the_older_one_goes() -> None:
    stream = np.eye(4, dtype=np.float32)[[0, 1, 2, 1]]
    assert keep_diverse(stream, 3).tolist() == [0, 2, 3]


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        keep_diverse(np.full((3, 2), np.nan, np.float32), 2)
