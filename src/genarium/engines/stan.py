"""The Stan engine: ``stan/<model>.stan`` through CmdStanPy, returning what the PyMC engine returns."""

import os
import re
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genarium.declaration import Array, Arrays, Problem, Result
from genarium.engines.cmdstan import compile_program, find
from genarium.engines.cmdstan.programs import inlined
from genarium.errors import ApproximationError, InputError
from genarium.leftovers import named, scratch
from genarium.progress import spinner
from genarium.registry import program

GENERATED = 50_000_000
"""Numbers that generated quantities may write in a fit; beyond, they are computed in NumPy instead."""

SIGNIFICANT = 17
"""Digits in Stan's output: with fewer, a simplex read back fails Stan's own check."""

KEYWORDS = frozenset(
    (
        *("array", "break", "complex", "continue", "data", "else", "for", "functions"),
        *("generated", "if", "in", "int", "lower", "matrix", "model", "multiplier"),
        *("offset", "parameters", "profile", "quantities", "real", "return", "row_vector", "simplex"),
        *("target", "transformed", "truncate", "tuple", "upper", "vector", "void", "while"),
    )
)
"""Words that nothing in a Stan program may have as its name."""


def identifier(name: str) -> str:
    """Return what a variable is called in a Stan program: its name, with an underscore if Stan reserves the word."""
    return f"{name}_" if name in KEYWORDS else name


def data(problem: Problem) -> dict[str, Any]:
    """Return the Stan data of a problem: sizes, known and observed variables, under their declared names.

    A size that has the name of a variable, or of a word that Stan reserves, is called ``n_<name>``; a variable that has
    the name of such a word gets an underscore.
    """
    arrays = {identifier(name): value.tolist() for name, value in problem.arrays.items()}
    return {**{size_name(dim, problem.arrays): int(n) for dim, n in problem.sizes.items()}, **arrays}


def size_name(dim: str, variables: Container[str]) -> str:
    """Return what a program calls the size of a dim, given the names of the known and observed variables."""
    return f"n_{dim}" if dim in variables or dim in KEYWORDS else dim


def executable(problem: Problem, cmdstan: str, generate: bool = True) -> Path:
    """Compile the program of a problem's model, or take it from the cache.

    Parameters
    ----------
    problem : Problem
    cmdstan : str
        Folder of CmdStan; "" looks for one.
    generate : bool
        Whether to keep the generated quantities.

    Returns
    -------
    Path
        The executable.

    Raises
    ------
    InputError
        If the model has no program.
    """
    model, source = problem.model, program(problem.model)
    if source is None:
        raise InputError(f"{model.name}: there is no Stan program for this variant ({dict(model.chosen)}).")
    found = find(cmdstan or None)
    with spinner(f"compiling {source.name}") as say:
        if generate:
            return compile_program(source, found, progress=say)
        with scratch("genarium-stan") as folder:
            bare = folder / source.name
            bare.write_text(re.split(r"^generated quantities", inlined(source), flags=re.MULTILINE)[0])
            return compile_program(bare, found, progress=say)


@dataclass(frozen=True)
class Run:
    """What a method needs to run a program.

    Attributes
    ----------
    model : cmdstanpy.CmdStanModel
    data : str
        The data file.
    output : dict
        Arguments that every method takes: where to write, how precisely.
    generate : bool
        Whether the program generates quantities.
    stan_version : str
    """

    model: Any
    data: str
    output: dict[str, Any]
    generate: bool
    stan_version: str


def _cmdstanpy() -> Any:
    """Import CmdStanPy, which makes a folder for temporary files as it is imported."""
    with named("genarium-cmdstanpy"):
        import cmdstanpy

    return cmdstanpy


@contextmanager
def _running(problem: Problem, cmdstan: str, draws: int) -> Iterator[Run]:
    """Compile, write the data, and clean up afterwards."""
    cmdstanpy = _cmdstanpy()
    cmdstanpy.disable_logging()
    unit = problem.sizes.get(problem.model.unit, 1)
    replicated = sum(problem[name].size for name in problem.model.observed.variables)
    generate = draws * (unit + 2 * replicated) <= GENERATED
    path = executable(problem, cmdstan, generate)
    threads = os.environ.get("STAN_NUM_THREADS")
    with scratch("genarium-stan") as folder:
        data_file = folder / "data.json"
        cmdstanpy.write_stan_json(str(data_file), data(problem))
        try:
            with spinner("Stan"):
                yield Run(
                    cmdstanpy.CmdStanModel(exe_file=str(path)),
                    str(data_file),
                    {"output_dir": str(folder), "sig_figs": SIGNIFICANT},
                    generate,
                    find(cmdstan or None).version,
                )
        finally:  # cmdstanpy leaves its own setting behind
            if threads is None:
                os.environ.pop("STAN_NUM_THREADS", None)
            else:
                os.environ["STAN_NUM_THREADS"] = threads


def generated(program: Path, given: Mapping[str, Any], seed: int, cmdstan: str = "") -> dict[str, Array]:
    """Run a program without parameters once, and return what it generates.

    Parameters
    ----------
    program : Path
    given : mapping of str to array_like
        Its data.
    seed : int
    cmdstan : str
        Folder of CmdStan; "" looks for one.

    Returns
    -------
    dict of str to ndarray
        Its generated quantities; whole numbers come as they are written.
    """
    cmdstanpy = _cmdstanpy()
    cmdstanpy.disable_logging()
    with spinner(f"compiling {program.name}") as say:
        path = compile_program(program, find(cmdstan or None), progress=say)
    with scratch("genarium-stan") as folder:
        cmdstanpy.write_stan_json(str(folder / "data.json"), dict(given))
        fit = cmdstanpy.CmdStanModel(exe_file=str(path)).sample(
            data=str(folder / "data.json"),
            fixed_param=True,
            chains=1,
            iter_sampling=1,
            seed=seed,
            output_dir=str(folder),
            sig_figs=SIGNIFICANT,
            show_progress=False,
        )
        return {name: np.asarray(value)[0] for name, value in fit.stan_variables().items()}


def _starts(problem: Problem, rng: np.random.Generator, count: int) -> list[dict[str, Any]] | None:
    """Make starting points in the declared names; None lets Stan draw its own."""
    if problem.model.start is None:
        return None
    points = [problem.model.start(problem, stream) for stream in rng.spawn(count)]
    return [{name: np.asarray(value).tolist() for name, value in point.items()} for point in points]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 2**31 - 1))


def _generated(problem: Problem, variables: Mapping[str, Array], generate: bool) -> dict[str, Any]:
    """Return pointwise likelihood and replicated data, as fields of a result."""
    if not generate:
        return {}
    out: dict[str, Any] = {}
    if "log_lik" in variables:
        out["log_likelihood"] = variables["log_lik"]
    replicas = {
        name: np.asarray(variables[f"{name}_rep"]).round().astype(np.int64)
        if var.support.integer
        else np.asarray(variables[f"{name}_rep"], dtype=float)
        for name, var in problem.model.observed.variables.items()
        if f"{name}_rep" in variables
    }
    if replicas:
        out["posterior_predictive"] = replicas
    return out


def _by_chain(fit: Any, chains: int, draws: int) -> dict[str, Array]:
    """Return every Stan variable with leading dims (chain, draw)."""
    return {n: v.reshape(chains, draws, *v.shape[1:]) for n, v in fit.stan_variables().items()}


def _unknown(problem: Problem, variables: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.asarray(variables[name], dtype=float) for name in problem.model.unknown.variables}


def nuts(
    problem: Problem,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    target_accept: float = 0.9,
    max_treedepth: int = 10,
    cmdstan: str = "",
) -> Result:
    """Sample the posterior by Stan's NUTS.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    draws, tune, chains : int
    target_accept : float
        Acceptance that the step size is adapted to.
    max_treedepth : int
    cmdstan : str
        Folder of CmdStan; "" looks for one ($CMDSTAN, ~/.cmdstan, the toolchain of the extra ``stan``).

    Returns
    -------
    Result
    """
    with _running(problem, cmdstan, draws * chains) as run:
        fit = run.model.sample(
            data=run.data,
            inits=_starts(problem, rng, chains),
            seed=_seed(rng),
            chains=chains,
            parallel_chains=min(chains, os.cpu_count() or 1),
            iter_warmup=tune,
            iter_sampling=draws,
            adapt_delta=target_accept,
            max_treedepth=max_treedepth,
            **run.output,
            show_progress=False,
        )
        variables = _by_chain(fit, chains, draws)
        method = fit.method_variables()
    names = {"divergent__": "diverging", "energy__": "energy", "n_leapfrog__": "n_steps", "stepsize__": "step_size"}
    names |= {"treedepth__": "tree_depth", "accept_stat__": "acceptance_rate"}
    still = np.zeros((draws, chains))  # a program without parameters has no trajectory: a simplex of one
    stats = {new: np.asarray(method.get(old, still)).T for old, new in names.items()}
    stats["diverging"] = stats["diverging"].astype(bool)
    stats["log_density"] = np.asarray(method.get("lp__", still)).T
    return Result(
        posterior=_unknown(problem, variables),
        sample_stats=stats,
        notes={"max_treedepth": max_treedepth, "stan_version": run.stan_version},
        **_generated(problem, variables, run.generate),
    )


def _approximate(problem: Problem, variables: dict[str, Array], log_ratio: Array, run: Run) -> Result:
    """Make a result of independent draws with the log ratio of the density to the approximation."""
    variables = {name: value[None] for name, value in variables.items()}
    return Result(
        posterior=_unknown(problem, variables),
        sample_stats={"log_ratio": np.asarray(log_ratio)[None]},
        notes={"stan_version": run.stan_version},
        **_generated(problem, variables, run.generate),
    )


def pathfinder(
    problem: Problem,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    paths: int = 4,
    cmdstan: str = "",
) -> Result:
    """Approximate the posterior by Pathfinder (Zhang et al. 2022, JMLR 23), without resampling.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    draws : int
        Draws of all paths together.
    paths : int
    cmdstan : str
        Folder of CmdStan; "" looks for one.

    Returns
    -------
    Result
        ``sample_stats`` holds the log importance ratio of each draw.
    """
    each = -(-draws // paths)
    with _running(problem, cmdstan, draws) as run:
        fit = run.model.pathfinder(
            data=run.data,
            inits=_starts(problem, rng, paths),
            seed=_seed(rng),
            num_paths=paths,
            num_single_draws=each,
            draws=each * paths,
            psis_resample=False,
            calculate_lp=True,
            **run.output,
        )
        method = fit.method_variables()
        return _approximate(problem, fit.stan_variables(), method["lp__"] - method["lp_approx__"], run)


def advi(
    problem: Problem,
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    iterations: int = 20_000,
    algorithm: Literal["meanfield", "fullrank"] = "meanfield",
    cmdstan: str = "",
) -> Result:
    """Approximate the posterior by Stan's ADVI.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    draws : int
    iterations : int
        Steps at most.
    algorithm : {"meanfield", "fullrank"}
    cmdstan : str
        Folder of CmdStan; "" looks for one.

    Returns
    -------
    Result
    """
    starts = _starts(problem, rng, 1)
    with _running(problem, cmdstan, draws) as run:
        fit = run.model.variational(
            data=run.data,
            inits=starts[0] if starts else None,
            seed=_seed(rng),
            algorithm=algorithm,
            iter=iterations,
            draws=draws,
            require_converged=False,
            **run.output,
        )
        columns = {name: fit.variational_sample[:, i] for i, name in enumerate(fit.column_names)}
        variables = {name: fit.stan_variable(name, mean=False) for name in fit.metadata.stan_vars}
        return _approximate(problem, variables, columns["log_p__"] - columns["log_g__"], run)


def _mode(run: Run, problem: Problem, rng: np.random.Generator, *, jacobian: bool, converged: bool = True) -> Any:
    """Climb to the mode; ``converged=False``: return what was reached where a line search finds nothing better."""
    starts = _starts(problem, rng, 1)
    return run.model.optimize(
        data=run.data,
        inits=starts[0] if starts else None,
        seed=_seed(rng),
        algorithm="lbfgs",
        iter=20_000,
        tol_rel_grad=1e3,
        jacobian=jacobian,
        require_converged=converged,
        **run.output,
    )


def laplace(problem: Problem, rng: np.random.Generator, *, draws: int = 1000, cmdstan: str = "") -> Result:
    """Approximate the posterior by a normal density at the mode of the unconstrained parameters.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    draws : int
    cmdstan : str
        Folder of CmdStan; "" looks for one.

    Returns
    -------
    Result

    Raises
    ------
    ApproximationError
        If the log density is not smooth and concave at its mode.
    """
    with _running(problem, cmdstan, draws) as run:
        try:
            mode = _mode(run, problem, rng, jacobian=True)
            fit = run.model.laplace_sample(
                data=run.data,
                mode=mode,
                draws=draws,
                jacobian=True,
                seed=_seed(rng),
                **run.output,
            )
        except (RuntimeError, ValueError) as error:  # CmdStan finds no mode, ends, or leaves a file without draws
            raise ApproximationError(
                f"{problem.model.name}: the log density has no negative definite Hessian at its mode (a kink or a flat "
                "direction), so that no normal density approximates it there. Use stan-pathfinder, or an exact method.",
                float("inf"),
            ) from error
        method = fit.method_variables()
        return _approximate(problem, fit.stan_variables(), method["log_p__"] - method["log_q__"], run)


def maximum(problem: Problem, rng: np.random.Generator, *, cmdstan: str = "") -> Result:
    """Maximise the posterior density of the natural parameters by L-BFGS.

    Parameters
    ----------
    problem : Problem
    rng : Generator
    cmdstan : str
        Folder of CmdStan; "" looks for one.

    Returns
    -------
    Result
    """
    with _running(problem, cmdstan, 1) as run:
        fit = _mode(run, problem, rng, jacobian=False, converged=False)
        point = {name: np.asarray(fit.stan_variable(name)) for name in problem.model.unknown.variables}
        notes: dict[str, Any] = {"converged": int(fit.converged), "bound": float(fit.optimized_params_dict["lp__"])}
        notes["stan_version"] = run.stan_version
        return Result(point=point, notes=notes)


def log_density(
    problem: Problem, points: list[Arrays], cmdstan: str = "", *, jacobian: bool = False
) -> tuple[Array, list[Array]]:
    """Log density of the natural parameters, up to a constant, and its gradient by the unconstrained ones.

    Parameters
    ----------
    problem : Problem
    points : list of mapping of str to ndarray
        Values of the unknown variables.
    cmdstan : str
        Folder of CmdStan; "" looks for one.
    jacobian : bool
        Of the unconstrained parameters instead, as the samplers return it.

    Returns
    -------
    values : ndarray, shape (points,)
    gradients : list of ndarray
        In Stan's order and under Stan's transforms of the parameters.
    """
    cmdstanpy = _cmdstanpy()
    values, gradients = [], []
    with _running(problem, cmdstan, 1) as run:
        for i, point in enumerate(points):
            file = Path(run.data).parent / f"point{i}.json"
            cmdstanpy.write_stan_json(str(file), {name: np.asarray(v).tolist() for name, v in point.items()})
            row = run.model.log_prob(str(file), run.data, jacobian=jacobian, sig_figs=SIGNIFICANT).to_numpy()[0]
            values.append(row[0])
            gradients.append(row[1:])
    return np.array(values), gradients
