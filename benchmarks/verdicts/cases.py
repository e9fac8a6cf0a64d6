"""The runs: what is done to each on purpose. None of it is what the thresholds' first sketch was made from."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

SEED = 4100
"""Of the first run; each has its own."""


@dataclass(frozen=True)
class Fault:
    """What is changed in a healthy run: options, or the images themselves. Without either it is a healthy run."""

    name: str
    changes: dict[str, str] = field(default_factory=dict)
    damage: str = ""


@dataclass(frozen=True)
class Case:
    """One run."""

    fault: Fault
    recipe: str
    data: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.recipe}-{self.data}-{self.fault.name.replace(' ', '-')}-{self.seed}"


STEPS = {"i-jepa": 125, "lejepa": 100}
COMMON = {
    "encoder.width": "64",
    "encoder.depth": "3",
    "train.batch_size": "64",
    "train.lr": "2e-3",
    "train.precision": "fp32",
    "train.health_every": "0.07",
}
SIZES = {
    "i-jepa": COMMON | {"predictor.width": "32", "predictor.depth": "1", "target.layers": "3"},
    "lejepa": COMMON | {"head.hidden": "256", "guard.slices": "128", "train.beta2": "0.95"},
}

DATA = [
    Fault("noise for images", damage="noise"),
    Fault("pixels in another order", damage="permuted"),
    Fault("twenty images repeated", damage="few"),
    Fault("a code stamped on each", damage="stamp"),
    Fault("sixtieth of the contrast", damage="faint"),
    Fault("turned at random", damage="turned"),
]
TRAINING = [
    Fault("as it is"),
    Fault("as it is again"),
    Fault("learning rate 5e-3", {"train.lr": "5e-3"}),
    Fault("learning rate 5e-2 no warm-up", {"train.lr": "5e-2", "train.warmup": "0"}),
    Fault("learning rate 3e-5", {"train.lr": "3e-5"}),
    Fault("weight decay 30", {"train.weight_decay": "30"}),
    Fault("batch 16 at 1e-3", {"train.batch_size": "16", "train.lr": "1e-3"}),
    Fault("positions fifteen times as loud", {"encoder.position_scale": "3"}),
]
FAULTS = {
    "i-jepa": [
        *TRAINING,
        *DATA,
        Fault("half-life .06", {"target.half_life": "0.06"}),
        Fault("l2", {"energy": "l2"}),
        Fault("mild crops and flips", {"hiding.augment.scale": "[0.6, 1.0]", "hiding.augment.flip": "0.5"}),
        Fault("shared target", {"target": "shared", "target.norm": "none"}),
        Fault("shared target layer norm", {"target": "shared", "target.norm": "layer"}),
        Fault("shared target cosine", {"target": "shared", "target.norm": "none", "energy": "cosine"}),
        Fault("vicreg times 50", {"guard": "vicreg", "guard.std": "50", "guard.covariance": "2"}),
        Fault(
            "hardly any context",
            {
                "hiding.context_scale": "[0.2, 0.22]",
                "hiding.target_scale": "[0.04, 0.06]",
                "hiding.min_context": "0.02",
            },
        ),
        Fault("hidden: one block of a third", {"hiding.targets": "1", "hiding.target_scale": "[0.3, 0.35]"}),
        Fault("last layer alone not normed", {"target.layers": "1", "target.norm": "none"}),
    ],
    "lejepa": [
        *TRAINING,
        *DATA,
        Fault("two views, half dropped", {"hiding.global_views": "2", "hiding.drop": "0.5"}),
        Fault("guard weight .02", {"guard.weight": "0.02"}),
        Fault("guard weight .9", {"guard.weight": "0.9"}),
        Fault("guard weight 1e-6", {"guard.weight": "1e-6"}),
        Fault("no guard", {"guard": "none"}),
        Fault(
            "views alike",
            {"hiding.global_augment.scale": "[1, 1]", "hiding.global_augment.jitter": "0", "hiding.drop": "0"}
            | {
                "hiding.global_views": "2",
                "hiding.global_augment.flip": "0",
                "hiding.global_augment.grey": "0",
            },
        ),
        Fault("crops of a fiftieth", {"hiding.global_augment.scale": "[0.015, 0.025]"}),
        Fault("one patch shown", {"hiding.drop": "0.98"}),
        Fault("two directions", {"head.width": "2"}),
        Fault("crops from .4", {"hiding.global_augment.scale": "[0.4, 1.0]"}),
    ],
}
LONG = {"train.steps": "400", "train.lr": "1e-3", "signal.patch": "4"}
LONGER = [
    Fault("longer", LONG),
    Fault("longer again", LONG),
    Fault("longer, half-life .06", LONG | {"target.half_life": "0.06"}),
    Fault("longer, l2", LONG | {"energy": "l2"}),
    Fault("longer, batch 128", LONG | {"train.batch_size": "128", "train.steps": "250"}),
    Fault(
        "longer, one block of a third", LONG | {"hiding.targets": "1", "hiding.target_scale": "[0.3, 0.35]"}
    ),
]
"""I-JEPA learns nothing in the 125 steps of the others: with 49 or 64 tokens and more steps it does."""
OF = {"i-jepa": [*FAULTS["i-jepa"], *LONGER], "lejepa": FAULTS["lejepa"]}
"""All faults of a recipe. Every other one is for fitting thresholds."""
PATCH = {"fashion-mnist": "7", "cifar10": "8"}
"""16 tokens an image: a run is then a matter of seconds."""
DATASETS = tuple(PATCH)


def cases(first: int = SEED) -> list[Case]:
    """Every fault on both sets, with seeds from `first` on; mixed, so that a part of the list is a fair sample too."""
    found = [Case(fault, recipe, data, first + number) for number, (recipe, fault, data) in enumerate(_all())]
    return sorted(
        found, key=lambda case: (case.seed * 7919) % 997
    )  # mixed: stopped early, all kinds are there


def _all() -> Iterator[tuple[str, Fault, str]]:
    for recipe, faults in FAULTS.items():
        for fault in faults:
            for data in DATASETS:
                yield recipe, fault, data
    for fault in LONGER:
        for data in DATASETS:
            yield "i-jepa", fault, data


def options(case: Case) -> dict[str, str]:
    """What `openjepa.configure` is given beside the preset."""
    given = SIZES[case.recipe] | {"train.steps": str(STEPS[case.recipe]), "train.seed": str(case.seed)}
    changes = case.fault.changes
    for part in ("target", "guard"):
        if changes.get(part):
            given = {name: value for name, value in given.items() if not name.startswith(f"{part}.")}
    return given | {"signal.patch": PATCH[case.data]} | changes


def damaged(images: Tensor, how: str, seed: int) -> Tensor:
    """uint8 `[N, C, H, W]`, spoilt in one way."""
    if not how:
        return images
    chance = torch.Generator().manual_seed(seed)
    count, _, height, width = images.shape
    if how == "noise":
        return torch.randint(0, 256, images.shape, generator=chance, dtype=torch.uint8)
    if how == "permuted":
        order = torch.randperm(height * width, generator=torch.Generator().manual_seed(SEED))
        return images.flatten(2)[:, :, order].view_as(images)
    if how == "few":
        return images[torch.arange(count) % 20]
    if how == "faint":
        return (110 + images.float() / 60).to(torch.uint8)
    if how == "turned":
        quarters = torch.randint(0, 4, (count,), generator=chance)
        turned = images.clone()
        for k in (1, 2, 3):
            turned[quarters == k] = images[quarters == k].rot90(k, (2, 3))
        return turned
    if how == "stamp":
        side = math.ceil(height / 3)
        code = 255 * torch.randint(0, 2, (count, 1, side, side), generator=chance, dtype=torch.uint8)
        stamped = images.clone()
        for top in (0, height - side):
            for left in (0, width - side):
                stamped[:, :, top : top + side, left : left + side] = code
        return stamped
    raise ValueError(f"no such damage: {how}")
