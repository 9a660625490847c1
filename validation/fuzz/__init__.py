"""Fuzzing: damaged and odd inputs through every reader and verb, judged by parsers that are independent of Genarium.

A *case* (:mod:`validation.fuzz.case`) is a few files and options, made from a seed and a number alone. It runs in a
child process under limits of time and memory (:mod:`validation.fuzz.pool`). What Genarium refuses must be refused by an
error of its own that names the file; what it accepts is compared with what another parser reads there.
"""
