"""Damaged files, in short: `benchmarks/faults_tflite.py` runs the same for thousands of them."""

from __future__ import annotations

import pytest
from fault_models import fault_models
from fault_runs import run_files, soak
from mutations import fields, mutated_files

from keras_dlcourse.edge import InvalidModel, ModelFile


@pytest.fixture(scope="module")
def files():
    return [*fault_models().values()]


def test_whole_files_run(files):
    for untrusted in (False, True):
        outcomes = run_files(files, untrusted=untrusted)
        assert (outcomes.counts, outcomes.deaths) == ({"ran": len(files)}, [])


def test_damage_is_seeded_and_in_fields(files):
    assert [*mutated_files(files, 20, 3)] == [*mutated_files(files, 20, 3)]
    assert [*mutated_files(files, 20, 3)] != [*mutated_files(files, 20, 4)]
    known = fields(files[0])
    assert (0, 4) in known  # the offset of the root
    assert all(0 <= start < start + length <= len(files[0]) for start, length in known)


@pytest.mark.parametrize(("untrusted", "count"), [(True, 600), (False, 200)])
def test_no_damaged_file_ends_the_process(files, untrusted, count):
    outcomes = run_files([*mutated_files(files, count, seed=11)], untrusted=untrusted)
    assert outcomes.deaths == []
    assert sum(outcomes.counts.values()) == count
    assert set(outcomes.counts) <= {"ran", "InvalidModel", "ModelStopped", "ValueError"}
    assert outcomes.counts["ran"] > count / 20  # else the damage would be too coarse to tell
    assert outcomes.counts["InvalidModel"] > count / 2


def test_threads_and_bad_images_leave_answers_and_memory_as_they_are(files, tmp_path):
    (metadata,) = [f for f in files if b"TFLITE_METADATA" in f]
    (tmp_path / "model.tflite").write_bytes(metadata)
    found = soak(tmp_path / "model.tflite", 8000, 4)
    assert found["wrong"] == 0
    assert found["sizes"][-1] < 1.02 * found["sizes"][0]


def test_a_check_of_a_large_file_takes_no_time_by_the_byte(files):
    import time

    from tflite_files import with_buffers

    large = with_buffers(files[0], {"weights of a large file": bytes(100 << 20)})
    began = time.process_time()  # whatever else the machine does
    ModelFile.read(large)
    assert time.process_time() - began < 2.0  # 100 MB are copied; byte by byte took a minute
    with pytest.raises(InvalidModel):
        ModelFile.read(large[: 50 << 20])
