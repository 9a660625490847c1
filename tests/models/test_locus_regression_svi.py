"""locus_regression: steps on samples of loci."""

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.models.locus_regression.corpus import corpus
from genarium.models.locus_regression.expectation import expect
from locus_problems import VARIANTS, problem_of, random_state

variational = import_module("genarium.models.locus_regression.vi")
stochastic = import_module("genarium.models.locus_regression.svi")


def test_samples_of_loci_give_unbiased_steps() -> None:
    """The mean over all samples of one locus is the step that all mutations give."""
    _, problem, _ = problem_of(VARIANTS[3], cell=400)
    step = variational.Step(corpus(problem))
    state = random_state(step, problem)
    _, whole, *_ = expect(step.data, *step.tables(state))
    mass = whole.sum(0)
    share = np.bincount(step.data.row // 15, step.data.count, 2) / 400
    state = replace(state, omega=step.alternatives(state, np.tile((mass / 96)[:, None, None], (32, 3))))

    def moved(loci: Array, scale: float) -> Any:
        part = np.zeros_like(whole).reshape(2, 15, -1)
        part[:, loci] = whole.reshape(2, 15, -1)[:, loci]
        return stochastic.moved_effects(step, state, loci, part.reshape(whole.shape), scale, 0.3)

    every = [moved(np.array([locus]), 15.0) for locus in range(15)]
    exact = moved(np.arange(15), 1.0)
    np.testing.assert_allclose(np.mean([one.mean for one in every], 0), exact.mean, rtol=1e-9)
    for one in every:
        np.testing.assert_allclose(one.covariance, exact.covariance, rtol=1e-9)
    assert share.sum() == pytest.approx(1)


def test_a_sample_is_the_mutations_of_its_loci() -> None:
    _, problem, _ = problem_of(VARIANTS[3], cell=400)
    data = corpus(problem)
    sampler = stochastic.Sampler(data, 0.3)
    loci, sample = sampler.draw(np.random.default_rng(1))
    assert len(loci) == len(set(loci)) == round(0.3 * 15)
    assert sampler.scale == 15 / len(loci)
    wanted = np.isin(data.row % 15, loci)
    assert sorted(zip(sample.genome, sample.row, sample.channel, sample.count, strict=True)) == sorted(
        zip(data.genome[wanted], data.row[wanted], data.channel[wanted], data.count[wanted], strict=True)
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"sampling_rate": 0.0}, "sampling_rate=0.0 must be above 0"),
        ({"forgetting": 0.5}, "forgetting=0.5 must be above 0.5"),
        ({"delay": -1.0}, "delay=-1.0 must not be negative"),
    ],
)
def test_steps_that_cannot_converge_are_refused(setting: dict[str, Any], message: str) -> None:
    _, _, tree = problem_of(VARIANTS[0])
    with pytest.raises(InputError, match=message):
        gn.fit("locus_regression", tree, "svi", **setting)
