"""The model as a PyMC density, processes of single mutations summed out; written from the story."""

from collections.abc import Callable
from typing import Any

from genarium.declaration import Sizes

from .reduced import without
from .spectra import CONCENTRATIONS, LEAST


def build(form: str, several: bool, random: bool, spectra: str = "free", single: bool = False) -> Callable[..., None]:
    """Return the density of a variant.

    Parameters
    ----------
    form : {"conditional", "joint"}
    several : bool
        Whether there are several covariate groups.
    random : bool
        Whether loci have random effects.
    spectra : {"free", "given", "mixed"}
        Which processes have a given signature: none, all or the first ones.
    single : bool
        Whether each context has one alternative only, so that there is no rho.

    Returns
    -------
    callable
        ``density(sizes, <known and observed>)``, to be called inside a ``pm.Model`` context.
    """

    def density(
        sizes: Sizes,
        features: Any,
        exposure: Any,
        context_opportunity: Any,
        context_exposure: Any,
        alpha: Any,
        tau: Any,
        dispersion: Any,
        lam_concentration: Any,
        rho_concentration: Any,
        genome: Any,
        group: Any,
        count: Any,
        locus: Any,
        channel: Any,
        signatures: Any,
        signature_opportunity: Any,
    ) -> None:
        import pymc as pm
        import pytensor.tensor as pt

        C, A, G, K = (sizes[dim] for dim in ("context", "alternative", "genome", "process"))

        def drawn(end: str, whose: str) -> tuple[Any, Any]:
            """Draw preferences and alternatives of some processes."""
            n, dims = sizes[whose], (whose, "context", "alternative")
            lam = pm.Dirichlet(f"lam{end}", pt.broadcast_to(lam_concentration[:, None], (n, C)), dims=dims[:2])
            if single:
                return lam, pt.ones((n, C, 1))
            each = pt.broadcast_to(rho_concentration[:, None, None], (n, C, A))
            return lam, pm.Dirichlet(f"rho{end}", each, dims=dims)

        beta = pm.Normal("beta", 0, tau[:, None], dims=("process", "feature"))
        opportunity = context_exposure[:, None] * context_opportunity
        if spectra == "free":
            lam, rho = drawn("", "process")
        else:
            lam, rho = _given(signatures, signature_opportunity, (opportunity * exposure).sum(axis=1), C, A)
        if spectra == "mixed":
            more = drawn("_free", "free")
            lam, rho = pt.concatenate([lam, more[0]]), pt.concatenate([rho, more[1]])
        pi = pm.Dirichlet("pi", pt.broadcast_to(alpha, (G, K)), dims=("genome", "process"))

        preference = pt.log(pt.dot(lam, opportunity))  # (K, L): what lam_kc t_cl e_c is divided by
        X = features if several else features[None]
        scores = pt.log(exposure) + pt.tensordot(beta, X, axes=[[1], [1]])  # (K, J, L)
        if random:
            r = 1 / dispersion[:, None]
            scores = scores + pt.log(pm.Gamma("locus_effect", alpha=r, beta=r, dims=("process", "locus")))[:, None, :]
        if form == "joint":
            whole = pt.logsumexp(scores + preference[:, None, :], axis=2, keepdims=True)
            place = scores - whole
        else:
            place = scores - pt.logsumexp(scores, axis=2, keepdims=True) - preference[:, None, :]

        if single:
            spectrum, context = lam.T, channel
        else:
            half = C // 2
            by_base = (
                (lam[:, :, None] * rho).reshape((K, 2, half, A)).transpose(1, 3, 2, 0)
            )  # (base, alternative, ., K)
            spectrum, context = by_base.reshape((C * A, K)), half * (channel // (A * half)) + channel % half
        by_row = place.transpose(1, 2, 0).reshape((-1, K))
        top = by_row.max(axis=1)  # what is largest is taken out before exp
        row = group * sizes["locus"] + locus
        by_process = pi[genome] * spectrum[channel] * pt.exp(by_row - top[:, None])[row]
        each = pt.log(by_process.sum(axis=1)) + top[row] + pt.log(opportunity[context, locus])
        pm.Potential("mutations", (count * each).sum())

    absent: dict[str, Callable[..., Any]] = {}
    if not several:
        absent["group"] = lambda given: 0
    if not random:
        absent["dispersion"] = lambda given: None
    if spectra == "free":
        absent["signatures"] = absent["signature_opportunity"] = lambda given: None
    for name in CONCENTRATIONS if spectra == "given" else CONCENTRATIONS[1:] if single else ():
        absent[name] = lambda given: None
    return without(density, **absent)


def _given(signatures: Any, made_in: Any, here: Any, contexts: int, alternatives: int) -> tuple[Any, Any]:
    """Return lam and rho of given signatures (R, M), made in a genome of some opportunities, or in that of the data."""
    import pytensor.tensor as pt

    genome = pt.switch(made_in.sum() > 0, made_in, here)
    genome = pt.switch(genome > 0, genome, genome.max())
    shares = pt.maximum(signatures / signatures.sum(axis=1, keepdims=True), LEAST)
    if alternatives == 1:
        table = shares[:, :, None]
    else:
        blocks = shares.reshape((-1, 2 * alternatives, contexts // 2))  # substitutions: those of C, those of T
        by_base = [pt.stack([blocks[:, alternatives * b + a] for a in range(alternatives)], axis=-1) for b in range(2)]
        table = pt.concatenate(by_base, axis=1)  # (R, C, A)
    of_context = table.sum(axis=-1)
    preferred = of_context / genome
    return preferred / preferred.sum(axis=1, keepdims=True), table / of_context[:, :, None]
