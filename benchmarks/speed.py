"""What a step, an embedding and a megabyte cost, beside the fastest libraries that pip installs.

    python -m benchmarks.speed                    # everything
    python -m benchmarks.speed step --batch 4     # one part of it

step    I-JEPA's training step at 224 px, and its share of what matrix products reach on this machine
small   end to end on 32 px: data, augmentation, masks and step
embed   images to embeddings
wait    the share of our training loop that goes into data, augmentation and masks
precision  presets in fp32 and in bf16, by both kernels of attention: work done a second, and its share of a product's
memory  peak of a training step, each contender in a fresh process
profile where our step's time goes: a table beside the JSON

Ratios are of CPU seconds, contenders in turns, in one process.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import contenders, record, timing
from benchmarks.contenders import EMBEDDERS, TRAINERS, Ours, Sizes
from openjepa.recipes import build, configure
from openjepa.signals.images import ImageSet, open_images
from openjepa.training.optim import adamw
from openjepa.training.step import Stepper

BASE, JOINT = "openjepa, block by block", "openjepa, all blocks jointly"
SMALL = Sizes(32, 4, 192, 6, 3, predictor_width=192, predictor_depth=3, predictor_heads=3)
TINY = Sizes(32, 4, 16, 1, 2, predictor_width=16, predictor_depth=1, predictor_heads=2)
MATMUL = 1536


def step(args: argparse.Namespace) -> dict[str, Any]:
    """Forward, backward, optimiser, EMA; every contender gets the same images and hides the same patches."""
    sizes, _ = sizes_of(args)
    ours = {o.name: o for o in (Ours(sizes, args.batch), Ours(sizes, args.batch, joint=True))}
    peers, missing = contenders.available(chosen(TRAINERS, args), sizes, args.batch)
    everyone = {**ours, **peers}
    images = noise(args.batch, sizes.image)
    masks = [contenders.masks(ours[BASE].config, images, index) for index in range(args.rounds + 1)]

    def act(contender: Any) -> timing.Action:
        return lambda round_: contender.step(images, masks[round_], round_)

    product, product_flops = timing.matmul(args.matmul)
    actions = {name: act(contender) for name, contender in everyone.items()}
    taken = timing.interleave({**actions, "matmul": product}, args.rounds)
    peak = product_flops / min(taken.pop("matmul")["cpu"])
    shares = {}
    for name, contender in ours.items():  # operations differ between rounds, as masks do: those of the first
        counted = timing.flops(lambda contender=contender: contender.step(images, None, 1))
        shares[name] = counted / taken[name]["cpu"][0] / peak
    print(f"step: {sizes.image} px, batch {args.batch}")
    print("\n".join(timing.as_lines(taken, args.batch)))
    print(f"  matrix products reach {peak / 1e9:.0f} GFLOP a CPU-second; of that our step achieves:")
    print("\n".join(f"  {name:<34} {share:9.0%}" for name, share in shares.items()))
    return {
        **contenders.describe(sizes, everyone),
        **timing.summary(taken, args.batch),
        "missing": missing,
        "matmul_flops_per_cpu_second": peak,
        "share_of_matmul_peak": shares,
    }


def small(args: argparse.Namespace) -> dict[str, Any]:
    """Every library with its own data path and masks, on images in memory."""
    _, sizes = sizes_of(args)
    batch, steps = args.small_batch, args.small_steps
    images = photos(4 * batch, sizes.image)
    ours = [Ours(sizes, batch), Ours(sizes, batch, joint=True)]
    peers, missing = contenders.available(chosen(TRAINERS, args), sizes, batch)
    everyone = {contender.name: contender for contender in (*ours, *peers.values())}
    actions = {name: contender.train(images, batch, steps) for name, contender in everyone.items()}
    taken = timing.interleave(actions, args.rounds)
    print(f"small: {sizes.image} px, batch {batch}, end to end")
    print("\n".join(timing.as_lines(taken, batch * steps)))
    summary = timing.summary(taken, batch * steps)
    return {**contenders.describe(sizes, everyone), **summary, "batch": batch, "missing": missing}


def embed(args: argparse.Namespace) -> dict[str, Any]:
    """Images to mean-pooled tokens."""
    sizes, _ = sizes_of(args)
    ours = Ours(sizes, args.batch)
    ours.name = "openjepa"
    peers, missing = contenders.available(chosen(EMBEDDERS, args), sizes, args.batch)
    everyone = {"openjepa": ours, **peers}
    images = noise(args.batch, sizes.image)
    actions = {name: (lambda round_, c=c: c.embed(images)) for name, c in everyone.items()}
    taken = timing.interleave(actions, args.rounds)
    print(f"embed: {sizes.image} px, batch {args.batch}")
    print("\n".join(timing.as_lines(taken, args.batch)))
    summary = timing.summary(taken, args.batch)
    return {**contenders.describe(sizes, everyone), **summary, "missing": missing}


def wait(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds in `next(batch)`, in augmentation and tokens, and in masks, as shares of our loop's steps."""
    found: dict[str, Any] = {}
    for sizes, batch in zip(sizes_of(args), (args.batch, args.small_batch), strict=True):
        label = f"{sizes.image} px, batch {batch}"
        trainer = Ours(sizes, batch, joint=True).trainer(photos(4 * batch, sizes.image), batch)
        clock, model = Clock(), trainer.state.model
        batches = trainer.batches.stream(0)
        model.pairs = clock.times("pairs", model.pairs)
        model.hiding.sample = clock.times("masks", model.hiding.sample)
        step_once = clock.times("step", trainer.step)
        for _ in range(args.rounds + 1):
            step_once(iter(clock.times("data", batches.__next__), None))
        total = clock.median("step")
        parts = {
            "waiting for data": clock.median("data"),
            "masks": clock.median("masks"),
            "augmentation and patches": clock.median("pairs") - clock.median("masks"),
        }
        found[label] = {name: seconds / total for name, seconds in parts.items()}
        print(f"wait: {label}, step {total:.3f} CPU-seconds")
        print("\n".join(f"  {name:<34} {seconds / total:9.2%}" for name, seconds in parts.items()))
    return {"shares": found}


def precision(args: argparse.Namespace) -> dict[str, Any]:
    """GFLOP a CPU second of a preset's training step in every precision and attention, beside matrix products'."""
    found: dict[str, Any] = {}
    peaks = {name: timing.matmul(args.matmul, dtype) for name, dtype in DTYPES.items()}
    for (recipe, preset), batch in zip(PRESETS, (args.batch, *[2 * args.small_batch] * 3), strict=True):
        changes = {name: str(value) for name, value in TINY_MODEL.items()} if args.tiny else {}
        config = configure(recipe, preset, changes)
        images = noise(batch, config.signal.size)[:, : config.signal.channels]
        actions = {
            f"{kind}, {attention} attention": stepping(config, images, kind, attention)
            for kind, attention in (("fp32", "fused"), ("bf16", "fused"), ("bf16", "math"))
        }
        products = {f"{name} products": action for name, (action, _) in peaks.items()}
        taken = timing.interleave({**actions, **products}, args.rounds)
        counted = timing.flops(partial(next(iter(actions.values())), 0))
        work = dict.fromkeys(actions, counted) | {f"{name} products": n for name, (_, n) in peaks.items()}
        rates = {name: work[name] / statistics.median(taken[name]["cpu"]) for name in taken}
        shares = {name: rates[name] / rates[f"{name[:4]} products"] for name in actions}
        label = f"{recipe} {preset}, batch {batch}"
        found[label] = {"flops_per_cpu_second": rates, "share_of_products": shares}
        print(f"precision: {label}, {counted / 1e9:.1f} GFLOP a step")
        for name, rate in rates.items():
            share = f"{shares[name]:9.0%} of its products" if name in shares else ""
            print(f"  {name:<34} {rate / 1e9:9.0f} GFLOP/CPU-second{share}")
    return {"presets": found}


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PRESETS = (
    ("i-jepa", "vit-s16"),
    ("i-jepa", "tiny-cifar10-vit"),
    ("lejepa", "tiny-cifar10"),
    ("lejepa", "tiny-vit"),
)
TINY_MODEL = {"signal.size": 32, "signal.patch": 4}
"""What makes a preset fast enough to see that it runs."""


def stepping(config: Any, images: Tensor, kind: str, attention: str) -> timing.Action:
    """Training steps of a preset's model, always on the same images."""
    training = config.train.model_copy(
        update={"precision": kind, "attention": attention, "batch_size": len(images)}
    )
    model = build(config)
    stepper = Stepper(model, adamw(model, training), training, 0)
    return lambda round_: stepper(0, images)


def memory(args: argparse.Namespace) -> dict[str, Any]:
    """Peak resident memory of a process that imports a library, builds its model and takes two steps."""
    spawn, found = multiprocessing.get_context("spawn"), {}
    for name in (BASE, JOINT, *chosen(TRAINERS, args)):
        with ProcessPoolExecutor(1, mp_context=spawn) as fresh:
            found[name] = fresh.submit(peak_of, name, args).result()
    print(f"memory: batch {args.batch}, peak MiB of a training step")
    for name, mib in found.items():
        print(f"  {name:<34} {mib if isinstance(mib, str) else format(mib, '9.0f')}")
    return {"batch": args.batch, "mib": found}


def peak_of(name: str, args: argparse.Namespace) -> float | str:
    """MiB, or why it cannot be told; runs in a process of its own."""
    torch.set_num_threads(args.threads)
    sizes, _ = sizes_of(args)
    images = noise(args.batch, sizes.image)
    masks = contenders.masks(contenders.recipe(sizes, False, args.batch), images, 0)
    if name in TRAINERS:
        built, missing = contenders.available({name: TRAINERS[name]}, sizes, args.batch)
        if missing:
            return missing[name]
        contender = built[name]
    else:
        contender = Ours(sizes, args.batch, joint=name == JOINT)
    for _ in range(2):
        contender.step(images, masks, 0)
    return record.peak_mib()


def profile(args: argparse.Namespace) -> dict[str, Any]:
    """Operators by their own CPU time."""
    tables = []
    for sizes, batch in zip(sizes_of(args), (args.batch, args.small_batch), strict=True):
        label = f"{sizes.image} px, batch {batch}"
        for joint in (False, True):
            ours = Ours(sizes, batch, joint)
            images = noise(batch, sizes.image)
            ours.step(images, None, 0)
            with torch.profiler.profile() as recorded:
                ours.step(images, None, 1)
            averages = recorded.key_averages()
            table = averages.table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=50)
            tables.append(f"{ours.name}, {label}, one step\n{table}\n")
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / "speed-profile.txt"
    path.write_text("\n".join(tables))
    return {"table": path.name}


class Clock:
    """CPU seconds of calls, by label."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def times(self, label: str, action: Callable[..., Any]) -> Callable[..., Any]:
        """The action, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.process_time()
            try:
                return action(*args, **kwargs)
            finally:
                self.seconds.setdefault(label, []).append(time.process_time() - begun)

        return timed

    def median(self, label: str) -> float:
        """Over all calls but the first, which warms up."""
        return statistics.median(self.seconds[label][1:])


def noise(batch: int, size: int) -> Tensor:
    """Float images in 0..1, always the same."""
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(contenders.SEED))


def photos(count: int, size: int) -> ImageSet:
    """A set in memory of that many images (and the few that training holds out)."""
    return open_images((noise(count + 16, size) * 255).byte())


def chosen(kinds: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Those that `--peers` names."""
    return {name: kind for name, kind in kinds.items() if name in args.peers}


def sizes_of(args: argparse.Namespace) -> tuple[Sizes, Sizes]:
    """ViT-S/16 at 224 px and a ViT at 32 px; with `--tiny`, minimal ones."""
    if args.tiny:
        return TINY, TINY
    return Sizes(), SMALL


PARTS = {
    "step": step,
    "small": small,
    "embed": embed,
    "wait": wait,
    "precision": precision,
    "memory": memory,
    "profile": profile,
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    assert __doc__
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks.speed", description=__doc__, formatter_class=formatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), help="default: all")
    parser.add_argument("--peers", nargs="*", default=list(EMBEDDERS), choices=EMBEDDERS, help="default: all")
    parser.add_argument("--batch", type=int, default=8, help="images of 224 px")
    parser.add_argument("--small-batch", type=int, default=64, help="images of 32 px")
    parser.add_argument("--small-steps", type=int, default=4, help="per turn, on 32 px")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender that count")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--matmul", type=int, default=MATMUL, help="side of the product that peak is measured with"
    )
    parser.add_argument("--tiny", action="store_true", help="minimal models: to see that it runs")
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    args = parser.parse_args(arguments)
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts; one JSON file each."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    torch.manual_seed(contenders.SEED)
    for part in args.parts:
        payload = {"seed": contenders.SEED, "rounds": args.rounds, **PARTS[part](args)}
        print(f"  written: {record.write(f'speed-{part}', payload, args.results)}", flush=True)


if __name__ == "__main__":
    main()
