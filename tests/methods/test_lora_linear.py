"""The faster pass of LoRA's layers, against peft's own and against finite differences."""

import copy

import peft
import pytest
import torch
from torch import nn

from eotune.methods.lora_linear import LoraLinear, speed_up


def layer(*, bias=True, adapter="default", **settings):
    """Return a layer with an update that is not zero, as peft makes it, and a copy that is sped up."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10, bias=bias))
    peft.inject_adapter_in_model(peft.LoraConfig(r=3, target_modules=["0"], **settings), model, adapter)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    other = copy.deepcopy(model)
    speed_up(other)
    return model.train()[0], other.train()[0]


def passed(one, x, precision=None):
    """Return the output, its dtype, and the gradients by the input and by what trains."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
        out = one(x)
    out.float().square().sum().div(max(out.numel(), 1)).backward()
    return out, x.grad, *(parameter.grad for parameter in one.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 5, 6), (0, 6), (2, 3, 4, 6)])
def test_output_and_gradients_are_those_of_peft(bias, shape):
    theirs, ours = layer(bias=bias, lora_alpha=5)
    assert type(ours) is LoraLinear
    x = torch.randn(shape)
    for expected, found in zip(passed(theirs, x), passed(ours, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_an_input_that_is_not_contiguous():
    theirs, ours = layer()
    x = torch.randn(6, 5, 4).transpose(0, 2)
    for expected, found in zip(passed(theirs, x), passed(ours, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    ours = layer()[1].double()
    names = [name for name, one in ours.named_parameters() if one.requires_grad]

    def output(x, *parameters):
        return torch.func.functional_call(ours, dict(zip(names, parameters, strict=True)), x)

    values = [torch.randn(4, 6).double(), *(ours.get_parameter(name).detach() for name in names)]
    assert torch.autograd.gradcheck(output, [one.requires_grad_() for one in values])


def test_autocast_gives_the_dtypes_of_peft_and_is_no_less_exact():
    theirs, ours = layer()
    x = torch.randn(500, 6)
    exact = passed(theirs, x)
    for part in theirs.parameters():
        part.grad = None
    expected, found = passed(theirs, x, torch.bfloat16), passed(ours, x, torch.bfloat16)
    assert [one.dtype for one in found] == [one.dtype for one in expected]
    for mine, peers, truth in zip(found, expected, exact, strict=True):
        assert (mine - truth).abs().mean() <= 1.3 * (peers - truth).abs().mean()


def test_without_a_gradient_for_the_input_parameters_still_train():
    theirs, ours = layer()
    x = torch.randn(4, 6)
    for one in (theirs, ours):
        one(x).sum().backward()
    torch.testing.assert_close(ours.lora_A["default"].weight.grad, theirs.lora_A["default"].weight.grad)
    torch.testing.assert_close(ours.lora_B["default"].weight.grad, theirs.lora_B["default"].weight.grad)


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}])
def test_other_kinds_of_update_go_the_way_of_peft(settings):
    theirs, ours = layer(**settings)
    x = torch.randn(4, 6)
    outputs = []
    for one in (theirs, ours):
        torch.manual_seed(3)
        outputs.append(one(x))
    assert torch.equal(*outputs)


def test_a_bias_that_trains_gets_its_gradient():
    results = []
    for one in layer():
        one.get_base_layer().bias.requires_grad_()
        results.append(passed(one, torch.randn(4, 6, generator=torch.Generator().manual_seed(0))))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_other_kinds_of_layer_stay_as_they_are():
    model = nn.Sequential(nn.Conv1d(6, 10, 1))
    peft.inject_adapter_in_model(peft.LoraConfig(r=3, target_modules=["0"]), model)
    kind = type(model[0])
    speed_up(model)
    assert type(model[0]) is kind


def test_evaluation_gives_the_bits_of_peft():
    theirs, ours = (one.eval() for one in layer())
    x = torch.randn(4, 6)
    assert torch.equal(ours(x), theirs(x))


def test_switching_off_and_folding_in_work_as_with_peft():
    theirs, ours = layer()
    x = torch.randn(4, 6)
    whole, bare = theirs(x), theirs.get_base_layer()(x)
    ours.enable_adapters(False)
    torch.testing.assert_close(ours(x), bare)
    ours.enable_adapters(True)
    ours.merge()
    torch.testing.assert_close(ours(x), whole)
    ours.unmerge()
    torch.testing.assert_close(ours(x), whole)


def test_several_updates_at_once_go_the_way_of_peft():
    theirs, ours = layer()
    for one in (theirs, ours):
        torch.manual_seed(1)
        one.update_layer("second", r=2, lora_alpha=4, config=peft.LoraConfig(init_lora_weights=False))
        one.set_adapter(["default", "second"])
    x = torch.randn(4, 6)
    torch.testing.assert_close(ours(x), theirs(x))


def test_half_weights_refuse_input_of_another_kind_as_with_peft():
    theirs, ours = (one.bfloat16() for one in layer())
    x = torch.randn(4, 6)
    with pytest.raises(RuntimeError):
        theirs(x)
    with pytest.raises(RuntimeError):
        ours(x)
