"""Bases from a hub: what is fetched, what is told, and what happens when something goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from napari_phenldiff import train
from napari_phenldiff.cli import main
from napari_phenldiff.diffusion import hub_client
from napari_phenldiff.diffusion.base import BaseModel, fetch_base, find_base
from napari_phenldiff.diffusion.base_files import variant_in
from napari_phenldiff.diffusion.base_weights import weights_in
from napari_phenldiff.diffusion.hub_reference import HubModel
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.events import Noted, Progress

WEIGHTS = "diffusion_pytorch_model.safetensors"
LOADED = {f"unet/{WEIGHTS}", f"vae/{WEIGHTS}"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(hub_client, "_PAUSE", 0.0)


@pytest.fixture
def stable(hub, tiny_stable_diffusion, tmp_path) -> Any:
    """The hub, with a model as they are there: many more files than are loaded."""
    hub.add("lab/cells", hub.as_on_a_hub(tiny_stable_diffusion, tmp_path / "on the hub"))
    return hub


def events_of(reference: str, **options: Any) -> tuple[list, Path]:
    events, work = [], fetch_base(reference, **options)
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return events, end.value


def test_only_the_files_that_are_loaded_are_fetched(stable, tiny_stable_diffusion):
    events, place = events_of("lab/cells")
    assert stable.fetched() == LOADED
    there = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    configs = {"unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"}
    assert there == LOADED | configs
    assert weights_in(place).sha256 == weights_in(tiny_stable_diffusion).sha256
    # the size and the place are told before, and the progress up to the end
    assert isinstance(events[0], Noted)
    size = sum((tiny_stable_diffusion / name).stat().st_size for name in LOADED)
    assert f"{size / 1e6:.1f} MB in 2 files" in events[0].message
    assert str(place.parents[2]) in events[0].message
    assert "HF_HOME" in events[0].message
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == round(size / 1e6)
    assert all(event.unit == "MB" for event in progress)


def test_what_was_fetched_is_used_without_the_network(stable, monkeypatch):
    first = find_base("lab/cells")
    commit = first.name
    asked = len(stable.asked)
    assert find_base("lab/cells", fetch=False) == first
    assert find_base(f"lab/cells@{commit}") == first
    assert len(stable.asked) == asked, "a commit in the cache needs no question"
    served = dict(stable.served)
    assert find_base("lab/cells") == first
    assert stable.served == served, "nothing is fetched twice"

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(stable.asked)
    events, place = events_of("lab/cells")
    assert place == first
    assert any("cannot be reached" in event.message for event in events)
    BaseModel.load(f"lab/cells@{commit}")
    assert len(stable.asked) == asked
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE.*phenldiff fetch other/model"):
        find_base("other/model")


def test_a_hub_that_is_down_does_not_matter_for_what_is_in_the_cache(stable):
    first = find_base("lab/cells")
    stable.busy = 10**6
    events, place = events_of("lab/cells")
    assert place == first
    assert any("used as it was fetched earlier" in event.message for event in events)


def test_half_precision_is_taken_where_that_is_all_there_is(hub, tiny_stable_diffusion, tmp_path):
    folder = hub.as_on_a_hub(tiny_stable_diffusion, tmp_path / "half")
    for part in ("unet", "vae"):
        (folder / part / WEIGHTS).unlink()
    hub.add("lab/half", folder)
    base = BaseModel.load("lab/half")
    half = {name.replace(".safe", ".fp16.safe") for name in LOADED}
    assert hub.fetched() == half
    full = BaseModel.load(str(tiny_stable_diffusion))
    for name, tensor in full.unet.state_dict().items():
        assert torch.equal(tensor, base.unet.state_dict()[name])
    assert weights_in(find_base("lab/half", fetch=False)).bytes > 0


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_weights_in_shards_are_fetched_by_their_index(
    hub, tiny_stable_diffusion, tmp_path, variant
):
    folder = Path(shutil.copytree(tiny_stable_diffusion, tmp_path / "shards"))
    whole = UNet2DConditionModel.from_pretrained(folder / "unet")
    (folder / "unet" / WEIGHTS).unlink()
    whole.save_pretrained(folder / "unet", max_shard_size="200KB", variant=variant)
    shards = {p.name for p in (folder / "unet").glob("*.safetensors")}
    assert len(shards) > 2
    hub.add("lab/shards", folder)
    base = BaseModel.load("lab/shards")
    assert hub.fetched() == {f"unet/{name}" for name in shards} | {f"vae/{WEIGHTS}"}
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, base.unet.state_dict()[name])
    place = find_base("lab/shards", fetch=False)
    assert variant_in(place / "unet", "it") == variant
    assert weights_in(place).bytes == sum(
        path.stat().st_size for path in place.rglob("*.safetensors")
    )


def test_a_revision_is_fetched_as_it_is_named(stable, tiny_stable_diffusion, tmp_path):
    old = stable.models["lab/cells"].branches["main"]
    changed = Path(shutil.copytree(tiny_stable_diffusion, tmp_path / "changed"))
    config = json.loads((changed / "scheduler" / "scheduler_config.json").read_text())
    config["prediction_type"] = "v_prediction"
    (changed / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    new = stable.models["lab/cells"].commit(changed)
    stable.models["lab/cells"].branches |= {"v1.0": old, "refs/pr/3": new}
    assert find_base("lab/cells").name == new
    for reference, commit in {
        f"lab/cells@{old}": old,
        "lab/cells@v1.0": old,
        "lab/cells@refs/pr/3": new,
        f"{stable.endpoint}/lab/cells": new,
        f"{stable.endpoint}/lab/cells/tree/v1.0": old,
        f"{stable.endpoint}/lab/cells/tree/refs%2Fpr%2F3": new,
        f"{stable.endpoint}/lab/cells/tree/{old}?library=diffusers": old,
    }.items():
        assert find_base(reference).name == commit, reference
    assert BaseModel.load("lab/cells@v1.0").prediction_type == "epsilon"
    with pytest.raises(InputError, match=r"no revision v9.*commits/main"):
        find_base("lab/cells@v9")


def test_addresses_of_the_public_hub_name_its_models():
    page = "https://huggingface.co/owner/name"
    name = "owner/name"
    parse = HubModel.parse
    assert parse(page) == parse(f"{page}/") == parse(name) == HubModel(name)
    assert parse(page.removeprefix("https://")) == HubModel(name)
    assert parse(f"{page}/tree/fp16/unet") == HubModel(name, "fp16")
    assert parse(f"{page}/commit/{'a' * 40}") == HubModel(name, "a" * 40)
    assert parse(f"{page}/blob/main/v2-1.safetensors") == HubModel(name, "main", "v2-1.safetensors")
    single = HubModel(name, "a" * 40, "old/v2-1.safetensors")
    assert str(single) == f"{name}/old/v2-1.safetensors@{'a' * 40}"
    for model in (single, HubModel(name), HubModel(name, "refs/pr/3")):
        assert parse(str(model)) == model
    assert parse("models") is None
    for other in (
        "https://example.org/a/b",
        "https://huggingface.co/datasets/a/b",
        "https://huggingface.co/owner",
        f"{page}/discussions/1",
    ):
        with pytest.raises(InputError, match="not the address of a model"):
            parse(other)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_is_cut_goes_on_where_it_was(stable, monkeypatch, ranges):
    monkeypatch.setattr(hub_client, "_PIECE", 50_000)
    stable.cuts, stable.cut_after, stable.ranges = 3, 20_000, ranges
    place = find_base("lab/cells")
    size = (place / "unet" / WEIGHTS).stat().st_size
    if ranges:
        assert stable.served[f"unet/{WEIGHTS}"] <= size + 3 * 20_000
    BaseModel.load(str(place))


def test_a_download_that_ended_goes_on_in_another_process(stable, monkeypatch):
    monkeypatch.setattr(hub_client, "_PIECE", 50_000)
    work = fetch_base("lab/cells")
    for _ in work:
        if stable.served.get(f"unet/{WEIGHTS}", 0) >= 100_000:
            break
    work.close()  # as when the process is killed
    stable.served.clear()
    events, place = events_of("lab/cells")
    whole = (place / "unet" / WEIGHTS).stat().st_size
    assert stable.served[f"unet/{WEIGHTS}"] == whole - 100_000
    first = next(event for event in events if isinstance(event, Progress))
    assert first.done == round(100_000 / 1e6)
    BaseModel.load(str(place))
    assert not list(place.parents[1].rglob("*.incomplete"))


def test_a_download_can_be_stopped_and_begun_again(stable, monkeypatch):
    monkeypatch.setattr(hub_client, "_PIECE", 50_000)
    with pytest.raises(InputError, match="was stopped; the same command goes on where it was"):
        events_of("lab/cells", should_stop=lambda: len(stable.served) > 0)
    BaseModel.load("lab/cells")


def test_weights_that_arrive_damaged_are_not_kept(stable, monkeypatch):
    piece = hub_client._piece
    monkeypatch.setattr(hub_client, "_piece", lambda *at: piece(*at)[::-1])
    with pytest.raises(InputError, match="arrived damaged"):
        find_base("lab/cells")
    monkeypatch.setattr(hub_client, "_piece", piece)
    BaseModel.load("lab/cells")


def test_a_busy_hub_is_asked_again(stable):
    stable.busy = 2
    find_base("lab/cells")


def test_a_hub_that_stays_busy_is_told(stable):
    stable.busy = 10**6
    with pytest.raises(InputError, match=r"503.*goes on where it was"):
        find_base("lab/cells")


def test_a_hub_that_is_not_there_is_told(stable, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"network or the hub is down.*goes on where it was"):
        find_base("lab/cells")


def test_a_gated_model_says_how_to_get_access(stable, monkeypatch):
    stable.models["lab/cells"].access = "gated"
    with pytest.raises(InputError, match=r"accept its licence.*lab/cells.*HF_TOKEN"):
        find_base("lab/cells")
    stable.known = {"mine"}
    monkeypatch.setenv("HF_TOKEN", "mine")
    with pytest.raises(InputError, match="account of your token has not"):
        find_base("lab/cells")
    stable.granted = {"mine"}
    BaseModel.load("lab/cells")
    assert not stable.leaked
    monkeypatch.setenv("HF_TOKEN", "expired")
    with pytest.raises(InputError, match=r"401.*token is not valid.*HF_TOKEN"):
        find_base("lab/cells@main2")


def test_a_model_that_is_missing_or_private_says_both(stable, monkeypatch):
    with pytest.raises(InputError, match=r"no base model at lab/none.*spelling.*HF_TOKEN"):
        find_base("lab/none")
    stable.models["lab/cells"].access = "private"
    with pytest.raises(InputError, match=r"unless it is private.*HF_TOKEN"):
        find_base("lab/cells")
    stable.known = {"mine"}
    monkeypatch.setenv("HF_TOKEN", "mine")
    with pytest.raises(InputError, match="your token may not read it"):
        find_base("lab/cells")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"addition_embed_type": "text_time"}, "Stable Diffusion XL"),
        ({"class_embed_type": "projection"}, "unCLIP"),
        ({"in_channels": 9}, "inpainting"),
        ({"in_channels": 8}, "8 latent channels"),
    ],
)
def test_other_models_are_refused_before_their_weights_are_fetched(
    hub, tiny_stable_diffusion, tmp_path, values, told
):
    folder = hub.as_on_a_hub(tiny_stable_diffusion, tmp_path / "other")
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | values))
    hub.add("lab/other", folder)
    with pytest.raises(InputError, match=told):
        find_base("lab/other")
    assert hub.fetched() == set()


def test_pickled_weights_are_refused_before_they_are_fetched(hub, tiny_stable_diffusion, tmp_path):
    folder = hub.as_on_a_hub(tiny_stable_diffusion, tmp_path / "old")
    for path in (folder / "unet").glob("*.safetensors"):
        path.unlink()
    hub.add("lab/old", folder)
    with pytest.raises(InputError, match="no safetensors weights in unet/"):
        find_base("lab/old")
    assert hub.fetched() == set()


def test_a_model_without_the_parts_of_one_says_what_to_give(hub, tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "v1-5.safetensors").write_bytes(b"weights")
    hub.add("lab/flat", tmp_path / "flat")
    with pytest.raises(InputError, match=r"blob/main/v1-5\.safetensors"):
        find_base("lab/flat")
    assert hub.fetched() == set()


def test_a_disk_without_room_is_told_before_anything_is_fetched(stable, monkeypatch):
    class Full:
        free = 1000

    monkeypatch.setattr(hub_client, "disk_usage", lambda _: Full)
    with pytest.raises(InputError, match=r"needs .* MB.*0\.0 MB left.*HF_HOME"):
        find_base("lab/cells")
    assert stable.fetched() == set()


def test_the_command_fetches_and_says_where(stable, capsys):
    assert main(["fetch", f"{stable.endpoint}/lab/cells"]) == 0
    told = capsys.readouterr().out
    assert "2 files are downloaded once" in told
    assert "MB 0/" in told
    assert "image" not in told
    place = find_base("lab/cells", fetch=False)
    assert told.splitlines()[-1] == f"The base model is in {place}."
    assert main(["fetch", "lab/none"]) == 2
    assert "no base model at lab/none" in capsys.readouterr().err


def test_a_training_fetches_its_base_and_is_pinned_to_it(stable, experiment, tmp_path):
    address = f"{stable.endpoint}/lab/cells/tree/main"
    config = TrainingConfig(
        base=address, conditions=experiment.names, steps=1, batch_size=2, rank=2, device="cpu"
    )
    events = []
    run = train(experiment, config, tmp_path / "run", on_event=events.append)
    assert run.config.base == "lab/cells@main"
    commit = stable.models["lab/cells"].branches["main"]
    assert run.base == f"lab/cells@{commit}"
    told = [event.message for event in events if isinstance(event, Noted)]
    assert any("2 files are downloaded once" in text for text in told)
    assert any(isinstance(event, Progress) and event.unit == "MB" for event in events)
    asked = len(stable.asked)
    Translator.from_run(run.path, device="cpu")
    assert len(stable.asked) == asked


def test_a_base_that_is_refused_leaves_no_run_behind(hub, experiment, tmp_path):
    config = TrainingConfig(base="lab/none", conditions=experiment.names, steps=1, device="cpu")
    with pytest.raises(InputError, match="no base model at lab/none"):
        train(experiment, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
