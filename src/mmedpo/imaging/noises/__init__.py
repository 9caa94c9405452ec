"""Kinds of noise, one registered file each: what a region of an image becomes on the rejected side of a visual pair."""

from mmedpo.imaging.noises.noise import Noise, blend, replace, standard_normal

__all__ = ["Noise", "blend", "replace", "standard_normal"]
