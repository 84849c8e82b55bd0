"""Laws of every pruning method."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdtune.models import build, cost
from kdtune.pruning import (
    PRUNERS,
    PruneRecord,
    finalize,
    prune,
    pruned_cost,
    regulariser,
    replay,
)

MODELS = ["resnet8", "resnet8x0.125", "wrn_10_2", "vgg8", "resnet18", "densenet_10_4"]
METHODS = PRUNERS.names()
WHOLE = [name for name in METHODS if not PRUNERS.get(name).by_layer]


def fresh(name: str, seed: int = 0) -> nn.Module:
    """A network whose batch norms are as different as those of a trained one."""
    model = build(name, classes=10, channels=1, size=16, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    return model


def cut(model: nn.Module, method: str, ratio: float = 0.5) -> PruneRecord:
    return prune(model, method=method, ratio=ratio, channels=1, size=16)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_a_replayed_net_loads_strictly_and_answers_alike(method: str, name: str) -> None:
    model = fresh(name)
    record = PruneRecord.from_json(cut(model, method).to_json())
    images = torch.randn(4, 1, 16, 16)
    model(images)
    other = fresh(name, seed=9)
    replay(other, record, channels=1, size=16)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other.eval()(images), model.eval()(images))
    finalize(model)
    finalize(other)
    assert list(model.state_dict()) == list(other.state_dict())
    assert torch.equal(other(images), model(images))


@pytest.mark.parametrize("method", METHODS)
def test_the_same_model_gives_the_same_record_and_weights(method: str) -> None:
    one, two = fresh("resnet8"), fresh("resnet8")
    assert cut(one, method) == cut(two, method)
    ours, theirs = one.state_dict(), two.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("method", METHODS)
def test_random_state_modes_and_statistics_are_left_alone(method: str) -> None:
    model = fresh("resnet8")
    model.get_submodule("block2").eval()
    modes = [m.training for m in model.modules()]
    state = torch.get_rng_state()
    with torch.no_grad():
        record = cut(model, method)
    replay(fresh("resnet8"), record, channels=1, size=16)
    pruned_cost(model, channels=1, size=16)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert model.get_buffer("stem.bn.num_batches_tracked") == 0
    assert model.get_buffer("stem.bn.running_mean").abs().sum() == 0


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["resnet8x0.125", "vgg8"])
@pytest.mark.parametrize("method", METHODS)
def test_a_pruned_net_trains_at_every_ratio(method: str, name: str, ratio: float) -> None:
    model = fresh(name)
    cut(model, method, ratio)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss = F.cross_entropy(model(torch.randn(4, 1, 16, 16)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert all(p.requires_grad and p.numel() for p in model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_counts_show_what_was_removed(method: str) -> None:
    model = fresh("resnet8")
    before = pruned_cost(model, channels=1, size=16)
    record = cut(model, method)
    after = pruned_cost(model, channels=1, size=16)
    assert before["conv_density"] == 1
    assert after["macs"] == cost(model, channels=1, size=16).macs
    assert after["params_nonzero"] < before["params_nonzero"] == before["params"]
    assert after["conv_nonzero"] == after["conv_density"] * after["conv_weights"]
    thinner = (after["params"] < before["params"], after["macs"] < before["macs"])
    assert thinner == ((True, True) if record.detail else (False, False))


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5, float("nan")])
@pytest.mark.parametrize("method", METHODS)
def test_a_ratio_out_of_range_is_refused(method: str, ratio: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \(0, 1\), got"):
        cut(fresh("resnet8x0.125"), method, ratio)


@pytest.mark.parametrize("method", WHOLE)
def test_a_method_with_one_threshold_refuses_options_of_layers(method: str) -> None:
    model = fresh("resnet8")
    common = {"method": method, "ratio": 0.5, "channels": 1, "size": 16}
    with pytest.raises(ValueError, match=f"need prune method 'l1_filter', got .* for '{method}'"):
        prune(model, **common, ratios=(0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="spared layers needs prune method 'l1_filter', got"):
        prune(model, **common, skip="rethinking")


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_2", "vgg8"])
@pytest.mark.parametrize("method", METHODS)
def test_the_penalty_adds_signs_to_gradients_of_batch_norm_scales_alone(
    method: str, name: str
) -> None:
    model = fresh(name)
    model(torch.randn(4, 1, 16, 16)).square().sum().backward()
    before = {path: p.grad.clone() for path, p in model.named_parameters()}
    values = {path: p.detach().clone() for path, p in model.named_parameters()}
    regulariser(model, method=method, channels=1, size=16, strength=0.25)()
    for path, parameter in model.named_parameters():
        module = model.get_submodule(path.rpartition(".")[0])
        assert torch.equal(parameter, values[path])
        if not torch.equal(parameter.grad, before[path]):
            assert isinstance(module, nn.BatchNorm2d)
            assert path.endswith("weight")
            assert torch.equal(parameter.grad, before[path] + 0.25 * parameter.sign())


@pytest.mark.parametrize("method", METHODS)
def test_a_penalty_needs_gradients_and_a_strength(method: str) -> None:
    model = fresh("resnet8")
    regulariser(model, method=method, channels=1, size=16)()
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(ValueError, match="must be >= 0, got -1"):
        regulariser(model, method=method, channels=1, size=16, strength=-1.0)


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown pruning method 'l1filter'; did you mean 'l1_fi"):
        cut(fresh("resnet8x0.125"), "l1filter")


def test_finalizing_an_unpruned_net_changes_nothing() -> None:
    model, other = fresh("resnet8"), fresh("resnet8")
    finalize(model)
    assert list(model.state_dict()) == list(other.state_dict())


@pytest.mark.parametrize(
    "text", ["", "[]", '{"method": "magnitude"}', '{"method": 1, "detail": 3}']
)
def test_a_broken_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a prune record must be a JSON object with method"):
        PruneRecord.from_json(text)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_a_net_on_the_gpu_stays_there_and_is_pruned_as_on_the_cpu(method: str) -> None:
    here, there = fresh("resnet8"), fresh("resnet8").cuda()
    assert cut(here, method) == cut(there, method)
    assert all(p.is_cuda for p in there.parameters())
    ours, theirs = here.state_dict(), there.state_dict()
    assert all(torch.equal(ours[key], theirs[key].cpu()) for key in ours)
