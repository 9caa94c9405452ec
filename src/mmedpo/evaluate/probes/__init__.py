"""Probes: what is measured of a model beside its answers, one registered file each. No torch until one measures."""

from mmedpo.evaluate.probes.probe import Prepared, Probe, Subject, Workplace, prober, probes_of

__all__ = ["Prepared", "Probe", "Subject", "Workplace", "prober", "probes_of"]
