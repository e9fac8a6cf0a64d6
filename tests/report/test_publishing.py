"""What is published of a run: it comes back equal, its card is true, and nothing of this machine is in it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training import small

import openjepa
from openjepa.cli import main
from openjepa.common import hub as names
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.evals import probe_runs
from openjepa.evals.table import ProbeTable
from openjepa.hub.licences import front_matter
from openjepa.hub.store import save_model
from openjepa.recipes import build, configure
from openjepa.report.card import write_card
from openjepa.report.publishing import prepare


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probed run of a labelled folder of images."""
    from PIL import Image

    place = tmp_path_factory.mktemp("secret-place")
    for i, image in enumerate(small.pixels(60)):
        folder = place / "photos" / ("train" if i < 40 else "test") / ("left" if i % 2 else "right")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{i:02}.png")
    options = small.options(train__steps=4)
    out = place / "run"
    openjepa.train(
        "i-jepa", preset="tiny-vit", data=str(place / "photos"), out=out, options=options, progress=False
    )
    probe_runs([out], kinds=["knn"], classical="none")
    return out


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The Hub as far as it is used: folders by name."""
    held: dict[str, Any] = {}

    class HfApi:
        def create_repo(self, name: str, private: bool, exist_ok: bool) -> None:
            held.setdefault(name, {"private": private, "folder": tmp_path / "hub" / name})

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
            shutil.copytree(folder_path, held[repo_id]["folder"], dirs_exist_ok=True)

    library = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(library, "HfApi", HfApi)
    monkeypatch.setattr(library, "snapshot_download", lambda name, **_: held[name]["folder"])
    return held


def test_what_is_pushed_comes_back_equal(trained: Path, hub: dict[str, Any], capsys: Any) -> None:
    main(["push", str(trained), "me/photos", "--licence", "apache-2.0", "--private", "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "model": "https://huggingface.co/me/photos",
        "load": "hub:me/photos",
    }
    assert hub["me/photos"]["private"]
    ours, theirs = openjepa.load(trained), openjepa.load("hub:me/photos")
    batch = torch.rand(3, 1, 16, 16)
    assert torch.equal(ours.embed(batch), theirs.embed(batch))
    assert theirs.config.model_copy(update={"data": ours.config.data}) == ours.config


def test_nothing_of_this_machine_is_published(trained: Path, tmp_path: Path) -> None:
    files = prepare(str(trained), "me/photos", tmp_path / "out", "mit")
    assert files == ["README.md", "config.json", "model.safetensors"]
    for name in files:
        assert b"secret-place" not in (tmp_path / "out" / name).read_bytes()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["data"] == "photos"


def test_the_card_says_what_the_run_is(trained: Path, tmp_path: Path) -> None:
    prepare(str(trained), "me/photos", tmp_path / "out", "mit")
    card = (tmp_path / "out" / "README.md").read_text()
    front = front_matter(tmp_path / "out" / "README.md")
    assert front["license"] == "mit" and front["library_name"] == "openjepa" and "i-jepa" in front["tags"]
    for choice in ("signal", "hiding", "condition", "target", "energy", "guard"):
        assert re.search(rf"^\| {choice} \| [\w-]+ \|", card, re.M), choice
    assert 'openjepa.load("hub:me/photos")' in card and "uint8 [B, 1, 16, 16]: pixels, as bytes" in card
    assert "Trained on 40 images of `photos`" in card and "Steps 4, batch size 8" in card
    probe = ProbeTable.from_dict(json.loads((trained / "probe.json").read_text()))
    for score in probe.scores:
        low, high = map(score.show, score.interval)
        assert (
            f"| {score.row} | {score.kind} |" in card and f"{score.show(score.mean)} [{low}, {high}]" in card
        )
    assert re.search(r"## Verdict\n\n\*\*.+\*\*: ", card)
    assert "It has not been probed" not in card


def test_a_run_that_was_not_probed_says_so_and_a_world_model_has_a_card(
    trained: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(trained, bare)
    (bare / "probe.json").unlink()
    assert "It has not been probed." in write_card(bare, openjepa.load(bare), "me/bare", "mit")
    world = build(configure("lewm", "tiny"), 0).eval()
    save_model(world, tmp_path / "world")
    card = write_card(tmp_path / "world", world, "me/world", "mit")
    assert "recipe `lewm`" in card and "| condition | actions |" in card


def test_a_non_commercial_start_is_inherited(trained: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    shutil.copytree(trained, begun)
    about = json.loads((begun / "run.json").read_text())
    about["init"] = {"source": "hub:facebook/ijepa_vith14_1k", "taken": {}, "licence": "cc-by-nc-4.0"}
    (begun / "run.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"licensed cc-by-nc-4\.0, so it cannot be published as mit"):
        prepare(str(begun), "me/x", tmp_path / "out", "mit")
    prepare(str(begun), "me/x", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: cc-by-nc-4.0" in card and "For non-commercial use" in card
    assert "started from the weights of `hub:facebook/ijepa_vith14_1k`" in card


def test_without_a_licence_that_is_said(trained: Path, tmp_path: Path) -> None:
    with pytest.warns(OpenJEPAWarning, match="no licence is stated"):
        prepare(str(trained), "me/x", tmp_path / "out")
    assert "license: unknown" in (tmp_path / "out" / "README.md").read_text()


def test_folders_with_other_things_are_left_alone(trained: Path, tmp_path: Path, capsys: Any) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_text("")
    for command in (
        ["push", str(trained), "me/x", "--dry-run", str(photos)],
        ["export", str(trained), "--format", "openjepa", "-o", str(photos)],
    ):
        with pytest.raises(SystemExit):
            main(command)
        assert "holds other things than a model, such as a.png" in capsys.readouterr().err
    assert [path.name for path in photos.iterdir()] == ["a.png"]


def test_what_cannot_be_pushed_is_said(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("huggingface_hub")
    from openjepa.hub.push import upload

    class HfApi:
        def create_repo(self, *_: Any, **__: Any) -> None:
            raise library.errors.LocalTokenNotFoundError("long story")

    monkeypatch.setattr(library, "HfApi", HfApi)
    with pytest.raises(UserError, match="me/x cannot be published: nobody is logged in: hf auth login"):
        upload(tmp_path, "me/x")
    with pytest.raises(UserError, match="names no model of the Hub"):
        prepare(str(trained), "photos", tmp_path / "out")
    with pytest.raises(UserError, match="is published already"):
        prepare("hub:me/x", "me/y", tmp_path / "out")
    assert names.why(OSError("one\ntwo")) == "one"
