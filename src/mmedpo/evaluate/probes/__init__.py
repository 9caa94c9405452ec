"""Probes: what is measured of a model beside its answers, one registered file each. No torch until one measures."""

from mmedpo.evaluate.probes.probe import Measured, Probe, Subject, probes_of

__all__ = ["Measured", "Probe", "Subject", "probes_of"]
