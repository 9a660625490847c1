"""What is imported when: plotting, ArviZ and PyMC only by those who ask for them."""

import subprocess
import sys

import pytest

HEAVY = {
    *("pymc", "pytensor", "nutpie", "matplotlib", "arviz", "arviz_stats", "arviz_plots"),
    *("cmdstanpy", "httpstan", "jax"),
}

MORE = {
    **dict.fromkeys(("import", "pages"), ("anndata", "scipy")),
    **dict.fromkeys(("list", "show"), ("anndata", "scipy.stats")),
    "em": ("anndata",),
}
"""What is heavy for these uses alone."""

USES = {
    "import": "import genarium",
    "pages": "import genarium.reporting, genarium.calibration.page",
    "list": "from genarium.cli import main; main(['list'])",
    "show": "from genarium.cli import main; main(['show', 'nb_mixture'])",
    "look for Stan": "from genarium.engines import cmdstan; cmdstan.status()",
    "simulate, save, load": """
import genarium as gn
gn.load(gn.save(gn.simulate("nb_mixture", cell=20), "data.nc"))
""",
    "em": """
import genarium as gn
fit = gn.fit("nb_mixture", gn.simulate("nb_mixture", cell=20), "em", restarts=2)
gn.predict(fit, {"x": [[1, 2]]})
""",
    "vi": """
import genarium as gn
fit = gn.fit("nb_mixture", gn.simulate("nb_mixture", cell=20, dispersion="gene"), "vi", restarts=2, draws=20)
gn.predict(fit, {"x": [[1, 2]]})
""",
    "gibbs": """
import genarium as gn
gn.fit("nb_mixture", gn.simulate("nb_mixture", cell=20), "gibbs", chains=1, draws=20, tune=5)
""",
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each use has imported that those before it had not, one after the other in a process of its own."""
    tell = "print('modules:', *sorted(set(sys.modules) - had)); had |= set(sys.modules)"
    code = "\n".join(["import sys", "had = set()", *(f"{use}\n{tell}" for use in USES.values())])
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path_factory.mktemp("uses"), capture_output=True, text=True, check=True)
    told = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("modules:")]
    return dict(zip(USES, told, strict=True))


@pytest.mark.parametrize("use", USES)
def test_nothing_heavy_is_imported(use: str, imported: dict[str, list[str]]) -> None:
    assert use != "import" or "genarium.declaration" in imported[use]
    assert not {*HEAVY, *MORE.get(use, ())} & {*imported[use]}
