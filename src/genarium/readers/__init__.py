"""Parts that the models' readers are made of: files in, labelled matrices out.

A *reader* is what a model declares for a file format (``Model.readers``); it takes the model's variables from here.
:mod:`genarium.read` is something else: the verb that runs a reader and checks what it returns against the declaration.

A reader is given regular files and folders only: :mod:`genarium.readers.streams` has put a file in the place of a
stream, and refused what is neither. The readers of binary formats, :mod:`genarium.readers.binary` (``.npz``, Matrix
Market) and :mod:`genarium.readers.h5ad`, believe nothing that a file claims of itself before it is checked. HDF5 files
are looked over in a process of its own (:mod:`genarium.readers.hdf5`).

What is wrong with a file (its form, its names, text among numbers) is said here, with its place and the remedy. What
is wrong with a value (negative, fractional, missing) is left to that check, which names row and column.

Messages take for granted that a reader's options are called after what its matrix is of (``cells=``, ``genes=``; see
:class:`genarium.readers.matrix.Terms`), that ``drop=`` leaves columns of a table out and ``layer=`` chooses an AnnData
layer, and that the formats are called ``table`` and ``h5ad``. What messages quote of a call is marked
(:mod:`genarium.remedies`), so that the command line shows it in its own words.

A reader says by :func:`genarium.readers.formats.takes` which files it takes; its docstring is what ``genarium show``
tells of its options.
"""
