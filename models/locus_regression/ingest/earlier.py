"""An earlier corpus or fit, for new genomes: its loci, opportunities, exposures and features."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genarium.attributes import attribute
from genarium.declaration import Array
from genarium.errors import InputError
from genarium.remedies import option

from .contigs import Contigs
from .options import Options
from .windows import Loci


@dataclass(frozen=True)
class Like:
    """What is taken of an earlier tree.

    Attributes
    ----------
    data : Dataset
        Its group ``constant_data``.
    """

    data: xr.Dataset

    @property
    def contigs(self) -> list[str]:
        """Chromosome of each locus."""
        return [str(name) for name in self.data["chrom"].to_numpy()]

    @property
    def exposure(self) -> Array:
        """Exposure of each locus; shape (L,)."""
        return np.asarray(self.data["exposure"].to_numpy())

    @property
    def opportunity(self) -> Array | None:
        """Contexts of each locus; shape (32, L)."""
        return self.data["context_opportunity"].to_numpy() if "context_opportunity" in self.data else None

    @property
    def features(self) -> xr.DataArray | None:
        """Features of each locus."""
        return self.data.get("features")

    @property
    def groups(self) -> list[str]:
        """The covariate groups of its features; none if all genomes share them."""
        known = "covariate_group" in self.data.coords
        return [str(name) for name in self.data["covariate_group"].to_numpy()] if known else []

    @property
    def recipe(self) -> dict[str, Any] | None:
        """How the features were made."""
        found = self.features
        told: dict[str, Any] | None = None if found is None else json.loads(found.attrs.get("recipe", "null"))
        return told

    def loci(self, contigs: Contigs) -> Loci:
        """Return its loci, on the contigs of the genome at hand."""
        names = [str(name) for name in self.data["locus"].to_numpy()]
        chrom = self.contigs
        if chrom == ["."]:
            from .windows import whole

            return whole(contigs)
        contig = np.array([contigs.find(name) for name in chrom])
        if (contig < 0).any():
            at = int(np.flatnonzero(contig < 0)[0])
            raise InputError(f"like: the window {names[at]} lies on {chrom[at]}, which {contigs.source} does not have.")
        start, end = (self.data[side].to_numpy().astype(np.int64) for side in ("start", "end"))
        strand = self.data["strand"].to_numpy().astype(str)
        if "blocks" in self.data.coords:
            texts = [str(text) for text in self.data["blocks"].to_numpy()]
            pieces = [
                (int(contig[at]), *map(int, block.split("-")), at)
                for at, text in enumerate(texts)
                for block in text.split(",")
            ]
        else:
            pieces = list(zip(contig.tolist(), start.tolist(), end.tolist(), range(len(names)), strict=True))
        columns = np.array(sorted(pieces), dtype=np.int64).T
        return Loci(contigs, contig, start, end, strand, names, *columns)


def load_like(options: Options) -> Like | None:
    """Return what the option ``like`` names.

    Raises
    ------
    InputError
        If it is no corpus that was read from sequencing files.
    """
    like = options.like
    if like is None:
        return None
    clash = [name for name in ("windows", "sizes", "exposure", "opportunities") if getattr(options, name) is not None]
    if clash:
        raise InputError(
            f"{option(clash[0])} and {option('like')} contradict each other: the latter brings windows. Leave one out."
        )
    if isinstance(like, str | Path):
        from genarium.tree import load

        like = load(like)
    if not isinstance(like, xr.DataTree):
        raise InputError(f"like={like!r} must be a corpus or a fit, in memory or as a file.")
    data = like["constant_data"].to_dataset() if "constant_data" in like else xr.Dataset()
    if not {"chrom", "start", "end", "strand"} <= set(data.coords) or "exposure" not in data:
        raise InputError("like: it does not say where its loci are: it was not read from sequencing files.")
    own = str(attribute(like, "model_options").get("channels", "SBS96"))
    if own != options.kinds.name:
        also = f", and {option('strand')} as it was" if own in ("SBS192", "SBS288") and options.strand is None else ""
        raise InputError(f"like: its channels are {own}. Add {option('channels', own)}{also}.")
    return Like(data)
