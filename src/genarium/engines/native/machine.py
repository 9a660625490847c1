"""From the text of functions to machine code, and from machine code to functions that can be called."""

import ctypes
import hashlib
import platform
from functools import cache
from importlib import import_module
from typing import Any

from genarium.engines.native.code import Code, Unsupported

SCIPY = {
    "genarium_gammaln": ("scipy.special.cython_special", ("gammaln",)),
    "genarium_psi": ("scipy.special.cython_special", ("__pyx_fuse_1psi", "psi")),
    "genarium_erf": ("scipy.special.cython_special", ("__pyx_fuse_1erf", "erf")),
    "genarium_erfc": ("scipy.special.cython_special", ("__pyx_fuse_1erfc", "erfc")),
    "genarium_erfcx": ("scipy.special.cython_special", ("__pyx_fuse_1erfcx", "erfcx")),
    "genarium_dgemm": ("scipy.linalg.cython_blas", ("dgemm",)),
    "genarium_dgetrf": ("scipy.linalg.cython_lapack", ("dgetrf",)),
    "genarium_dgetri": ("scipy.linalg.cython_lapack", ("dgetri",)),
    "genarium_dpotrf": ("scipy.linalg.cython_lapack", ("dpotrf",)),
}
"""Functions of SciPy, each by its module and the names it may have there."""

_SYSTEM = (
    "exp exp2 log log2 log10 log1p expm1 pow sqrt sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh floor "
    "ceil trunc fmod fma fmin fmax memcpy memmove memset malloc free expf logf powf sqrtf fmaxf fminf"
)
SYSTEM = tuple(_SYSTEM.split())
"""Functions of the C library that LLVM may call."""


@cache
def _llvm() -> Any:
    """LLVM, ready for this machine."""
    llvm: Any = import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@cache
def _features() -> str:
    try:
        return str(_llvm().get_host_cpu_features().flatten())
    except RuntimeError:  # a platform on which LLVM does not know
        return ""


def _target() -> Any:
    """Return what compiles for this machine; each engine takes one of its own."""
    llvm = _llvm()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=_features(),
        opt=3,
        jit=True,
        codemodel="jitdefault",
    )


@cache
def identity() -> str:
    """Return what machine code made here depends on besides the text of the functions."""
    llvm = _llvm()
    features = hashlib.sha256(_features().encode()).hexdigest()[:16]
    return " ".join(
        [
            platform.system(), llvm.get_default_triple(), llvm.get_host_cpu_name(), features,
            ".".join(map(str, llvm.llvm_version_info)),
        ]
    )  # fmt: skip


def function(name: str, signature: str, code: Code) -> str:
    """Return the text of a function whose body returns the name of a number, ``%result``."""
    lines = [
        f"define i64 @{name}({signature}) {{",
        "entry:",
        "  %failed = alloca i64",
        "  store i64 0, ptr %failed",
        *code.head,
        *code.body(),
        "  ret i64 %result",
        "}",
    ]
    return "\n".join(lines)


def assembled(functions: list[str], declared: dict[str, str]) -> bytes:
    """Return the machine code of functions.

    Parameters
    ----------
    functions : list of str
    declared : dict of str to str
        Declarations of what they call.

    Returns
    -------
    bytes
        An object file.

    Raises
    ------
    Unsupported
        If LLVM does not take it.
    """
    llvm = _llvm()
    text = "\n".join([*declared.values(), *functions])
    try:
        module = llvm.parse_assembly(text)
        module.verify()
        target = _target()
        module.triple, module.data_layout = llvm.get_default_triple(), str(target.target_data)
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = options.slp_vectorization = True
        builder = llvm.create_pass_builder(target, options)
        builder.getModulePassManager().run(module, builder)
        return bytes(target.emit_object(module))
    except (RuntimeError, AttributeError) as error:
        raise Unsupported(f"LLVM: {error}") from error


class Loaded:
    """Functions of an object file, ready to be called.

    Parameters
    ----------
    machine_code : bytes
    calls : list of str
        What they call in SciPy.
    """

    def __init__(self, machine_code: bytes, calls: list[str]) -> None:
        llvm = _llvm()
        for name in calls:
            if name in SCIPY:
                llvm.add_symbol(name, _capsule(*SCIPY[name]))
        _with_system()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(machine_code))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Return a function's address."""
        return int(self._engine.get_function_address(name))


@cache
def _with_system() -> None:
    """Make sure that LLVM finds the C library: it ends the process where it does not."""
    llvm = _llvm()
    if platform.system() == "Windows":
        raise Unsupported("there is no one C library to take functions from")
    library = ctypes.CDLL(None)
    for name in SYSTEM:
        if llvm.address_of_symbol(name) is None:
            found = getattr(library, name, None)
            if found is None:
                raise Unsupported(f"{name} is not in the C library")
            llvm.add_symbol(name, ctypes.cast(found, ctypes.c_void_p).value)


@cache
def _capsule(module: str, names: tuple[str, ...]) -> int:
    """Address of a function that a Cython module exports."""
    table = import_module(module).__pyx_capi__
    capsule = next((table[name] for name in names if name in table), None)
    if capsule is None:
        raise Unsupported(f"{module} has no {names[0]}")
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(pointer_of(capsule, name_of(capsule)))
