from eotune.core.errors import EotuneError, InputError, InterruptedRunError


def test_exit_codes_tell_whose_fault_it_was():
    assert (EotuneError.exit_code, InputError.exit_code, InterruptedRunError.exit_code) == (1, 2, 130)
    assert str(InputError("a: b", remedy="do c")) == "a: b; do c"
