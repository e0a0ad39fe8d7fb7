"""nnU-Net's and nnssl's Primus checkpoints as a source, for plans of other patches, channels and labels."""

import json

import pytest
import torch
from dynamic_network_architectures.architectures import primus as published
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from support.plan_factory import DATASET_JSON, make_configuration, make_plans

from nnunet_reca import trainers
from nnunet_reca.cli.convert_weights import main
from nnunet_reca.ops import resize_position_embedding

STRIDES = [[1] * 3] + [[2] * 3] * 3
SOURCE_PATCH, PATCH = (32, 16, 24), [40, 56, 40]
CLASSES = {"PrimusS": published.PrimusS, "PrimusV2S": published.PrimusV2S, "PrimusV3S": published.PrimusV3S}
OTHER = DATASET_JSON | {"channel_names": {"0": "T1", "1": "T2"}}


@pytest.fixture(scope="module")
def sources():
    """The published networks with random weights, one channel, four classes, in evaluation mode."""
    torch.manual_seed(0)
    made = {}
    for name, kind in CLASSES.items():
        made[name] = kind(1, 4, (8, 8, 8), SOURCE_PATCH, init_values=0.1, scale_attn_inner=True).eval()
        with torch.no_grad():
            for parameter in made[name].parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return made


def by_nnunet(weights, patch):
    """A checkpoint of nnU-Net's own trainer, whose configuration inherits its patch size."""
    configurations = {"3d_fullres": {"patch_size": list(patch)}, "3d_other": {"inherits_from": "3d_fullres"}}
    arguments = {"plans": {"configurations": configurations}, "configuration": "3d_other"}
    return {"network_weights": weights, "init_args": arguments, "trainer_name": "nnUNet_PrimusV3S_Trainer"}


def by_nnssl(weights, patch):
    """A self-supervised checkpoint: encoder, a decoder of the pretext task, and what tells where things are."""
    encoder = {n: t for n, t in weights.items() if not n.startswith("up_projection.")}
    pretext = {
        "decoder.blocks.0.norm1.weight": torch.ones(8),
        "up_projection.decode.0.0.weight": torch.ones(8, 4, 2, 2, 2),
    }
    plan = {
        "pretrain_plan": {"configurations": {"onemmiso": {"patch_size": list(patch)}}},
        "pretrain_num_input_channels": 1,
        "key_to_encoder": "eva",
        "key_to_stem": "down_projection",
        "keys_to_in_proj": ["down_projection.proj"],
        "key_to_lpe": "eva.pos_embed",
    }
    return {"network_weights": encoder | pretext, "nnssl_adaptation_plan": plan}


def converted(folders, checkpoint, trainer, patch=PATCH, dataset=OTHER):
    """Weights for nnU-Net's ``-pretrained_weights``, loaded by it into a new network; and the command's status."""
    folder = folders / "preprocessed" / "Dataset999_Test"
    folder.mkdir(exist_ok=True)
    plans = make_plans(**{"3d_fullres": make_configuration(list(patch), STRIDES)})
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    source, output = folders / "source.pth", folders / "weights.pth"
    torch.save(checkpoint, source)
    status = main([str(source), "-tr", trainer, "-d", "999", "-c", "3d_fullres", "-o", str(output), "--overwrite"])
    if status:
        return status, None
    network = getattr(trainers, trainer).new_network(plans, "3d_fullres", dataset)
    load_pretrained_weights(network, str(output))
    return status, network.eval()


@pytest.mark.parametrize("twin", ["", "Reca", "Reca_gated"])
@pytest.mark.parametrize("made_by", [by_nnunet, by_nnssl])
@pytest.mark.parametrize("name", CLASSES)
def test_encoders_move_to_other_patches_and_channels(name, made_by, twin, sources, folders, capsys):
    theirs = sources[name]
    checkpoint = made_by(theirs.state_dict(), SOURCE_PATCH)
    status, network = converted(folders, checkpoint, f"nnUNetTrainer{name}{twin}_2epochs")
    assert status == 0 and "layout: Primus (nnU-Net, nnssl)" in capsys.readouterr().out
    expected = resize_position_embedding(theirs.eva.pos_embed, [s // 8 for s in SOURCE_PATCH], [5, 7, 5])
    torch.testing.assert_close(network.encoder.position_embedding, expected)
    block, other = network.encoder.transformer.blocks[7], theirs.eva.blocks[7]
    assert torch.equal(block.attn.k_proj.weight, other.attn.k_proj.weight) and torch.equal(block.gamma_2, other.gamma_2)
    image = torch.randn(1, 1, *PATCH)
    both = network.encoder.patch_embed(image.expand(1, 2, *PATCH))  # two equal channels are one
    torch.testing.assert_close(both, theirs.down_projection(image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CLASSES)
def test_on_the_same_patch_the_twins_tokens_are_the_sources(name, sources, folders):
    theirs = sources[name]
    checkpoint = by_nnunet(theirs.state_dict(), SOURCE_PATCH)
    _, network = converted(folders, checkpoint, f"nnUNetTrainer{name}_2epochs", SOURCE_PATCH, DATASET_JSON)
    image = torch.randn(1, 1, *SOURCE_PATCH)
    with torch.no_grad():
        tokens, _ = theirs.eva(theirs.down_projection(image).flatten(2).transpose(1, 2))
        ours = network.encoder(image).flatten(2).transpose(1, 2)
    torch.testing.assert_close(ours, tokens, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (
            "nnUNetTrainerPrimusV2S",
            "weights of Primus version 2 with 396 channels and 12 layers, got version 3",
        ),
        (
            "nnUNetTrainerPrimusV3S_tiny",
            "got version 3 with 396 channels and 12 layers; take the trainer",
        ),
        ("nnUNetTrainerSwinUNETR", "which fits Primus; change the trainer"),
    ],
)
def test_other_versions_sizes_and_networks_say_so(trainer, message, sources, folders, capsys):
    checkpoint = by_nnunet(sources["PrimusV3S"].state_dict(), SOURCE_PATCH)
    assert converted(folders, checkpoint, trainer)[0] != 0
    captured = capsys.readouterr()
    assert message in " ".join((captured.out + captured.err).split())


def test_a_patch_of_unequal_sides_that_the_checkpoint_does_not_name_is_an_error(sources, folders, capsys):
    status, _ = converted(folders, sources["PrimusS"].state_dict(), "nnUNetTrainerPrimusS")
    captured = capsys.readouterr()
    assert status != 0 and "encoder.position_embedding: expected (1, 175, 396), got (1, 24, 396)" in captured.err


@pytest.mark.parametrize("made_by", [by_nnunet, by_nnssl])
def test_a_weight_that_is_missing_in_a_layer_is_an_error(made_by, sources, folders, capsys):
    weights = sources["PrimusS"].state_dict()
    del weights["eva.blocks.5.attn.q_proj.weight"]
    status, _ = converted(folders, made_by(weights, SOURCE_PATCH), "nnUNetTrainerPrimusS")
    missing = "encoder.transformer.blocks.5.attn.q_proj.weight: missing in the file"
    assert status != 0 and missing in capsys.readouterr().err
