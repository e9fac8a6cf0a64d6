"""A trained model as one file that runs without this library: ONNX, or a `torch.export` program.

What goes in is what a user's array has (bytes of pictures and clips, microvolts of recordings), any number of samples
of the training size; scaling and normalising are inside. What comes out are the features of `JEPA.embed`, `[B, D]`, and
of a fine-tuned model its answers: `probabilities` `[B, K]`, or `variables` `[B, V]` in their units.
"""

import copy
import json
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from openjepa.common.files import library_version, reason
from openjepa.errors import UserError, first_line
from openjepa.jepa import FeatureModel, View, mean_of
from openjepa.nets.positions import PairwisePositions

Format = Literal["onnx", "torch"]
SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}
NEAR = 1e-4
"""Largest difference from the model's own features, as a share of the largest of these, or of 1."""
ONE_FILE = 1_500_000_000
"""Bytes of weights up to which ONNX holds them in the file itself: its format ends at 2 GB."""
INPUT, ABOUT = "samples", "openjepa"


def export(model: Any, path: str | Path, format: Format) -> dict[str, Any]:
    """Write a model to `path`, read it again, and compare what it gives.

    Returns:
        What was written, plain data: `file`, `input` (name, type and shape), `outputs`, and `difference`, the largest
        from the model's own features; of ONNX without onnxruntime it is not known and left out.

    Raises:
        UserError: a model whose features cannot be exported, onnx missing, a file that cannot be written, or one that
            gives other features.
    """
    path = Path(path)
    if format not in SUFFIXES:
        raise UserError(f"format {format!r} is not one of {', '.join(SUFFIXES)}")
    if not isinstance(model, FeatureModel) or not hasattr(model.signal, "traced_input"):
        raise UserError(
            f"a model of {getattr(model.signal, 'kind', 'this signal')} cannot be exported: only those whose samples "
            "are cut into tokens can, such as i-jepa's"
        )
    if not path.parent.is_dir():
        raise UserError(f"{path} cannot be written: there is no folder {path.parent}")
    written = path.with_name(f".{path.name}.{os.getpid()}.partial{SUFFIXES[format]}")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            samples = model.signal.traced_input(2)
            portable = Portable(model, samples).eval()
            about = _about(model, samples, portable.outputs)
            run = (_to_onnx if format == "onnx" else _to_torch)(portable, samples, written, about)
            if run is not None:
                about["difference"] = _difference(model, portable.outputs, run)
        written.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({reason(error)}): name another file") from error
    finally:
        with suppress(OSError):
            written.unlink(missing_ok=True)
    return {"file": str(path), **about}


class Portable(nn.Module):
    """`[B, ...]` of a user's array to features, and answers where there are some; a copy of the model's networks.

    Attributes:
        outputs: names of what it gives.
    """

    def __init__(self, model: FeatureModel, samples: Tensor) -> None:
        super().__init__()
        model = copy.deepcopy(model).cpu().requires_grad_(False)
        classifier = getattr(model, "classifier", None)
        self.answers: Any = classifier if hasattr(classifier, "read") else None
        self.variables = bool(getattr(model.config, "variables", False))
        self.outputs = ["features"]
        if self.answers is not None:
            self.outputs.append("variables" if self.variables else "probabilities")
            scale = (torch.tensor(value) for value in (model.config.std, model.config.mean))
            self.std, self.mean = scale
        self.signal = model.signal
        self.evaluated: Any = model.evaluated
        self.own: Any = model.encoder  # an averaged trunk begins with its parts
        tokens = self.signal.traced(samples)
        for encoder in {self.own, self.evaluated}:
            added = getattr(encoder, "positions", None)
            if isinstance(added, nn.Module) and not isinstance(added, PairwisePositions):
                encoder.positions = _Constant(added(tokens))

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        view = View(self.signal.traced(samples))
        tokens = self.evaluated.layers(view, 1)[-1]
        features = mean_of(tokens, view.present)
        if self.answers is None:
            return (features,)
        answers = self.answers.read(tokens)
        return features, answers * self.std + self.mean if self.variables else answers.softmax(1)


class _Constant(nn.Module):
    """Positions of samples of one size."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value.detach().clone())

    def forward(self, tokens: Any) -> Tensor:
        return self.value


def _program(portable: Portable, samples: Tensor) -> Any:
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    try:
        return torch.export.export(portable, (samples,), dynamic_shapes=shapes)
    except Exception as error:  # of tracing: what an encoder of any library may do
        raise UserError(f"the model cannot be exported: torch.export says: {first_line(error)}") from error


def _to_torch(portable: Portable, samples: Tensor, path: Path, about: dict[str, Any]) -> Callable[..., Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on tensors in the channels-last format, which are written whole
        torch.export.save(_program(portable, samples), path, extra_files={f"{ABOUT}.json": json.dumps(about)})
        return torch.export.load(path).module()


def _to_onnx(
    portable: Portable, samples: Tensor, path: Path, about: dict[str, Any]
) -> Callable[..., Any] | None:
    _require_onnx()
    size = sum(t.numel() * t.element_size() for t in portable.state_dict().values())
    if size > ONE_FILE:
        raise UserError(
            f"the model has {size / 1e9:.1f} GB of weights, and an ONNX file holds 2 GB: use --format torch"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on operators of newer opsets, and on names
        program: Any = torch.onnx.export(
            _program(portable, samples),
            (),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=portable.outputs,
        )
    program.model.metadata_props[ABOUT] = json.dumps(about)
    program.save(path, external_data=False)
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda given: [
        torch.from_numpy(np.asarray(part)) for part in session.run(None, {INPUT: given.numpy()})
    ]


def _require_onnx() -> None:
    try:
        import onnx
        import onnxscript
    except ImportError:
        raise UserError(
            "ONNX needs onnx and onnxscript: pip install 'openjepa[onnx]', or --format torch"
        ) from None
    del onnx, onnxscript


def _difference(model: Any, outputs: list[str], run: Callable[..., Any]) -> float:
    """The largest difference of what was written from the model, on random samples; UserError where it is not small."""
    largest = 0.0
    for count in (1, 3):  # neither is the number that was traced
        samples = model.signal.traced_input(count)
        expected = [model.embed(samples), *([model.predict(samples)] if len(outputs) > 1 else [])]
        for wanted, found in zip(expected, run(samples), strict=True):
            wanted = wanted.cpu()
            scale = max(1.0, float(wanted.abs().max()))
            largest = max(largest, float((found - wanted).abs().max()) / scale)
    if not largest <= NEAR:
        raise UserError(
            f"what was exported differs from the model by {largest:.2g}, so it was not kept: report it"
        )
    return largest


def _about(model: Any, samples: Tensor, outputs: list[str]) -> dict[str, Any]:
    """What a user of the file needs to know."""
    names = list(getattr(model.config, "names", ()))
    return {
        "input": {
            "name": INPUT,
            "type": str(samples.dtype).removeprefix("torch."),
            "shape": ["batch", *samples.shape[1:]],
            "meaning": model.signal.traced_meaning,
        },
        "outputs": outputs,
        **({"names": names} if names and len(outputs) > 1 else {}),
        "recipe": model.config.recipe,
        "version": library_version(),
    }
