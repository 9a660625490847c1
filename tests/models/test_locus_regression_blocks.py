"""locus_regression past memory: corpora on disk, workers that die, fits that are killed and go on."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genarium as gn
from genarium.cli import main
from genarium.data import check
from genarium.declaration import Problem
from genarium.errors import InputError
from genarium.models.locus_regression import blocks, checkpoint, stored
from genarium.models.locus_regression.blocks import Stored, Writer, split
from genarium.models.locus_regression.corpus import corpus
from genarium.models.locus_regression.expectation import expect
from genarium.models.locus_regression.spectra import Held
from genarium.models.locus_regression.stored import BlockSampler, fit_blocks
from genarium.tree import data_tree, load, save, with_groups

sweep = import_module("genarium.models.locus_regression.sweep")
stochastic = import_module("genarium.models.locus_regression.svi")
variational = import_module("genarium.models.locus_regression.vi")

BLOCKS = 5


def here(function: Any, parts: Any) -> Any:
    return (function(*part) for part in parts)


def problem_of(**options: str) -> Problem:
    model = gn.get("locus_regression").variant(**{"form": "conditional", **options})
    sizes = {"genome": 8, "locus": 60, "feature": 2, "process": 2, "cell": 3000}
    return check(model, gn.simulate(model, seed=4, **sizes))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return problem_of()


@pytest.fixture(scope="module")
def folder(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split(problem, tmp_path_factory.mktemp("corpus") / "blocks", BLOCKS)


@pytest.mark.parametrize("options", [{}, {"groups": "several"}, {"form": "joint"}], ids=str)
def test_a_corpus_in_blocks_has_the_sums_of_one_in_memory(options: dict[str, str], tmp_path: Path) -> None:
    problem = problem_of(**options)
    whole = corpus(problem)
    data, opened = Stored.open(split(problem, tmp_path / "blocks", BLOCKS), {"process": 2}, {"alpha": problem["alpha"]})
    assert len(data.count) == 0
    np.testing.assert_array_equal(data.row_total, whole.row_total)
    np.testing.assert_array_equal(data.table, whole.table)
    assert data.log_opportunity == pytest.approx(whole.log_opportunity, rel=1e-13)
    np.testing.assert_array_equal(opened["features"], problem["features"])
    step = sweep.Step(whole)
    state, _ = step(step.first(problem, np.random.default_rng(1)))
    tables = step.tables(state)
    sums: Any = zip(data.expect(here, *tables), expect(whole, *tables), strict=True)
    for found, wanted in sums:
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


def test_a_fit_of_blocks_is_that_of_the_corpus_in_memory(problem: Problem, folder: Path) -> None:
    given: dict[str, Any] = {name: problem[name] for name in ("alpha", "tau")}
    found = fit_blocks(folder, "vi", seed=2, process=2, draws=10, restarts=2, max_iterations=45, **given)
    step = sweep.Step(corpus(problem), empirical_bayes=True)
    rng = import_module("genarium.settings").generator(2)
    runs, best = variational.climbed(step, problem, rng, None, restarts=2, tolerance=0.01, max_iterations=45)
    bound = found["variational"]["bound"].to_numpy()[best]
    np.testing.assert_allclose(bound[np.isfinite(bound)], runs[best].bounds, rtol=1e-9)
    mean = found["variational"]["beta_mean"].to_numpy()
    np.testing.assert_allclose(np.sort(mean, 0), np.sort(runs[best].state.effects.mean, 0), rtol=1e-5, atol=1e-6)
    assert found["constant_data"]["count"].sum() == 3000  # all of so few
    assert found["posterior"].sizes["draw"] == 10


def test_blocks_keep_names_and_what_stands_beside_them(problem: Problem, tmp_path: Path) -> None:
    names = {"feature": ["gc", "time"], "genome": [f"s{g}" for g in range(8)]}
    tree = data_tree(replace(problem, coords={**problem.coords, **{dim: np.array(n) for dim, n in names.items()}}))
    beside = {"start": ("locus", np.arange(60) * 100)}
    groups = {"constant_data": tree["constant_data"].to_dataset().assign_coords(beside)}
    tree = with_groups(tree, groups, {"files": '["a.vcf"]'})
    folder = split(check(problem.model, tree, {"process": 2}), tmp_path / "blocks", 3, tree)
    fit = fit_blocks(folder, "vi", seed=1, process=2, draws=2, restarts=1, max_iterations=2)
    for dim, wanted in names.items():
        assert fit["posterior"]["beta" if dim == "feature" else "pi"][dim].to_numpy().tolist() == wanted
    np.testing.assert_array_equal(fit["constant_data"]["start"], np.arange(60) * 100)
    assert fit.attrs["files"] == '["a.vcf"]'
    told = stored.split_command(save(tree, tmp_path / "tree.nc"), tmp_path / "again", blocks=3)
    assert "without tau of the processes" in told


@pytest.mark.parametrize("on_disk", [False, True])
def test_checkpoints_are_of_all_mutations(problem: Problem, tmp_path: Path, on_disk: bool) -> None:
    """Also where sums by locus, and by genome and channel, are the same: loci are permuted among the mutations."""
    permuted = np.random.default_rng(1).permutation(problem["locus"])
    other = replace(problem, arrays={**problem.arrays, "locus": permuted})
    fingerprints = []
    for number, each in enumerate((problem, other, problem)):
        data = corpus(each)
        if on_disk:
            split(each, tmp_path / f"{number}", BLOCKS)
            data, _ = Stored.open(tmp_path / f"{number}", {"process": 2}, {})
        keeper = checkpoint.Checkpoint.of(str(tmp_path / "kept"), sweep.Step(data), np.random.default_rng(1), {})
        assert keeper is not None
        fingerprints.append(keeper.fingerprint)
    np.testing.assert_array_equal(corpus(other).table, corpus(problem).table)
    np.testing.assert_array_equal(corpus(other).row_total, corpus(problem).row_total)
    assert fingerprints[0] != fingerprints[1]
    assert fingerprints[0] == fingerprints[2]


def test_checkpoints_are_of_given_signatures(problem: Problem, tmp_path: Path) -> None:
    found = []
    for share in (0.2, 0.3):
        data = replace(corpus(problem), held=Held(np.full((1, 32), share), np.full((1, 32, 3), 1 / 3)))
        keeper = checkpoint.Checkpoint.of(str(tmp_path), sweep.Step(data), np.random.default_rng(1), {})
        assert keeper is not None
        found.append(keeper.fingerprint)
    assert found[0] != found[1]


@pytest.mark.slow
def test_commands_split_fit_and_use_a_corpus_in_blocks(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a sample of the mutations in the fit, every verb takes it."""
    monkeypatch.setattr(stored, "SAMPLE", 400)
    save(data_tree(problem), tmp_path / "corpus.nc")
    folder, fitted = tmp_path / "blocks", tmp_path / "fit.nc"
    assert main(["blocks", "split", str(tmp_path / "corpus.nc"), str(folder), "--blocks", "3"]) == 0
    command = ["fit", "locus_regression", str(folder), "--method", "vi", "--set", "process=2", "--option", "restarts=1"]
    kept = ["--checkpoint", str(tmp_path / "kept"), "-o", str(fitted)]
    assert main([*command, "--workers", "1", *kept]) == 0
    assert (tmp_path / "kept" / "start-0.npz").exists()
    tree = load(fitted)
    count = tree["constant_data"]["count"].to_numpy()
    assert 300 < count.sum() < 500
    assert set(tree["constant_data"]["genome"].to_numpy()) == set(range(8))
    capsys.readouterr()
    main(["diagnose", str(fitted)])
    told = capsys.readouterr().out
    assert "intervals that are not corrected" in told
    assert "of 3000 mutations" in told
    assert main(["predict", str(fitted), "-o", str(tmp_path / "p.nc")]) == 0
    assert load(tmp_path / "p.nc")["predictions"].sizes["genome"] == 8
    capsys.readouterr()
    refused = {
        "reads all mutations at once": [
            "fit",
            "locus_regression",
            str(folder),
            "--method",
            "gibbs",
            *command[5:],
            *kept,
        ],
        "'sweeps' is not a setting of a fit of blocks": [*command, "--option", "sweeps=9", *kept],
        "'process' is not given": [*command[:5], *kept],
        "need the data in memory": [*command, "--prior", "5", *kept],
        "--workers 2 would be dropped": [
            *("fit", "locus_regression", str(tmp_path / "corpus.nc"), *command[3:], "--workers", "2", *kept)
        ],
        "from 1 to the number of windows, 60": ["blocks", "split", str(tmp_path / "corpus.nc"), "x", "--blocks", "0"],
    }
    for message, words in refused.items():
        assert main(words) != 0
        assert message in capsys.readouterr().err
    with pytest.raises(InputError, match="fits data in memory only"):
        gn.fit("nb_mixture", folder, "em", component=2)
    with pytest.raises(InputError, match="it has no file"):
        gn.fit("locus_regression", tmp_path / "kept", "vi", process=2)


@pytest.mark.slow
def test_a_fit_of_blocks_has_a_report(folder: Path, tmp_path: Path) -> None:
    """Of the sample."""
    from genarium.reporting import report

    report(fit_blocks(folder, process=2, draws=20, restarts=1), tmp_path / "r.html")
    assert "intervals that are not corrected" in (tmp_path / "r.html").read_text()


def test_samples_of_blocks_give_unbiased_steps(problem: Problem, folder: Path) -> None:
    """The mean over all blocks of the sums, scaled up, is the sums over all."""
    data, opened = Stored.open(folder, {"process": 2}, {})
    step = sweep.Step(data, expecting=lambda *tables: data.expect(here, *tables))
    tables = step.tables(step.first(opened, np.random.default_rng(0)))
    whole = step.expect(*tables)
    sampler = BlockSampler(data, 1 / BLOCKS, here)
    assert sampler.scale == BLOCKS
    every = [data.expect(here, tables[0], tables[1], tables[2], [b]) for b in range(BLOCKS)]
    for i in range(4):
        np.testing.assert_allclose(sum(one[i] for one in every), whole[i], rtol=1e-11)
    loci, (_, in_sample, _, _) = sampler.expect(np.random.default_rng(3), tables)
    seen = np.flatnonzero(in_sample.sum(1))
    assert set(seen) <= set(loci)
    found = fit_blocks(folder, "svi", seed=2, process=2, draws=5, epochs=3, restarts=1, sampling_rate=0.4)
    bound = found["variational"]["bound"].to_numpy()[0]
    assert bound[-1] > bound[0]


@pytest.mark.parametrize("method", [pytest.param("vi", marks=pytest.mark.slow), "svi"])
def test_a_fit_goes_on_from_its_checkpoints(
    method: str, problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after some sweeps, it reaches the same optimum; when done, no sweep is made again."""
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    function = {"vi": variational.vi, "svi": stochastic.svi}[method]
    options: dict[str, Any] = {"draws": 2, "covariance": "mean_field"}
    options |= {"tolerance": 1e-4} if method == "vi" else {"epochs": 12, "restarts": 2, "sampling_rate": 0.5}
    whole = function(problem, np.random.default_rng(1), **options)
    own, at = sweep.Step.tables, {"made": 0, "stop": 0}

    def tables(step: Any, state: Any) -> Any:
        at["made"] += 1
        if at["made"] == at["stop"]:
            raise KeyboardInterrupt
        return own(step, state)

    monkeypatch.setattr(sweep.Step, "tables", tables)
    counts = []
    for stop in (20, 75, 0, 0):
        at.update(made=0, stop=stop)
        try:
            found = function(problem, np.random.default_rng(1), checkpoint=str(tmp_path / "kept"), **options)
        except KeyboardInterrupt:
            continue
        counts.append(at["made"])
    if method == "vi":
        assert found.notes["bound"] == pytest.approx(whole.notes["bound"], abs=0.01)
    else:  # of the same samples
        assert found.notes["bound"] == pytest.approx(whole.notes["bound"], rel=1e-12)
    assert counts[1] <= 2 < counts[0] or method == "svi"
    with pytest.raises(InputError, match="of another fit"):
        function(problem, np.random.default_rng(2), checkpoint=str(tmp_path / "kept"), **options)
    (tmp_path / "kept" / "start-0.npz").write_bytes(b"PK no")
    with pytest.raises(InputError, match="damaged one"):
        function(problem, np.random.default_rng(1), checkpoint=str(tmp_path / "kept"), **options)


@pytest.mark.slow
def test_a_killed_fit_reaches_the_same_optimum(problem: Problem, folder: Path, tmp_path: Path) -> None:
    """kill -9 in the middle, and again."""
    code = (
        "import sys; from genarium.models.locus_regression import checkpoint; checkpoint.EVERY = 0.0\n"
        "from genarium.models.locus_regression.stored import fit_blocks\n"
        "found = fit_blocks(sys.argv[1], seed=2, process=2, draws=2, tolerance=1e-5, checkpoint=sys.argv[2])\n"
        "print(found['variational']['bound'].max().item())"
    )
    kept = tmp_path / "kept"
    for file in ("start-1.npz", "end-"):
        process = subprocess.Popen([sys.executable, "-c", code, str(folder), str(kept)])
        while process.poll() is None and not list(kept.glob(f"{file}*")):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(kept)], capture_output=True, check=True)
    whole = fit_blocks(folder, seed=2, process=2, draws=2, tolerance=1e-5)
    assert float(done.stdout) == pytest.approx(whole["variational"]["bound"].max().item(), abs=1e-3)


@pytest.mark.slow
def test_a_worker_that_dies_costs_no_result(folder: Path) -> None:
    """Two workers, one of which is killed: every bound is the one of a fit in this process."""
    distributed = pytest.importorskip("dask.distributed")
    options: dict[str, Any] = {"seed": 2, "process": 2, "draws": 2, "restarts": 1, "max_iterations": 40}
    alone = fit_blocks(folder, **options)["variational"]["bound"].to_numpy()
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        killed: list[float] = []

        def kill() -> None:
            time.sleep(1.0)
            pid = next(iter(cluster.workers.values())).pid
            os.kill(pid, signal.SIGKILL)
            killed.append(time.monotonic())

        killer = threading.Thread(target=kill)
        killer.start()
        found = fit_blocks(folder, workers=cluster.scheduler_address, **options)["variational"]["bound"].to_numpy()
        ended = time.monotonic()
        killer.join()
    assert killed[0] < ended
    np.testing.assert_array_equal(found, alone)


def test_bad_blocks_are_named(problem: Problem, tmp_path: Path) -> None:
    model = problem.model
    known = {"features": problem["features"]}
    writer = Writer(tmp_path / "a", model, known, genomes=2)
    one = np.array([1])
    with pytest.raises(InputError, match=r"block 0, locus\[0\] is 70, which is not from 0 up to 29"):
        writer.add(30, one, np.array([70]), one)
    with pytest.raises(InputError, match=r"genome\[0\] is 2"):
        writer.add(30, np.array([2]), one, one)
    writer.add(30, one, one, one)
    with pytest.raises(InputError, match="blocks end at locus 30 of 60"):
        writer.finish()
    writer.add(60, one, np.array([40]), one)
    with pytest.raises(InputError, match="genome 0 has no mutations"):
        writer.finish()
    with pytest.raises(InputError, match="needs an empty folder"):
        Writer(tmp_path / "a", model, known, genomes=2)
    known["context_opportunity"] = np.zeros((32, 60))
    with pytest.raises(InputError, match="which locus 1 does not have"):
        Writer(tmp_path / "b", model, known, genomes=2).add(30, one, one, one)
    (tmp_path / "c.nc").write_bytes(b"none")
    with pytest.raises(InputError, match="not a block of a corpus"):
        blocks.expect_block(str(tmp_path / "c.nc"), np.ones((1, 1)), np.ones((1, 1, 1)), np.ones((1, 1)))
