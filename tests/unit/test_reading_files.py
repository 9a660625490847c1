"""Files from outside: damaged ones, pipes, folders, links; what is claimed is checked before it is believed."""

import gzip
import io
import os
import shutil
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from scipy import io as scipy_io
from scipy import sparse

import genarium as gn
from genarium.cli import main
from genarium.errors import InputError
from genarium.readers import binary, hdf5, hdf5_child
from genarium.readers.files import existing, present
from genarium.readers.h5ad import read_stored

TABLE = b"cell,a,b\nc1,3,4\nc2,5,6\n"


class Standard:
    """The standard input, holding what is said."""

    def __init__(self, content: bytes, terminal: bool = False) -> None:
        self.buffer, self.terminal, self.closed = io.BytesIO(content), terminal, False

    def isatty(self) -> bool:
        return self.terminal


# Pipes, folders, links


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_table_comes_by_the_standard_input(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(sys, "stdin", Standard(pack(TABLE)))
    out = tmp_path / "t.nc"
    assert main(["read", "nb_mixture", name, "--format", "table", "-o", str(out)]) == 0
    assert gn.load(out)["observed_data"]["x"].to_numpy().tolist() == [[3, 4], [5, 6]]


def test_a_pipe_that_the_shell_has_opened_is_read() -> None:
    if not Path("/dev/fd").exists():
        pytest.skip("this system has no /dev/fd")
    end, start = os.pipe()
    try:
        os.write(start, TABLE)
        os.close(start)
        tree = gn.read("nb_mixture", f"/dev/fd/{end}", "table")
    finally:
        os.close(end)
    assert tree["observed_data"]["x"].shape == (2, 2)


def test_an_error_in_a_stream_names_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Standard(b"cell,a\nc1,3\nc2,3,4\n"))
    with pytest.raises(InputError, match=r"^standard input: line 3 has 3 fields"):
        gn.read("nb_mixture", "-", "table")
    monkeypatch.setattr(sys, "stdin", Standard(b"", terminal=True))
    with pytest.raises(InputError, match="nothing comes by the standard input"):
        gn.read("nb_mixture", "-", "table")
    with pytest.raises(InputError, match="a stream can be read once only"):
        gn.read("nb_mixture", ["-", "/dev/stdin"], "table")


def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")  # nobody writes into it: to open it would take for ever
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name, said in (
        ("pipe.csv", r"a named pipe\. Pass it by the standard input: cat .*pipe\.csv \| genarium \.\.\. -"),
        ("link", "it is a link to .*gone, which is not there"),
        ("circle", "symbolic links"),
        ("absent", "there is no such file. Check the path"),
        ("a\0b", "null"),
        ("x" * 300, "too long"),
    ):
        for run in (
            lambda path: present(path),
            lambda path: gn.load(path),
            lambda path: gn.read("nb_mixture", path, "table"),
            lambda path: gn.read("locus_regression", path, "npz"),
        ):
            with pytest.raises(InputError, match=said):
                run(tmp_path / name)
    with pytest.raises(InputError, match=r"this is not a file, but a folder\. Name the file in it"):
        existing("table", [tmp_path])
    with pytest.raises(InputError, match="a device"):
        present(Path("/dev/zero"))


# Archives of arrays


def corpus(**more: Any) -> dict[str, Any]:
    arrays = {"g": [0, 1], "l": [0, 1], "c": [1, 31], "a": [0, 2], "X": np.ones((2, 3)), "names": ["gc", "dn"]}
    return {**arrays, **more}


def read_corpus(path: Path) -> Any:
    return gn.read("locus_regression", path, "npz")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (corpus(c=["x", "y"]), r"array 'c', entry 0: 'x' is not a whole number from 0 to 31"),
        (corpus(c=[1, 32]), r"array 'c', entry 1: 32 is not a whole number from 0 to 31"),
        (corpus(c=[1, -1]), r"array 'c', entry 1: -1"),
        (corpus(c=[1, 0.5]), r"array 'c', entry 1: 0.5"),
        (corpus(c=[1, np.nan]), r"array 'c', entry 1: nan"),
        (corpus(a=[0, 3]), r"array 'a', entry 1: 3 is not a whole number from 0 to 2"),
        (corpus(a=[0, 1, 2]), r"'c' and 'a' have the shapes \(2,\) and \(3,\)"),
        (corpus(c=1, a=1), r"'c' and 'a' have the shapes \(\) and \(\)"),
        (corpus(names=["gc"]), r"'names' has the shape \(1,\), but there are 2 features"),
        (corpus(names="gc"), r"'names' has the shape \(\), but there are 2 features"),
        (corpus(names=[["gc"], ["dn"]]), r"'names' has the shape \(2, 1\)"),
        (corpus(names=["gc", "gc"]), "'names' has 'gc' more than once"),
        (corpus(names=np.array(["gc", {}], dtype=object)), "array 'names' holds Python objects, not numbers or text"),
        (corpus(X=np.zeros(2, dtype=[("a", "f8")])), "array 'X' holds .*not numbers or text"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "c.npz", **arrays)
    with pytest.raises(InputError, match=said):
        read_corpus(tmp_path / "c.npz")


def header(shape: str, kind: str = "<f8") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n"


@pytest.mark.parametrize(
    "member",
    [
        header("(1000000000000,)") + bytes(80),  # eight terabytes
        header("(11,)") + bytes(80),
        header("(-1,)") + bytes(80),
        header("(2,)", "<f80") + bytes(80),
        header("(" * 3000) + bytes(80),
        b"\x93NUMPY\x07\x00" + bytes(80),
        b"no array",
        b"",
    ],
)
def test_what_an_array_claims_is_checked_first(tmp_path: Path, member: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("X.npy", member)
    with pytest.raises(InputError, match=r"c\.npz: this .*archive of arrays.* fetch it again"):
        binary.npz(tmp_path / "c.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_archives_are_refused(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "c.npz", x=np.arange(300.0))
    whole = (tmp_path / "c.npz").read_bytes()
    turned = bytearray(whole)
    turned[len(whole) // 3] ^= 0xFF
    for content in (whole[:-30], whole[:100], bytes(turned), b"", whole.replace(b"PK\x01\x02", b"PK\x01\x03")):
        (tmp_path / "c.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"c\.npz: this .*archive of arrays"):
            binary.npz(tmp_path / "c.npz")


def test_sound_archives_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "matrix": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar": np.array(3),
        "text": np.array(["a", "bc"]),
        "none": np.empty((0, 4)),
        "big_end": np.arange(3, dtype=">i4"),
        "flags": np.array([True, False]),
    }
    np.savez_compressed(tmp_path / "c.npz", **arrays)
    found = binary.npz(tmp_path / "c.npz")
    assert set(found) == set(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype
        assert found[name].flags.writeable


# Sparse matrices


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "mtx", "mtx.gz"])
def test_sparse_matrices_are_read_as_scipy_reads_them(tmp_path: Path, form: str) -> None:
    rng = np.random.default_rng(1)
    dense = np.where(rng.random((7, 4)) < 0.5, rng.random((7, 4)) * 10.0 ** rng.integers(-200, 200, (7, 4)), 0)
    path = tmp_path / f"m.{form if 'mtx' in form else 'npz'}"
    if "mtx" in form:
        held = io.BytesIO()
        scipy_io.mmwrite(held, sparse.coo_array(dense), precision=17, comment="made here")
        path.write_bytes(gzip.compress(held.getvalue()) if form.endswith("gz") else held.getvalue())
    else:
        sparse.save_npz(path, {"csr": sparse.csr_array, "csc": sparse.csc_array, "coo": sparse.coo_array}[form](dense))
    np.testing.assert_array_equal(binary.sparse_matrix(path).toarray(), dense)


def test_numbers_in_the_order_of_another_machine_are_read(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "data": np.array([0.5, 3], ">f8"),
        "row": np.array([0, 1], ">i4"),
        "col": np.array([1, 0], ">i4"),
    }
    np.savez(tmp_path / "m.npz", format="coo", shape=np.array([2, 2], ">i8"), **arrays)
    np.testing.assert_array_equal(binary.sparse_matrix(tmp_path / "m.npz").toarray(), [[0, 0.5], [3, 0]])


def test_half_precision_is_read_as_single(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"data": np.array([0.5, 3], np.float16), "indices": [1, 0], "indptr": [0, 1, 2]}
    np.savez(tmp_path / "m.npz", format="csr", shape=[2, 2], **arrays)
    np.testing.assert_array_equal(binary.sparse_matrix(tmp_path / "m.npz").toarray(), [[0, 0.5], [3, 0]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 0.5\n2 2 1E-", "entry 2 below line 2 is '2 2 1E-'"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 3\n1 1 0.5\n2 2 1\n", "promises .*3 entries|there are 2"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 0.5\n", "entry 1 lies in row 3, but there are 2"),
        (
            "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 0 0.5\n",
            "entry 1 lies in column 0, but there are 2",
        ),
        (
            "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1.5 0.5\n",
            "entry 1 below line 2 is '1.0 1.5 0.5'|1.5",
        ),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 x y\n", "entry 1 below line 2"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1\n", "entry 1 below line 2|more than the file"),
        ("%%MatrixMarket matrix coordinate real general\n% a\n\n2 2\n", "line 4 is .*numbers of rows"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 99999999\n1 1 1\n", "more than the file holds"),
        ("%%MatrixMarket matrix coordinate real general\n99999999999 2 1\n1 1 1\n", "more than the file holds"),
        ("%%MatrixMarket matrix coordinate real general", "line 2 is ''"),
        ("%%MatrixMarket matrix array real general\n2 2\n1\n1\n1\n1\n", "line 1 says 'matrix array real general'"),
        ("%%MatrixMarket matrix coordinate real symmetric\n2 2 1\n1 1 1\n", "symmetry='general'"),
        (
            "%%MatrixMarket matrix coordinate real general\n2 2 3\n1 1 1\n2 1 1\n1 1 2\n",
            "entry 3 below line 2 lies in row 1, column 1, as an earlier",
        ),
        ("1 2 3\n", "this is not a Matrix Market file"),
    ],
)
def test_damaged_matrix_market_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.mtx").write_text(text)
    with pytest.raises(InputError, match=said):
        binary.sparse_matrix(tmp_path / "m.mtx")


def parts(**more: Any) -> dict[str, Any]:
    one = {"format": b"csr", "shape": [2, 3], "data": [1.0, 2.0], "indices": [0, 2], "indptr": [0, 1, 2]}
    return {**one, **more}


WRONG_PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "index beyond": (parts(indices=[0, 3]), "index 1 is 3, of 3 columns"),
    "index below": (parts(indices=[0, -1]), "index 1 is -1"),
    "falls": (parts(indptr=[0, 2, 1]), "indptr must rise from 0 in 2 steps"),
    "starts late": (parts(indptr=[1, 1, 2]), "indptr must rise from 0"),
    "ends beyond": (parts(indptr=[0, 1, 9]), "indptr ends at 9, but there are 2 indices"),
    "few rows": (parts(indptr=[0, 2]), "2 entries of 3|indptr must rise"),
    "few values": (parts(data=[1.0]), "2 indices and 1 values"),
    "fractions": (parts(indices=[0.5, 1.0]), "whole numbers|list of numbers"),
}


@pytest.mark.parametrize("case", [*WRONG_PARTS, "form", "no shape", "shape", "text"])
def test_sparse_matrices_must_keep_to_their_shape(tmp_path: Path, case: str) -> None:
    more = {
        "form": (parts(format=b"dia"), "the form 'dia', of csr, csc and coo"),
        "no shape": ({k: v for k, v in parts().items() if k != "shape"}, "no array 'shape'"),
        "shape": (parts(shape=[2, 3, 4]), "claims the shape"),
        "text": (parts(data=["a", "b"]), "must be a list of numbers"),
    }
    arrays, said = (WRONG_PARTS | more)[case]
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(InputError, match=said):
        binary.sparse_matrix(tmp_path / "m.npz")


# HDF5


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """An AnnData file with a sparse matrix."""
    import anndata
    import pandas as pd

    obs = pd.DataFrame({"depth": [1.0, 2.0], "state": ["s", "t"]}, index=["c1", "c2"])
    counts = sparse.csr_matrix(np.array([[1.0, 0, 0], [0, 0, 2]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about what anndata does
        made = anndata.AnnData(counts, obs, pd.DataFrame(index=["a", "b", "c"]), obsm={"X_pca": np.eye(2)})
        made.write_h5ad(tmp_path / "s.h5ad")
    return tmp_path / "s.h5ad"


@pytest.mark.parametrize("case", [name for name in WRONG_PARTS if name != "few rows"])
@pytest.mark.parametrize("place", ["X", "obsm/S"])
def test_sparse_matrices_in_anndata_must_keep_to_their_shape(stored: Path, case: str, place: str) -> None:
    arrays, said = WRONG_PARTS[case]
    with h5py.File(stored, "a") as file:
        if place != "X":
            file.copy("X", place)
        for name in ("data", "indices", "indptr"):
            del file[f"{place}/{name}"]
            file[f"{place}/{name}"] = np.array(arrays[name])
    with pytest.raises(InputError, match=rf"s\.h5ad: .*{said}"):
        read_stored(stored, raw=False, matrices=["S"])
    with pytest.raises(InputError, match=r"s\.h5ad: "):
        gn.read("notmad", stored, "h5ad", context="S" if place != "X" else "depth")


@pytest.mark.parametrize("run", ["nb_mixture", "notmad", "perturbation_score", "load"])
def test_damaged_hdf5_files_are_refused(stored: Path, run: str) -> None:
    whole = stored.read_bytes()
    options = {"notmad": {"context": "depth"}, "perturbation_score": {"condition": "state", "state": "state"}}
    damaged = (whole[: len(whole) // 2], whole[:600], whole[:8] + bytes(len(whole) - 8), b"", b"text\n")
    for content in damaged if run == "load" else damaged[:1]:
        stored.write_bytes(content)
        with pytest.raises(InputError, match=r"s\.h5ad: this cannot be read as .* \(.*\)\. .*again"):
            gn.load(stored) if run == "load" else gn.read(run, stored, "h5ad", **options.get(run, {}))


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = [1, 2]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = h5py.ExternalLink("other.h5", "/secret")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        layout = h5py.VirtualLayout(shape=(2,), dtype="i8")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "secret", shape=(2,))
        file.create_virtual_dataset("x", layout)
    for name in ("a", "b"):
        with pytest.raises(InputError, match=r"(is a link to|refers to another file)"):
            hdf5.look_over(tmp_path / f"{name}.h5", "AnnData", "Fetch it again")


def test_a_variable_with_labels_of_more_dims_than_it_has(tmp_path: Path) -> None:
    """Which makes h5netcdf end by a signal, as it asks HDF5 for them."""
    xr.Dataset({"x": (("a", "b"), np.ones((2, 2)))}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with h5py.File(tmp_path / "a.nc", "a") as file:
        labels = file["x"].attrs["DIMENSION_LIST"]
        del file["x"]
        file["x"] = np.ones(4)
        file["x"].attrs.create("DIMENSION_LIST", labels, dtype=h5py.vlen_dtype(h5py.ref_dtype))
    with pytest.raises(InputError, match="/x has 1 dims, and labels of 2"):
        gn.load(tmp_path / "a.nc")


def test_what_a_dataset_claims_is_checked_first(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape=(10**9, 10**3), chunks=(10**5, 10), dtype="f8")  # eight terabytes of nothing
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("x", shape=(10**12,), dtype="f8")
    for name in ("a", "b"):
        with pytest.raises(InputError, match=r"claims the shape \(1000000000"):
            hdf5.look_over(tmp_path / f"{name}.h5", "AnnData", "Fetch it again")


CRASHES = {
    "os.kill(os.getpid(), 11)": "HDF5 ends by SIGSEGV on it",
    "exec('while True: pass')": "HDF5 comes to no end with it",
    "time.sleep(60)": "HDF5 comes to no end with it",
    "sys.exit('no memory')": "HDF5 ends with code 1 on it: no memory",
}


@pytest.fixture
def another_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Yield a function that puts a way to look a file over, an expression, into the process that does it."""
    folder = Path(hdf5_child.__file__).parent

    def put(look: str) -> None:
        hdf5._end()
        (tmp_path / "child.py").write_text(
            f"import os, sys, time; sys.path.insert(0, {str(folder)!r}); import hdf5_child\n"
            f"hdf5_child.look_over = lambda path: {look}\n"
            "hdf5_child.main()\n"
        )
        monkeypatch.setattr(hdf5_child, "__file__", str(tmp_path / "child.py"))

    yield put
    hdf5._end()


@pytest.mark.parametrize("look", [pytest.param(look, marks=[pytest.mark.slow] * ("while" in look)) for look in CRASHES])
def test_a_crash_of_hdf5_is_an_error_of_the_file(
    stored: Path, monkeypatch: pytest.MonkeyPatch, another_child: Callable[[str], None], look: str
) -> None:
    another_child(look)
    monkeypatch.setattr(hdf5, "PATIENCE", 0.3)
    monkeypatch.setattr(hdf5, "STARVED", 1 if "while" not in look else 2)
    with pytest.raises(InputError, match=CRASHES[look]):
        read_stored(stored)
    with pytest.raises(InputError, match=CRASHES[look]):  # the process is there, or there again
        read_stored(stored)


def test_a_process_that_is_not_let_run_is_waited_for(
    stored: Path, monkeypatch: pytest.MonkeyPatch, another_child: Callable[[str], None]
) -> None:
    monkeypatch.setattr(hdf5, "PATIENCE", 0.1)
    another_child("time.sleep(0.5)")
    read_stored(stored)
    stored.touch()
    another_child("time.sleep(0.5); hdf5_child.worked = lambda process: 1.0")
    with pytest.raises(InputError, match="comes to no end"):
        read_stored(stored)


def test_the_process_that_looks_files_over_stays(stored: Path, tmp_path: Path) -> None:
    read_stored(stored)
    first = hdf5._RUNNING[0]
    shutil.copy(stored, tmp_path / "copy.h5ad")
    read_stored(tmp_path / "copy.h5ad")
    assert hdf5._RUNNING[0] is first
    first.kill()
    first.wait()
    shutil.copy(stored, tmp_path / "third.h5ad")
    read_stored(tmp_path / "third.h5ad")
    assert hdf5._RUNNING[0] is not first


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="File name too long"):
        gn.read("nb_mixture", tmp_path / ("x" * 5000), phi=0.3)


def test_a_file_is_looked_over_once(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def ask(path: Path) -> str:
        asked.append(path)
        return ""

    monkeypatch.setattr(hdf5, "_asked", ask)
    for _ in range(3):
        read_stored(stored)
    assert asked == [stored]
    with h5py.File(stored, "a") as file:
        file.attrs["new"] = 1
    read_stored(stored)
    assert asked == [stored] * 2


def test_sound_files_pass(stored: Path, tmp_path: Path) -> None:
    fit = gn.fit("nb_mixture", gn.simulate("nb_mixture", seed=1, cell=5, component=2), "em", restarts=1)
    path = gn.save(fit, tmp_path / "t.nc")
    copy = tmp_path / "copy.nc"
    copy.write_bytes(path.read_bytes())
    xr.testing.assert_identical(gn.load(copy), fit)
    assert read_stored(stored).counts.toarray().tolist() == [[1, 0, 0], [0, 0, 2]]


def test_what_was_written_here_is_not_looked_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_asked", lambda path: "looked over")
    path = gn.save(gn.simulate("nb_mixture", seed=1, cell=5), tmp_path / "t.nc")
    assert gn.load(path)["observed_data"].sizes["cell"] == 5
    (tmp_path / "copy.nc").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="looked over"):
        gn.load(tmp_path / "copy.nc")


# Compressed text and Parquet


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "parquet"])
def test_damaged_tables_are_refused(tmp_path: Path, ending: str) -> None:
    import bz2
    import lzma

    import pandas as pd

    path = tmp_path / f"t.csv.{ending}" if ending != "parquet" else tmp_path / "t.parquet"
    if ending == "parquet":
        pd.read_csv(io.BytesIO(TABLE)).to_parquet(path)
    else:
        path.write_bytes({"gz": gzip, "bz2": bz2, "xz": lzma}[ending].compress(TABLE * 50))
    whole = path.read_bytes()
    turned = bytearray(whole)
    turned[len(whole) // 2 : len(whole) // 2 + 8] = bytes(8)
    sums = [bytes(turned)] if ending != "parquet" else []  # it may have none
    for content in (whole[:-9], whole[:20], *sums, b"", bytes(200)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=path.name):
            gn.read("nb_mixture", path, "table")


def blocks(*parts: bytes) -> bytes:
    """Compress parts of a text as bgzip does, a block each, without the empty one at the end."""
    out = b""
    for part in parts:
        packer = zlib.compressobj(wbits=-15)
        body = packer.compress(part) + packer.flush()
        head = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff\x06\0BC\x02\0" + struct.pack("<H", len(body) + 25)
        out += head + body + struct.pack("<II", zlib.crc32(part), len(part))
    return out


@pytest.mark.parametrize(
    ("name", "model", "form", "text"),
    [
        ("t.csv.gz", "nb_mixture", "table", TABLE),
        ("a.tsv.gz", "mendelian_randomization", "traits", b"SNP\tA1\tA2\tBETA\tSE\nr\tA\tC\t.1\t.2\nq\tA\tC\t.1\t.2\n"),
        ("eq_classes.txt.gz", "transcript_abundance", "salmon", b"1\n2\nt\n1\t0\t1\t5\n1\t0\t1\t7\n"),
    ],
)
def test_a_file_of_bgzip_needs_its_last_block(tmp_path: Path, name: str, model: str, form: str, text: bytes) -> None:
    folder = tmp_path / "aux_info"
    folder.mkdir()
    (tmp_path / "quant.sf").write_text("Name\tLength\tEffectiveLength\tTPM\tNumReads\nt\t9\t9\t1\t12\n")
    path, other = folder / name, folder / "b.tsv"
    other.write_bytes(text)
    files = [path, other] if form == "traits" else [path]
    end = len(text) - len(text.splitlines(keepends=True)[-1])
    whole = blocks(text[:end], text[end:], b"")
    path.write_bytes(whole)
    assert gzip.decompress(whole) == text
    gn.read(model, files, form)
    path.write_bytes(blocks(text[:end]))
    with pytest.raises(InputError, match=f"{name}.*its last block is missing"):
        gn.read(model, files, form)
