"""Kinds of language models, one file each; the registry loads them when a recipe asks for one."""
