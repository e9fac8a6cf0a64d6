"""The commands, from a folder of images to a report, and one sentence for every mistake."""

import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openjepa import cli
from openjepa.config import dotted_paths
from openjepa.errors import OpenJEPAWarning
from openjepa.recipes import find, registered
from openjepa.training import load

SIZES = {"signal.size": 16, "encoder.width": 16, "encoder.depth": 1, "encoder.heads": 2}
TRAINING = {"train.steps": 4, "train.batch_size": 8, "train.health_every": 0.5, "train.save_every": 0.5}
OF_RECIPE = {
    "i-jepa": {"preset": "tiny-vit", "predictor.width": 16, "predictor.depth": 1, "predictor.heads": 2},
    "lejepa": {"encoder": "vit", "head.hidden": 16, "head.width": 8, "hiding.global_augment.size": 16},
}


def flags(options: dict[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


ANY = flags(SIZES | TRAINING)
TINY = ANY + flags(OF_RECIPE["i-jepa"])


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two classes of noisy 16 px images, 20 each to train on and 6 each to test on."""
    folder, random = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    y, x = np.mgrid[-8:8, -8:8]
    shapes = {"disc": x**2 + y**2 < 25, "bar": abs(x) < 3}
    for split, count in (("train", 20), ("test", 6)):
        for name, shape in shapes.items():
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.roll(shape, random.integers(-3, 4, 2), (0, 1)) * 180 + random.integers(
                    0, 60, (16, 16)
                )
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory) -> Path:
    """A run that no test may change."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    arguments = ["train", "i-jepa", "--data", str(photos), "--out", str(run), *TINY]
    cli.main([*arguments, "--json"])
    return run


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


# From images to a verdict


def test_from_a_folder_to_a_report(photos, tmp_path, said):
    run = tmp_path / "run"
    printed = said("train", "i-jepa", "--data", photos, "--out", run, *TINY)
    assert printed.split()[:2] == ["run", str(run)] and "verdict" in printed
    table = said("probe", run, "--per-class", "1")
    rows = ("raw pixels", "HOG", "k-means patches", "random init", "model", "model + best classical")
    assert [line for line in rows if line in table] == list(rows)
    assert all(word in table for word in ("linear", "knn", "1 per class", "Wilson", "images/s"))
    said("embed", run, "-o", tmp_path / "features.npy")
    assert np.load(tmp_path / "features.npy").shape == (40, 16)
    assert "rank/embedding" in said("health", run)
    report = Path(said("report", run).split()[-1])
    page = report.read_text(encoding="utf-8")
    assert report == run / "report.html" and "raw pixels" in page and str(photos) in page


def test_embeddings_as_parquet_carry_the_labels(trained, tmp_path, said):
    parquet = pytest.importorskip("pyarrow.parquet")
    said("embed", trained, "--split", "test", "-o", tmp_path / "features.parquet")
    table = parquet.read_table(tmp_path / "features.parquet")
    assert table.column_names == ["index", "sample", "label", "embedding"] and table.num_rows == 12


def test_json_is_one_document_and_nothing_else(photos, run, tmp_path, said):
    def parsed(*arguments: object) -> dict:
        return json.loads(said(*arguments, "--json"))

    assert {row["recipe"] for row in parsed("recipes")} == set(registered())
    made = parsed("train", "i-jepa", "--data", photos, "--out", tmp_path / "new", *TINY)
    assert made["run"] == str(tmp_path / "new") and made["verdict"] and made["reason"]
    few = ("--few-label", "0.2", "--draws", "3")
    scores = parsed("probe", run, "--kinds", "linear", *few, "--classical", "none")["scores"]
    assert {(score["labels"], len(score["values"])) for score in scores} == {(1.0, 1), (0.2, 3)}
    embedded = parsed("embed", run, "-o", tmp_path / "x.npy")
    files = {"features": str(tmp_path / "x.npy"), "table": str(tmp_path / "x.samples.csv")}
    assert embedded == {**files, "images": 40, "skipped": 0}
    assert parsed("health", run)["rank/limit"] > 0
    assert Path(parsed("report", run)["report"]).is_file()


@pytest.mark.parametrize(
    ("recipe", "swaps", "term"),
    [
        ("i-jepa", "--guard sigreg --guard.slices 16 --target shared", "sigreg/null"),
        ("i-jepa", "--guard=vicreg --target shared --target.stop-gradient --energy cosine", "vicreg/std"),
        ("i-jepa", "--target frozen --energy l1 --condition none --predictor.joint false", "energy"),
        ("lejepa", "--guard vicreg --target ema --energy smooth-l1", "vicreg/covariance"),
    ],
)
def test_choices_swap_from_the_command_line(photos, tmp_path, said, recipe, swaps, term):
    sizes = ANY + flags(OF_RECIPE[recipe])
    said("train", recipe, "--data", photos, "--out", tmp_path / "run", *sizes, *swaps.split(), "--json")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    assert len(steps) == 4 and all(np.isfinite(step[term]) and np.isfinite(step["loss"]) for step in steps)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    words = swaps.replace("=", " ").split()
    for choice in ("guard", "target", "energy", "condition"):
        if f"--{choice}" in words:
            assert config[choice]["kind"] == words[words.index(f"--{choice}") + 1]


def test_a_saved_config_repeats_a_run_with_options_on_top(trained, tmp_path, said):
    said("train", "--config", trained, "--train.lr", "2e-3", "--out", tmp_path / "again", "--json")
    old, new = (json.loads((run / "config.json").read_text()) for run in (trained, tmp_path / "again"))
    assert new["train"].pop("lr") == 2e-3 != old["train"].pop("lr")
    assert new == old


def test_options_may_stand_before_the_recipe():
    args = cli.parsing.parse(
        ["train", "--train.lr", "2e-3", "--guard=sigreg", "i-jepa", "--out", "x", "--train.compile"]
    )
    assert args.recipe == "i-jepa" and args.out == "x"
    assert args.changes == {"train.lr": "2e-3", "guard": "sigreg", "train.compile": "true"}


def test_a_run_names_the_command_that_repeats_it(trained, photos):
    about = json.loads((trained / "run.json").read_text())
    assert about["command"].startswith(f"openjepa train i-jepa --data {photos}")


def test_a_finished_run_resumes_to_its_end(run, said):
    assert json.loads(said("train", "--resume", run, "--json"))["run"] == str(run)


def test_recipes_lists_papers_and_presets(said):
    text = said("recipes")
    for name, recipe in registered().items():
        assert name in text and recipe.paper in text and all(preset in text for preset in recipe.presets)


def test_help_lists_every_option_of_a_recipe(said):
    assert "openjepa train RECIPE --help" in said("train", "--help")
    text = said("train", "i-jepa", "--preset", "tiny-vit", "--help")
    options = {path for path in dotted_paths(find("i-jepa")) if not path.endswith(".kind")}
    missing = [path for path in options if f"--{path} " not in text]
    assert not missing
    assert "one of none, vicreg, sigreg" in text and "vit-h14" in text
    assert "--encoder.width 96\n" in text and "preset tiny-vit" in text  # what would run


def test_help_has_the_values_of_what_would_run(said, refused):
    text = said("train", "i-jepa", "--preset", "vit-h14", "--guard", "vicreg", "--train.lr", "3e-4", "--help")
    assert (
        "--encoder.width 1280\n" in text
        and "--guard.covariance 0.04" in text
        and "--train.lr 0.0003 " in text
    )
    assert "did you mean 'tiny'" in refused("train", "i-jepa", "--preset", "tinny", "--help")


@pytest.mark.parametrize("name", ["2024", "1e5", "true", "2020-01-01", "null"])
def test_a_path_is_a_path_whatever_it_looks_like(photos, tmp_path, said, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, name)
    said("train", "i-jepa", "--data", name, "--out", "run", *TINY, "--json")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"] == name
    monkeypatch.chdir(tmp_path / "run")
    with pytest.raises(SystemExit):
        cli.main(["train", "i-jepa", "--data", name, *TINY])  # it is not here, and no number


# Mistakes in what is asked for


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("train ijepa", "did you mean 'i-jepa'?"),
        ("train", "name a recipe to train"),
        ("train i-jepa --preset tinny", "did you mean 'tiny'?"),
        ("train i-jepa --gaurd sigreg", "unknown option 'gaurd'; did you mean 'guard'?"),
        ("train i-jepa --guard.slics 3 --guard sigreg", "did you mean 'guard.slices'?"),
        ("train i-jepa --guard sigrge", "did you mean 'sigreg'?"),
        ("train i-jepa --train.lr fast", "train.lr: "),
        ("train i-jepa --steps 0 --train.batch_size 1", "train.batch_size: "),
        ("train i-jepa --on-collapse explode", "'warn', 'stop' or 'rollback'"),
        ("train i-jepa extra", "unexpected argument 'extra'"),
        ("train --resume nowhere", "holds no run"),
        ("train --resume nowhere --seed 9", "nothing but --data"),
        ("train --resume nowhere --steps 0", "steps: Input should be greater than"),
        ("train i-jepa --config nowhere.yaml", "cannot be read"),
        ("traim", "did you mean 'train'?"),
        ("", "COMMAND"),
        ("embed run -o x.npy --josn", "did you mean '--json'?"),
        ("probe run --seed x", "invalid int value"),
        ("probe", "RUN"),
        ("health nowhere", "holds no run"),
        ("report nowhere", "is not a run directory"),
        ("embed nowhere -o x.npy", "neither a run nor an exported model"),
    ],
)
def test_a_mistake_is_one_sentence(refused, arguments, expected):
    assert expected in refused(*arguments.split())


def test_all_mistakes_are_named_at_once(refused):
    wrong = ("--train.lr", "-1", "--steps", "none", "--encoder.width", "130")
    sentence = refused("train", "i-jepa", "--preset", "tiny-vit", *wrong)
    assert all(path in sentence for path in ("train.lr", "train.steps", "encoder"))


def test_the_process_exits_with_2_and_no_traceback():
    command = [sys.executable, "-m", "openjepa", "train", "ijepa"]
    variables = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("openjepa: unknown recipe 'ijepa'") and done.stderr.count("\n") == 1


# Mistakes in data, sizes and masks


def test_empty_folder(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    sentence = refused("train", "i-jepa", "--data", tmp_path / "empty", "--out", tmp_path / "run")
    assert "it holds no files" in sentence and "give a folder" in sentence


def test_unreadable_data(refused, tmp_path):
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "a.jpg").write_bytes(b"no image" * 20)
    sentence = refused("train", "i-jepa", "--data", tmp_path / "junk", "--out", tmp_path / "run")
    assert "none of its 1 files is a readable image (a.jpg: not an image)" in sentence
    assert "does not exist" in refused("train", "i-jepa", "--data", tmp_path / "nowhere")


def test_damaged_files_are_counted_and_named(photos, tmp_path, capsys):
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    shutil.copy(folder / "train" / "disc" / "1.png", folder / "train" / "stray.png")
    (folder / "train" / "disc" / "0.png").write_bytes(b"cut off")
    run = tmp_path / "run"

    def told(*arguments: object) -> tuple[str, str]:
        capsys.readouterr()
        cli.main([str(argument) for argument in arguments])
        return capsys.readouterr()

    left_out = "1 file is left out beside 40 images: disc/0.png (not an image)"
    assert left_out in told("train", "i-jepa", "--data", folder, "--out", run, *TINY, "--json")[1]
    about = json.loads((run / "run.json").read_text())["data"]
    assert about["skipped"] == [["disc/0.png", "not an image"]] and about["images"] == 40
    out, err = told("embed", run, "-o", tmp_path / "x.npy", "--json")
    assert json.loads(out)["skipped"] == 1 and left_out in err
    err = told("probe", run, "--json")[1]
    assert left_out in err and "1 of 40 images have no label and are left out here" in err


def test_image_smaller_than_a_patch(refused):
    sentence = refused("train", "i-jepa", "--signal.size", "16", "--signal.patch", "32")
    assert "images of 16 px are smaller than a patch of 32 px" in sentence


def test_nan_in_the_input(refused, tmp_path):
    pixels = np.full((40, 16, 16), 0.5, np.float32)
    pixels[7, 3, 3] = np.nan
    np.save(tmp_path / "nan.npy", pixels)
    sentence = refused("train", "i-jepa", "--data", tmp_path / "nan.npy", "--out", tmp_path / "run", *TINY)
    assert "images 7 hold values that are NaN or infinite" in sentence


def test_nan_in_the_loss_names_step_and_checkpoint(refused, photos, tmp_path):
    run, wild = tmp_path / "run", ["--train.lr", "1e20", "--train.warmup", "0"]
    arguments = ["train", "i-jepa", "--data", photos, "--out", run, *TINY, *wild]
    sentence = refused(*arguments, "--json")
    assert sentence.startswith("step 1, images ") and "lower train.lr" in sentence
    assert f"the last good checkpoint is {run / 'checkpoints' / 'step-000000'}" in sentence
    with pytest.warns(OpenJEPAWarning, match="has not ended: this is its model after 0 of 4 steps"):
        model = load(run)
    assert model.embed(torch.zeros(1, 1, 16, 16)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--hiding.min_context 0.9", "masks can never hold on a 4x4 grid"),
        ("--train.batch_size 33", "use at most 32"),
        ("--predictor none", "add --predictor transformer"),
    ],
)
def test_what_can_never_run_leaves_no_directory(refused, photos, tmp_path, options, expected):
    named = ["--preset", "tiny-vit", "--data", photos, "--out", tmp_path / "run"]
    arguments = ["train", "i-jepa", *named, *ANY, *options.split()]
    assert expected in refused(*arguments)
    assert not (tmp_path / "run").exists()


def test_one_class_cannot_be_probed(refused, trained, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "one" / split / "only").mkdir(parents=True)
        for i in range(3):
            Image.new("L", (16, 16), 90 * i).save(tmp_path / "one" / split / "only" / f"{i}.png")
    sentence = refused("probe", trained, "--data", tmp_path / "one")
    assert "one label, only" in sentence and "needs two classes" in sentence


def test_probing_needs_labels_a_test_set_and_known_probes(refused, trained, photos, tmp_path):
    pixels = np.zeros((20, 16, 16), np.uint8)
    np.savez(tmp_path / "bare.npz", x_train=pixels, x_test=pixels)
    assert "has no labels" in refused("probe", trained, "--data", tmp_path / "bare.npz")
    assert "has no split 'test'" in refused("probe", trained, "--data", photos / "train")
    assert "choose from linear, knn, attentive" in refused("probe", trained, "--kinds", "svm")
    assert "choose from none, quick, all" in refused("probe", trained, "--classical", "some")
    assert "share of the labels between 0 and 1" in refused("probe", trained, "--few-label", "1.5")


# Damaged and hostile models


def test_truncated_weights(refused, run, tmp_path):
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    sentence = refused("embed", run, "-o", tmp_path / "x.npy")
    assert str(weights) in sentence and "truncated" in sentence and not (tmp_path / "x.npy").exists()


def test_truncated_checkpoints(refused, run):
    for state in run.glob("checkpoints/*/state.safetensors"):
        state.write_bytes(state.read_bytes()[:50])
    sentence = refused("train", "--resume", run, "--json")
    assert "state.safetensors is truncated" in sentence


def test_weights_of_another_recipe(refused, run, tmp_path):
    config = find("lejepa").model_validate({"signal": {"size": 16, "patch": 4}, "preset": "tiny"})
    config = config.model_copy(
        update={"encoder": config.encoder.model_copy(update={"width": 16, "depth": 1})}
    )
    (run / "model" / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
    sentence = refused("embed", run, "-o", tmp_path / "x.npy")
    assert "holds a model of recipe i-jepa, its config asks for lejepa" in sentence


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_the_payload_of_these_tests_would_run(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["model/model.safetensors", "model/model.pt", "model.pth"])
@pytest.mark.parametrize("command", ["embed", "probe", "report"])
def test_pickled_code_is_never_executed(run, tmp_path, capsys, refused, name, command):
    proof = tmp_path / "executed"
    shutil.rmtree(run / "checkpoints")
    (run / "model" / "model.safetensors").unlink()
    (run / name).write_bytes(pickle.dumps(Payload(proof)))
    if command == "report":  # what it cannot show it says on the page
        cli.main(["report", str(run)])
        assert "pickle" in (run / "report.html").read_text()
    else:
        sentence = refused(command, run, *(["-o", tmp_path / "x.npy"] if command == "embed" else []))
        assert "pickle" in sentence or "no model yet" in sentence
    assert not proof.exists()


def test_pickled_arrays_are_never_loaded(refused, tmp_path):
    np.save(tmp_path / "objects.npy", np.array([Payload(tmp_path / "executed")], object), allow_pickle=True)
    sentence = refused("train", "i-jepa", "--data", tmp_path / "objects.npy", "--out", tmp_path / "run")
    assert "plain numbers" in sentence and not (tmp_path / "executed").exists()


def test_a_model_directory_is_no_run(refused, trained, said, tmp_path):
    exported = trained / "model"
    said("embed", exported, "-o", tmp_path / "x.npy")
    for arguments in (["health", exported], ["train", "--resume", exported]):
        assert "no run" in refused(*arguments)


# What was interrupted


def test_probing_a_run_that_was_killed_says_which_step_is_scored(run, capsys):
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "checkpoints/step-000004")
    cli.main(["probe", str(run), "--kinds", "knn", "--json"])
    assert capsys.readouterr().err == f"openjepa: {run} has not ended: this is its model after 2 of 4 steps\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_ctrl_c_prints_continues(number, code, photos, tmp_path, monkeypatch, capsys, said):
    from openjepa.training.progress import Silent

    with monkeypatch.context() as patch:
        patch.setattr(
            Silent, "step", lambda self, step, *_: os.kill(os.getpid(), number) if step == 3 else None
        )
        with pytest.raises(SystemExit) as end:
            cli.main(
                ["train", "i-jepa", "--data", str(photos), "--out", str(tmp_path / "run"), *TINY, "--json"]
            )
    assert end.value.code == code
    sentence, command = capsys.readouterr().err.strip().split("; continue with: ")
    assert sentence == "openjepa: interrupted after step 3 of 4, which is saved"
    assert "verdict" in said(*shlex.split(command)[1:])


@pytest.mark.parametrize(
    "words",
    [
        ["train", "i-jepa", "--data", ""],
        ["train", "i-jepa", "--out", ""],
        ["train", "--resume", ""],
        ["embed", "run", "--data", "", "-o", "x.npy"],
        ["probe", "run", "--test", ""],
        ["probe", ""],
        ["report", ""],
        ["controls", "run", "--data", ""],
    ],
)
def test_an_empty_variable_of_the_shell_is_no_name(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2 and "empty" in capsys.readouterr().err


# Places that cannot be written


@pytest.fixture
def file(tmp_path) -> Path:
    """A file where a directory is needed; file modes would not stop root."""
    (tmp_path / "file").write_text("mine")
    return tmp_path / "file"


def test_nowhere_to_write_a_run(refused, photos, file):
    arguments = ["train", "i-jepa", "--data", photos, *TINY, "--out"]
    assert "name another directory" in refused(*arguments, file / "run")
    assert "name another directory" in refused(*arguments, file)
    assert file.read_text() == "mine"


def test_nowhere_to_write_features_scores_or_a_report(refused, run, file):
    assert "choose a folder that you may write to" in refused("embed", run, "-o", file / "x.npy")
    for name in ("probe.json", "report.html"):
        (run / name).mkdir()
        (run / name / "occupied").touch()
    assert "probe.json cannot be written" in refused("probe", run)
    (run / "probe.json" / "occupied").unlink()
    (run / "probe.json").rmdir()
    assert "report.html cannot be written" in refused("report", run)


def test_a_run_is_never_overwritten(refused, run, photos):
    before = (run / "metrics.jsonl").read_bytes()
    sentence = refused("train", "i-jepa", "--data", photos, "--out", run, *TINY)
    assert "already holds a run" in sentence and "--resume" in sentence
    assert (run / "metrics.jsonl").read_bytes() == before


def test_embeddings_have_one_of_three_forms(refused, trained, tmp_path):
    sentence = refused("embed", trained, "-o", tmp_path / "x.txt")
    assert "ends in .npy or .parquet or .csv" in sentence
