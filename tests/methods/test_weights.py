import pickle

import pytest
import torch

from eotune.core.errors import InputError
from eotune.methods.weights import check_fit, fill, read_weights, write_weights


def test_round_trip_keeps_values_types_and_scalars(tmp_path):
    tensors = {"a": torch.randn(2, 3).t(), "gate": torch.tensor(0.6), "half": torch.ones(2, dtype=torch.bfloat16)}
    write_weights(tmp_path / "w.safetensors", tensors)
    read = read_weights(tmp_path / "w.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) and read[name].dtype == tensors[name].dtype for name in tensors)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="w.safetensors: no such file; check that"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "write",
    [lambda path: torch.save({"a": torch.ones(1)}, path), lambda path: path.write_bytes(pickle.dumps({"a": 1}))],
)
def test_pickle_under_any_name_is_refused_unread(tmp_path, write):
    write(tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="w.safetensors: is a pickle"):
        read_weights(tmp_path / "w.safetensors")


def test_pickle_in_place_of_the_file_is_named(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "adapter_model.bin")
    with pytest.raises(InputError, match="adapter_model.bin: is a pickle"):
        read_weights(tmp_path / "adapter_model.safetensors")


@pytest.mark.parametrize("content", [b"", b"garbage that is no header", b"\x10\x00\x00\x00\x00\x00\x00\x00{"])
def test_broken_file_is_refused(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="w.safetensors: cannot be read as safetensors"):
        read_weights(tmp_path / "w.safetensors")


def test_truncated_file_is_refused(tmp_path):
    write_weights(tmp_path / "w.safetensors", {"a": torch.ones(100)})
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-10])
    with pytest.raises(InputError, match="copied whole"):
        read_weights(tmp_path / "w.safetensors")


def test_every_misfit_is_in_one_message_and_nothing_is_copied(tmp_path):
    parameters = {"down.weight": torch.zeros(2, 2), "up.weight": torch.zeros(2), "gate": torch.zeros(())}
    weights = {"down.weights": torch.ones(2, 2), "up.weight": torch.ones(3), "gate": torch.ones(())}
    with pytest.raises(InputError) as error:
        fill(parameters, weights, tmp_path / "w.safetensors")
    assert "missing down.weight" in str(error.value)
    assert "unknown down.weights (nearest: 'down.weight')" in str(error.value)
    assert "up.weight is (3,), not (2,)" in str(error.value)
    assert parameters["gate"] == 0


def test_long_lists_are_cut(tmp_path):
    with pytest.raises(InputError, match="missing a0, a1, a2 and 7 more"):
        check_fit({f"a{i}": torch.Size([1]) for i in range(10)}, {}, tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    def full_disk(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    write_weights(tmp_path / "w.safetensors", {"a": torch.ones(1)})
    monkeypatch.setattr("eotune.methods.weights.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_weights(tmp_path / "w.safetensors", {"a": torch.zeros(1)})
    assert read_weights(tmp_path / "w.safetensors")["a"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480])
def test_a_header_as_long_as_a_pickles_first_bytes_is_no_pickle(tmp_path, length):
    path = tmp_path / "w.safetensors"
    for spare in range(length):  # grow the name until the header, padded to 8 bytes, has the length
        write_weights(path, {"a" * (1 + spare): torch.ones(2)})
        if int.from_bytes(path.read_bytes()[:8], "little") == length:
            break
    assert path.read_bytes()[:2] == bytes([0x80, length >> 8])
    assert [one.tolist() for one in read_weights(path).values()] == [[1.0, 1.0]]
