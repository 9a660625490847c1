"""Densities as machine code that is kept on disk: from a PyTensor graph of known shapes to LLVM, and nothing between.

Numba compiles each operation of a graph as a function of its own, for arrays of any shape: half a minute for a mixture.
Here the shapes are known, so that a graph is a sequence of plain loops. Their text is written (``code``, ``scalars``,
``arrays``, ``parts``, ``linear``), LLVM makes machine code of it (``machine``), it is compared with PyTensor's own
evaluation (``writing``), and the ``program`` is ``kept`` for the next process, which then needs neither PyTensor nor
PyMC. A density with an operation that has no code here (see ``operations``) is compiled as before.
"""
