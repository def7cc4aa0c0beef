from dataclasses import dataclass

import pytest
import torch
from torch import nn

from eotune.losses.gather import gather_with_gradients
from eotune.training.trainer import Work


@dataclass
class ToyOutput:
    left: torch.Tensor
    right: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None = None


class ToyModel(nn.Module):
    """Two linear towers with dropout and a learned scale: what the trainer sees of a dual encoder."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left = nn.Sequential(nn.Linear(6, 5), nn.Dropout(dropout))
        self.right = nn.Linear(4, 5)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, a, b):
        return ToyOutput(self.left(a), self.right(b), self.scale.exp())


def contrast(left, right, scale):
    logits = scale * nn.functional.normalize(left) @ nn.functional.normalize(right).T
    return nn.functional.cross_entropy(logits, torch.arange(len(logits)))


def toy_loss(output, targets):
    return contrast(*(gather_with_gradients(part) for part in (output.left, output.right)), output.scale)


class ToyData(torch.utils.data.Dataset):
    def __init__(self, n=40):
        generator = torch.Generator().manual_seed(1)
        self.a, self.b = torch.randn(n, 6, generator=generator), torch.randn(n, 4, generator=generator)

    def __len__(self):
        return len(self.a)

    def __getitem__(self, key):
        _, index = key
        return self.a[index], self.b[index]


def collate(samples):
    a, b = (torch.stack(x) for x in zip(*samples, strict=True))
    return {"inputs": {"a": a, "b": b}, "targets": {"row": torch.arange(len(a))}}


def work_of(model):
    data = ToyData()

    def evaluate():
        model.eval()  # as an encoder's embed_* do; the trainer's next step switches dropout on again
        with torch.no_grad():
            output = model(data.a, data.b)  # in the main process alone: nothing to gather here
            return {"mR": -float(contrast(output.left, output.right, output.scale))}

    return Work(data, collate, toy_loss, evaluate, no_decay=frozenset({"scale", "right.bias"}))


@pytest.fixture
def toy():
    return ToyModel


@pytest.fixture
def toy_work():
    return work_of


@pytest.fixture
def toy_objective():
    return toy_loss
