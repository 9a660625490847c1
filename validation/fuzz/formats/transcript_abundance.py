"""Cases of transcript_abundance: salmon's folder, the course's format, sparse matrices and alignments."""

import gzip
import re
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from validation.fuzz.arrays import npz, parsed
from validation.fuzz.case import Case, Random, UnlikeError, sometimes
from validation.fuzz.oracles import close, equal, labels, oracle, variable
from validation.fuzz.raw import bgzf, damage, decompressed
from validation.fuzz.text import NAMES, NUMBERS

MODEL = "transcript_abundance"


def tokens(r: Random, text: str, steps: list[str]) -> bytes:
    """Change words and lines of a text, or its bytes."""
    lines = [re.split(r"(\s+)", line) for line in text.split("\n")]
    for _ in range(r.choice((0, 1, 1, 1, 2))):
        i = r.randrange(len(lines))
        if not lines[i]:
            continue
        line, what = lines[i], r.choice(("word", "word", "word", "drop", "twice", "move", "more", "less", "tab"))
        steps.append(f"line {i + 1}: {what}")
        if what == "word":
            line[r.randrange(len(line))] = r.choice((*NUMBERS, *NAMES, "0", "1", "2", "3", "100"))
        elif what == "drop" and len(lines) > 1:
            del lines[i]
        elif what == "twice":
            lines.insert(i, list(line))
        elif what == "move":
            lines.insert(r.randrange(len(lines)), lines.pop(i))
        elif what == "more":
            line += [" ", r.choice(("1", "x", "0.5"))]
        elif what == "less":
            del line[-2:]
        else:
            line[:] = [word if word.strip() else r.choice(("\t", "  ", ",")) for word in line]
    joined = ("\n" if sometimes(r, 0.95) else "\r\n").join("".join(line) for line in lines)
    data = joined.encode("utf-8" if sometimes(r, 0.97) else "utf-16", "replace")
    return damage(r, data, steps) if sometimes(r, 0.2) else data


def salmon(r: Random) -> Case:
    """Make a case of the reader of salmon's folder."""
    M, E = r.randint(1, 5), r.randint(1, 6)
    names = [f"ENST{i + 1}.1" for i in range(M)]
    weighted = sometimes(r, 0.8)
    classes = [str(M), str(E), *names]
    for _ in range(E):
        ids = r.sample(range(M), r.randint(1, M))
        weights = [f"{r.random():.6g}" for _ in ids] if weighted else []
        classes.append("\t".join([str(len(ids)), *map(str, ids), *weights, str(r.randint(0, 50))]))
    quant = ["Name\tLength\tEffectiveLength\tTPM\tNumReads"]
    quant += [f"{name}\t{r.randint(200, 900)}\t{r.uniform(50, 800):.3f}\t1.0\t2" for name in names]
    steps: list[str] = []
    one = sometimes(r, 0.5)
    table = tokens(r, "\n".join(quant) + "\n", steps) if not one else ("\n".join(quant) + "\n").encode()
    data = tokens(r, "\n".join(classes) + "\n", steps) if one or sometimes(r, 0.2) else "\n".join(classes).encode()
    packed = sometimes(r, 0.7)
    if packed:
        data = gzip.compress(data, mtime=0)
        data = damage(r, data, steps) if sometimes(r, 0.15) else data
    files: dict[str, bytes | str] = {
        f"run/aux_info/eq_classes.txt{'.gz' if packed else ''}": data,
        "run/quant.sf": table,
    }
    name = "run" if sometimes(r, 0.7) else next(iter(files))
    options = {"unweighted": r.choice(("refuse", "accept", "no"))} if sometimes(r, 0.1) else {}
    case = Case(MODEL, "salmon", files, [name], options, steps=steps)
    case.check = oracle(lambda tree: _check_salmon(tree, case.content(0), case.content(1)))
    return case


def _lines(data: bytes) -> list[str]:
    try:
        text = decompressed(data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnlikeError(f"no text: {error.reason}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _check_salmon(tree: Any, data: bytes, table: bytes) -> None:
    lines = _lines(data)
    M, E = int(lines[0]), int(lines[1])
    names = [line.strip() for line in lines[2 : 2 + M]]
    if labels(tree, "effective_length", "transcript") != names:
        raise UnlikeError(f"labels: {labels(tree, 'effective_length', 'transcript')} instead of {names}")
    head, *rows = [line.split("\t") for line in _lines(table) if line.strip()]
    length = {row[head.index("Name")]: float(row[head.index("EffectiveLength")]) or 1.0 for row in rows}
    close(variable(tree, "effective_length").to_numpy(), [length[name] for name in names], "values: lengths", 0)
    entries, counts = [], []
    for e, line in enumerate(lines[2 + M : 2 + M + E]):
        words = line.split()
        k = int(words[0])
        ids = [int(word) for word in words[1 : 1 + k]]
        weights = [float(word) for word in words[1 + k : -1]] or [1 / length[names[i]] for i in ids]
        entries += [(e, i, w) for i, w in zip(ids, weights, strict=True)]
        counts.append(int(words[-1]))
    equal(variable(tree, "count").to_numpy(), counts, "values: count")
    have = [variable(tree, name).to_numpy().tolist() for name in ("entry_class", "entry_transcript", "weight")]
    if list(zip(*have, strict=True)) != entries:
        raise UnlikeError(f"values: entries {list(zip(*have, strict=True))!s:.100} instead of {entries!s:.100}")
    if any(line.strip() for line in lines[2 + M + E :]):
        raise UnlikeError("rows: lines beyond the classes")


def course(r: Random) -> Case:
    """Make a case of the reader of the course's format."""
    letters = "ABCDEFGHIJ"[: r.randint(1, 10)]
    rows = ["The locus has arcs", "The reads are"] if sometimes(r, 0.5) else []
    for k, start in enumerate(range(len(letters))):
        size = r.randint(1, min(4, len(letters)))
        segments = (letters + letters)[start : start + size]
        rows.append(f"Arc{k + 1} {r.choice(('xxxxx', '0.1'))} {size} {segments}")
    rows += [f"{letter.lower()} {r.randint(0, 99999)}" for letter in letters]
    steps: list[str] = []
    data = tokens(r, "\n".join(rows) + "\n", steps)
    case = Case(MODEL, "course", {"reads.txt": data}, ["reads.txt"], steps=steps)
    case.check = oracle(lambda tree: _check_course(tree, case.content(0)))
    return case


def _check_course(tree: Any, data: bytes) -> None:
    words = [line.split() for line in _lines(data) if not line.startswith(("The ", "#"))]
    covered = {one[0]: one[3] for one in words if len(one) == 4}
    reads = {one[0].upper(): int(one[1]) for one in words if len(one) == 2}
    if any(len(one) not in (0, 2, 4) for one in words):
        raise UnlikeError("rows: a line is neither")
    have = dict(
        zip(labels(tree, "count", "equivalence_class"), variable(tree, "count").to_numpy().tolist(), strict=True)
    )
    if have != reads:
        raise UnlikeError(f"values: {have} instead of {reads}")
    if labels(tree, "effective_length", "transcript") != list(covered):
        raise UnlikeError(f"labels: {labels(tree, 'effective_length', 'transcript')} instead of {list(covered)}")
    close(variable(tree, "effective_length").to_numpy(), [1000 * len(s) for s in covered.values()], "values: lengths")
    wanted = Counter(letter for segments in covered.values() for letter in segments)
    letters = labels(tree, "count", "equivalence_class")
    entries = Counter(letters[e] for e in variable(tree, "entry_class").to_numpy())
    if wanted != entries:
        raise UnlikeError(f"values: {entries} instead of {wanted}")


def sparse(r: Random) -> Case:
    """Make a case of the reader of a likelihood matrix."""
    from scipy import sparse as kinds

    N, K = r.randint(1, 6), r.randint(1, 4)
    dense = [[r.choice((0, 0, r.random())) for _ in range(K)] for _ in range(N)]
    for row in dense:
        row[r.randrange(K)] = round(r.random() + 0.01, 6)
    steps: list[str] = []
    if sometimes(r, 0.5):
        kind = r.choice(("csr", "csc", "coo", "csr"))
        coo: Any = kinds.coo_array(dense)
        matrix = coo.asformat(kind)
        arrays = {"format": np.array(kind.encode()), "shape": np.array(matrix.shape), "data": matrix.data}
        if kind == "coo":
            arrays |= {"row": matrix.row, "col": matrix.col}
        else:
            arrays |= {"indices": matrix.indices, "indptr": matrix.indptr}
        if sometimes(r, 0.2):
            arrays["_is_array"] = np.array(True)
        files: dict[str, bytes | str] = {"m.npz": npz(r, arrays, steps)}
    else:
        entries = [(i + 1, j + 1, v) for i, row in enumerate(dense) for j, v in enumerate(row) if v]
        kind = r.choice(("coordinate real general", "coordinate real general", "array real general"))
        if kind.startswith("array"):
            body = [f"{N} {K}", *(f"{dense[i][j]:.6g}" for j in range(K) for i in range(N))]
        else:
            body = [
                f"{N} {K} {len(entries)}",
                *(f"{i} {j} {v:{r.choice(('.6g', '.6E', '.6g'))}}" for i, j, v in entries),
            ]
        comment = ["% made by hand"] if sometimes(r, 0.3) else []
        data = tokens(r, "\n".join([f"%%MatrixMarket matrix {kind}", *comment, *body]) + "\n", steps)
        suffix = ".mtx"
        if sometimes(r, 0.3):
            suffix, data = ".mtx.gz", gzip.compress(data, mtime=0)
            data = damage(r, data, steps) if sometimes(r, 0.2) else data
        files = {f"m{suffix}": data}
    rows = [f"t{k + 1} {r.uniform(50, 900):.5g}" for k in range(K)]
    text = "\n".join(rows) + "\n"
    files["lengths.txt"] = tokens(r, text, steps) if sometimes(r, 0.25) else text.encode()
    inputs = list(files) if sometimes(r, 0.97) else list(files)[::-1]
    case = Case(MODEL, "sparse", files, inputs, steps=steps)
    case.check = oracle(lambda tree: _check_sparse(tree, case.content(0), case.content(1)))
    return case


def _matrix(data: bytes) -> list[dict[int, float]]:
    """Parse a matrix, by rows; entries of one place are added up."""
    if data.startswith(b"PK"):
        return _stored(parsed(data))
    lines = [line for line in _lines(data) if line.strip()]
    head = lines[0].lower().split()
    body = [line.split() for line in lines[1:] if not line.startswith("%")]
    N, K = int(body[0][0]), int(body[0][1])
    out: list[dict[int, float]] = [{} for _ in range(N)]
    if "array" in head:
        if len(body) != N * K + 1:
            raise UnlikeError("no matrix: number of entries")
        for at, words in enumerate(body[1:]):
            if len(words) != 1:
                raise UnlikeError("no matrix: several numbers in a line")
            out[at % N][at // N] = float(words[0])
        return out
    if len(body) != int(body[0][2]) + 1:
        raise UnlikeError("no matrix: number of entries")
    for line in body[1:]:
        i, j = int(line[0]), int(line[1])
        value = 1.0 if "pattern" in head else float(line[2])
        if not (1 <= i <= N and 1 <= j <= K):
            raise UnlikeError("no matrix: an index is out of range")
        for a, b in {(i, j), (j, i)} if "symmetric" in head else {(i, j)}:
            out[a - 1][b - 1] = out[a - 1].get(b - 1, 0.0) + value
    return out


def _stored(arrays: dict[str, Any]) -> list[dict[int, float]]:
    N, K = (int(n) for n in arrays["shape"])
    out: list[dict[int, float]] = [{} for _ in range(N)]
    kind, data = arrays["format"].item(), arrays["data"].tolist()
    kind = kind.decode() if isinstance(kind, bytes) else kind
    if kind == "coo":
        places = list(zip(arrays["row"].tolist(), arrays["col"].tolist(), strict=True))
    else:
        indptr, indices = arrays["indptr"].tolist(), arrays["indices"].tolist()
        if len(indptr) != (N if kind == "csr" else K) + 1 or indptr[0] != 0 or sorted(indptr) != indptr:
            raise UnlikeError("no matrix: indptr is damaged")
        if not indptr[-1] == len(indices) == len(data):
            raise UnlikeError("no matrix: lengths disagree")
        lines = [line for line, width in enumerate(np.diff(indptr)) for _ in range(width)]
        places = list(zip(lines, indices, strict=True))
        places = places if kind == "csr" else [(i, j) for j, i in places]
    for (i, j), value in zip(places, data, strict=True):
        if not (0 <= i < N and 0 <= j < K):
            raise UnlikeError("no matrix: an index is out of range")
        out[i][j] = out[i].get(j, 0.0) + float(value)
    return out


def _check_sparse(tree: Any, data: bytes, table: bytes) -> None:
    try:
        rows = _matrix(data)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise UnlikeError(f"no matrix: {error}") from None
    pairs = [line.split() for line in _lines(table) if line.strip()]
    if labels(tree, "effective_length", "transcript") != [name for name, _ in pairs]:
        raise UnlikeError("labels: names of transcripts")
    close(variable(tree, "effective_length").to_numpy(), [float(value) for _, value in pairs], "values: lengths", 0)
    wanted = Counter(tuple(sorted((j, np.format_float_scientific(v, 11)) for j, v in row.items() if v)) for row in rows)
    if _classes(tree) != wanted:
        raise UnlikeError(f"values: classes {_classes(tree)!s:.150} instead of {wanted!s:.150}")


def _classes(tree: Any) -> Counter[tuple[tuple[int, str], ...]]:
    count = variable(tree, "count").to_numpy()
    found: list[list[tuple[int, str]]] = [[] for _ in count]
    triples = (variable(tree, name).to_numpy() for name in ("entry_class", "entry_transcript", "weight"))
    for e, k, w in zip(*triples, strict=True):
        found[e].append((int(k), np.format_float_scientific(w, 11)))
    out: Counter[tuple[tuple[int, str], ...]] = Counter()
    for one, n in zip(found, count, strict=True):
        out[tuple(sorted(one))] += int(n)
    return out


def _sam(r: Random) -> str:
    """Simulate alignments to transcripts, single or in pairs, in SAM."""
    lengths = [r.randint(150, 400) for _ in range(r.randint(1, 4))]
    rows = ["@HD\tVN:1.6\tSO:unsorted"] + [f"@SQ\tSN:t{k + 1}\tLN:{n}" for k, n in enumerate(lengths)]
    pairs = sometimes(r, 0.4)
    size = 30
    for n in range(r.randint(1, 8)):
        for hit, k in enumerate(r.sample(range(len(lengths)), r.randint(1, len(lengths)))):
            start = r.randint(1, lengths[k] - 100)
            extra = 256 if hit else 0
            tail = f"{'A' * size}\t{'I' * size}\tNM:i:{r.choice((0, 0, 1))}"
            if pairs:
                mate = start + r.randint(0, 60)
                span = mate + size - start
                rows.append(f"r{n}\t{99 + extra}\tt{k + 1}\t{start}\t60\t{size}M\t=\t{mate}\t{span}\t{tail}")
                rows.append(f"r{n}\t{147 + extra}\tt{k + 1}\t{mate}\t60\t{size}M\t=\t{start}\t{-span}\t{tail}")
            else:
                flag = extra + r.choice((0, 16))
                rows.append(f"r{n}\t{flag}\tt{k + 1}\t{start}\t60\t{size}M\t*\t0\t0\t{tail}")
    if sometimes(r, 0.2):
        rows.append(f"u\t4\t*\t0\t0\t*\t*\t0\t0\t{'A' * size}\t{'I' * size}")
    return "\n".join(rows) + "\n"


@cache
def _records(text: str) -> bytes:
    """Return the content of a BAM file, decompressed."""
    import pysam

    with tempfile.TemporaryDirectory() as folder:
        here, there = Path(folder, "a.sam"), Path(folder, "a.bam")
        here.write_text(text)
        said = pysam.set_verbosity(0)
        with (
            pysam.AlignmentFile(str(here), check_sq=False) as file,
            pysam.AlignmentFile(str(there), "wb", template=file) as out,
        ):
            for one in file:
                out.write(one)
        pysam.set_verbosity(said)
        return gzip.decompress(there.read_bytes())


def alignments(r: Random) -> Case:
    """Make a case of the reader of alignments."""
    text, steps = _sam(r), list[str]()
    if sometimes(r, 0.5):
        files: dict[str, bytes | str] = {"a.sam": tokens(r, text, steps)}
    else:
        data = _records(text)
        data = damage(r, data, steps) if sometimes(r, 0.5) else data
        data = bgzf(data)
        files = {"a.bam": damage(r, data, steps) if sometimes(r, 0.4) else data}
    options: dict[str, Any] = {}
    if sometimes(r, 0.2):
        options["strand"] = r.choice(("forward", "reverse", "no"))
    if sometimes(r, 0.1):
        options |= {"fragment_mean": r.choice((80.0, 80, 0.0, -1, 1e300)), "fragment_sd": r.choice((10.0, 0.0, 1e-300))}
    if sometimes(r, 0.1):
        options[r.choice(("read_length", "digits", "error"))] = r.choice((0, 1, 12, 30, -1, 0.01, "x", None, 10**6))
    case = Case(MODEL, "bam", files, list(files), options, steps=steps)
    case.check = oracle(lambda tree: _check_alignments(tree, case))
    return case


def long_reads(r: Random) -> Case:
    """Make a case of the reader of long reads: files as for short ones."""
    case = alignments(r)
    case.format = "long"
    for name in ("fragment_mean", "fragment_sd", "read_length"):
        case.options.pop(name, None)
    case.check = lambda tree: None
    return case


def _check_alignments(tree: Any, case: Case) -> None:
    """Compare names, and how many reads have which set of transcripts, where no protocol excludes some."""
    import pysam

    said = pysam.set_verbosity(0)
    sets: dict[str, set[int]] = {}
    paired = False
    try:
        with pysam.AlignmentFile(case.inputs[0], check_sq=False) as file:
            names = list(file.references)
            for one in file.fetch(until_eof=True):
                if not one.is_unmapped and not one.is_supplementary:
                    paired |= one.is_paired
                    sets.setdefault(one.query_name or "", set()).add(one.reference_id)
    except (OSError, ValueError) as error:
        raise UnlikeError(f"no alignments: {error}") from None
    finally:
        pysam.set_verbosity(said)
    if labels(tree, "effective_length", "transcript") != names:
        raise UnlikeError(f"labels: {labels(tree, 'effective_length', 'transcript')} instead of {names}")
    if paired or case.options.get("strand", "unstranded") != "unstranded":
        return
    wanted = Counter(tuple(sorted(one)) for one in sets.values())
    have: Counter[tuple[int, ...]] = Counter()
    for entries, n in _classes(tree).items():
        have[tuple(k for k, _ in entries)] += n
    if have != wanted:
        raise UnlikeError(f"values: reads by transcripts {have!s:.150} instead of {wanted!s:.150}")
