"""Public packages on the data of notmad.py, which calls this file with the Python that has them (``--peers PYTHON``).

    PYTHON notmad_peers.py contextualized DATA OUT '{"encoder_type": "mlp", ...}'
    PYTHON notmad_peers.py dagma DATA OUT '{"lambda1": 0.02}'
    PYTHON notmad_peers.py notears DATA OUT '{"lambda1": 0.1}'

DATA is a file of NumPy's with x (train samples by nodes), and for contextualized-ml context and new_context; OUT gets
the networks of the new contexts (or one), and CPU seconds on one thread without imports. The packages are
contextualized-ml, dagma and notears (a checkout on PYTHONPATH).
"""

import json
import os
import sys
import tempfile
import time
import warnings
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is imported

import numpy as np


def contextualized(data: Any, settings: dict[str, Any]) -> tuple[Any, float]:
    """Networks of new contexts by contextualized-ml, not projected."""
    import logging

    import torch
    from contextualized.easy import ContextualizedBayesianNetworks
    from pytorch_lightning import seed_everything

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    seed_everything(0)
    how = dict(settings)
    link = how.pop("link", "softmax")
    how["encoder_link_fn"] = {"softmax": lambda x: torch.softmax(x, dim=1), "identity": lambda x: x}[link]
    fit = {name: how.pop(name) for name in ("max_epochs", "es_patience", "train_batch_size") if name in how}
    start = time.process_time()
    model = ContextualizedBayesianNetworks(**how)
    model.fit(data["context"], data["x"], enable_progress_bar=False, logger=False, **fit)
    seconds = time.process_time() - start
    # as they are: the caller projects them, by its own rule, as it does with its own networks
    return np.asarray(model.predict_networks(data["new_context"], project_to_dag=False)), seconds


def dagma(data: Any, settings: dict[str, Any]) -> tuple[Any, float]:
    """One network by dagma."""
    from dagma.linear import DagmaLinear

    start = time.process_time()
    network = DagmaLinear(loss_type="l2").fit(data["x"], **settings)
    return network, time.process_time() - start


def notears(data: Any, settings: dict[str, Any]) -> tuple[Any, float]:
    """One network by notears."""
    from notears.linear import notears_linear

    start = time.process_time()
    network = notears_linear(data["x"], loss_type="l2", **settings)
    return network, time.process_time() - start


def pc(data: Any, settings: dict[str, Any]) -> tuple[Any, float]:
    """Return the class of networks by the PC algorithm of causal-learn, both ways where a direction is open."""
    from causallearn.search.ConstraintBased.PC import pc as run

    start = time.process_time()
    graph = run(np.asarray(data["x"]), indep_test="fisherz", show_progress=False, **settings).G.graph
    return arrows(graph), time.process_time() - start


def ges(data: Any, settings: dict[str, Any]) -> tuple[Any, float]:
    """Return the class of networks by greedy equivalence search of causal-learn, scored by BIC."""
    from causallearn.search.ScoreBased.GES import ges as run

    start = time.process_time()
    graph = run(np.asarray(data["x"]), score_func="local_score_BIC", **settings)["G"].graph
    return arrows(graph), time.process_time() - start


def arrows(graph: Any) -> Any:
    """Return a graph of causal-learn as edges, both ways where a direction is open."""
    tails = graph == -1  # [i, j] = -1 and [j, i] = 1: i -> j; both -1: open
    clash = (graph == 1) & (graph.T == 1)  # a direction that its rules contradict: open, too
    return ((tails & (graph.T != 0)) | clash).astype(float)


def main() -> None:
    """Run one package and save what it found."""
    warnings.simplefilter("ignore")
    package, data, out, settings = sys.argv[1:5]
    data, out = os.path.abspath(data), os.path.abspath(out)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the first one writes checkpoints where it runs
        run = {"contextualized": contextualized, "dagma": dagma, "notears": notears, "pc": pc, "ges": ges}[package]
        network, seconds = run(np.load(data), json.loads(settings))
        os.chdir("/")
    np.savez(out, network=network, seconds=seconds)


if __name__ == "__main__":
    main()
