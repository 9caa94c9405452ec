"""Checkpoints and devices that a recipe names: there, or one line."""

from __future__ import annotations

import pytest

from mmedpo.errors import ModelError
from mmedpo.models.checkpoints import checkpoint_path
from mmedpo.models.devices import device_of


@pytest.mark.parametrize("name", ["", "a\0b", "/nosuch", "~no-such-user/x", "/dev/null", "..", "x" * 5000])
def test_a_name_that_is_no_checkpoint_is_one_short_line(name: str) -> None:
    with pytest.raises(ModelError, match="no checkpoint at") as caught:
        checkpoint_path(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("there", "says"), [(0, "no CUDA device"), (2, "are 0 to 1")])
def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch, there: int, says: str) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: there > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: there)
    assert device_of("cpu") == "cpu"
    assert device_of("auto") == ("cuda:0" if there else "cpu")
    with pytest.raises(ModelError, match=says):
        device_of("cuda:2")
