"""The commands. Nothing here imports torch until a command that needs it runs."""

import argparse
import difflib
import json
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from openjepa.errors import OpenJEPAWarning, UserError

if TYPE_CHECKING:
    from openjepa.evals.table import ProbeTable
    from openjepa.recipes import Recipe

T = TypeVar("T")
LONGEST = 1500
"""Characters of a sentence."""

TRAIN_HELP = """\
Recipes whose signal is frames learn from episodes, the others from images (see `openjepa recipes`). Every choice swaps
from here, by its dotted name:

  openjepa train i-jepa --guard sigreg --target shared
  openjepa train lejepa --encoder timm --encoder.name resnet18
  openjepa train i-jepa --preset tiny --train.steps 500 --train.lr 2e-3
  openjepa train pldm --data episodes --hiding.rollout 4 --terms.inverse 2

`openjepa train RECIPE --help` lists the recipe's options with their values; with --preset, those of that preset.
"""

COLLECT_HELP = """\
Every option of a world is set by its name; MuJoCo, PushT, OGBench and MiniGrid come with openjepa[environments]:

  openjepa collect maze --episodes 1000 --max-steps 300 --out episodes
  openjepa collect gym:Reacher-v5 --policy random-walk --out reacher
  openjepa collect gym:my_robot:Reach-v0 --measured "[0, 1]" --tolerance 0.05 --out reach
"""

PLAN_HELP = """\
Every number of the protocol is set by its dotted name:

  openjepa plan RUN --planner mppi --planner.horizon 20 --planner.samples 500
  openjepa plan RUN-0 RUN-1 RUN-2 --episodes 100 --seed 1 --out result.json
  openjepa plan RUN --cost.reduce last --difficulty "{distance: [0, 20]}" --baselines "[random, expert]"
  openjepa plan RUN --cost.doubt 2   (what failed once in an episode is not planned again)
  openjepa plan RUN --level 2 --higher.planner.horizon 8
  openjepa plan --protocol result.json
"""


REMOTE_HELP = """\
Every number of the protocol is set by its dotted name:

  openjepa remote RUN --loss 0.1 --episodes 200
  openjepa remote RUN --schedules "[{kind: every, steps: 5}, {kind: drift, threshold: 0.3}]" --actor.updates 5000
  openjepa remote --protocol remote.json
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exits with 2 and one sentence on a mistake that the user can mend, with 130 on Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(
        sys.stdout, TextIOWrapper
    ):  # a name that the terminal's encoding lacks is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        args = _parse(arguments)
        with _warnings_in_sentences():
            args.run(args)
    except UserError as error:
        _refuse(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise SystemExit(0) from None
        _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        _refuse("this takes more memory than there is: choose smaller batches, sizes or data")
    except KeyboardInterrupt as stop:  # a training says what it has saved, and which signal came
        print(f"openjepa: {str(stop) or 'interrupted'}", file=sys.stderr)
        raise SystemExit(128 + getattr(stop, "number", signal.SIGINT)) from None


def _refuse(sentence: str) -> NoReturn:
    print(f"openjepa: {_on_a_line(sentence)}", file=sys.stderr)
    raise SystemExit(2) from None


def _on_a_line(sentence: str) -> str:
    """Characters that can be seen, and not too many of them, whatever the names in it."""
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence)
    return seen if len(seen) <= LONGEST else f"{seen[: LONGEST // 2]} ... {seen[-LONGEST // 2 :]}"


def _out_of_memory(error: Exception) -> bool:
    """Torch has a class for a GPU's memory alone."""
    known = "can't allocate memory" in str(error) or type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or known


@contextmanager
def _warnings_in_sentences() -> Generator[None]:
    """Our own warnings as one line each on standard error; others as Python shows them."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", OpenJEPAWarning)
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, OpenJEPAWarning):
                print(f"openjepa: {_on_a_line(str(message))}", file=sys.stderr)
            else:
                shown(message, category, *where, **more)

        warnings.showwarning = show  # ty: ignore[invalid-assignment]
        yield


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    own, changes = list(arguments), {}
    if own[:1] in (["train"], ["collect"], ["plan"], ["remote"]):
        own, changes = _split(own, _commands(parser)[own[0]]._option_string_actions)
    args, rest = parser.parse_known_args(own)
    if rest:
        nearest = _nearest(rest[0], _commands(parser)[args.command]._option_string_actions)
        raise UserError(f"unexpected argument {rest[0]!r}{nearest}; see `openjepa {args.command} --help`")
    for name in ("data", "test", "out", "output", "config", "resume", "protocol", "env", "run_dir"):
        if getattr(args, name, None) == "":  # a shell's empty variable; as a path it is the working directory
            raise UserError(f"{name} is an empty text: name something, or leave it out")
    if "" in (getattr(args, "runs", None) or []):
        raise UserError("a run has an empty name: name its folder")
    args.line, args.changes = shlex.join(["openjepa", *arguments]), changes
    return args


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next(a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))


def _nearest(word: str, options: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, options, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="openjepa",
        description="Train, examine and use joint-embedding predictive architectures.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"openjepa {version('openjepa')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Any, text: str, **options: Any) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False, **options)
        sub.set_defaults(run=run)
        return sub

    recipes = command("recipes", _recipes, "list the recipes: each a paper, a row of six choices")
    recipes.add_argument("--markdown", action="store_true", help="as the table in the README")
    recipes.add_argument("--json", action="store_true", help="with all presets, for machines")

    train = command(
        "train",
        _train,
        "train a recipe on images or episodes",
        epilog=TRAIN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    train.add_argument("recipe", nargs="?", help="see `openjepa recipes`")
    train.add_argument("-h", "--help", action="store_true", help="show this, or a recipe's options")
    train.add_argument("--preset", help="a named size, e.g. tiny (two CPU cores, minutes) or vit-b16")
    train.add_argument(
        "--data",
        help="a folder of images, tar shards, a .npy file, or fashion-mnist (the default); for a world model a folder "
        "of episodes, as `openjepa collect` writes it, or an .hdf5 file",
    )
    train.add_argument("--out", help="the run's directory (default: runs/RECIPE-PRESET-SEED)")
    train.add_argument("--config", help="a saved config.json or a YAML file, with options on top")
    train.add_argument(
        "--resume", metavar="DIR", help="continue an interrupted run, bit for bit; --data where it has moved"
    )
    train.add_argument("--steps", help="short for --train.steps")
    train.add_argument("--seed", help="short for --train.seed")
    train.add_argument("--on-collapse", help="warn, stop or rollback; short for --train.on_collapse")
    train.add_argument("--json", action="store_true", help="print the result as JSON and no progress")

    collect = command(
        "collect",
        _collect,
        "record episodes of a world, to train a world model on; goes on where it was interrupted",
        epilog=COLLECT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    collect.add_argument(
        "world", help="e.g. two-rooms, maze or cart-pole; gym:ID for a Gymnasium environment"
    )
    collect.add_argument("--episodes", type=int, default=1000, help="how many the folder is to hold")
    collect.add_argument(
        "--policy", default="random-walk", help="random, random-, wide- or bold-walk, scripted, clumsy"
    )
    collect.add_argument("--steps", type=int, help="environment steps of an episode (default: the world's)")
    collect.add_argument("--size", type=int, default=64, help="side of a frame in pixels")
    collect.add_argument(
        "--difficulty", default="{}", help="of the goals that the policy seeks, e.g. '{target: [0, 0]}'"
    )
    collect.add_argument("--seed", type=_whole(0, 2**63 - 1), default=0)
    collect.add_argument("--out", required=True, help="the folder")
    collect.add_argument("--json", action="store_true")

    probe = command("probe", _probe, "score frozen features beside classical ones and a random encoder")
    probe.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run; several of one recipe give intervals over seeds"
    )
    probe.add_argument("--data", help="labelled images (default: the data of the run)")
    probe.add_argument("--test", help="test images (default: the test split of --data)")
    probe.add_argument("--kinds", nargs="+", default=["linear", "knn"], help="of linear, knn, attentive")
    probe.add_argument(
        "--few-label", nargs="+", type=float, default=[], metavar="SHARE", help="e.g. 0.01 0.1: of the labels"
    )
    probe.add_argument(
        "--per-class",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="e.g. 10 1: labelled examples per class",
    )
    probe.add_argument(
        "--classical",
        default="all",
        help="features beside the model's: all; quick, without the k-means dictionary (minutes on 50,000 images); none",
    )
    probe.add_argument(
        "--seed",
        type=_whole(0, 2**63 - 1),
        default=0,
        help="of validation splits, label draws, random encoders",
    )
    probe.add_argument("--json", action="store_true", help="print the table as JSON")

    plan = command(
        "plan",
        _plan,
        "plan with world models in a world: success beside chance, imitation and the truth",
        epilog=PLAN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan.add_argument(
        "runs", nargs="*", metavar="RUN", help="a world model; several of one recipe are combined"
    )
    plan.add_argument(
        "--env",
        help="the world, or gym:ID (default: that of the run's episodes); gym:MODULE:ID must be named",
    )
    plan.add_argument(
        "--protocol", metavar="FILE", help="play a saved protocol, or that of a saved result, again"
    )
    plan.add_argument("--surprise", action="store_true", help="also: is it surprised by what cannot be?")
    plan.add_argument(
        "--probes",
        type=_whole(1, 1000),
        metavar="FRAMES",
        help="also: physical state from latents of so many frames",
    )
    plan.add_argument(
        "--out", metavar="FILE", help="the result as JSON (default, of one run: plan.json in it)"
    )
    plan.add_argument("--json", action="store_true", help="print the result as JSON")

    controls = command(
        "controls", _controls, "may a world model's latent z be believed? the papers' controls"
    )
    controls.add_argument("run_dir", metavar="RUN", help="of latent-action, mixture, or --condition latent")
    controls.add_argument("--data", help="episodes (default: those of the run)")
    controls.add_argument("--seed", type=_whole(0, 2**63 - 1), default=0, help="of steps, draws and fits")
    controls.add_argument(
        "--updates",
        type=_whole(1, 10**8),
        default=1000,
        help="of each predictor that is fitted to compare with",
    )
    controls.add_argument("--json", action="store_true", help="print the table as JSON")

    remote = command(
        "remote",
        _remote,
        "control over a channel: success against transmissions sent, foreseen or held in between",
        epilog=REMOTE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    remote.add_argument(
        "runs", nargs="*", metavar="RUN", help="a world model; several of one recipe are combined"
    )
    remote.add_argument("--env", help="the world (default: that of the run's episodes)")
    remote.add_argument("--protocol", metavar="FILE", help="play a saved protocol or result again")
    remote.add_argument(
        "--out", metavar="FILE", help="the result as JSON (default, of one run: remote.json in it)"
    )
    remote.add_argument("--json", action="store_true", help="print the result as JSON")

    embed = command("embed", _embed, "write one feature vector per image, in bounded memory")
    embed.add_argument("run_dir", metavar="RUN")
    embed.add_argument("--data", help="images (default: the data of the run)")
    embed.add_argument("--split", default="train", help="train or test, where the data has splits")
    embed.add_argument("-o", "--output", required=True, help="a .npy or .parquet file")
    embed.add_argument("--json", action="store_true")

    health = command("health", _health, "what is known of a run, with the numbers behind it")
    health.add_argument("run_dir", metavar="RUN")
    health.add_argument("--json", action="store_true")

    report = command("report", _report, "write a run's report.html: one file that opens offline")
    report.add_argument("run_dir", metavar="RUN")
    report.add_argument("--data", help="images to look at (default: the test split of the run's data)")
    report.add_argument("--json", action="store_true")
    return parser


def _whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number within bounds."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"invalid int value: {text[:LONGEST]!r}") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not within {least} and {most}")
        return value

    return read


class _Parser(argparse.ArgumentParser):
    """Its mistakes are the user's, like any other."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = ", ".join(action.choices)
            raise UserError(f"unknown command {value!r}, known are {known}{_nearest(value, action.choices)}")

    def error(self, message: str) -> Any:
        raise UserError(f"{message}; see `{self.prog} --help`")


def _split(words: Sequence[str], own: Container[str]) -> tuple[list[str], dict[str, str]]:
    """The command's own words, and `--guard sigreg --guard.slices=512` as dotted changes; no value means `true`.

    Before argparse sees them: it would take the value of an option that it does not know for the recipe.
    """
    kept, changes, left = [], {}, list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("--") or name in own:
            kept.append(word)
            continue
        if not equals:
            value = left.pop(0) if left and not left[0].startswith("--") else "true"
        changes[name.removeprefix("--").replace("-", "_")] = value
    return kept, changes


def _recipes(args: argparse.Namespace) -> None:
    from openjepa.recipes.table import as_dicts, as_markdown, as_text

    print(json.dumps(as_dicts(), indent=2) if args.json else as_markdown() if args.markdown else as_text())


def _train(args: argparse.Namespace) -> None:
    if args.help:
        _train_help(args)
        return
    from openjepa.training import resume, start
    from openjepa.training.progress import Console, Silent

    progress = Silent() if args.json else Console()
    if args.resume:
        named = (args.recipe, args.preset, args.out, args.config, args.steps, args.seed, args.on_collapse)
        if args.changes or any(value is not None for value in named):
            raise UserError(
                "--resume continues a run as it was configured: give nothing but --data beside it"
            )
        run = resume(args.resume, data=args.data, progress=progress)
    else:
        config = _configure(args)
        out = args.out or f"runs/{config.recipe}-{config.preset}-{config.train.seed}"
        adapt = "signal.channels" not in args.changes
        run = start(config, out, adapt=adapt, progress=progress, command=args.line)
    if run.writes:
        verdict = run.verdict()
        _show(
            args,
            {
                "run": str(run.path),
                "verdict": verdict.word,
                "reason": verdict.reason,
                "advice": verdict.advice,
            },
        )


def _configure(args: argparse.Namespace) -> "Recipe":
    from openjepa.recipes import configure
    from openjepa.training.run import read_config

    base = read_config(args.config) if args.config else {}
    recipe = args.recipe or base.get("recipe")
    if recipe is None:
        raise UserError("name a recipe to train; `openjepa recipes` lists them")
    named = {"train.steps": args.steps, "train.seed": args.seed, "train.on_collapse": args.on_collapse}
    changes = {name: value for name, value in {**named, "data": args.data}.items() if value is not None}
    return configure(recipe, args.preset or (None if base else "tiny"), changes | args.changes, base)


def _train_help(args: argparse.Namespace) -> None:
    text = _commands(_parser())["train"].format_help()
    if args.recipe or args.config:
        from openjepa.config import describe
        from openjepa.recipes import find

        config = _configure(args)
        cls = find(config.recipe)
        text += f"\nPresets of {config.recipe}: {', '.join(cls.presets)}\n"
        text += f"Options, with the values of preset {config.preset}:\n\n"
        text += describe(cls, config.model_dump(mode="json"))
    print(text)


def _collect(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.config import read_value
    from openjepa.worlds import open_world
    from openjepa.worlds.collect import collect
    from openjepa.worlds.opening import option_types

    difficulty = read_value("difficulty", args.difficulty, dict)
    if not isinstance(difficulty, dict):
        raise UserError(
            f"--difficulty takes names with values, such as '{{name: value}}', not {difficulty!r}"
        )
    types = option_types(args.world)
    options = {name: read_value(name, text, types.get(name)) for name, text in args.changes.items()}
    world = open_world(args.world, size=args.size, **options)
    try:
        with Waiting() as waiting:
            found = collect(
                world,
                args.policy,
                args.episodes,
                args.seed,
                args.out,
                progress=waiting,
                steps=args.steps,
                difficulty=difficulty,
            )
    except KeyboardInterrupt:
        kept = f"interrupted; what was collected stays in {args.out}, and the same command goes on"
        raise KeyboardInterrupt(kept) from None
    _show(args, {"episodes": len(found), "steps": int(found.lengths.sum()), "folder": args.out})


def _probe(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.evals import probe_runs

    with Waiting() as waiting:
        table: ProbeTable = probe_runs(
            args.runs,
            data=args.data,
            test=args.test,
            kinds=args.kinds,
            classical=args.classical,
            few_label=args.few_label,
            per_class=args.per_class,
            seed=args.seed,
            progress=waiting,
        )
    print(json.dumps(table.to_dict()) if args.json else table)


def _plan(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.evals import planning

    with Waiting() as waiting, warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"openjepa: {message}", file=sys.stderr)  # ty: ignore[invalid-assignment]
        protocol = _protocol(args, planning.Protocol.read, planning.protocol_for)
        out = _result_file(args, "plan.json")
        camera = planning.Camera() if out else None
        result = planning.evaluate(protocol, waiting, camera=camera)
        found: dict[str, Any] = result.to_dict()
        tables: list[Any] = [result]
        trouble = _written(out, found)  # before all that may fail
        if out and camera:
            planning.keep(camera, result.row().outcomes, out)
        try:
            if args.surprise:
                tables += (surprises := planning.surprises(protocol, progress=waiting))
                found["surprise"] = [table.to_dict() for table in surprises]
            if args.probes:
                tables += (states := planning.states(protocol, args.probes, waiting))
                found["state"] = [table.to_dict() for table in states]
        except UserError as error:
            trouble = trouble or error
    if len(tables) > 1:
        trouble = _written(out, found) or trouble
    _shown(args, found, "\n\n".join(map(str, tables)), trouble)


def _written(out: str | None, found: dict[str, Any]) -> UserError | None:
    """A result goes to its file; what prevented that."""
    from openjepa.evals import planning

    try:
        if out:
            planning.write(out, found)
    except UserError as error:
        return error
    return None


def _shown(args: argparse.Namespace, found: dict[str, Any], text: str, trouble: UserError | None) -> None:
    """A result is printed, whatever went wrong with what should be kept of it; that is said then."""
    print(json.dumps(found) if args.json else text)
    if trouble is not None:
        raise trouble


def _controls(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.evals.world_models.latent_controls import latent_controls
    from openjepa.training import load

    model, known = load(args.run_dir), {"seed": args.seed, "updates": args.updates}
    with Waiting() as waiting:
        table = latent_controls(model, args.data or "", name=args.run_dir, progress=waiting, **known)
    print(json.dumps(table.to_dict()) if args.json else table)


def _remote(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.evals import planning

    with Waiting() as waiting:
        protocol = _protocol(args, planning.RemoteProtocol.read, planning.remote_protocol_for)
        result = planning.remote(protocol, waiting)
    found = result.to_dict()
    _shown(args, found, str(result), _written(_result_file(args, "remote.json"), found))


def _protocol(args: argparse.Namespace, read: Callable[..., T], protocol_for: Callable[..., T]) -> T:
    """A saved protocol, or that of the runs with what the command line changes."""
    if not args.protocol:
        return protocol_for(args.runs, args.env, args.changes)
    if args.runs or args.changes:
        raise UserError(
            "--protocol says everything that the numbers depend on: give no run or option beside it"
        )
    return read(args.protocol, args.env)


def _result_file(args: argparse.Namespace, name: str) -> str | None:
    """Where the result goes: to `--out`, or of one run into its folder."""
    return args.out or (f"{args.runs[0]}/{name}" if len(args.runs) == 1 else None)


def _embed(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.evals import embed_to_file
    from openjepa.recipes.images import require_images
    from openjepa.training import load

    model = load(args.run_dir)
    config = require_images(args.run_dir, model.config)
    images = config.images(args.data or config.data, args.split)
    with Waiting() as waiting:
        embed_to_file(model, images, args.output, name=args.run_dir, progress=waiting)
    images.tell()
    _show(args, {"features": args.output, "images": len(images), "skipped": len(images.skipped)})


def _health(args: argparse.Namespace) -> None:
    from openjepa.report.headline import headline
    from openjepa.report.record import read_record
    from openjepa.training.run import Run

    run = Run.open(args.run_dir)
    verdict, said, numbers = run.verdict(), headline(read_record(args.run_dir)), run.last("health")
    found = {"verdict": said.word, "reason": said.reason, "advice": said.advice, "training": verdict.word}
    _show(args, {**found, **{name: value for name, value in numbers.items() if name != "kind"}})


def _report(args: argparse.Namespace) -> None:
    from openjepa.common.progress import Waiting
    from openjepa.report import write_report

    with Waiting() as waiting:
        path = write_report(Path(args.run_dir), data=args.data, progress=waiting)
    _show(args, {"report": str(path)})


def _show(args: argparse.Namespace, found: dict[str, Any]) -> None:
    if args.json:
        print(json.dumps(found))
        return
    width = max(map(len, found))
    for name, value in found.items():
        if value not in ("", None):
            print(
                f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}"
            )
