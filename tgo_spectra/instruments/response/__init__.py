"""Instrument operators: from spectral nodes to what each pixel sees."""
