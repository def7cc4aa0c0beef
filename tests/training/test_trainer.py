import torch

from eotune.training.config import TrainingConfig
from eotune.training.fit import fit
from eotune.training.trainer import load_trained_state, trained_state


def test_state_holds_what_trains_and_goes_back(toy, tmp_path):
    from safetensors.torch import save_file

    model, other = toy(), toy()
    with torch.no_grad():
        model.scale.fill_(9.0)
    state = trained_state(model)
    assert set(state) == {"left.0.weight", "left.0.bias", "right.weight", "right.bias", "scale"}
    save_file(state, tmp_path / "a.safetensors")
    load_trained_state(other, tmp_path / "a.safetensors")
    assert other.scale.item() == 9.0


def test_weight_decay_leaves_out_what_the_method_says(toy, toy_work, tmp_path):
    from eotune.training.fit import _trainer

    model = toy()
    config = TrainingConfig(batch_size=10, weight_decay=0.5)
    trainer = _trainer(model, toy_work(model), config, tmp_path, 0, [])
    groups = trainer.create_optimizer().param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in decayed}
    assert names == {"left.0.weight", "left.0.bias", "right.weight"}


def test_same_seed_same_bits_other_seed_others(toy, toy_work, tmp_path):
    def weights(seed, folder):
        torch.manual_seed(seed)
        model = toy(dropout=0.2)
        config = TrainingConfig(epochs=1, batch_size=10, log_every=1)
        fit(
            model,
            toy_work(model),
            config,
            directory=tmp_path / folder,
            seed=seed,
            log=lambda *_, **__: None,
            resume=False,
        )
        return model.right.weight.detach()

    assert torch.equal(weights(1, "a"), weights(1, "b"))
    assert not torch.equal(weights(1, "c"), weights(2, "d"))
