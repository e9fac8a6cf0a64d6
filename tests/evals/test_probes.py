"""The solvers against scikit-learn's, and the vote against its definition."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch.nn.functional import cross_entropy

from openjepa.evals.attentive import AttentiveProbe, fit_attentive
from openjepa.evals.probes import (
    Logistic,
    accuracy,
    knn,
    neighbours,
    standardise_,
    strength_path,
    vote,
)
from openjepa.evals.tasks import Classes, Variables, score


@pytest.fixture
def split(digits):
    """Standardised features and labels, to fit and to test."""
    pixels, labels = digits
    x, y = torch.from_numpy(pixels.reshape(-1, 64).astype(np.float32)), torch.from_numpy(labels)
    train, test = x[:1200].clone(), x[1200:].clone()
    standardise_(train, test)
    return (train, y[:1200]), (test, y[1200:])


@pytest.mark.parametrize("strength", [0.001, 0.1, 10.0])
def test_linear_equals_scikit_learn(split, strength):
    (x, y), (queries, truth) = split
    ours = Logistic(x, y, 10).solve(strength, tolerance=1e-8)
    theirs = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(x.numpy(), y.numpy())
    assert accuracy(ours.predict(queries), truth) == pytest.approx(theirs.score(queries, truth), abs=0.005)
    weight = ours.weight - ours.weight.mean(0)
    assert torch.allclose(
        weight, torch.from_numpy(theirs.coef_).float(), atol=0.02 * float(weight.abs().max())
    )


def test_linear_reaches_the_minimum_at_the_default_tolerance(split):
    (x, y), _ = split

    def objective(weight, bias):
        return float(cross_entropy(x @ weight.T + bias.T, y) + weight.square().sum() / (2 * 0.1 * len(x)))

    ours = Logistic(x, y, 10).solve(0.1)
    theirs = LogisticRegression(C=0.1, max_iter=5000, tol=1e-8).fit(x.numpy(), y.numpy())
    best = objective(
        torch.from_numpy(theirs.coef_).float(), torch.from_numpy(theirs.intercept_[:, None]).float()
    )
    assert best - 1e-6 <= objective(ours.weight, ours.bias) <= best + 2e-3


def test_linear_with_fewer_samples_than_dimensions_equals_scikit_learn(split):
    (x, y), (queries, truth) = split
    wide = torch.cat([x, x.square(), x.roll(1, 1) * x], 1)[:100]
    ours = Logistic(wide, y[:100], 10).solve(0.1, tolerance=1e-8)
    theirs = LogisticRegression(C=0.1, max_iter=5000, tol=1e-8).fit(wide.numpy(), y[:100].numpy())
    tested = torch.cat([queries, queries.square(), queries.roll(1, 1) * queries], 1)
    assert accuracy(ours.predict(tested), truth) == pytest.approx(theirs.score(tested, truth), abs=0.005)


def test_a_warm_start_changes_the_way_not_the_end(split):
    (x, y), _ = split
    problem = Logistic(x, y, 10)
    cold = problem.solve(1.0, tolerance=1e-8)
    warm = problem.solve(1.0, start=problem.solve(0.03), tolerance=1e-8)
    assert torch.allclose(cold.weight, warm.weight, atol=0.02)


def test_the_path_prefers_what_validates(split):
    fit, validation = split
    problem = Logistic(*fit, 10)
    path = strength_path(problem, lambda s: accuracy(s.predict(validation[0]), validation[1]))
    best = max(score for score, _ in path.values())
    assert min(path) == 0.001
    assert best > path[0.001][0]
    assert all(
        score == accuracy(solution.predict(validation[0]), validation[1]) for score, solution in path.values()
    )


def test_constant_features_become_zero():
    train, other = torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([[2.0, 7.0]])
    standardise_(train, other)
    assert train.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert other.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("k", [1, 5, 10])
def test_knn_equals_scikit_learn(split, k):
    (x, y), (queries, _) = split
    theirs = KNeighborsClassifier(k, metric="cosine").fit(x.numpy(), y.numpy()).predict(queries.numpy())
    assert (knn(x, y, queries, 10, k=k).numpy() == theirs).all()


def test_neighbours_do_not_depend_on_the_chunks(split):
    (x, _), (queries, _) = split
    assert torch.equal(neighbours(x, queries, 5, chunk=7)[1], neighbours(x, queries, 5, chunk=10_000)[1])


def test_a_plain_tie_goes_to_the_smaller_class_and_a_weighted_vote_to_the_nearer():
    similarity, labels = torch.tensor([[0.9, 0.5]]), torch.tensor([[2, 1]])
    assert vote(similarity, labels, 3).tolist() == [1]
    assert vote(similarity, labels, 3, weighted=True).tolist() == [2]


def test_weighted_votes_weigh_by_the_exponential():
    labels = torch.tensor([[0, 1, 1]])
    gap = 0.07 * np.log(2)  # each of the two farther neighbours weighs half of the nearest
    assert vote(
        torch.tensor([[0.8, 0.8 - 1.01 * gap, 0.8 - 1.01 * gap]]), labels, 2, weighted=True
    ).tolist() == [0]
    assert vote(
        torch.tensor([[0.8, 0.8 - 0.99 * gap, 0.8 - 0.99 * gap]]), labels, 2, weighted=True
    ).tolist() == [1]


def test_fewer_samples_than_neighbours_all_vote():
    x, y = torch.eye(3), torch.tensor([0, 1, 1])
    assert knn(x, y, torch.ones(1, 3), 2, k=10).tolist() == [1]


def test_attention_equals_projecting_keys_and_values():
    torch.manual_seed(0)
    model, tokens = AttentiveProbe(64, 5, heads=2), torch.randn(3, 7, 64)
    x = model.norm_tokens(tokens)
    key = model.key(x).view(3, 7, 2, 32).transpose(1, 2)
    value = model.value(x).view(3, 7, 2, 32).transpose(1, 2)
    query = model.query.view(1, 2, 1, 32).expand(3, -1, -1, -1)
    seen = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(1)
    pooled = model.query + seen
    expected = model.classify(pooled + model.mlp(model.norm_mlp(pooled)))
    assert torch.allclose(model(tokens), expected, atol=1e-5)


def test_attentive_finds_what_the_mean_hides():
    """One token of eight carries the class, the others its opposite: only attention can tell."""
    random = torch.Generator().manual_seed(0)
    y = torch.randint(0, 2, (512,), generator=random)
    tokens = torch.randn(512, 8, 32, generator=random) * 0.1
    where = torch.randint(0, 8, (512,), generator=random)
    tokens[torch.arange(512), where, 0] += 2.0
    tokens[torch.arange(512), where, 1] += 2.0 * y - 1
    tokens[:, :, 1] -= tokens[:, :, 1].mean(1, keepdim=True)
    seen = lambda rows: (tokens[:384][rows], None)  # noqa: E731
    answer = fit_attentive(seen, y[:384], 32, Classes(count=2), seed=0, batch_size=64)
    assert accuracy(answer([(tokens[384:], None)]), y[384:]) > 0.95


def test_attentive_is_a_function_of_its_seed():
    tokens = torch.randn(40, 3, 8, generator=torch.Generator().manual_seed(1))
    y, task = torch.randn(40, 2, generator=torch.Generator().manual_seed(2)).double(), Variables()
    first, again, other = (
        fit_attentive(lambda rows: (tokens[rows], None), y, 8, task, seed=s, epochs=2, batch_size=16)(
            [(tokens, None)]
        )
        for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_attention_is_blind_to_tokens_that_are_not_there():
    torch.manual_seed(0)
    model, tokens = AttentiveProbe(16, 3), torch.randn(4, 5, 16)
    valid = torch.arange(5) < torch.tensor([[5], [3], [1], [2]])
    broken = torch.where(valid[..., None], tokens, torch.nan)
    together = model(broken, valid)
    alone = torch.cat([model(tokens[i : i + 1, : int(n)]) for i, n in enumerate(valid.sum(1))])
    assert torch.allclose(together, alone, atol=1e-5)


def test_attentive_reads_numbers_in_their_own_units_and_takes_the_mean_over_cuts():
    random = torch.Generator().manual_seed(0)
    tokens = torch.randn(300, 4, 16, generator=random)
    y = (100 + 30 * tokens[:, :, :2].mean(1)).double()
    task = Variables()
    answer = fit_attentive(
        lambda rows: (tokens[:200][rows], None), y[:200], 16, task, seed=0, batch_size=64, epochs=60
    )
    seen = (tokens[200:], None)
    assert score(task, answer([seen]), y[200:]) > 0.8
    other = (tokens[200:] + 0.1, None)
    mean = (answer([seen]) + answer([other])) / 2
    assert torch.allclose(answer([seen, other]), mean, atol=1e-3)


def test_weights_of_classes_are_those_of_scikit_learn():
    """`class_weight="balanced"` of the same objective."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    random = torch.Generator().manual_seed(0)
    y = (torch.rand(400, generator=random) < 0.15).long()
    x = torch.randn(400, 6, generator=random) + y[:, None] * 0.6
    weights = Classes(balanced=True, count=2).weights(y)
    ours = Logistic(x, y, 2, weights).solve(0.25, tolerance=1e-7)
    theirs = linear_model.LogisticRegression(C=0.5, class_weight="balanced", tol=1e-8).fit(
        x.numpy(), y.numpy()
    )
    difference = (
        ours.weight[1] - ours.weight[0]
    ).numpy()  # two rows of weights share the penalty that one has
    assert np.allclose(difference, theirs.coef_[0], atol=2e-3)
