"""What a training step of V-JEPA 2 costs beside other libraries', and how it grows with length and size of clips.

    python -m benchmarks.clip_speed              # one thread, some CPU seconds
    python -m benchmarks.clip_speed --width 768 --depth 12 --heads 12 --size 224 --frames 16

All train the same sizes on the same clips under masks of the same kinds: forward, backward, AdamW, moving average.
transformers has no training of its own; what stands beside ours is what its users write. Its encoder takes no list of
tokens, so that a context is encoded whole and what it hides is dropped behind it, which is also another function: there
the context sees what it should predict. torch-world encodes the kept tokens alone, as ours does, and embeds all before.
Every step normalises and draws masks within the measured time; ours augments besides. Peers that are not installed are
left out, and named.
"""

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import contenders, record, timing
from openjepa.common.rng import Rng
from openjepa.recipes import Recipe, build, configure
from openjepa.training.optim import adamw
from openjepa.training.step import Stepper

OURS = "openjepa"
MOMENTUM = 0.99925
Masks = tuple[Tensor, Tensor]
"""Token indices: what the context keeps `[B, K]`, what is predicted `[B, T]`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both parts, write JSON, a table and a drawing, print the table."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    sizes = {
        name: getattr(args, name) for name in ("width", "depth", "heads", "size", "frames", "patch", "batch")
    }
    config = config_of(**sizes)
    clips = noise(args.batch, args.frames, args.size)
    peers, missing = contenders.available(PEERS, config, sizes)
    everyone = {OURS: Ours(config), **peers}
    taken = timing.interleave(
        {name: (lambda round_, one=one: one.step(clips, round_)) for name, one in everyone.items()},
        args.rounds,
    )
    lines = timing.as_lines(taken, args.batch)
    growth = []
    for frames in args.lengths:
        for size in args.sides:
            one = Ours(config_of(**sizes | {"frames": frames, "size": size}))
            batch = noise(args.batch, frames, size)
            seconds = timing.interleave(
                {OURS: lambda round_, one=one, batch=batch: one.step(batch, round_)}, 2
            )
            tokens = one.model.signal.layout
            growth.append(
                {"frames": frames, "size": size, "tokens": tokens, "cpu": min(seconds[OURS]["cpu"])}
            )
    found = {"sizes": sizes, **timing.summary(taken, args.batch), "missing": missing, "growth": growth}
    path = record.write("clip-speed", found, args.results)
    text = as_markdown(lines, growth, args)
    path.with_suffix(".md").write_text(text)
    draw(growth, args.batch, path.with_suffix(".svg"))
    print(text)


def config_of(
    *, width: int, depth: int, heads: int, size: int, frames: int, patch: int, batch: int
) -> Recipe:
    """V-JEPA 2 of these sizes, in fp32."""
    options = {
        "signal.size": [size],
        "signal.frames": frames,
        "signal.patch": patch,
        "encoder.width": width,
        "encoder.depth": depth,
        "encoder.heads": heads,
        "predictor.width": width // 2,
        "predictor.depth": max(1, depth // 2),
        "predictor.heads": heads // 2,
        "hiding.min_context": 0.02,
        "train.batch_size": batch,
        "train.precision": "fp32",
        "train.steps": 10**6,
    }
    return configure("v-jepa-2", "vit-l16", {name: str(value) for name, value in options.items()})


def noise(batch: int, frames: int, size: int) -> Tensor:
    """Clips uint8 `[B, T, C, H, W]`."""
    seeded = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, frames, 3, size, size), dtype=torch.uint8, generator=seeded)


class Ours:
    """The training loop's own step."""

    def __init__(self, config: Any) -> None:
        self.model = build(config, 0)
        self.stepper = Stepper(self.model, adamw(self.model, config.train), config.train, 0)

    def step(self, clips: Tensor, index: int) -> None:
        self.stepper(index, clips)


class Peer:
    """A step like those that users of other libraries write."""

    def __init__(self, config: Any, trained: nn.Module) -> None:
        self.hiding, self.signal = config.hiding.build(config.signal), config.signal
        self.optimiser = torch.optim.AdamW(
            [p for p in trained.parameters() if p.requires_grad], lr=1e-4, fused=True
        )

    def step(self, clips: Tensor, index: int) -> None:
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.signal.mean, self.signal.std))
        pixels = (clips.float() / 255 - mean) / std
        masks = [(pair.context.keep, pair.select[:, 0]) for pair in self.hiding(clips, Rng(0, index))]
        loss = self.loss(pixels, masks)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.move()

    def loss(self, pixels: Tensor, masks: Sequence[Masks]) -> Tensor:
        """Of normalised clips `[B, T, C, H, W]` under several masks."""
        raise NotImplementedError

    def move(self) -> None:
        """The target, towards the encoder."""
        raise NotImplementedError


class Transformers(Peer):
    """transformers' `VJEPA2Model`."""

    def __init__(self, config: Any, sizes: dict[str, int]) -> None:
        from transformers import VJEPA2Config, VJEPA2Model

        self.model = VJEPA2Model(
            VJEPA2Config(
                hidden_size=sizes["width"],
                num_hidden_layers=sizes["depth"],
                num_attention_heads=sizes["heads"],
                crop_size=sizes["size"],
                patch_size=sizes["patch"],
                frames_per_clip=sizes["frames"],
                pred_hidden_size=config.predictor.width,
                pred_num_hidden_layers=config.predictor.depth,
                pred_num_attention_heads=config.predictor.heads,
            )
        ).train()
        self.target = copy.deepcopy(self.model.encoder).requires_grad_(False)
        super().__init__(config, self.model)

    def loss(self, pixels: Tensor, masks: Sequence[Masks]) -> Tensor:
        with torch.no_grad():
            whole = self.target(pixels).last_hidden_state
            whole = F.layer_norm(whole, whole.shape[-1:])
        seen = self.model.encoder(pixels).last_hidden_state
        losses = []
        for keep, select in masks:
            guess = self.model.predictor(seen, context_mask=[keep], target_mask=[select]).last_hidden_state
            wanted = whole.gather(1, select.unsqueeze(-1).expand(-1, -1, whole.shape[-1]))
            losses.append(F.l1_loss(guess, wanted))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def move(self) -> None:
        mine, theirs = list(self.target.parameters()), list(self.model.encoder.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - MOMENTUM)


class TorchWorld(Peer):
    """torch-world's `VJEPA` with rotary positions."""

    def __init__(self, config: Any, sizes: dict[str, int]) -> None:
        from torch_world.models import VJEPA
        from torch_world.nn import MaskedPredictor, VisionTransformer

        encoder = VisionTransformer(
            sizes["size"],
            sizes["patch"],
            embed_dim=sizes["width"],
            depth=sizes["depth"],
            num_heads=sizes["heads"],
            num_frames=sizes["frames"],
            use_rope=True,
        )
        predictor = MaskedPredictor(
            encoder.grid,
            sizes["width"],
            config.predictor.width,
            config.predictor.depth,
            config.predictor.heads,
            num_mask_tokens=2,
            use_rope=True,
        )
        self.model = VJEPA(encoder, predictor)
        super().__init__(config, self.model)

    def loss(self, pixels: Tensor, masks: Sequence[Masks]) -> Tensor:
        keep, select = (list(one) for one in zip(*masks, strict=True))
        return self.model(pixels.transpose(1, 2), keep, select)["loss"]

    def move(self) -> None:
        self.model.update_target(MOMENTUM)


PEERS: dict[str, Any] = {"transformers": Transformers, "torch-world": TorchWorld}


def as_markdown(lines: Sequence[str], growth: Sequence[dict[str, Any]], args: argparse.Namespace) -> str:
    """Who is how fast, and CPU seconds a clip by length and size."""
    head = ["frames", *(f"{side} px" for side in args.sides)]
    rows = [
        [str(frames), *(f"{one['cpu'] / args.batch:.3f}" for one in growth if one["frames"] == frames)]
        for frames in args.lengths
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
    told = "\n".join(line.replace("images", "clips") for line in lines)
    sizes = (
        f"width {args.width}, depth {args.depth}, {args.frames} frames of {args.size} px, batch {args.batch}"
    )
    return (
        f"### A training step of V-JEPA 2: {sizes}\n\n```\n{told}\n```\n\n### CPU seconds a clip\n\n{table}\n\n"
        "![CPU seconds a clip by its tokens](clip-speed.svg)\n"
    )


def draw(growth: Sequence[dict[str, Any]], batch: int, path: Path) -> None:
    """CPU seconds a clip against its tokens, a line a size."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "openjepa"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    counts, costs = set(), []
    for side in dict.fromkeys(one["size"] for one in growth):
        chosen = [one for one in growth if one["size"] == side]
        count = [one["tokens"][0] * one["tokens"][1] * one["tokens"][2] for one in chosen]
        cost = [one["cpu"] / batch for one in chosen]
        axes.plot(count, cost, marker="o", label=f"{side} px")
        counts |= set(count)
        costs += cost
    axes.set(xscale="log", yscale="log", xlabel="tokens of a clip", ylabel="CPU seconds a clip and step")
    axes.minorticks_off()
    axes.set_xticks(sorted(counts), [str(count) for count in sorted(counts)])
    ends = sorted({min(costs), max(costs)})
    axes.set_yticks(ends, [f"{cost:.3g}" for cost in ends])
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.clip_speed", description=__doc__.split("\n")[0]
    )
    for name, value in (
        ("width", 192),
        ("depth", 6),
        ("heads", 6),
        ("size", 128),
        ("frames", 8),
        ("patch", 16),
        ("batch", 4),
        ("rounds", 3),
        ("threads", 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument(
        "--lengths", nargs="+", type=int, default=[4, 8, 16, 32], help="of clips, for the drawing"
    )
    parser.add_argument(
        "--sides", nargs="+", type=int, default=[96, 128, 192], help="of clips, for the drawing"
    )
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
