"""GWAS-VCF (Lyon et al. 2021): summary statistics in the sample column of a VCF file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genarium.errors import InputError

from .columns import Columns
from .dialects import build_of
from .streams import arrow, uneven

FIXED = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
"""Columns that begin every VCF file."""

FIELDS = {"ES": "beta", "SE": "se", "LP": "log10_p", "AF": "frequency", "SS": "samples"}
"""Fields of a sample, and the roles that they play; the effect allele is ALT."""


def read_vcf(path: Path, lines: Sequence[str], head: str, given: Mapping[str, str | None]) -> Columns:
    """Read the columns of a file in GWAS-VCF; rows that do not pass, or have several alternatives, are left out.

    Raises
    ------
    InputError
        If the header is not that of a VCF file, there is no sample, or more than one, or a row has no effect.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    if any(given.values()):
        raise InputError(f"{path}: in a VCF file columns have their place. Leave options of columns out.")
    names = head.split("\t")
    if names[: len(FIXED)] != FIXED:
        raise InputError(
            f"{path}: line {len(lines)} is not the header of a VCF file: {' '.join(FIXED)}, FORMAT and the sample, "
            "with tabs between them. Restore it."
        )
    if len(names) != 10:
        raise InputError(
            f"{path}: GWAS-VCF has one sample column, this file {max(len(names) - 9, 0)}. Give one trait a file."
        )
    wanted = ["#CHROM", "POS", "ID", "REF", "ALT", "FILTER", "FORMAT", names[9]]
    how = csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()))
    start = csv.ReadOptions(column_names=names, skip_rows=len(lines), block_size=1 << 24)
    try:
        with arrow(path) as stream:
            table = csv.read_csv(stream, start, csv.ParseOptions(delimiter="\t", quote_char=False), how)
    except (pa.ArrowInvalid, OSError) as error:
        uneven(path, len(lines), "\t", len(names))
        told = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: this cannot be read as VCF ({told}). Every line needs 10 cells.") from error
    lost: dict[str, int] = {}
    passing = pc.is_in(table["FILTER"], value_set=pa.array(["PASS", "."]))
    single = pc.invert(pc.match_substring(table["ALT"], ","))
    for reason, bad in (
        ("that do not pass the file's filters", pc.invert(passing)),
        ("with several alternatives", pc.and_(passing, pc.invert(single))),
    ):
        if many := pc.sum(bad).as_py():
            lost[reason] = many
    good = pc.and_(passing, single)
    kept = np.flatnonzero(good.to_numpy())
    table = table.filter(good)
    made = {
        "id": table["ID"], "chromosome": table["#CHROM"], "position": table["POS"],
        "effect_allele": table["ALT"], "other_allele": table["REF"],
    }  # fmt: skip
    samples, short = _samples(path, table, names[9])
    made |= samples
    for role in ("beta", "se"):
        if role not in made:
            field = next(name for name, one in FIELDS.items() if one == role)
            raise InputError(f"{path}: samples have no field {field}. Give a file in GWAS-VCF, with ES and SE.")
    nulls = pa.array([".", "", "NA"])
    clean = {role: pc.if_else(pc.is_in(column, nulls), None, column) for role, column in made.items()}
    places = {"id": "ID", "chromosome": "#CHROM", "position": "POS", "effect_allele": "ALT", "other_allele": "REF"}
    fields = {role: name for name, role in FIELDS.items()}
    used = {role: places.get(role) or fields[role] for role in made}
    notes = [f"{path.name}: GWAS-VCF, effects of ALT"]
    if short:
        notes.append(f"{path.name}: of {short} samples the last fields are left out, and missing")
    return Columns(path, pa.table(clean), used, names, len(lines) + 1, build_of(lines), notes, lost, kept)


def _samples(path: Path, table: Any, sample: str) -> tuple[dict[str, Any], int]:
    """Split the samples by the fields that FORMAT names, one column a role, and count those that end early.

    Fields at the end may be dropped (VCF 4.2, section 1.4.2); they are missing.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    formats = table["FORMAT"].unique().to_pylist()
    count = table.num_rows
    found: dict[str, np.ndarray[Any, Any]] = {}
    short = 0
    for one in formats:
        at = np.flatnonzero(pc.equal(table["FORMAT"], one).to_numpy(zero_copy_only=False))
        fields = one.split(":")
        if len(set(fields)) < len(fields):
            raise InputError(f"{path}: FORMAT {one!r} names a field twice. The file is damaged.")
        cells = pc.split_pattern(table[sample].take(at), ":").combine_chunks()
        lengths = pc.list_value_length(cells).to_numpy(zero_copy_only=False)
        long = np.flatnonzero(lengths > len(fields))
        if long.size:
            raise InputError(
                f"{path}: sample {table[sample][int(at[long[0]])].as_py()!r} has {lengths[long[0]]} fields, but "
                f"FORMAT {one!r} has {len(fields)}. The file is damaged."
            )
        short += int((lengths < len(fields)).sum())
        flat = cells.flatten().to_numpy(zero_copy_only=False)
        first = np.cumsum(lengths) - lengths
        for k, name in enumerate(fields):
            if name in FIELDS:
                some = lengths > k
                column = found.setdefault(FIELDS[name], np.full(count, None, dtype=object))
                column[at[some]] = flat[first[some] + k]
    return {role: pa.chunked_array([pa.array(column, pa.string())]) for role, column in found.items()}, short
