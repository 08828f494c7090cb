"""Embeddings that are written as they are made: whatever stops that loses little, and nothing else is ever mixed in."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from embsel import models, training
from embsel.backend import keras
from embsel.errors import InputError
from embsel.scale.store import Store


@functools.cache
def encoder(seed=0, n=5, activation=None):
    keras.utils.set_random_seed(seed)
    layers = keras.layers.Flatten(), keras.layers.Dense(n, activation)
    return keras.Sequential([keras.Input((24, 24, 1)), *layers])


def pictures(count=95, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 26, 25, 1), np.uint8)


def embedded(out, **changes):
    return training.embed(**({"encoder": encoder(), "pixels": pictures(), "rows": 20, "out": out} | changes))


@pytest.fixture
def computed(monkeypatch):
    """How many images each call of the encoder computed."""
    sizes, predict = [], keras.Model.predict
    monkeypatch.setattr(keras.Model, "predict", lambda self, x, **kw: sizes.append(len(x)) or predict(self, x, **kw))
    return sizes


@pytest.fixture(scope="module", params=["vectors.npy", "vectors.zarr"])
def whole(request, tmp_path_factory):
    """The path of a complete store, not to be changed."""
    out = tmp_path_factory.mktemp("whole") / request.param
    embedded(out)
    return out


def opened(out):
    return np.load(out, mmap_mode="r") if out.suffix == ".npy" else zarr.open_array(str(out), mode="r")


def copied(whole, folder, **changes):
    """A copy of a store, with something else in its mark."""
    out = shutil.copytree(whole.parent, folder) / whole.name
    mark = out.with_name(f"{out.name}.progress.json")
    mark.write_text(json.dumps(json.loads(mark.read_text()) | changes))
    return out, mark


def test_embed_to_a_store_is_embed_in_memory_and_what_is_complete_is_not_computed_again(whole, tmp_path, computed):
    x, out, expected = pictures(), tmp_path / "new" / whole.name, training.embed(encoder(), pictures())
    np.save(tmp_path / "x.npy", x)
    for source in (np.load(tmp_path / "x.npy", mmap_mode="r"), zarr.array(x, chunks=(9, 26, 25, 1))):
        shutil.rmtree(out.parent, ignore_errors=True)
        computed.clear()
        found = embedded(out, pixels=source)
        assert (found.shape, found.dtype) == ((95, 5), np.float32)
        np.testing.assert_allclose(found[:], expected, rtol=1e-5, atol=1e-5)
        assert computed == [20, 20, 20, 20, 15]
    again = embedded(out, encoder=encoder.__wrapped__())
    assert np.array_equal(again[:], found[:])
    assert len(computed) == 5
    assert {path.name for path in out.parent.iterdir()} == {out.name, f"{out.name}.lock", f"{out.name}.progress.json"}
    with pytest.raises((ValueError, PermissionError)):
        again[0] = 1


# --- killed at any moment ---


def die(*_, **__):
    raise KeyboardInterrupt


def with_half_of_the_third_rows_written(patch):
    append = Store.append

    def half(store, values):
        if store.done == 40:
            patch.setattr(Store, "_count", die)
        append(store, values if store.done < 40 else values[: len(values) // 2] * 0 + 7)

    patch.setattr(Store, "append", half)


def with_the_array_half_made(patch):
    patch.setattr(np.lib.format, "open_memmap", lambda path, *_: die(Path(path).write_bytes(b"\x93NUM")))
    patch.setattr(zarr, "create_array", lambda path, **_: die(Path(path).mkdir()))


@pytest.mark.parametrize(("moment", "kept"), [(with_half_of_the_third_rows_written, 40), (with_the_array_half_made, 0)])
def test_embed_goes_on_after_it_died_at_any_moment(whole, moment, kept, tmp_path, computed):
    with pytest.MonkeyPatch.context() as patch:
        moment(patch)
        with pytest.raises(KeyboardInterrupt):
            embedded(tmp_path / whole.name)
    computed.clear()
    assert np.array_equal(embedded(tmp_path / whole.name)[:], opened(whole)[:])
    assert sum(computed) == 95 - kept


CHILD = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
import test_store

replace = os.replace
def killing(part, mark):
    if str(part).endswith(".progress.json.part") and '"done": 60' in pathlib.Path(part).read_text():
        os.kill(os.getpid(), signal.SIGKILL)  # the rows are written, and not yet counted
    replace(part, mark)
os.replace = killing
test_store.embedded(pathlib.Path(sys.argv[2]))
"""


@pytest.mark.parametrize("name", ["vectors.npy", pytest.param("vectors.zarr", marks=pytest.mark.long)])
def test_embed_goes_on_after_kill_9(name, tmp_path, computed, root):
    out = tmp_path / name
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(out)]
    child = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert json.loads((tmp_path / f"{name}.progress.json").read_text())["done"] == 40
    before = np.array(opened(out)[:40])
    found = embedded(out)
    assert computed == [20, 20, 15], "the finished chunks are not computed again"
    assert np.array_equal(found[:40], before)
    assert np.array_equal(found[:], embedded(tmp_path / f"whole_{name}")[:])


# --- something else ---


def test_a_store_of_something_else_is_refused_and_left_alone(whole, tmp_path, computed):
    changed = pictures()
    changed[-1, 0, 0, 0] ^= 1
    for other, message in (
        ({"encoder": encoder(1)}, "encoder: then .*, now "),
        ({"encoder": encoder(0, 6)}, r"shape: then \[95, 5\], now \[95, 6\]"),
        ({"pixels": changed}, "images: then .*, now "),
        ({"pixels": pictures(94)}, r"shape: then \[95, 5\], now \[94, 5\]"),
        ({"rows": 30}, "rows: then 20, now 30"),
        ({}, "dtype: then float16, now float32"),
    ):
        out, mark = copied(whole, tmp_path / "copy", done=40, **({} if other else {"dtype": "float16"}))
        text = mark.read_text()
        with pytest.raises(InputError, match=f"was begun with something else.*{message}.*to start anew"):
            embedded(out, **other)
        assert mark.read_text() == text
        assert np.array_equal(opened(out)[:], opened(whole)[:])
        shutil.rmtree(out.parent)
    assert computed == []


def test_an_encoder_is_known_by_what_it_does_and_not_by_the_names_of_its_layers():
    def nested(width=3, dtype="float32"):
        keras.utils.set_random_seed(0)
        around = keras.layers.TimeDistributed(keras.layers.Dense(width, dtype=dtype))
        return keras.Sequential([keras.Input((8, 4)), keras.Sequential([around]), keras.layers.Flatten()])

    digest = training._digest_of_encoder
    for make in (nested, encoder.__wrapped__, lambda: models.autoencoder(widths=(2, 2, 2))[0]):
        assert digest(make()) == digest(make())
    others = [nested(), nested(2), nested(dtype="mixed_float16"), encoder(), encoder(1), encoder(activation="relu")]
    assert len(set(map(digest, others))) == len(others)


def test_what_embed_did_not_begin_and_what_was_damaged_since_is_refused(whole, tmp_path, computed):
    out = tmp_path / whole.name
    out.write_text("precious")
    with pytest.raises(InputError, match=r"is there already, and no .*progress\.json says what it is made of"):
        embedded(out)
    assert out.read_text() == "precious"
    out, mark = copied(whole, tmp_path / "copy")
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    assert np.array_equal(embedded(out)[:], opened(whole)[:]), "a removed array is made anew"
    assert sum(computed) == 95
    other = np.ones((3, 4), np.float32)
    np.save(out, other) if out.suffix == ".npy" else zarr.create_array(str(out), data=other, overwrite=True)
    with pytest.raises(InputError, match=r"has another shape or dtype than .*progress\.json says"):
        embedded(out)
    mark.write_text('{"done": ')
    with pytest.raises(InputError, match=r"progress\.json cannot be read .* to start anew"):
        embedded(out)
