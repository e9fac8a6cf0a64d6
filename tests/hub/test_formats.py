"""Models of the Hub: fetched from a server in its layout, told apart by their type, and their licences said."""

import hashlib
import json
import shutil
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

import openjepa
from openjepa.common import hub as names
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.hub import formats, licences
from openjepa.hub.store import save_model
from openjepa.recipes import build, configure

transformers = pytest.importorskip("transformers")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80}
SIZES |= {"image_size": 24, "patch_size": 4, "num_channels": 3}
REVISION = "0123456789abcdef0123456789abcdef01234567"


def ijepa() -> object:
    torch.manual_seed(0)
    return transformers.IJepaModel(transformers.IJepaConfig(**SIZES)).eval()


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A small random checkpoint in the layout of facebook/ijepa_vith14_1k."""
    folder = tmp_path / "released"
    ijepa().save_pretrained(folder)
    scale = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(scale))
    (folder / "modeling_surprise.py").write_text("raise SystemExit('code that came with weights was run')")
    return folder


def small() -> object:
    sizes = {"encoder.width": "16", "encoder.depth": "1", "encoder.heads": "2"}
    return build(configure("i-jepa", "tiny-vit", sizes), seed=3).eval()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    """A server that answers as the Hub does, and the folders by name that it holds."""
    held: dict[str, Path] = {}

    class Hub(BaseHTTPRequestHandler):
        def answer(self, body: bytes, **headers: str) -> None:
            self.send_response(200)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "models"] and (folder := held.get("/".join(parts[2:4]))):
                if parts[4:5] == ["tree"]:
                    tree = [
                        {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": REVISION}
                        for path in sorted(folder.iterdir())
                    ]
                    return self.answer(json.dumps(tree).encode(), Content_Type="application/json")
                files = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
                found = {"id": "/".join(parts[2:4]), "sha": REVISION, "siblings": files, "tags": []}
                found |= {"private": False, "downloads": 0}
                return self.answer(json.dumps(found).encode(), Content_Type="application/json")
            if "resolve" in parts and (folder := held.get("/".join(parts[:2]))):
                body = (folder / parts[-1]).read_bytes()
                asked.append(parts[-1])
                return self.answer(body, ETag=f'"{hashlib.sha256(body).hexdigest()}"', X_Repo_Commit=REVISION)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    library = pytest.importorskip("huggingface_hub")
    real, address = library.snapshot_download, f"http://127.0.0.1:{server.server_port}"

    def snapshot(name: str, **options: object) -> str:
        return real(name, endpoint=address, cache_dir=tmp_path / "cache", **options)

    monkeypatch.setattr(library, "snapshot_download", snapshot)
    yield held
    server.shutdown()
    server.server_close()
    assert not [name for name in asked if name.endswith((".py", ".bin"))]


def loaded(source: str | Path) -> tuple[object, str]:
    """The model, and what was said."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", OpenJEPAWarning)
        model = openjepa.load(source)
    return model, "\n".join(str(warning.message) for warning in heard)


def test_a_released_model_is_fetched_and_gives_its_features(hub: dict[str, Path], released: Path) -> None:
    hub["facebook/ijepa_tiny"] = released
    model, said = loaded("hub:facebook/ijepa_tiny")
    assert not model.training and model.signal.std == (0.25,) * 3
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(3))
    expected = ijepa()((images - 0.5) / 0.25).last_hidden_state.detach()
    torch.testing.assert_close(model.tokens(images), expected, rtol=1e-5, atol=1e-5)
    assert "no predictor" in said and "cc-by-nc-4.0" in said and "non-commercial" in said


def test_a_model_of_ours_comes_back_equal_and_of_free_licence(hub: dict[str, Path], tmp_path: Path) -> None:
    original = small()
    save_model(original, tmp_path / "m")
    (tmp_path / "m" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# mine\n")
    hub["me/mine"] = tmp_path / "m"
    model, said = loaded("hub:me/mine@main")
    assert model.config == original.config and not said
    batch = torch.rand(2, 1, 28, 28)
    assert torch.equal(model.embed(batch), original.embed(batch))


def test_a_folder_in_the_hubs_layout_is_read_and_its_card_counts(released: Path) -> None:
    model, said = loaded(released)
    assert model.layout == (6, 6) and "non-commercial" not in said
    (released / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\ntags: [a]\n---\n")
    assert "cc-by-nc-sa-4.0" in loaded(released)[1]


def test_fine_tuning_takes_a_model_of_ours_from_the_hub_and_says_what_others_need(
    hub: dict[str, Path], released: Path, tmp_path: Path
) -> None:
    save_model(small(), tmp_path / "m")
    hub["me/mine"], hub["facebook/ijepa_tiny"] = tmp_path / "m", released
    images, labels = (
        torch.randint(0, 256, (40, 28, 28), dtype=torch.uint8).numpy(),
        torch.arange(40).numpy() % 2,
    )
    options = {"source": "hub:me/mine", "train.steps": 1, "train.batch_size": 8, "frozen": 1}
    tuned: Any = openjepa.train("finetune", data=(images, labels), options=options, progress=False)
    expected = openjepa.load(tmp_path / "m").evaluated.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in tuned.encoder.state_dict().items())
    with pytest.raises(UserError, match="openjepa export hub:facebook/ijepa_tiny --format openjepa"):
        openjepa.train(
            "finetune", data=(images, labels), options=options | {"source": "hub:facebook/ijepa_tiny"}
        )


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    config = transformers.IJepaConfig(**SIZES)
    transformers.IJepaForImageClassification(config).save_pretrained(tmp_path)
    assert "2 tensors that are no part of I-JEPA are left out, such as classifier" in loaded(tmp_path)[1]


def test_another_type_a_pickle_and_a_name_that_is_none(
    hub: dict[str, Path], released: Path, tmp_path: Path
) -> None:
    config = json.loads((released / "config.json").read_text())
    (released / "config.json").write_text(json.dumps(config | {"model_type": "clip"}))
    with pytest.raises(UserError, match="type 'clip': models of ours can be loaded, and of type ijepa"):
        openjepa.load(released)
    shutil.copytree(released, tmp_path / "pickled")
    hub["a/pickled"] = tmp_path / "pickled"
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(UserError, match="holds no safetensors, and pickled files are never opened"):
        openjepa.load("hub:a/pickled")
    with pytest.raises(UserError, match="hub:a/nothing cannot be fetched: there is no such model"):
        openjepa.load("hub:a/nothing")
    for name in ("hub:", "hub:one", "hub:a/../b", "hub:a/b/c"):
        with pytest.raises(UserError, match="names no model of the Hub"):
            openjepa.load(name)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"openjepa\[hub\]"):
        names.fetched("hub:a/b")


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [
        ("cc-by-nc-4.0", True),
        ("CC-BY-NC-SA-3.0", True),
        ("fair-noncommercial-research-license", True),
        ("apache-2.0", False),
        ("mit", False),
        ("ncsa", False),
    ],
)
def test_what_forbids_commercial_use_is_known_by_its_name(licence: str, forbids: bool) -> None:
    assert licences.is_non_commercial(licence) == forbids


def test_each_format_is_one_line() -> None:
    assert formats.READERS["ijepa"].__module__ == "openjepa.hub.ijepa"
