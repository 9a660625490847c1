"""What several files of tests share: fits of three groups, and their reports."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import xarray as xr

import genarium as gn
from genarium.reporting import report
from report_pages import MU, PI, Fits, Page, Pages


@pytest.fixture(scope="session")
def three_groups() -> xr.DataTree:
    """Three groups that are easy to tell apart."""
    return gn.simulate("nb_mixture", seed=3, cell=80, mu=MU, pi=PI)


@pytest.fixture(scope="session")
def fits(three_groups: xr.DataTree) -> Fits:
    options: dict[str, dict[str, Any]] = {
        "em": {"restarts": 3},
        "vi": {"restarts": 3, "draws": 200},
        "gibbs": {"chains": 2, "draws": 150, "tune": 100},
    }
    return cache(lambda method: gn.fit("nb_mixture", three_groups, method, seed=1, **options[method]))


@pytest.fixture(scope="session")
def written(fits: Fits, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("pages")
    return cache(lambda method: report(fits(method), folder / f"{method}.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def pages(written: Callable[[str], str]) -> Pages:
    return cache(lambda method: Page(written(method)).root)
