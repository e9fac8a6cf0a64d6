"""Which device is taken, and that nothing asks for float64 of one that has none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from openjepa.common import distributed
from openjepa.common.distributed import exact_device, local_device, wide
from openjepa.errors import UserError
from openjepa.recipes import build, configure
from openjepa.training.precision import computes_in_bf16

There = Callable[..., None]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> There:
    """Which devices there seem to be."""
    for name in ("OPENJEPA_DEVICE", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)

    def seem(cuda: bool = False, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return seem


def test_apples_is_taken_where_there_is_no_other(there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    there(mps=True)
    assert local_device().type == "mps" and exact_device().type == "cpu"
    there(cuda=True, mps=True)
    assert local_device() == torch.device("cuda", 0) == exact_device()
    there()
    assert local_device().type == "cpu"
    there(mps=True)
    monkeypatch.setenv("WORLD_SIZE", "2")  # gloo has no tensors of Apple's
    assert local_device().type == "cpu"


def test_a_device_can_be_named(there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    there(cuda=True, mps=True)
    for name in ("cpu", "mps", "cuda"):
        monkeypatch.setenv("OPENJEPA_DEVICE", name)
        assert local_device().type == name
    monkeypatch.setenv("OPENJEPA_DEVICE", "auto")
    assert local_device().type == "cuda"
    there(mps=True)
    for name in ("cuda", "tpu"):
        monkeypatch.setenv("OPENJEPA_DEVICE", name)
        with pytest.raises(UserError, match=f"OPENJEPA_DEVICE is '{name}': here there are mps, cpu"):
            local_device()


def test_bf16_is_not_chosen_by_another_devices_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert computes_in_bf16(torch.device("cpu")) and not computes_in_bf16(torch.device("mps"))


class NoFloat64(TorchDispatchMode):
    """The meta device as one without float64: whatever makes such a tensor there is a mistake."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for value in found if isinstance(found, tuple | list) else [found]:
            if isinstance(value, torch.Tensor) and value.device.type == "meta":
                assert value.dtype != torch.float64, f"{func} makes float64"
        return found


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """`meta` has no float64, and what comes to the CPU from it are zeros: it holds no numbers."""
    monkeypatch.setattr(distributed, "NARROW", frozenset({"meta"}))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: torch.zeros(self.shape, dtype=self.dtype))


def test_the_mode_sees_float64() -> None:
    with NoFloat64(), pytest.raises(AssertionError, match="makes float64"):
        torch.zeros(2, device="meta").double()


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("recipe", "preset", "shape"),
    [("i-jepa", "tiny-vit", (4, 1, 28, 28)), ("v-jepa-2", "tiny", (2, 8, 3, 72, 96))],
)
def test_an_encoder_asks_for_no_float64(recipe: str, preset: str, shape: tuple[int, ...]) -> None:
    model = build(configure(recipe, preset), 0).to("meta")
    with NoFloat64():
        assert model.encoder(model.whole(torch.zeros(shape, dtype=torch.uint8))).device.type == "meta"


@pytest.mark.usefixtures("narrow")
def test_what_needs_float64_goes_to_the_cpu() -> None:
    found = wide(torch.zeros(3, device="meta"))
    assert found.device.type == "cpu" and found.dtype == torch.float64
