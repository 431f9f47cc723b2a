"""Training epoch by epoch: how weights decay, and at which rate they learn."""

from __future__ import annotations

import pytest
import torch
from test_models import cases, make

from ifcdsr_core import train
from ifcdsr_core.errors import InputError
from ifcdsr_core.settings import TrainSettings


def rates(settings, selections):
    return [train.learning_rate(settings, selections[:epoch]) for epoch in range(len(selections) + 1)]


def test_epochs_of_pre_training_do_not_lower_the_learning_rate():
    settings = TrainSettings(learning_rate=1.0, plateau_epochs=2, plateau_factor=0.5)
    assert rates(settings, [train.NOT_RANKED] * 4 + [0.1, 0.1, 0.1]) == [1.0] * 7 + [0.5]


def test_by_default_the_learning_rate_is_what_was_asked_for():
    assert set(rates(TrainSettings(), [0.3, 0.2, 0.1, 0.1])) == {1e-3}


def test_a_warm_up_rises_linearly_from_almost_nothing():
    found = rates(TrainSettings(learning_rate=1.0, warmup_epochs=4), [0.5, 0.1, 0.1, 0.1, 0.1])
    torch_one = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LinearLR(torch_one, start_factor=1e-5, total_iters=4)
    for rate in found:
        assert rate == pytest.approx(torch_one.param_groups[0]["lr"])
        torch_one.step()
        scheduler.step()


def test_after_a_plateau_the_rate_is_lowered_as_torch_does():
    generator = torch.Generator().manual_seed(0)
    selections = torch.rand(60, generator=generator).mul(torch.linspace(0.5, 1, 60)).tolist()
    settings = TrainSettings(learning_rate=1.0, plateau_epochs=4, plateau_factor=0.5)
    torch_one = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(torch_one, mode="max", factor=0.5, patience=3, threshold=0.0)
    for epoch, selection in enumerate(selections):
        assert train.learning_rate(settings, selections[:epoch]) == pytest.approx(torch_one.param_groups[0]["lr"])
        scheduler.step(selection)
    assert torch_one.param_groups[0]["lr"] < 0.1


def test_epochs_of_the_warm_up_are_no_plateau():
    settings = TrainSettings(learning_rate=1.0, warmup_epochs=2, plateau_epochs=2, plateau_factor=0.5)
    assert rates(settings, [0.9, 0.8, 0.1, 0.1, 0.1])[2:] == [1.0, 1.0, 1.0, 0.5]


@pytest.mark.parametrize("decay", ["l2", "decoupled"])
def test_decay_is_part_of_the_gradient_or_beside_it(decay):
    """The first step of Adam is one learning rate long in the gradient's direction; decoupled decay adds to it."""
    model, settings = make("sasrec", {}), TrainSettings(learning_rate=0.01, l2=2.0, decay=decay, epochs=1)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    model.loss(cases()).backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters()}
    train.fit(model, cases(), cases(), settings)  # all cases are one batch
    for name, value in model.named_parameters():
        penalty = 2.0 * before[name] if decay == "l2" else 0.0
        gradient = gradients[name] + penalty
        expected = before[name] * (1 - 0.01 * 2.0) if decay == "decoupled" else before[name]
        expected = expected - 0.01 * gradient / (gradient.abs() + 1e-8)
        clear = gradient.abs() > 1e-4  # what is rounded may point either way
        torch.testing.assert_close(value[clear], expected[clear], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"decay": "adamw"}, "decay"),
        ({"warmup_epochs": -1}, "warmup_epochs is -1: it must be at least 0"),
        ({"plateau_factor": 0.0}, "plateau_factor is 0.0: it must be more than 0"),
        ({"plateau_factor": 1.5}, "plateau_factor is 1.5: it must be more than 0 and at most 1"),
    ],
)
def test_what_cannot_be_is_one_line(settings, message):
    with pytest.raises(InputError, match=message):
        TrainSettings(**settings)
