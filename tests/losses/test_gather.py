from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eotune.losses import adaptive_triplet_loss, contrastive_loss, gather_with_gradients, positives_from_ids

SIZES = (5, 3)  # uneven, as the last batch of an epoch may be


def test_one_process_gets_its_own_tensor() -> None:
    tensor = torch.ones(2, 3, requires_grad=True)
    assert gather_with_gradients(tensor) is tensor


def test_two_processes_give_the_gradients_of_one(tmp_path: Path) -> None:
    expected_loss, expected = _gradients(_model(), slice(None))
    torch.multiprocessing.spawn(_process, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        result = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(result["rows"], torch.arange(sum(SIZES)))
        assert abs(result["loss"] - expected_loss) < 1e-6
        assert set(result["gradients"]) == {"image.weight", "text.weight", "log_scale"}
        for name, gradient in result["gradients"].items():
            assert expected[name].abs().max() > 1e-3
            assert (gradient - expected[name]).abs().max() < 1e-6, name


def _model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Module()
    model.image, model.text = nn.Linear(6, 4, bias=False), nn.Linear(6, 4, bias=False)
    model.log_scale = nn.Parameter(torch.tensor(1.0))
    return model


def _gradients(model: nn.Module, rows: slice) -> tuple[float, dict[str, Tensor]]:
    """The step of one process: embed its own rows, take the loss over everybody's."""
    generator = torch.Generator().manual_seed(1)
    n = sum(SIZES)
    images, texts = torch.randn(n, 6, generator=generator), torch.randn(n, 6, generator=generator)
    image_ids, text_ids = torch.tensor([0, 0, 1, 2, 3, 4, 5, 5]), torch.tensor([0, 1, 2, 2, 3, 4, 5, 6])
    image_embeddings = gather_with_gradients(model.image(images[rows]))
    text_embeddings = gather_with_gradients(model.text(texts[rows]))
    positives = positives_from_ids(gather_with_gradients(image_ids[rows]), gather_with_gradients(text_ids[rows]))
    loss = contrastive_loss(image_embeddings, text_embeddings, model.log_scale.exp(), positives=positives)
    loss = loss + adaptive_triplet_loss(image_embeddings, text_embeddings, positives=positives)
    loss.backward()
    return loss.item(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    start = sum(SIZES[:rank])
    rows = slice(start, start + SIZES[rank])
    loss, gradients = _gradients(_model(), rows)
    for gradient in gradients.values():  # what DistributedDataParallel does after backward
        dist.all_reduce(gradient)
        gradient /= 2
    order = gather_with_gradients(torch.arange(sum(SIZES))[rows])
    torch.save({"loss": loss, "gradients": gradients, "rows": order}, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
