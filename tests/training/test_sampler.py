from eotune.training.sampler import EpochSampler


def test_every_epoch_has_its_own_order_and_carries_its_number():
    sampler = EpochSampler(50, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert {epoch for epoch, _ in first} == {0}
    assert {epoch for epoch, _ in second} == {1}
    assert [i for _, i in first] != [i for _, i in second]
    assert sorted(i for _, i in second) == list(range(50))
    assert list(EpochSampler(50, seed=4)) != first
    assert list(EpochSampler(50, seed=3, first=1)) == second
