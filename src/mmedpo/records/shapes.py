"""Shapes of arrays and the conventions behind them, named once.

Image arrays are `[row, column]`. A box is `(x0, y0, x1, y1)` in pixels of the original image, x to the
right, y down, upper bounds exclusive. Heatmaps and masks have the height and width of the original
image. *Left* and *right* in any text are the **patient's**: a frontal radiograph shows the patient's
right lung on the left of the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""[H, W] grey or [H, W, 3] RGB, 0..255."""

Heatmap = NDArray[np.float32]
"""[H, W], 0..1."""

Mask = NDArray[np.bool_]
"""[H, W], True = lesion."""

Floats = NDArray[np.float64]
"""Numbers of any shape, as the function that takes them says."""
