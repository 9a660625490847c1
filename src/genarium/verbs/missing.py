"""Missing: what a tree of data lacks for a fit, as the settings that give it."""

import xarray as xr

from genarium.declaration import Model
from genarium.holding import alternatives
from genarium.remedies import setting
from genarium.tree import stored_sizes


def missing(model: Model, tree: xr.DataTree) -> list[str]:
    """Return what must be given when a tree is fitted.

    Parameters
    ----------
    model : Model
        The variant that the tree is of.
    tree : DataTree
        From :func:`genarium.read`.

    Returns
    -------
    list of str
        Marked settings (:mod:`genarium.remedies`): sizes, with those of a default simulation as examples; a known
        variable, or the option of the model under which there is none to give.
    """
    have = {*stored_sizes(tree, model), *model.labels, *model.default_sizes, *model.derived_dims}
    out = [setting(dim, size) for dim, size in model.sizes.items() if dim not in have]
    given = tree["constant_data"].data_vars if "constant_data" in tree else {}
    for name, var in model.known.variables.items():
        if var.default is None and name not in given:
            without = alternatives(model, name)
            out.append(setting(*without[0]) if without else setting(name))
    return list(dict.fromkeys(out))
