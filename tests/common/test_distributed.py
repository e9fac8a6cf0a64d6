"""Statistics of the global batch: two processes equal one, forward, backward and in the running averages."""

import pytest
import torch
from torch import Tensor, nn

from openjepa.common.distributed import BatchNorm, global_mean, rank, world_size

from .. import ranks

Result = tuple[Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), BatchNorm(7), nn.GELU(), nn.Linear(7, 3))
    nn.init.normal_(net[1].weight)
    nn.init.normal_(net[1].bias)
    return net


def pass_through(net: nn.Module, inputs: Tensor, targets: Tensor) -> Result:
    """Outputs, the gradient of the inputs, of the parameters, and the state after a step in training mode."""
    inputs = inputs.clone().requires_grad_()
    outputs = net(inputs)
    (outputs - targets).square().mean().backward()
    assert inputs.grad is not None
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    return outputs.detach(), inputs.grad, gradients, dict(net.named_buffers())


def on_one_rank(number: int, inputs: Tensor, targets: Tensor) -> Result:
    return pass_through(network(), inputs.chunk(2)[number], targets.chunk(2)[number])


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return 3 * torch.randn(16, 5, generator=generator) + 1, torch.randn(16, 3, generator=generator)


def test_batch_norm_on_two_processes_equals_one_on_the_concatenated_batch() -> None:
    inputs, targets = batch()
    outputs, input_gradient, gradients, buffers = pass_through(network(), inputs, targets)
    answers = ranks.run(on_one_rank, inputs, targets)
    torch.testing.assert_close(torch.cat([a[0] for a in answers]), outputs, rtol=1e-5, atol=1e-6)
    joined = torch.cat([a[1] for a in answers]) / 2  # each process's loss is the mean over half of the batch
    torch.testing.assert_close(joined, input_gradient, rtol=1e-4, atol=1e-6)
    for name, expected in gradients.items():
        averaged = torch.stack([a[2][name] for a in answers]).mean(0)
        torch.testing.assert_close(averaged, expected, rtol=1e-4, atol=1e-6)
    for name, expected in buffers.items():
        for answer in answers:
            torch.testing.assert_close(answer[3][name].to(expected.dtype), expected, rtol=1e-5, atol=1e-6)


def test_alone_it_is_torchs_own_batch_norm() -> None:
    inputs, _ = batch()
    ours, theirs = BatchNorm(5), nn.BatchNorm1d(5)
    assert torch.equal(ours(inputs), theirs(inputs))
    assert torch.equal(ours.eval()(inputs), theirs.eval()(inputs))


def of_pictures(number: int, inputs: Tensor) -> Tensor:
    return BatchNorm(5)(inputs.chunk(2)[number])


def test_places_of_a_picture_are_samples() -> None:
    pictures = torch.randn(4, 5, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = nn.BatchNorm2d(5)(pictures)
    torch.testing.assert_close(BatchNorm(5)(pictures), expected)
    torch.testing.assert_close(torch.cat(ranks.run(of_pictures, pictures)), expected)


def under_autocast(number: int, inputs: Tensor) -> tuple[Tensor, Tensor, bool]:
    layer = BatchNorm(5)
    out = layer(inputs.chunk(2)[number].bfloat16())
    assert layer.running_mean is not None
    return out.float(), layer.running_mean, out.dtype == torch.bfloat16


def test_batch_norm_keeps_float32_statistics_of_bfloat16() -> None:
    inputs = batch()[0].bfloat16().float()
    alone = BatchNorm(5)
    expected = alone(inputs)
    answers = ranks.run(under_autocast, inputs)
    torch.testing.assert_close(torch.cat([a[0] for a in answers]), expected, rtol=1e-2, atol=1e-2)
    for _, running_mean, kept_dtype in answers:
        torch.testing.assert_close(running_mean, alone.running_mean, rtol=1e-5, atol=1e-6)
        assert kept_dtype


def mean_of_ranks(number: int) -> tuple[Tensor, int, int]:
    return global_mean(torch.tensor([float(number), 4.0])), rank(), world_size()


def test_the_global_mean_and_who_is_who() -> None:
    assert (rank(), world_size()) == (0, 1)
    for number, (mean, own, size) in enumerate(ranks.run(mean_of_ranks)):
        assert mean.tolist() == [0.5, 4.0]
        assert (own, size) == (number, 2)


def fail_on_the_second(number: int) -> int:
    if number == 1:
        raise ValueError("as intended")
    return number


def test_a_failing_process_is_named() -> None:
    with pytest.raises(AssertionError, match="rank 1: ValueError: as intended"):
        ranks.run(fail_on_the_second)
