"""ImageNet weights in the layouts of the libraries that publish them give the same features."""

import numpy as np
import pytest
import torch
from support.golden_io import golden_cases
from support.published_states import (
    google_file,
    microsoft_names,
    randomised,
    small_da_transunet,
    small_swin_unet,
    small_vit,
    timm_hybrid,
    timm_swin,
    torchvision_swin,
)

from nnunet_reca.architectures import DATransUnet, SwinUnet
from nnunet_reca.weights import da_transunet, load_renamed, rename, swin_unet
from nnunet_reca.weights.checkpoint import read_checkpoint
from nnunet_reca.weights.convert import convert
from nnunet_reca.weights.layouts import known_layouts


@pytest.mark.parametrize("source", ["timm", "microsoft", "torchvision"])
def test_swin_transformer_gives_the_same_features_and_mirrors_them_in_the_decoder(source):
    if source == "torchvision":
        model = torchvision_swin()
        state, expected = model.state_dict(), lambda x: model.norm(model.features(x))
    else:
        model = timm_swin()
        state, expected = model.state_dict(), model.forward_features
        state = microsoft_names(state) if source == "microsoft" else state
    network = small_swin_unet()
    _, report = convert(state, network, known_layouts())
    x = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(network.encoder(x)[-1], expected(x), atol=1e-4, rtol=1e-4)
    for stage in range(3):
        encoder, decoder = network.encoder.stages[stage], network.decoder.stages[stage]
        assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), decoder.parameters(), strict=True))
    assert all(n.startswith("decoder.") and ".stages." not in n for n in report.fresh)


def test_swin_transformer_adapts_to_one_channel_and_other_windows():
    network = small_swin_unet(channels=1, windows=(8, 6, 5, 7))
    _, report = convert(timm_swin().state_dict(), network, known_layouts())
    assert set(report.adapted) >= {
        "encoder.patch_embed.proj.weight",
        "encoder.stages.0.blocks.1.attn.relative_position_bias_table",
        "decoder.stages.2.blocks.0.attn.relative_position_bias_table",
    }
    assert not any(name.startswith("encoder.stages.3") for name in report.adapted)


@pytest.mark.parametrize("case", golden_cases("SwinUnet")[:2], ids=str)
def test_golden_swin_unet_checkpoints_convert_to_the_published_output(case, tmp_path):
    """In the wrapper's naming of the authors' training script, as torch saves it."""
    arguments = swin_unet.published_arguments(case.config["constructor"], recurrent=case.recurrent)
    file = tmp_path / "epoch_149.pth"
    torch.save({f"swin_unet.{n}": t for n, t in case.state_dict().items()}, file)
    network = SwinUnet(**arguments).eval()
    convert(read_checkpoint(file), network, known_layouts())
    head = {n: t for n, t in rename(case.state_dict(), swin_unet.swin_unet_rules()).items() if "seg_layers" in n}
    network.load_state_dict(head, strict=False)
    torch.testing.assert_close(network(case.array("input")), case.array("output"), atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", golden_cases("DATransUnet")[:2], ids=str)
def test_golden_da_transunet_checkpoints_convert_to_the_published_output(case):
    arguments = da_transunet.published_arguments(case.config["constructor"], recurrent=case.recurrent)
    converted, expected = DATransUnet(**arguments).eval(), DATransUnet(**arguments).eval()
    rules = da_transunet.da_transunet_rules(arguments["resnet_layers"], arguments["skip_attention"])
    load_renamed(expected, rename(case.state_dict(), rules))
    convert(case.state_dict(), converted, known_layouts())
    converted.decoder.seg_layers.load_state_dict(expected.decoder.seg_layers.state_dict())
    torch.testing.assert_close(converted(case.array("input")), case.array("output"), atol=1e-4, rtol=0)


def test_plain_vit_gives_the_same_transformer(tmp_path):
    vit = small_vit()
    np.savez(tmp_path / "ViT-B_16.npz", **google_file(vit))
    network = small_da_transunet()
    _, report = convert(read_checkpoint(tmp_path / "ViT-B_16.npz"), network, known_layouts())
    tokens = torch.randn(2, 16, 48)
    torch.testing.assert_close(network.encoder.transformer(tokens), vit.norm(vit.blocks(tokens)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.encoder.position_embedding, vit.pos_embed[:, 1:])
    assert any(n.startswith("encoder.resnet.") for n in report.fresh)


def test_timms_vit_gives_the_same_transformer():
    vit = small_vit()
    network = small_da_transunet()
    _, report = convert(vit.state_dict(), network, known_layouts())
    tokens = torch.randn(2, 16, 48)
    torch.testing.assert_close(network.encoder.transformer(tokens), vit.norm(vit.blocks(tokens)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.encoder.position_embedding, vit.pos_embed[:, 1:])
    assert "no counterpart" in report.skipped["patch_embed.proj.weight"]
    assert {n.split(".")[1] for n in report.fresh if n.startswith("encoder.")} == {"attention", "patch_embed", "resnet"}


def test_timms_hybrid_vit_fills_the_same_encoder():
    vit, network = timm_hybrid(), small_da_transunet()
    _, report = convert(vit.state_dict(), network, known_layouts())
    assert not report.adapted and all(n.startswith(("decoder.", "encoder.attention.")) for n in report.fresh)
    unit, theirs = network.encoder.resnet.stages[1][1], vit.patch_embed.backbone.stages[1].blocks[1]
    x = torch.randn(1, 256, 6, 5)
    torch.testing.assert_close(unit(x), theirs(x), atol=1e-2, rtol=1e-2)  # the epsilons of their norms differ
    deep = torch.randn(1, 512, 4, 4)
    torch.testing.assert_close(network.encoder.patch_embed(deep), vit.patch_embed.proj(deep))


def test_hybrid_vit_gives_the_same_encoder(tmp_path):
    donor = randomised(small_da_transunet())
    vit = small_vit(patch=1, channels=donor.encoder.resnet.channels[-1], size=4)
    np.savez(tmp_path / "R50+ViT-B_16.npz", **google_file(vit, donor.encoder.resnet))
    network = small_da_transunet()
    _, report = convert(read_checkpoint(tmp_path / "R50+ViT-B_16.npz"), network, known_layouts())
    assert all(n.startswith(("decoder.", "encoder.attention.")) for n in report.fresh)
    x = torch.randn(1, 3, 64, 64)
    for ours, theirs in zip(network.encoder.resnet(x), donor.encoder.resnet(x), strict=True):
        torch.testing.assert_close(ours, theirs)
    deep = donor.encoder.resnet(x)[-1]
    torch.testing.assert_close(
        network.encoder.patch_embed(deep).flatten(2).mT, vit.patch_embed(deep), atol=1e-4, rtol=1e-4
    )


def test_hybrid_vit_adapts_to_other_grids_and_fewer_poolings(tmp_path):
    donor = randomised(small_da_transunet())
    vit = small_vit(patch=1, channels=donor.encoder.resnet.channels[-1], size=4)
    np.savez(tmp_path / "R50+ViT-B_16.npz", **google_file(vit, donor.encoder.resnet))
    network = small_da_transunet(poolings=3, grid=(7, 5))
    _, report = convert(read_checkpoint(tmp_path / "R50+ViT-B_16.npz"), network, known_layouts())
    assert report.adapted == {"encoder.position_embedding": "position embedding for (7, 5) tokens"}
    assert report.skipped["encoder.patch_embed.weight"] == "its width depends on the depth of the network"
    assert "encoder.resnet.stages.2.0.residual.0.weight" in report.skipped
    assert network(torch.randn(1, 3, 56, 40)).isfinite().all()
