from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from napari_phenldiff.diffusion.svdiff import (
    SingularValueShift,
    add_shifts,
    fold_shifts,
    shifts,
)


@pytest.mark.parametrize(
    "shape", [(6, 4), (4, 6), (5, 3, 3, 3), (7,)], ids=["tall", "wide", "convolution", "norm"]
)
def test_shifted_weights_are_those_of_plain_numpy(shape):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(shape).astype(np.float32)
    found = SingularValueShift(torch.from_numpy(weight))
    matrix = weight.reshape(1, -1) if weight.ndim == 1 else weight.reshape(shape[0], -1)
    u, s, vt = np.linalg.svd(matrix.astype(float), full_matrices=False)
    assert found.shift.shape == s.shape
    # one shift takes a singular value below zero, where it stays
    shift = rng.standard_normal(len(s))
    shift[-1] = -2 * s[-1]
    expected = u @ np.diag(np.maximum(s + shift, 0)) @ vt
    found.shift.data.copy_(torch.from_numpy(shift))
    with torch.no_grad():
        made = found(torch.from_numpy(weight)).numpy()
    np.testing.assert_allclose(made.reshape(matrix.shape), expected, atol=2e-6)


def test_no_shift_changes_no_bit():
    weight = torch.randn(9, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(SingularValueShift(weight)(weight), weight)


def test_directions_without_a_singular_value_do_not_learn():
    a, b = (torch.randn(6, 2, generator=torch.Generator().manual_seed(k)) for k in range(2))
    assert SingularValueShift(a.double() @ b.double().T).shift.shape == (2,)
    empty = SingularValueShift(torch.zeros(4, 4))
    assert empty.shift.shape == (0,)
    assert torch.equal(empty(torch.zeros(4, 4)), torch.zeros(4, 4))


def test_a_shift_is_not_rounded_by_mixed_precision():
    weight = torch.eye(4)
    found = SingularValueShift(weight)
    found.shift.data.fill_(1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        made = found(weight)
    torch.testing.assert_close(made, torch.eye(4) * (1 + 1e-4), atol=1e-7, rtol=0)


def test_gradients_reach_the_shifts_alone_and_are_those_of_the_matrix():
    layer = nn.Sequential(nn.Linear(5, 3))
    add_shifts(layer, None)
    (_, found, is_norm), *more = shifts(layer)
    assert (more, is_norm) == ([], False)
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    layer(x).square().sum().backward()
    assert [name for name, p in layer.named_parameters() if p.grad is not None] == [
        "0.parametrizations.weight.0.shift"
    ]
    # dL/dd_i = u_i^T (dL/dW) v_i
    whole = nn.Linear(5, 3)
    whole.load_state_dict({"weight": layer[0].weight.detach(), "bias": layer[0].bias.detach()})
    whole(x).square().sum().backward()
    expected = (found.u.T @ whole.weight.grad @ found.vh.T).diagonal()
    torch.testing.assert_close(found.shift.grad, expected, rtol=1e-4, atol=1e-5)


def test_folding_gives_plain_layers_with_the_same_output():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4, 2))
    names = set(network.state_dict())
    add_shifts(network, None)
    for _, found, _ in shifts(network):
        found.shift.data.normal_(std=0.1)
    x = torch.randn(2, 3, 3, 3)
    with torch.no_grad():
        before = network(x)
        fold_shifts(network)
        assert torch.equal(network(x), before)
    assert set(network.state_dict()) == names


def test_stable_diffusion_2_has_as_many_shifts_as_known():
    """225,877 for all layers and 96,768 for queries, keys, values and outputs."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
        )
    kinds = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)
    every, attention = 0, 0
    for name, module in unet.named_modules():
        if isinstance(module, kinds):
            w = module.weight
            count = 1 if w.ndim == 1 else min(w.shape[0], w[0].numel())
            every += count
            if name.endswith(("to_q", "to_k", "to_v", "to_out.0")):
                attention += count
    assert (every, attention) == (225_877, 96_768)
