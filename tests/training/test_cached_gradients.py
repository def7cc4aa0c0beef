import pytest
import torch

from eotune.training.cached_gradients import chunked_backward


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 16])
def test_chunks_give_the_gradient_of_the_whole_batch(toy, toy_objective, chunk_size):
    generator = torch.Generator().manual_seed(3)
    inputs = {"a": torch.randn(16, 6, generator=generator), "b": torch.randn(16, 4, generator=generator)}
    inputs = {name: values.double() for name, values in inputs.items()}  # processors sum float32 in different orders
    targets = {"row": torch.arange(16)}
    whole, chunked = toy().double(), toy().double()
    loss = toy_objective(whole(**inputs), targets)
    loss.backward()
    value = chunked_backward(
        chunked,
        inputs,
        targets,
        forward=lambda chunk: chunked(**chunk),
        loss=toy_objective,
        backward=lambda x: x.backward(),
        chunk_size=chunk_size,
    )
    torch.testing.assert_close(value, loss.detach())
    for (name, p), q in zip(whole.named_parameters(), chunked.parameters(), strict=True):
        if p.requires_grad:
            torch.testing.assert_close(q.grad, p.grad, msg=name, rtol=1e-5, atol=1e-7)


def test_both_passes_draw_the_same_dropout(toy, toy_objective):
    model = toy(dropout=0.5).train()
    inputs = {"a": torch.randn(8, 6), "b": torch.randn(8, 4)}
    seen = []

    def forward(chunk):
        output = model(**chunk)
        seen.append(output.left.detach().clone())
        return output

    chunked_backward(
        model,
        inputs,
        {"row": torch.arange(8)},
        forward=forward,
        loss=toy_objective,
        backward=lambda x: x.backward(),
        chunk_size=4,
    )
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])
