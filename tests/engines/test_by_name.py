import importlib.util

import pytest

from eotune.core.errors import InputError, MissingExtraError
from eotune.engines.by_name import engine
from eotune.engines.local import LocalEngine


def test_engines_by_name():
    assert engine("local") == LocalEngine(workers=None)
    with pytest.raises(InputError, match="unknown engine 'rai'; did you mean 'ray'"):
        engine("rai")
    with pytest.raises(InputError, match="workers=0"):
        engine("local", workers=0)
    with pytest.raises(InputError, match="'local' with cpus and gpus of a worker: .*; take the engine ray"):
        engine("local", cpus=2, gpus=1)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_ray_that_is_missing_names_its_extra():
    with pytest.raises(MissingExtraError, match=r"pip install 'eotune\[ray\]'"):
        engine("ray")
