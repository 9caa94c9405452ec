"""Families of Med-LVLMs, one small file each, registered by the `model_type` of their configuration.

A family says what differs from model to model (`mmedpo.models.family`): prompts, image tokens, extra
inputs, positions, what a token sees. Everything else is written once, in `models/` and `engine/`.
"""
