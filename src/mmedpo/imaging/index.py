"""Indexing images: hashed and decoded once each, on all cores, without holding pixels in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from mmedpo.errors import ImageError
from mmedpo.imaging.images import MAX_PIXELS, index_image
from mmedpo.progress import Advance
from mmedpo.records import ImageRef
from mmedpo.storage.remote import READERS, RemotePath

_AHEAD = 4
"""Images per thread that are handed to the pool at a time."""


class ImageIndex(NamedTuple):
    """The images of a dataset, each decoded once."""

    images: dict[str, ImageRef]
    """Relative path to reference, for every usable image."""
    failures: dict[str, str]
    """Relative path to what is wrong, for every other one."""


def index_images(
    root: Path,
    paths: Iterable[str],
    *,
    max_pixels: int = MAX_PIXELS,
    burned_in: bool = True,
    workers: int = 0,
    progress: Advance | None = None,
) -> ImageIndex:
    """Hashes and decodes every distinct image once, in threads (decoding releases the interpreter lock).

    Args:
        root: folder of the dataset.
        paths: relative paths; repeated ones (many questions share an image) cost nothing.
        max_pixels: largest image that is decoded.
        burned_in: False refuses DICOM files that say text is burned into their pixels.
        workers: threads; 0 for one per core.
        progress: called after every image.
    """
    distinct = list(dict.fromkeys(paths))
    found: dict[str, ImageRef] = {}
    failed: dict[str, str] = {}
    threads = workers if workers > 0 else max(os.cpu_count() or 1, READERS if isinstance(root, RemotePath) else 1)
    pool = ThreadPoolExecutor(max_workers=threads)
    waiting = iter(distinct)
    running: dict[Future[ImageRef], str] = {}
    try:
        for done in range(1, len(distinct) + 1):
            # A window, not all at once: what waits in the pool would outweigh the index itself.
            for path in islice(waiting, _AHEAD * threads - len(running)):
                running[pool.submit(index_image, root, path, max_pixels=max_pixels, burned_in=burned_in)] = path
            future = next(as_completed(running))
            path = running.pop(future)
            try:
                found[path] = future.result()
            except ImageError as error:
                failed[path] = str(error)
            if progress is not None:
                progress(done, len(distinct))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for thousands of images
    return ImageIndex(
        images={path: found[path] for path in distinct if path in found},
        failures={path: failed[path] for path in distinct if path in failed},
    )
