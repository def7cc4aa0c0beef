from eotune.core.config import validation_problems
from eotune.training.config import TrainingConfig


def test_defaults_are_the_sources():
    config = TrainingConfig()
    assert (config.betas, config.weight_decay, config.warmup) == ((0.9, 0.98), 0.04, 0.1)
    assert config.augmentation.randaugment == (2, 7)


def test_values_out_of_range_are_named():
    problems = validation_problems(TrainingConfig, {"epochs": 0, "precision": "int8", "warmup": 1.5}, prefix="training")
    assert [problem.partition(":")[0] for problem in problems] == [
        "'training.epochs'",
        "'training.warmup'",
        "'training.precision'",
    ]
    assert (
        "micro_batch_size 64 is larger"
        in validation_problems(TrainingConfig, {"batch_size": 32, "micro_batch_size": 64})[0]
    )
