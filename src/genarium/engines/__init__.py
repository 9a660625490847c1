"""Inference engines: the shared ascent loop, chains of purpose-built samplers, PyMC and Stan."""
