"""What can go wrong, as three exceptions; every message says where, what and the remedy."""


class GenariumError(Exception):
    """Base of every error that Genarium raises on purpose."""


class DeclarationError(GenariumError):
    """A model's declaration contradicts itself (the author's mistake, found at import)."""


class InputError(GenariumError, ValueError):
    """Data, a size or an option given by the user cannot be used as it is."""
