"""Any public sequence model as a member of an ensemble: one loader for all kinds of files."""

import operator
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

from .architectures import torch_network
from .cone import Cone
from .keras import keras_network
from .network import Network
from .onnx import OnnxNetwork
from .sequence import mutants

SUFFIXES = {
    ".h5": "keras", ".hdf5": "keras", ".keras": "keras", ".onnx": "onnx",
    ".pth": "torch", ".pt": "torch", ".pkl": "torch", ".ckpt": "torch", ".torch": "torch",
}  # fmt: skip


class SequenceNetwork:
    """A loaded network: a callable from (B, 4, L) to (B, T), that knows a fast way to predict mutants.

    Attributes
    ----------
    length : int or None
        Of sequences, where the network takes those of one length only.
    """

    def __init__(self, network: Network | OnnxNetwork, positions: Array | None, columns: Array | None) -> None:
        self.network, self.positions, self.columns = network, positions, columns
        self.length = network.length
        self._cones: dict[int, Cone] = {}

    def __call__(self, x: Array) -> Array:
        """Predict: (B, 4, L) to (B, T)."""
        out = self.network(np.asarray(x, dtype=float).transpose(0, 2, 1))
        if self.positions is not None:
            self._inside(out.shape[1] if out.ndim > 2 else None)
            out = out[:, self.positions]
        return self._outputs(out)

    def mutations(self, sequence: Array, start: int, stop: int) -> tuple[Array, Array]:
        """Return outputs of a sequence, (1, T), and of its mutants, (1, 3, stop - start, T)."""
        x = np.asarray(sequence, dtype=float).T
        if isinstance(self.network, OnnxNetwork):
            reference = self(sequence[None])
            found = np.concatenate([self(block) for block in mutants(sequence, start, stop, 256)])
            return reference, found.reshape(1, 3, stop - start, -1)
        cone = self._cone(len(x))
        reference, mutated = cone.mutations(x, start, stop)
        return self._outputs(reference[None]), self._outputs(mutated.reshape(-1, *reference.shape)).reshape(
            1, 3, stop - start, -1
        )

    def _cone(self, length: int) -> Cone:
        """Return what is known of sequences of a length; kept, since it is the same for all of them."""
        assert isinstance(self.network, Network)
        if length not in self._cones:
            if self.positions is not None:
                self._inside(self.network.shapes(length)[self.network.output][0])
            self._cones = {length: Cone(self.network, length, self.positions)}
        return self._cones[length]

    def _inside(self, n: int | None) -> None:
        assert self.positions is not None
        if n is None:
            raise InputError(
                f"{self.network.source}: the output has no positions, so positions= has no use. Leave it out."
            )
        if self.positions[-1] >= n:
            raise InputError(f"{self.network.source}: position {self.positions[-1]} is beyond the output's {n}.")

    def _outputs(self, out: Array) -> Array:
        """Take the chosen outputs, (B, T), of (B, F) or (B, P, F)."""
        if out.ndim > 2:
            if self.positions is None and isinstance(self.network, Network):
                raise InputError(
                    f"{self.network.source}: the output has {out.shape[1]} positions of {out.shape[2]} channels. "
                    "Choose positions=, or another output=."
                )
            out = out.reshape(len(out), -1)
        if out.ndim == 1:
            out = out[:, None]
        if self.columns is None:
            return np.asarray(out)
        if self.columns.max() >= out.shape[1]:
            raise InputError(
                f"{self.network.source}: there is no output {int(self.columns.max())}: "
                f"it has {out.shape[1]} numbers, from 0."
            )
        return np.asarray(out[:, self.columns])


def load_network(
    path: str | Path,
    output: str | None = None,
    *,
    columns: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    inputs: Mapping[str, Any] | None = None,
    bases: str | None = None,
    **options: Any,
) -> SequenceNetwork:
    """Load a sequence model from its file, without its framework; nothing that the file says is run.

    Parameters
    ----------
    path : path
        Keras 2 or 3 (``.h5``, ``.keras``: chrombpnet, basepairmodels, mmsplice, SpliceAI ...), weights of PyTorch of
        known architectures (DeepSEA, Beluga, Sei, BPNet and ChromBPNet in PyTorch), or ONNX (``.onnx``, extra
        ``onnx``).
    output : str, optional
        Layer whose output is wanted, where the model has several (``logcount_predictions`` of chrombpnet).
    columns : sequence of int, optional
        Numbers of that output, the T outputs of the ensemble; default: all.
    positions : sequence of int, optional
        Of an output along the sequence; its T outputs are the channels of one after the other.
    inputs : mapping, optional
        What inputs besides the sequence get (Keras): a number or an array, or a pair (start, stop), a part of the
        sequence.
    bases : str, optional
        Order of the bases in the input; default: "ACGT", in weights of PyTorch that of the architecture.
    **options
        Of an architecture (``trimming`` and ``preactivation`` of BPNet, see :func:`torch_network`).

    Returns
    -------
    SequenceNetwork
        A member for :func:`mutagenise` and :func:`deep_mr`; a list of them is an ensemble.

    Raises
    ------
    InputError
        If the file is damaged or of another kind, or needs a layer that is not understood (it is named).
    """
    path = Path(path)
    if bases is not None and sorted(bases) != list("ACGT"):
        raise InputError(f"deep_mr: bases={bases!r} is not an order of the four bases. Give ACGT, say, or AGCT.")
    kind = _kind(path)
    network: Network | OnnxNetwork
    if kind != "torch" and options:
        raise InputError(f"{path}: option {next(iter(options))!r} is of weights of PyTorch only. Leave it out.")
    if kind == "onnx" and positions is not None:
        raise InputError(
            f"{path}: positions= has no use, since ONNX does not say which dim of an output is along the sequence. "
            "Give columns=, numbers of the flattened output."
        )
    if kind != "keras" and inputs:
        raise InputError(f"{path}: inputs= is for models of Keras only. Leave it out.")
    if kind == "keras":
        network = keras_network(path, output, inputs=inputs, bases=bases or "ACGT")
    elif kind == "onnx":
        network = OnnxNetwork(path, output, bases=bases or "ACGT")
    else:
        if bases is not None:
            raise InputError(f"{path}: the architecture says the order of its bases. Leave bases= out.")
        network = torch_network(path, output, **options)
    return SequenceNetwork(network, _numbers("positions", positions, True), _numbers("columns", columns, False))


def _numbers(name: str, given: Sequence[int] | None, increasing: bool) -> Array | None:
    if given is None:
        return None
    try:
        found = np.array([operator.index(one) for one in given], dtype=int)
    except TypeError:
        raise InputError(f"deep_mr: {name}={given!r} are not whole numbers. Give a list of them, from 0.") from None
    if not len(found) or found.min() < 0 or (increasing and (np.diff(found) <= 0).any()):
        raise InputError(f"deep_mr: {name}={list(given)} must be numbers from 0{', increasing' if increasing else ''}.")
    return found


def _kind(path: Path) -> str:
    """Tell the kind of a file by how it begins, or else by its name."""
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise InputError(f"{path}: this cannot be read ({error.strerror}). Check the path.") from error
    if head.startswith(b"\x89HDF"):
        return "keras"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "keras" if "config.json" in archive.namelist() else "torch"
    if head[:1] == b"\x80":
        return "torch"
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(SUFFIXES)
        raise InputError(f"{path}: neither its first bytes nor its name ({known}) are those of a known format.")
    return kind
