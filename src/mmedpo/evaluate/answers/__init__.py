"""Files of answers that other programs made, one file for each layout.

A layout turns one row into a `GivenAnswer` (`given.py`); `mmedpo.evaluate.joining` finds the question it answers.
"""
