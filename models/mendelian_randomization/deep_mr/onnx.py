"""Networks in ONNX, run by ONNX Runtime (extra ``onnx``)."""

from pathlib import Path
from typing import Any

import numpy as np

from genarium.declaration import Array
from genarium.errors import InputError

SAME = 1e-5
"""How far outputs of the same sequence may be apart, relative to the largest."""


class OnnxNetwork:
    """A network in ONNX, as a callable from (B, L, 4) to one of its outputs.

    Parameters
    ----------
    path : path
    output : str, optional
        Needed where there are several.
    bases : str
        Order of the bases in its input.

    Attributes
    ----------
    length : int or None
        Of sequences, where the file fixes it.

    Raises
    ------
    InputError
        If ONNX Runtime is not installed or cannot read the file, or the input is no sequence.
    """

    def __init__(self, path: str | Path, output: str | None = None, *, bases: str = "ACGT") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(
                "deep_mr: networks in ONNX need ONNX Runtime. Install it: pip install 'genarium[onnx]'."
            ) from error
        self.source = str(path)
        if not Path(path).is_file():
            raise InputError(f"{path}: there is no such file. Check the path.")
        how = onnxruntime.SessionOptions()
        how.log_severity_level = 4
        try:
            self.session = onnxruntime.InferenceSession(str(path), how, providers=["CPUExecutionProvider"])
        except Exception as error:  # whose classes are the runtime's own
            told = " ".join(str(error).split())[:200]
            raise InputError(
                f"{path}: ONNX Runtime cannot use this file ({told}). Export it again, in single precision; weights in "
                "a file of their own (.onnx.data) must lie beside it, whole."
            ) from error
        inputs, outputs = self.session.get_inputs(), [one.name for one in self.session.get_outputs()]
        if len(inputs) != 1:
            told = ", ".join(repr(one.name) for one in inputs)
            raise InputError(
                f"{path}: inputs {told} are {len(inputs)}, but a sequence is one only. Export it with one."
            )
        if output is None and len(outputs) > 1:
            told = ", ".join(map(repr, outputs))
            raise InputError(f"{path}: the network has outputs {told}. Choose one: output={outputs[0]!r}.")
        if output is not None and output not in outputs:
            raise InputError(f"{path}: there is no output {output!r}; the outputs are {', '.join(outputs)}.")
        self.output = output or outputs[0]
        self.order = ["ACGT".index(base) for base in bases]
        shape = [n if isinstance(n, int) else None for n in inputs[0].shape]
        axes = [axis for axis in range(1, len(shape)) if shape[axis] == 4]
        if len(axes) != 1 or not 3 <= len(shape) <= 4 or (len(shape) == 4 and 1 not in shape[1:]):
            raise InputError(
                f"{path}: the input has shape {inputs[0].shape}, but must be a sequence, (B, 4, L) or (B, L, 4). "
                "Export it so, with the 4 (and no other 4) fixed."
            )
        self.name, self.bases_axis = inputs[0].name, axes[0]
        self.unit = shape.index(1, 1) if len(shape) == 4 else None
        self.fixed = shape[0]
        along = [n for axis, n in enumerate(shape) if axis not in (0, self.bases_axis, self.unit)]
        self.length: int | None = along[0]
        kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
        if inputs[0].type not in kinds:
            raise InputError(
                f"{path}: the input is of {inputs[0].type}, but must be of numbers with a point. Export it for float32."
            )
        self.kind: Any = kinds[inputs[0].type]
        self._tried: set[int] = set()

    def __call__(self, x: Array) -> Array:
        """Predict: (B, L, 4) to the output as it is, (B, ...)."""
        if self.length is not None and x.shape[1] != self.length:
            raise InputError(
                f"{self.source}: the network takes sequences of {self.length} bases, but they have {x.shape[1]}. "
                f"Cut windows of {self.length}."
            )
        if not len(x):
            raise InputError(f"{self.source}: there is no sequence to predict. Give one or more.")
        given = self._given(x)
        step = self.fixed or len(given)
        if extra := -len(given) % step:  # a file that fixes how many takes no fewer
            given = np.concatenate([given, np.zeros((extra, *given.shape[1:]), dtype=self.kind)])
        parts = [self._run(given[low : low + step]) for low in range(0, len(given), step)]
        if x.shape[1] not in self._tried:
            self._try(x)
            self._tried.add(x.shape[1])
        return np.asarray(np.concatenate(parts)[: len(x)])

    def _given(self, x: Array) -> Array:
        """Return sequences, (B, L, 4), as the file's input has them."""
        given = np.asarray(x, dtype=self.kind)[..., self.order]
        before = self.unit is not None and self.unit < self.bases_axis
        if self.bases_axis - before == 1:
            given = given.transpose(0, 2, 1)
        if self.unit is not None:
            given = np.expand_dims(given, self.unit)
        return given

    def _try(self, x: Array) -> None:
        """Reject a network that says another thing of a sequence the next time, or beside other sequences."""
        B = self.fixed or 2
        kept = (B + 1) // 2
        x = x[np.arange(B) % len(x)]
        first = self._run(self._given(x))[:kept].astype(float)
        x[kept:] = 0
        off = np.abs(self._run(self._given(x))[:kept].astype(float) - first)
        if (off > SAME * np.abs(first).max()).any():
            raise InputError(
                f"{self.source}: output {self.output!r} of a sequence changes by up to {off.max():.2g} from one run to "
                "the next, or with the sequences beside it: dropout or batch normalisation is in training mode, say. "
                "Export the network for inference (model.eval() in PyTorch)."
            )

    def _run(self, given: Array) -> Array:
        try:
            found = self.session.run([self.output], {self.name: given})[0]
        except Exception as error:  # whose classes are the runtime's own
            told = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.source}: ONNX Runtime cannot run the network on an input of shape {given.shape} ({told}). Give "
                "sequences of the length that it was made for."
            ) from error
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiub" or found.shape[:1] != given.shape[:1]:
            shape = getattr(found, "shape", type(found).__name__)
            raise InputError(
                f"{self.source}: of {len(given)} sequences output {self.output!r} is {shape}, but must be numbers, a "
                "row for each. Choose another output=, or export it so."
            )
        return found
