"""Whether values are as declared."""

import xarray as xr

from genarium.declaration import Model


def assert_inside(model: Model, data: xr.Dataset, sizes: dict[str, int], lead: tuple[str, ...] = ()) -> None:
    """Assert that declared variables have their declared dims, sizes and support."""
    for name, var in model.variables().items():
        if name in data.data_vars:
            assert data[name].dims == (*lead, *var.dims), name
            values = data[name].to_numpy()
            assert values.shape[len(lead) :] == model.shape(name, sizes), name
            assert not var.support.bad(values, sizes).any(), name
