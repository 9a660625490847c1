"""CPU seconds that a fit by NUTS takes besides sampling: in the first process on a machine, and in the second.

Each model is fitted in two processes that share a home folder, empty for the first: no compiled code of any package is
there, but Python's own bytecode is. A process's time is all its CPU time, imports and simulation of the data included,
less that of the same fit made again in the process, in which nothing is left to prepare.

    python validation/benchmarks/compile.py [MODEL ...] [--method nuts]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FIT = """
import json, sys, time
import genarium as gn
from genarium.progress import cpu_seconds
model, method, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
data = gn.simulate(model, seed=1)
fit = gn.fit(model, data, method, seed=2, **options)
first = cpu_seconds()
gn.fit(model, data, method, seed=2, **options)
again = cpu_seconds() - first
print(json.dumps({"whole": first, "again": again, "pymc": "pymc" in sys.modules}))
"""
FEW = {"nuts": {"draws": 200, "tune": 200}, "nuts-jax": {"draws": 200, "tune": 200}}


def measure(model: str, method: str, home: Path, bytecode: Path) -> dict[str, Any]:
    folders = {"HOME": home, "XDG_CACHE_HOME": home / "cache", "NUMBA_CACHE_DIR": home / "numba"}
    environment = {**os.environ, **{name: str(path) for name, path in folders.items()}}
    environment |= {"PYTENSOR_FLAGS": f"base_compiledir={home / 'pytensor'}", "PYTHONPYCACHEPREFIX": str(bytecode)}
    for name in ("PYTHONDONTWRITEBYTECODE", "GENARIUM_COMPILED"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", FIT, model, method, json.dumps(FEW.get(method, {}))],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def main() -> None:
    from genarium import registry

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=registry.names(), metavar="MODEL")
    parser.add_argument("--method", default="nuts")
    asked = parser.parse_args()
    print(f"{asked.method:24}  first  second  sampling  second imports PyMC", flush=True)
    with tempfile.TemporaryDirectory() as bytecode:
        with tempfile.TemporaryDirectory() as home:
            measure(asked.models[0], asked.method, Path(home), Path(bytecode))  # compiles the bytecode
        for model in asked.models:
            with tempfile.TemporaryDirectory() as home:
                first, second = (measure(model, asked.method, Path(home), Path(bytecode)) for _ in range(2))
            spent = [told["whole"] - told["again"] for told in (first, second)]
            imports = "yes" if second["pymc"] else "no"
            print(f"{model:24} {spent[0]:6.1f}  {spent[1]:6.1f}  {second['again']:8.1f}  {imports}", flush=True)


if __name__ == "__main__":
    main()
