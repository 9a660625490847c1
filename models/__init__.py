"""The zoo: one folder a model."""
