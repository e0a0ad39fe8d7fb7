"""nnU-Net's own look-up beside trainers of others, and in programs that set ``nnUNet_extTrainer`` themselves."""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from types import ModuleType, SimpleNamespace

import pytest
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find

from nnunet_reca import _discovery, trainers
from nnunet_reca._discovery import VARIABLE, register, searched, shim_directory

RECA = "nnUNetTrainerSwinUNETRReca"
#: of other projects, beginning like ours
THEIRS = (
    "nnUNetTrainerSwinUNETR_noMirroring",
    "nnUNetTrainerSwinUNETRReca_myLoss",
    "nnUNetTrainerSwinUNETRReca_spatial_tiny",
    "nnUNetTrainerSwinUNETR_spatial",
    "nnUNetTrainerSwinUNet",
    "nnUNetTrainerNNFormer",
    "nnUNetTrainerDATransUnet2",
)


@pytest.fixture(params=[True, False], ids=["hook", "export"])
def hooked(request, monkeypatch):
    """With the start-up hook, and without it: there the variable says all."""
    monkeypatch.setenv(_discovery.OPT_OUT_VARIABLE, "0" if request.param else "1")
    monkeypatch.setenv(VARIABLE, "")
    if request.param:
        register()
    return request.param


@pytest.fixture
def theirs(tmp_path):
    """A folder of somebody else's trainers."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    lines = ["from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer"]
    lines += [f"class {name}(nnUNetTrainer): pass" for name in THEIRS]
    (folder / "somebody.py").write_text("\n".join(lines))
    return str(folder)


@pytest.mark.parametrize("ours_first", [True, False])
def test_trainers_of_others_that_begin_like_ours_are_found_wherever_their_folder_stands(
    hooked, theirs, monkeypatch, ours_first
):
    places = [shim_directory(), theirs] if ours_first else [theirs, shim_directory()]
    monkeypatch.setenv(VARIABLE, os.pathsep.join(places))
    for name in THEIRS:
        assert find(name).__module__ == "somebody"
    assert find(f"{RECA}_tiny") is getattr(trainers, f"{RECA}_tiny")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (f"{RECA}_tinny", f"{RECA}_tiny_lr3en4_50epochs"),
        (f"{RECA}_50epochs_tiny", f"{RECA}_tiny_lr3en4_50epochs"),
        ("nnUNetTrainerSwinUnetrReca_tiny", "nnUNetTrainerSwinUNETRReca_tiny"),
        ("nnUNetTrainerSwinUNETRRecca_tiny", "nnUNetTrainerSwinUNETRReca_tiny"),
        ("nnUNetTrainerNNFormerReca", "nnUNetTrainerNnFormerReca"),
    ],
)
@pytest.mark.parametrize("ours_first", [True, False])
def test_a_misspelt_name_of_ours_says_what_is_meant_after_every_folder_was_searched(
    tmp_path, monkeypatch, hooked, capsys, name, meant, ours_first
):
    (tmp_path / "somebody.py").write_text("class Other: pass")
    places = [shim_directory(), str(tmp_path)] if ours_first else [str(tmp_path), shim_directory()]
    monkeypatch.setenv(VARIABLE, os.pathsep.join(places))
    with pytest.raises((ValueError, RuntimeError)) as error:
        find(name)
    said = capsys.readouterr().out
    assert "Inspecting module: somebody" in said
    if hooked or not ours_first:
        assert isinstance(error.value, ValueError) and meant in str(error.value)
    else:  # no folder of ours is searched after theirs: only a line among nnU-Net's own is left
        assert meant in said


@pytest.mark.parametrize("hooked", [True], indirect=True)
def test_the_last_word_names_the_folders_that_were_searched(hooked, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match=f"no trainer {RECA}_x in nnunetv2 nor in {tmp_path}, {shim_directory()}: "):
        find(f"{RECA}_x")


@pytest.mark.parametrize("name", ["nnUNetTrainerMine", "nnUNetTrainer_6epochs", "nnUNetTrainerMedNeXt_x"])
def test_missing_names_unlike_ours_keep_nnunets_own_error(hooked, name):
    with pytest.raises(RuntimeError, match=f"Could not find requested nnunet trainer {name}"):
        find(name)


def test_an_assignment_to_the_variable_does_not_take_our_trainers_away(theirs, monkeypatch):
    monkeypatch.setenv(_discovery.OPT_OUT_VARIABLE, "0")
    register()
    monkeypatch.setenv(VARIABLE, theirs)
    assert find(THEIRS[0]).__module__ == "somebody"
    assert find(RECA) is getattr(trainers, RECA)
    assert os.environ[VARIABLE] == theirs, "the program's value stays its own"
    assert searched() == [theirs, shim_directory(), _discovery.last_directory()]
    monkeypatch.delenv(VARIABLE)
    assert find(RECA) is getattr(trainers, RECA)


def test_opting_out_leaves_nnunets_reading_of_the_variable_alone(theirs, monkeypatch):
    register()
    monkeypatch.setenv(_discovery.OPT_OUT_VARIABLE, "1")
    monkeypatch.setenv(VARIABLE, theirs)
    assert searched() == [theirs]
    with pytest.raises(RuntimeError, match="Could not find requested nnunet trainer"):
        find(RECA)


@pytest.mark.parametrize("variable", ["/a/path", None, 7, SimpleNamespace(get="no function")])
def test_another_way_of_reading_the_variable_is_left_alone(variable):
    module = ModuleType("paths")
    setattr(module, VARIABLE, variable)
    _discovery._amend(module)
    assert getattr(module, VARIABLE) is variable


def test_reading_is_amended_once(monkeypatch):
    monkeypatch.setenv(_discovery.OPT_OUT_VARIABLE, "0")
    module = ModuleType("paths")
    setattr(module, VARIABLE, type("Reader", (), {"get": lambda self: "/mine"})())
    for _ in range(2):
        _discovery._amend(module)
    assert getattr(module, VARIABLE).get().split(os.pathsep) == [
        "/mine",
        shim_directory(),
        _discovery.last_directory(),
    ]


def test_the_import_hook_acts_on_the_import_alone_and_is_gone_then(monkeypatch, tmp_path):
    (tmp_path / "stock").mkdir()
    (tmp_path / "stock" / "__init__.py").touch()
    (tmp_path / "stock" / "paths.py").write_text(
        f"class Reader:\n    def get(self): return None\n{VARIABLE} = Reader()\nspecified = __spec__.origin\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(_discovery.OPT_OUT_VARIABLE, "0")
    monkeypatch.setattr(_discovery, "PATHS", "stock.paths")
    monkeypatch.setattr(sys, "meta_path", [PathFinder])
    register()
    register()
    assert [type(finder) for finder in sys.meta_path[:-1]] == [_discovery._Watch]
    assert importlib.util.find_spec("stock.paths") is not None and importlib.util.find_spec("stock.nothing") is None
    assert len(sys.meta_path) == 2, "a look for the module is no import"
    try:
        module = importlib.import_module("stock.paths")
        assert getattr(module, VARIABLE).get().split(os.pathsep)[0] == shim_directory()
        assert module.specified == str(tmp_path / "stock" / "paths.py")
        assert sys.meta_path == [PathFinder]
    finally:
        for name in ("stock", "stock.paths"):
            sys.modules.pop(name, None)
