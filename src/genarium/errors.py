"""What can go wrong, as exceptions; every message says where, what and the remedy."""

from genarium.remedies import in_python, in_shell


class GenariumError(Exception):
    """Base of every error that Genarium raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong and what to do; remedies in it may be marked (:mod:`genarium.remedies`).

    Attributes
    ----------
    marked : str
        The message with these marks, for an error that quotes it.
    in_shell : str
        The message as the command line shows it; ``str(error)`` is that for Python.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(in_python(message))
        self.marked = message
        self.in_shell = in_shell(message)


class DeclarationError(GenariumError):
    """A model's declaration contradicts itself (the author's mistake, found at import)."""


class InputError(GenariumError, ValueError):
    """Data, a size or an option given by the user cannot be used as it is."""


class ApproximationError(GenariumError):
    """An approximation is too far from the posterior to be corrected; ``khat`` says how far."""

    def __init__(self, message: str, khat: float) -> None:
        super().__init__(message)
        self.khat = khat
