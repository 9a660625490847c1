"""What is imported when: plotting, ArviZ and PyMC only by those who ask for them."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("pymc", "pytensor", "nutpie", "matplotlib", "arviz", "arviz_stats", "arviz_plots", "cmdstanpy", "jax")

USES = {
    "import": "import genarium",
    "list": "from genarium.cli import main; main(['list'])",
    "show": "from genarium.cli import main; main(['show', 'nb_mixture'])",
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


@pytest.mark.parametrize("use", USES)
def test_nothing_heavy_is_imported(use: str, tmp_path: Path) -> None:
    code = f"import sys\n{USES[use]}\nprint('modules:', *sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    imported = done.stdout.rpartition("modules:")[2].split()
    assert "genarium.declaration" in imported
    assert not [name for name in imported if name in HEAVY]
