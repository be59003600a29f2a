"""Harmonize: a micrometre, a gene and a count mean the same in every section."""
