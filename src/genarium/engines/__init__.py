"""Inference engines: the shared ascent loop, chains of hand-coded samplers, PyMC and Stan."""
