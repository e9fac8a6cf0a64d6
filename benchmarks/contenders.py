"""One I-JEPA of given sizes, by us and by each library that pip installs."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from openjepa.common.rng import Rng
from openjepa.recipes import Recipe, build, configure
from openjepa.signals.images import ImageSet
from openjepa.training.loop import Trainer
from openjepa.training.optim import adamw
from openjepa.training.step import Stepper

SEED, MOMENTUM = 0, 0.996
TARGETS, TARGET_SCALE, TARGET_ASPECT, CONTEXT_SCALE = 4, (0.15, 0.2), (0.75, 1.5), (0.85, 1.0)
Masks = tuple[Tensor, Tensor]
"""Token indices: what the context keeps `[B, K]`, what is predicted `[B, M, T]`."""
Batches = Iterator[tuple[Tensor, list[Tensor], list[Tensor]]]


@dataclass(frozen=True)
class Sizes:
    """Of encoder and predictor; images are square with three channels."""

    image: int = 224
    patch: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    predictor_width: int = 384
    predictor_depth: int = 6
    predictor_heads: int = 12


class Contender(Protocol):
    """A model with its optimiser."""

    name: str
    differs: ClassVar[str]

    def step(self, images: Tensor, masks: Masks, index: int) -> None:
        """Forward, backward, optimiser, EMA on float images `[B, 3, S, S]`."""

    def embed(self, images: Tensor) -> Tensor:
        """Mean of the tokens `[B, D]`, without gradients."""

    def train(self, images: ImageSet, batch: int, steps: int) -> Callable[[int], None]:
        """A function that takes so many steps with this library's own data path, again and again."""


def recipe(sizes: Sizes, joint: bool, batch: int, **more: object) -> Recipe:
    """Our config of these sizes in fp32; `more` with `__` for dots."""
    options = {
        "signal.size": sizes.image,
        "signal.patch": sizes.patch,
        "encoder.width": sizes.width,
        "encoder.depth": sizes.depth,
        "encoder.heads": sizes.heads,
        "predictor.width": sizes.predictor_width,
        "predictor.depth": sizes.predictor_depth,
        "predictor.heads": sizes.predictor_heads,
        "predictor.joint": str(joint).lower(),
        "train.batch_size": batch,
        "train.steps": 10**6,
        "train.precision": "fp32",
    } | {name.replace("__", "."): value for name, value in more.items()}
    return configure("i-jepa", "vit-s16", {name: str(value) for name, value in options.items()})


def masks(config: Recipe, images: Tensor, index: int) -> Masks:
    """What our training of this config hides at step `index`."""
    (pair,) = config.hiding.build(config.signal)(images, Rng(config.train.seed, index))
    keep, select = pair.context.keep, pair.select
    assert keep is not None and select is not None
    return keep, select


class Ours:
    """The training loop's own step; augments, normalises and draws the masks inside it."""

    differs = "augments (crop), normalises and draws masks inside the step; the others are given all three"

    def __init__(self, sizes: Sizes, batch: int, joint: bool = False) -> None:
        self.name = f"openjepa, {'all blocks jointly' if joint else 'block by block'}"
        self.sizes, self.joint = sizes, joint
        self.config = recipe(sizes, joint, batch)
        self.model = build(self.config, SEED)
        self.stepper = Stepper(self.model, adamw(self.model, self.config.train), self.config.train, 0)

    def step(self, images: Tensor, masks: Masks | None, index: int) -> None:
        self.stepper(index, images)

    def embed(self, images: Tensor) -> Tensor:
        return self.model.embed(images)

    def trainer(self, images: ImageSet, batch: int) -> Trainer:
        """The real training loop, to be stepped by hand.

        It hides as many tokens as the others, whose samplers are ports of the released code and draw smaller blocks.
        """
        config = recipe(self.sizes, self.joint, batch, hiding__quirk="official")
        return Trainer(config, images, torch.device("cpu"), None, None)

    def train(self, images: ImageSet, batch: int, steps: int) -> Callable[[int], None]:
        trainer = self.trainer(images, batch)
        stream = trainer.batches.stream(0)

        def take(round_: int) -> None:
            for _ in range(steps):
                trainer.step(stream)

        return take


class Peer:
    """What the other libraries leave to their users' scripts, written as their examples do."""

    differs = ""

    def __init__(self, sizes: Sizes, encoder: nn.Module, predictor: nn.Module) -> None:
        self.sizes, self.encoder, self.predictor = sizes, encoder, predictor
        parameters = [*encoder.parameters(), *predictor.parameters()]
        self.optimiser = torch.optim.AdamW([p for p in parameters if p.requires_grad], lr=1e-4)

    def step(self, images: Tensor, masks: Masks, index: int) -> None:
        keep, select = masks
        self.step_on(images, [keep], list(select.unbind(1)))

    def step_on(self, images: Tensor, keep: list[Tensor], select: list[Tensor]) -> None:
        """One step; masks as lists, as these libraries want them."""
        loss = self.loss(images, keep, select)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.move()

    def loss(self, images: Tensor, keep: list[Tensor], select: list[Tensor]) -> Tensor:
        raise NotImplementedError

    def move(self) -> None:
        """The target, towards the encoder."""
        raise NotImplementedError

    def loader(self, images: ImageSet, batch: int) -> DataLoader:
        """Of (images, context masks, target masks); no worker processes, as in lightly's example.

        Workers would take the CPU seconds that are compared here out of this process's sight, not out of the world.
        """
        raise NotImplementedError

    def train(self, images: ImageSet, batch: int, steps: int) -> Callable[[int], None]:
        batches = endless(self.loader(images, batch))

        def take(round_: int) -> None:
            for _ in range(steps):
                self.step_on(*next(batches))

        return take


class TorchWorld(Peer):
    """`torch_world.models.IJEPA`'s parts and loss."""

    name = "torch-world"
    differs = "embeds all patches before it drops the hidden ones; default (not fused) AdamW"

    def __init__(self, sizes: Sizes, batch: int) -> None:
        from torch_world.models import IJEPA
        from torch_world.nn import MaskedPredictor, VisionTransformer

        encoder = VisionTransformer(
            sizes.image, sizes.patch, embed_dim=sizes.width, depth=sizes.depth, num_heads=sizes.heads
        )
        predictor = MaskedPredictor(
            encoder.grid, sizes.width, sizes.predictor_width, sizes.predictor_depth, sizes.predictor_heads
        )
        super().__init__(sizes, encoder, predictor)
        self.model = IJEPA(encoder, predictor)

    def loss(self, images: Tensor, keep: list[Tensor], select: list[Tensor]) -> Tensor:
        return self.model(images, keep, select)["loss"]

    def move(self) -> None:
        self.model.update_target(MOMENTUM)

    def embed(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.encoder(images).mean(1)

    def loader(self, images: ImageSet, batch: int) -> DataLoader:
        from torch_world.masks import MultiBlockMask

        side = self.sizes.image // self.sizes.patch
        sample = MultiBlockMask((side, side), CONTEXT_SCALE, TARGET_SCALE, TARGET_ASPECT, min_keep=4)

        def collate(samples: list[Tensor]) -> Any:
            return torch.stack(samples), *sample(len(samples))

        return DataLoader(
            Augmented(images, self.sizes.image), batch, True, collate_fn=collate, drop_last=True
        )


class Lightly(Peer):
    """`IJEPABackbone` and `IJEPAPredictorTIMM`, as in lightly's example script."""

    name = "lightly"
    differs = "a class token and learned positions, embeds all patches first; default (not fused) AdamW"

    def __init__(self, sizes: Sizes, batch: int) -> None:
        from lightly.models.modules import IJEPAPredictorTIMM
        from lightly.models.modules.ijepa import IJEPABackbone

        side = sizes.image // sizes.patch
        encoder = IJEPABackbone(
            sizes.image, sizes.patch, sizes.depth, sizes.heads, sizes.width, 4 * sizes.width
        )
        encoder.heads = nn.Identity()
        predictor = IJEPAPredictorTIMM(
            side**2, sizes.predictor_depth, sizes.width, sizes.predictor_width, sizes.predictor_heads
        )
        super().__init__(sizes, encoder, predictor)
        self.target = copy.deepcopy(encoder).requires_grad_(False)

    def loss(self, images: Tensor, keep: list[Tensor], select: list[Tensor]) -> Tensor:
        from lightly.models.utils import apply_masks

        with torch.no_grad():
            whole = self.target(images)
            wanted = apply_masks(F.layer_norm(whole, whole.shape[-1:]), select)
        return F.smooth_l1_loss(self.predictor(self.encoder(images, keep), keep, select), wanted)

    @torch.no_grad()
    def move(self) -> None:
        for mine, theirs in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            mine.mul_(MOMENTUM).add_((1 - MOMENTUM) * theirs)

    def embed(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.encoder(images).mean(1)

    def loader(self, images: ImageSet, batch: int) -> DataLoader:
        from lightly.data.ijepa_collate import IJEPAMaskCollator

        collate = IJEPAMaskCollator(
            self.sizes.image, self.sizes.patch, CONTEXT_SCALE, TARGET_SCALE, TARGET_ASPECT, npred=TARGETS
        )
        return DataLoader(
            Augmented(images, self.sizes.image), batch, True, collate_fn=collate, drop_last=True
        )


class Transformers:
    """Hugging Face's encoder: inference only."""

    name = "transformers"
    differs = "inference only"

    def __init__(self, sizes: Sizes, batch: int) -> None:
        from transformers import IJepaConfig, IJepaModel

        config = IJepaConfig(
            hidden_size=sizes.width,
            num_hidden_layers=sizes.depth,
            num_attention_heads=sizes.heads,
            intermediate_size=4 * sizes.width,
            image_size=sizes.image,
            patch_size=sizes.patch,
        )
        self.model = IJepaModel(config, add_pooling_layer=False).eval()

    def embed(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.model(images).last_hidden_state.mean(1)


class Timm:
    """A timm ViT without a class token: inference only."""

    name = "timm"
    differs = "inference only"

    def __init__(self, sizes: Sizes, batch: int) -> None:
        from timm.models import VisionTransformer

        self.model = VisionTransformer(
            sizes.image,
            sizes.patch,
            embed_dim=sizes.width,
            depth=sizes.depth,
            num_heads=sizes.heads,
            num_classes=0,
            class_token=False,
            global_pool="avg",
        ).eval()

    def embed(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.model.forward_features(images).mean(1)


class Augmented:
    """A user's data set for these libraries: PIL images through torchvision's transforms, one by one."""

    def __init__(self, images: ImageSet, size: int) -> None:
        from torchvision import transforms

        self.images = images
        crop = transforms.RandomResizedCrop(size, scale=(0.3, 1.0), interpolation=2)  # bilinear, as ours
        normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self.transform = transforms.Compose([crop, transforms.ToTensor(), normalise])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        from PIL import Image

        return self.transform(Image.fromarray(self.images.read([index])[0].permute(1, 2, 0).numpy()))


def endless(loader: DataLoader) -> Batches:
    """Epoch after epoch."""
    while True:
        yield from loader


TRAINERS: dict[str, type[Peer]] = {"torch-world": TorchWorld, "lightly": Lightly}
EMBEDDERS: dict[str, Any] = {**TRAINERS, "transformers": Transformers, "timm": Timm}


def available(kinds: dict[str, Any], *arguments: object) -> tuple[dict[str, Any], dict[str, str]]:
    """Those that are installed, built; and why the others are left out."""
    found, missing = {}, {}
    for name, kind in kinds.items():
        try:
            found[name] = kind(*arguments)
        except ImportError as error:
            missing[name] = f"not installed: {error}"
    return found, missing


def describe(sizes: Sizes, contenders: dict[str, Any]) -> dict[str, Any]:
    """For JSON: what is equal, what differs."""
    return {"sizes": asdict(sizes), "differs": {c.name: c.differs for c in contenders.values()}}
