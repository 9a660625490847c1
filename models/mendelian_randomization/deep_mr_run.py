"""Deep Mendelian randomisation from files to files: the command ``genarium deep_mr run``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genarium.errors import InputError
from genarium.progress import spinner
from genarium.remedies import flag
from genarium.writing import replacing

if TYPE_CHECKING:
    from .deep_mr import DeepMR, Effects, HeldOut
    from .deep_mr.regions import Regions

Local = Literal["ivw", "egger", "divw", "maximum_likelihood", "weighted_median"]
Scale = Literal["identity", "logit", "log1p", "anscombe"]


def run(
    *,
    model: list[Path],
    sequences: Path,
    fasta: Path,
    out: Path,
    outcome_model: list[Path] | None = None,
    layer: str = "",
    outcome_layer: str = "",
    inputs: list[str] | None = None,
    exposure: int = 0,
    outcome: int = 1,
    length: int | None = None,
    window: int | None = None,
    scale: Scale = "identity",
    held_out: Path | None = None,
    instruments: float = 10.0,
    method: Local = "ivw",
    error: Literal["mean", "member"] = "mean",
    variances: Literal["own", "moderated"] = "moderated",
    members: Literal["bagged", "same_data", "ignore"] = "bagged",
    floor: float = 0.0,
    bayes: bool = False,
) -> str:
    """Deep Mendelian randomisation: the causal effect of one output of networks on another, from mutated regions.

    Parameters
    ----------
    model : list of Path
        Networks, one for each member of the ensemble: .h5, .keras, .pth or .onnx.
    sequences : Path
        Regions (BED); each is mutated around its middle.
    fasta : Path
        The genome.
    out : Path
        Folder for the results: local.tsv (one row for each region), substitutions.tsv (a table for `genarium read
        mendelian_randomization`), result.json.
    outcome_model : list of Path
        Networks of the outcome, as many as of the exposure, where these do not predict it.
    layer : str
        Layer whose output is wanted.
    outcome_layer : str
        Layer of the outcome's networks; default: the same.
    inputs : list of str
        What inputs besides the sequence get, as NAME=NUMBER (counts_bias_input_0=0, the control tracks of
        basepairmodels).
    exposure : int
        Index of the exposure among the outputs, from 0.
    outcome : int
        Index of the outcome among the outputs, or among those of the outcome's networks.
    length : int
        Length of a sequence in bases, where the networks do not specify it.
    window : int
        Number of bases around the middle that are mutated; default: all.
    scale : {"identity", "logit", "log1p", "anscombe"}
        Scale on which effects are taken; logit for probabilities.
    held_out : Path
        Regions with measured exposure and outcome in the fourth and fifth column, that no member was trained on:
        standard errors are calibrated on them. Measurements are on the scale of the networks' outputs (counts, say),
        and are transformed as the outputs are.
    instruments : float
        Smallest F statistic of the effect on the exposure for a substitution to be used.
    method : {"ivw", "egger", "divw", "maximum_likelihood", "weighted_median"}
        Estimator of the effect in each region.
    error : {"mean", "member"}
        Standard errors of the ensemble's mean, or of one member.
    variances : {"own", "moderated"}
        Variances over members as they are, or shrunk towards those of effects of the same size.
    members : {"bagged", "same_data", "ignore"}
        How the members were trained, which decides how their disagreement on the global effect is used: on bootstrap
        samples, or on the same data; or ignore it.
    floor : float
        Smallest standard error, for members that agree exactly.
    bayes : bool
        Also fit the generative model (seconds to minutes); its interval accounts for errors that the members share.

    Returns
    -------
    str
        What was found, in lines.

    Raises
    ------
    InputError
        If a file cannot be read, or outputs, lengths or windows do not fit the networks.
    """
    from .deep_mr import bayesian, deep_mr, diagnose, effects, mutagenise
    from .deep_mr.regions import read_regions

    ensemble, T, L = _ensemble(model, outcome_model or [], layer, outcome_layer, _inputs(inputs or []), length, scale)
    second = T + outcome if outcome_model else outcome
    found = read_regions(sequences, fasta, L)
    apart = None if held_out is None else read_regions(held_out, fasta, L, 2)
    kept = None if apart is None else _held_out(ensemble, apart, exposure, second, scale, str(held_out))
    factor, recalibrated = ((1.0, 1.0), []) if kept is None else _factors(kept)
    wide = L if window is None else window
    if not 0 < wide <= L:
        raise InputError(f"deep_mr: window={window}, but sequences have {L} bases. Give 1 to {L}.")
    start = (L - wide) // 2
    with spinner(f"mutating {len(found.names)} sequences at {wide} positions in {len(model)} networks"):
        raw = mutagenise(ensemble, found.sequences, start=start, stop=start + wide)
    _check(raw.reference.shape[2], exposure, second)
    options: dict[str, Any] = {"error": error, "variances": variances, "factor": factor, "floor": floor}
    whole = deep_mr(raw, None, exposure, second, method=method, instruments=instruments, members=members, **options)
    some = effects(raw, exposure, second, instruments=instruments, **options)
    trust = diagnose(raw, whole, exposure, second, instruments=instruments, held_out=kept, **options)
    told = _told(whole, some, found, factor, out)
    told += [f"{n} held-out regions {why} left out" for why, n in (apart.left_out if apart else {}).items()]
    more: dict[str, Any] = {"conditions": [asdict(one) | {"value": _finite(one.value)} for one in trust]}
    if bayes:
        fitted = bayesian(raw, exposure, second, members=members, instruments=instruments, method=method, **options)
        more["bayesian"] = {"mean": fitted.mean, "sd": fitted.sd, "ci": fitted.ci, "shared": fitted.shared}
        told.insert(1, f"by the generative model {fitted.mean:.4g}, {fitted.ci[0]:.4g} to {fitted.ci[1]:.4g}")
    if recalibrated:
        more["coverage_of_90_percent_intervals"] = recalibrated
        told += recalibrated
    _write(out, found, whole, some, factor, [*map(str, model), *map(str, outcome_model or [])], more)
    return "\n".join(["Can this be read as a causal effect?", *(f"  {one}" for one in trust), *told])


def _finite(value: float) -> float | None:
    """Return a number, or nothing where it was not measured: JSON has no NaN."""
    return value if np.isfinite(value) else None


def _inputs(given: Sequence[str]) -> dict[str, float]:
    """Return what inputs besides the sequence get."""
    found = {}
    for one in given:
        name, _, number = one.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise InputError(
                f"deep_mr: {flag('inputs', one)} must be the name of an input and a number, such as "
                "counts_bias_input_0=0."
            ) from None
    return found


def _ensemble(
    models: Sequence[Path],
    others: Sequence[Path],
    layer: str,
    second: str,
    inputs: Mapping[str, float],
    length: int | None,
    scale: str,
) -> tuple[Any, int, int]:
    """Load the members; also return the number of outputs of the first and the length of sequences."""
    from .deep_mr import Scaled, load_network
    from .deep_mr.traits import Stacked

    if others and len(others) != len(models):
        raise InputError(
            f"deep_mr: there are {len(models)} networks of the exposure and {len(others)} of the outcome. Give as "
            "many, in the same order: those of one number are a member."
        )
    firsts = [load_network(path, layer or None, inputs=inputs) for path in models]
    seconds = [load_network(path, (second or layer) or None, inputs=inputs) for path in others]
    lengths = {net.length for net in [*firsts, *seconds] if net.length is not None}
    if len(lengths) > 1:
        raise InputError(f"deep_mr: the networks take sequences of {sorted(lengths)} bases. Use those of one length.")
    L = next(iter(lengths), length)
    if L is None:
        raise InputError("deep_mr: the networks do not say how long their sequences are. Give length=.")
    if length not in (None, L):
        raise InputError(f"deep_mr: length={length}, but the networks take sequences of {L} bases. Leave it out.")
    T = firsts[0](np.full((1, 4, L), 0.25)).shape[1]
    members: list[Any] = [Stacked(pair) for pair in zip(firsts, seconds, strict=True)] if others else list(firsts)
    return (members if scale == "identity" else Scaled(members, scale)), T, L


def _check(T: int, exposure: int, outcome: int) -> None:
    for name, number in (("exposure", exposure), ("outcome", outcome)):
        if not 0 <= number < T:
            raise InputError(f"deep_mr: the {name} is output {number}, but there are {T}, from 0. Choose one of these.")
    if exposure == outcome:
        raise InputError(f"deep_mr: exposure and outcome are the same output, {exposure}. Choose two.")


def _held_out(ensemble: Any, held_out: "Regions", exposure: int, outcome: int, scale: str, source: str) -> "HeldOut":
    """Return what members predict for held-out regions, and what was measured, both on the scale of effects."""
    from .deep_mr import SCALES, HeldOut
    from .deep_mr.sequence import as_ensemble

    low, high = {"logit": (0.0, 1.0), "log1p": (-1.0, np.inf), "anscombe": (-0.375, np.inf)}.get(
        scale, (-np.inf, np.inf)
    )
    bad = np.argwhere(~((low < held_out.values) & (held_out.values < high)))
    if bad.size:
        region, column = bad[0]
        raise InputError(
            f"{source}: region {held_out.names[region]} has the measured {('exposure', 'outcome')[column]} "
            f"{held_out.values[region, column]:g}, which scale={scale!r} cannot take ({len(bad)} are like it). Give "
            "measurements of what the networks put out, or another scale."
        )
    predicted = as_ensemble(ensemble)(held_out.sequences)  # (E, N, T)
    _check(predicted.shape[2], exposure, outcome)
    return HeldOut(predicted[:, :, [exposure, outcome]].astype(float), SCALES[scale](held_out.values))


def _factors(kept: "HeldOut") -> tuple[tuple[float, float], list[str]]:
    """By how much standard deviations over members fall short on held-out measurements.

    What recalibration gains is measured by half of the regions on the other half, where there are enough.
    """
    from .deep_mr import calibrate
    from .deep_mr.calibration import LEAST
    from .deep_mr.trust import factor_of

    found, told = [], []
    for label, name in enumerate(("exposure", "outcome")):
        part = kept.predicted[:, :, label]
        mean, sd, y = part.mean(0), part.std(0, ddof=1), kept.measured[:, label]
        calibrate(mean, sd, y)  # refuses what says nothing
        found.append(factor_of((y - mean) / sd))
        half = len(y) // 2
        if half >= LEAST:
            right = calibrate(mean[:half], sd[:half], y[:half])
            low, high = (right.quantile(mean[half:], sd[half:], p) for p in (0.05, 0.95))
            before = float((np.abs(y[half:] - mean[half:]) <= 1.6448536 * sd[half:]).mean())
            after = float(((low <= y[half:]) & (y[half:] <= high)).mean())
            told.append(f"90% intervals of the {name} cover {before:.2f} of held-out regions, {after:.2f} recalibrated")
    return (found[0], found[1]), told


def _write(
    out: Path,
    regions: "Regions",
    whole: "DeepMR",
    some: "Effects",
    factor: tuple[float, float],
    models: list[str],
    more: dict[str, Any],
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    local = whole.local
    rows = ["region\testimate\tse\tinstruments"]
    rows += [
        f"{regions.names[s]}\t{b:.8g}\t{se:.8g}\t{n}"
        for b, se, s, n in zip(local.estimate, local.se, local.sequence, local.instruments, strict=True)
    ]
    header = "variant\tregion\tbeta_exposure\tse_exposure\tbeta_outcome\tse_outcome\terror_correlation"
    table = [header]
    for j in range(len(some)):
        name = f"{regions.names[some.sequence[j]]}:{some.position[j]}{'ACGT'[some.alternative[j]]}"
        numbers = (some.x[j], some.se_x[j], some.y[j], some.se_y[j])
        correlation = some.covariance[j] / some.se_x[j] / some.se_y[j]
        table.append(
            "\t".join([name, regions.names[some.sequence[j]], *(f"{v:.10g}" for v in (*numbers, correlation))])
        )
    told = {
        "estimate": whole.estimate,
        "se": whole.se,
        "ci": whole.ci,
        "prediction_interval": whole.prediction_interval,
        "tau2": whole.tau2,
        "between_members": whole.between_members,
        "instruments": len(some),
        "sequences": len(local.estimate),
        "left_out": regions.left_out,
        "calibration_factors": factor,
        "models": models,
        **more,
    }
    for name, text in (
        ("local.tsv", "\n".join(rows) + "\n"),
        ("substitutions.tsv", "\n".join(table) + "\n"),
        ("result.json", json.dumps(told, indent=2) + "\n"),
    ):
        with replacing(out / name) as path:
            path.write_text(text)


def _told(whole: "DeepMR", some: "Effects", regions: "Regions", factor: tuple[float, float], out: Path) -> list[str]:
    low, high = whole.ci
    below, above = whole.prediction_interval
    lines = [
        f"causal effect {whole.estimate:.4g}, 95% interval {low:.4g} to {high:.4g} (se {whole.se:.3g})",
        f"in a new sequence {below:.4g} to {above:.4g} (sd between sequences {whole.tau2**0.5:.3g})",
        f"{len(some)} instruments in {len(whole.local.estimate)} of {len(regions.names)} sequences; global effects of "
        f"single members differ by {whole.between_members:.3g}",
    ]
    lines += [f"{n} regions {why} left out" for why, n in regions.left_out.items()]
    if factor != (1.0, 1.0):
        lines.append(
            f"standard errors times {factor[0]:.3g} (exposure) and {factor[1]:.3g} (outcome), by held-out regions"
        )
    return [
        *lines,
        f"wrote {out}/local.tsv, substitutions.tsv, result.json",
        f"next: genarium read mendelian_randomization {out}/substitutions.tsv --set signs_given=1 -o substitutions.nc",
    ]
