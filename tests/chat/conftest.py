"""A real model server for the tests of the chat."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chat.model_server import ModelServer, serving


@pytest.fixture(scope="session")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """`transformers serve` with tiny checkpoints; `model_server.model(text)` is the name of one that answers `text`."""
    with serving(tmp_path_factory.mktemp("model_server")) as server:
        yield server
