from eotune.training.processes import from_main, is_main, world_size


def test_alone_this_process_is_the_main_one():
    assert world_size() == 1
    assert is_main()
    assert from_main({"mR": 1.0}) == {"mR": 1.0}
