"""The verbs: one a file, each what a user does with a model, its data or a fit."""
