"""What every model owes, as tests: of a model of the zoo, or of your own.

``pytest --pyargs genarium.testing --model ./my_model`` runs them for one model, given as ``genarium.get`` takes it;
without ``--model``, for every model that is installed.
"""
