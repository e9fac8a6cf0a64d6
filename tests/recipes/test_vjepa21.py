"""V-JEPA 2.1."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import openjepa
from openjepa.common.rng import Rng
from openjepa.errors import UserError
from openjepa.hiding.dense import dense, distances
from openjepa.jepa import JEPA, View
from openjepa.recipes import build, configure
from openjepa.signals.video.clips import ClipSet
from openjepa.signals.video.mixed import ClipsAndImages, MixedSet
from openjepa.training.optim import learning_rate

SMALL = {
    "signal.size": "[16, 24]",
    "signal.frames": "4",
    "signal.patch": "4",
    "signal.image_size": "24",
    "hiding.size": "null",
    "hiding.image_size": "null",
    "encoder.width": "24",
    "encoder.depth": "3",
    "encoder.heads": "2",
    "encoder.levels": "[0, 2]",
    "target.levels": "2",
    "predictor.width": "24",
    "predictor.enter": "20",
    "guard": "none",
}


def small(**changes: str) -> JEPA:
    return build(configure("v-jepa-2-1", "tiny", SMALL | changes))


def clips(count: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 4, 3, 16, 24), dtype=torch.uint8, generator=generator)


def late(progress: float = 1.0) -> Rng:
    return Rng(0, round(progress * 900), steps=901)


@pytest.mark.parametrize(
    ("preset", "encoder", "predictor"),
    [
        ("vit-b16", 86.8, 47.6),
        ("vit-l16", 304.7, 50.3),
        ("vit-g16", 1013.3, 55.4),
        ("vit-gigantic16", 1845.2, 59.4),
    ],
)
def test_the_papers_sizes_have_its_numbers_of_parameters(preset: str, encoder: float, predictor: float):
    """In millions; the paper's G and its predictor have 1,844 and 59, without the stem of images."""
    with torch.device("meta"):
        model = configure("v-jepa-2-1", preset).build()
    for name, expected in (("encoder", encoder), ("predictor", predictor)):
        counted = sum(p.numel() for p in getattr(model, name).parameters()) / 1e6
        assert counted == pytest.approx(expected, abs=0.1)


def test_the_learning_rate_stays_then_falls_in_a_stage_of_its_own_and_the_momentum_never_changes():
    first, last = (configure("v-jepa-2-1", preset) for preset in ("vit-l16", "vit-l16-cooldown"))
    assert learning_rate(first.train, 0) == pytest.approx(1e-4)
    assert learning_rate(first.train, 12_000) == learning_rate(first.train, 134_999) == 5.25e-4
    assert learning_rate(last.train, 0) == 5.25e-4
    assert learning_rate(last.train, 11_999) == pytest.approx(1e-6)
    for config in (first, last):
        steps = config.train.steps
        assert config.target.momentum(0, steps) == config.target.momentum(steps - 1, steps)
        assert config.target.momentum(0, steps) == pytest.approx(0.99925, abs=1e-6)


def test_one_mask_token_serves_clips_and_images():
    """As released: with one length of clips, one of theirs is trained."""
    model = small()
    assert model.predictor.mask_token.shape == (24,)
    model(clips(), Rng(0, 0)).loss.backward()
    assert (model.predictor.mask_token.grad != 0).all()


def test_it_keeps_the_contract():
    openjepa.check_jepa(small(), clips())


def test_target_equals_encoder_at_the_start_and_each_level_is_normalised_for_itself():
    model = small()
    view = model.whole(clips())
    online, target = model.encoder(view), model.target.encoder(view)
    assert torch.equal(online, target) and online.shape == (8, 48, 48)
    finished = model.target.normalise(7 * target + 3)
    for level in finished.split(24, -1):
        torch.testing.assert_close(level, F.layer_norm(level, (24,)), rtol=1e-3, atol=1e-3)
    levels = model.encoder.layers(view, 3)
    torch.testing.assert_close(online[..., 24:], levels[-1])
    torch.testing.assert_close(online[..., :24], model.encoder.norms[0](levels[0]))


def test_a_step_sees_clips_and_images_each_through_its_own_stem_and_tokens_of_its_own_time():
    model = small()
    *tubes, image = model.pairs(clips(), late())
    assert [pair.kind for pair in tubes] == [0, 1] and image.kind == 2
    assert tubes[0].context.tokens.layout == (2, 4, 6) and image.context.tokens.layout == (1, 4, 6)
    assert (
        image.context.tokens.values.shape == (8, 24, 48)
        and (image.context.tokens.positions[..., 0] == 0).all()
    )
    output = model.encoder(image.context)
    output.square().sum().backward()
    of_clips, of_images = model.encoder.embed.maps
    assert of_images.weight.grad.abs().sum() > 0 and of_clips.weight.grad is None
    assert model.encoder.embed.kinds.vectors[0].grad is None
    assert model.encoder.embed.kinds.vectors[1].grad.abs().sum() > 0


def test_hidden_and_visible_are_all_that_is_asked_for_and_never_the_same():
    model = small()
    for pair in model.pairs(clips(), late()):
        keep, select = pair.context.keep, pair.select[:, 0]
        hidden, visible = select[:, : -pair.visible], select[:, -pair.visible :]
        assert torch.equal(visible, keep)
        assert not (hidden.unsqueeze(2) == keep.unsqueeze(1)).any()
        assert all(len(set(row.tolist())) == len(row) for row in select)


def test_a_visible_tokens_weight_falls_with_the_root_of_its_distance_to_the_mask():
    model = small(**{"hiding.visible.clips": "0.4"})
    pair = model.pairs(clips(), late())[0]
    hidden = pair.select[:, 0, : -pair.visible]
    places = pair.context.tokens.positions[0]
    shares = pair.weight[:, 0]
    asked, kept = hidden.shape[1], pair.visible
    for row in range(2):
        for i, token in enumerate(pair.context.keep[row].tolist()):
            nearest = min(math.dist(places[token].tolist(), places[h].tolist()) for h in hidden[row].tolist())
            expected = 0.4 / math.sqrt(nearest) * (asked + kept) / kept
            assert shares[row, asked + i].item() == pytest.approx(expected, rel=1e-4)
    assert shares[0, 0].item() == pytest.approx((asked + kept) / asked)


def test_the_energy_is_the_mean_over_hidden_plus_the_weighted_mean_over_visible_tokens():
    model = small()
    rng = late()
    pairs = model.pairs(clips(), rng)
    output = model(clips(), late())
    expected = []
    for pair, guess, wanted in zip(pairs, output.prediction, output.s_y, strict=True):
        error = (guess - wanted).abs().mean(-1)[:, 0]
        without = error[:, : -pair.visible].mean()
        weight = model.hiding.config.visible
        share = (weight.images if pair.kind == 2 else weight.clips) / distances(
            type(pair)(pair.context, pair.target, pair.select[..., : -pair.visible])
        ).sqrt()
        expected.append(without + (share * error[:, -pair.visible :]).mean())
    assert output.loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


def test_the_visible_tokens_weight_is_warmed_up():
    visible = small().hiding.config.visible
    assert [round(visible.share(p), 3) for p in (0, 1 / 9, 1 / 6, 2 / 9, 1)] == [0, 0, 0.5, 1, 1]
    for progress, positive in ((0.0, False), (1.0, True)):
        pair = small().pairs(clips(), late(progress))[0]
        assert bool((pair.weight[:, 0, -pair.visible :] > 0).all()) is positive


def test_gradients_reach_the_head_of_what_was_asked_and_not_the_other():
    model = small()
    pair = model.pairs(clips(), late())[0]
    s_x = model.encoder(pair.context)
    visible = model.predictor(s_x, pair)[:, 0, -pair.visible :]
    visible.square().mean().backward()
    predictor = model.predictor
    assert predictor.leave_context.weight.grad.abs().sum() > 0
    assert (predictor.leave.weight.grad == 0).all()
    hidden = model.predictor(s_x.detach(), pair)[:, 0, : -pair.visible]
    predictor.zero_grad(set_to_none=False)
    hidden.square().mean().backward()
    assert predictor.leave.weight.grad.abs().sum() > 0 and (predictor.leave_context.weight.grad == 0).all()
    assert predictor.mask_token.grad.abs().sum() > 0


def test_positions_are_interpolated_to_one_grid_whatever_the_resolution():
    model = small()
    signal = model.signal
    near, far = signal.tokenise(clips()), signal.tokenise(torch.zeros(1, 4, 3, 32, 48, dtype=torch.uint8))
    ends = [model.encoder.positions(tokens).amax((0, 1)).tolist() for tokens in (near, far)]
    assert ends == [[1, 11, 11], [1, 11, 11]]


def test_a_copy_of_the_signal_takes_its_images_as_it_says():
    signal = small().signal
    assert signal.still.mean == signal.mean
    plain = signal.model_copy(update={"mean": (0.0,), "std": (1.0,)})
    assert plain.still.mean == (0.0,) and plain.tokenise(clips()[:, 0]).values.max() <= 1


def test_images_of_any_size_give_dense_features():
    model = small()
    images = torch.randint(0, 256, (2, 3, 20, 28), dtype=torch.uint8)
    assert model.tokens(images).shape == (2, 5 * 7, 24)
    last_axis = np.moveaxis(images.numpy(), 1, -1)
    assert torch.equal(model.tokens(last_axis), model.tokens(images))
    assert model.embed(clips()).shape == (8, 24)


def test_a_run_on_clips_beside_images_of_a_folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(5):
        Image.fromarray(np.full((30, 30, 3), 40 * i, np.uint8)).save(photos / f"{i}.png")
    options = SMALL | {"train.steps": "2", "train.batch_size": "8"}
    options |= {"signal.images": str(photos)}
    data = clips(40)
    model = openjepa.train("v-jepa-2-1", data=data, preset="tiny", options=options, out=tmp_path / "run")
    assert openjepa.load(tmp_path / "run").embed(clips()).shape == (8, 24)
    assert isinstance(model.config.samples(data), ClipSet)  # probes ask about clips
    samples = model.config.open(data, adapt=False)
    assert isinstance(samples, MixedSet) and len(samples) == 40
    drawn = samples.read([3, 4], Rng(0, 1))
    again = samples.read([3, 4], Rng(0, 1))
    assert isinstance(drawn, ClipsAndImages) and drawn.images.shape == (2, 3, 24, 24)
    assert torch.equal(drawn.images, again.images)
    shown = {samples.read([3], Rng(0, step)).images.float().mean().item() for step in range(12)}
    assert len(shown) > 1, "the same image stands beside a clip in every step"
    *_, image = model.pairs(drawn, late())
    assert image.context.tokens.layout == (1, 6, 6)


def test_dense_asks_for_nothing_twice_and_keeps_the_pair_else():
    model = small()
    pair = model.hiding.clips(clips(), late())[0]
    found = dense(pair, 0.5)
    assert found.context is pair.context and found.target is pair.target and found.kind == pair.kind
    assert found.visible == pair.context.keep.shape[1]


def test_what_does_not_fit_is_one_sentence():
    for changes, message in [
        ({"encoder.levels": "[0, 1]"}, "must rise and end in the last block, 2"),
        ({"signal.tubelet": "1"}, "a tubelet of 1 frame is what an image is"),
        ({"predictor.joint": "false"}, "use joint true"),
        ({"hiding.image_size": "[18]"}, "do not divide into patches of 4 px"),
        ({"hiding.target_augment": "{scale: [0.3, 1.0]}"}, "another crop, in which what the context sees"),
    ]:
        with pytest.raises(UserError, match=message):
            small(**changes)


def test_a_head_for_what_is_visible_needs_a_hiding_that_asks_for_it():
    with pytest.raises(UserError, match="asks for hidden tokens alone"):
        build(configure("v-jepa-2", "tiny-vit", {"predictor.context": "true"}))


def test_a_view_of_an_image_is_restored_for_the_report():
    model = small()
    images = torch.randint(0, 256, (2, 3, 16, 24), dtype=torch.uint8)
    view = View(model.signal.tokenise(images))
    shown = model.signal.restored(view.tokens)
    torch.testing.assert_close(shown[:, 0], images / 255, rtol=1e-4, atol=1e-4)
    assert model.signal.picture(shown, 0).pixels.shape[:2] == (16, 24)
