"""ImageNet weights in the layouts of the libraries that publish them give the same features."""

import warnings

import numpy as np
import pytest
import timm
import torch
from golden_io import golden_cases

from nnunet_reca.architectures import DATransUnet, SwinUnet
from nnunet_reca.weights import load_renamed, rename
from nnunet_reca.weights.checkpoint import read_checkpoint
from nnunet_reca.weights.convert import convert
from nnunet_reca.weights.da_transunet import da_transunet_arguments, da_transunet_rules
from nnunet_reca.weights.layouts import known_layouts
from nnunet_reca.weights.swin_unet import swin_unet_arguments, swin_unet_rules

DEPTHS, HEADS = (2, 1, 3, 2), (1, 2, 4, 8)


def randomised(module):
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


def timm_swin():
    model = timm.models.swin_transformer.SwinTransformer(
        img_size=224, embed_dim=12, depths=DEPTHS, num_heads=HEADS, window_size=7, num_classes=5
    )
    return randomised(model)


def microsoft_names(state):
    """timm begins a stage with its merging, Microsoft ends one with it."""
    renamed = {}
    for name, tensor in state.items():
        if ".downsample." in name:
            stage = int(name.split(".")[1])
            name = name.replace(f"layers.{stage}.", f"layers.{stage - 1}.")
        renamed[name.replace("head.fc.", "head.")] = tensor
    return renamed


def torchvision_swin():
    from torchvision.models.swin_transformer import SwinTransformer

    model = SwinTransformer(
        patch_size=[4, 4], embed_dim=12, depths=list(DEPTHS), num_heads=list(HEADS), window_size=[7, 7], num_classes=5
    )
    return randomised(model)


def swin_unet(channels=3, windows=(7, 7, 7, 7)):
    strides = [[1, 1], [4, 4], [2, 2], [2, 2], [2, 2]]
    arguments = {"embed_dim": 12, "depths": DEPTHS, "num_heads": HEADS, "window_sizes": windows, "carry": "none"}
    return SwinUnet(channels, 4, strides=strides, **arguments).eval()


@pytest.mark.parametrize("source", ["timm", "microsoft", "torchvision"])
def test_swin_transformer_gives_the_same_features_and_mirrors_them_in_the_decoder(source):
    if source == "torchvision":
        model = torchvision_swin()
        state, expected = model.state_dict(), lambda x: model.norm(model.features(x))
    else:
        model = timm_swin()
        state, expected = model.state_dict(), model.forward_features
        state = microsoft_names(state) if source == "microsoft" else state
    network = swin_unet()
    _, report = convert(state, network, known_layouts())
    x = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(network.encoder(x)[-1], expected(x), atol=1e-4, rtol=1e-4)
    for stage in range(3):
        encoder, decoder = network.encoder.stages[stage], network.decoder.stages[stage]
        assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), decoder.parameters(), strict=True))
    assert all(n.startswith("decoder.") and ".stages." not in n for n in report.fresh)


def test_swin_transformer_adapts_to_one_channel_and_other_windows():
    network = swin_unet(channels=1, windows=(8, 6, 5, 7))
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
    arguments = swin_unet_arguments(case.config["constructor"], recurrent=case.recurrent)
    file = tmp_path / "epoch_149.pth"
    torch.save({f"swin_unet.{n}": t for n, t in case.state_dict().items()}, file)
    network = SwinUnet(**arguments).eval()
    convert(read_checkpoint(file), network, known_layouts())
    head = {n: t for n, t in rename(case.state_dict(), swin_unet_rules()).items() if "seg_layers" in n}
    network.load_state_dict(head, strict=False)
    torch.testing.assert_close(network(case.array("input")), case.array("output"), atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", golden_cases("DATransUnet")[:2], ids=str)
def test_golden_da_transunet_checkpoints_convert_to_the_published_output(case):
    arguments = da_transunet_arguments(case.config["constructor"], recurrent=case.recurrent)
    converted, expected = DATransUnet(**arguments).eval(), DATransUnet(**arguments).eval()
    rules = da_transunet_rules(arguments["resnet_layers"], arguments["skip_attention"])
    load_renamed(expected, rename(case.state_dict(), rules))
    convert(case.state_dict(), converted, known_layouts())
    converted.decoder.seg_layers.load_state_dict(expected.decoder.seg_layers.state_dict())
    torch.testing.assert_close(converted(case.array("input")), case.array("output"), atol=1e-4, rtol=0)


def da_transunet(poolings=4, grid=(4, 4), **options):
    options = {"hidden_size": 48, "num_layers": 2, "num_heads": 3, "mlp_dim": 96, "resnet_width": 32} | options
    layers = {"resnet_layers": (1, 2, 1)[: poolings - 1], "decoder_channels": (12, 16, 24, 32)[:poolings]}
    strides = [[1, 1]] + [[2, 2]] * poolings
    return DATransUnet(
        3, 4, strides=strides, grid_size=grid, bottleneck_channels=32, carry="none", **layers, **options
    ).eval()


def google_file(vit, resnet=None, grid=4):
    """Google's layout, written from a timm ViT and, for the hybrid, one of our ResNets."""
    arrays = {}

    def put(name, tensor):
        arrays[name] = tensor.detach().numpy()

    for i, block in enumerate(vit.blocks):
        base = f"Transformer/encoderblock_{i}/"
        heads, dim = block.attn.num_heads, vit.embed_dim
        for j, name in enumerate(("query", "key", "value")):
            weight, bias = block.attn.qkv.weight[j * dim : (j + 1) * dim], block.attn.qkv.bias[j * dim : (j + 1) * dim]
            put(f"{base}MultiHeadDotProductAttention_1/{name}/kernel", weight.T.reshape(dim, heads, -1))
            put(f"{base}MultiHeadDotProductAttention_1/{name}/bias", bias.reshape(heads, -1))
        put(f"{base}MultiHeadDotProductAttention_1/out/kernel", block.attn.proj.weight.T.reshape(heads, -1, dim))
        put(f"{base}MultiHeadDotProductAttention_1/out/bias", block.attn.proj.bias)
        for k, layer in enumerate((block.mlp.fc1, block.mlp.fc2)):
            put(f"{base}MlpBlock_3/Dense_{k}/kernel", layer.weight.T)
            put(f"{base}MlpBlock_3/Dense_{k}/bias", layer.bias)
        for name, norm in (("LayerNorm_0", block.norm1), ("LayerNorm_2", block.norm2)):
            put(f"{base}{name}/scale", norm.weight)
            put(f"{base}{name}/bias", norm.bias)
    put("Transformer/encoder_norm/scale", vit.norm.weight)
    put("Transformer/encoder_norm/bias", vit.norm.bias)
    put("Transformer/posembed_input/pos_embedding", vit.pos_embed)
    put("cls", vit.cls_token)
    put("head/kernel", vit.head.weight.T)
    put("head/bias", vit.head.bias)
    put("embedding/kernel", vit.patch_embed.proj.weight.permute(2, 3, 1, 0))
    put("embedding/bias", vit.patch_embed.proj.bias)
    if resnet is not None:
        put_resnet(put, resnet)
    return arrays


def put_resnet(put, resnet):
    put("conv_root/kernel", resnet.root[0].weight.permute(2, 3, 1, 0))
    put("gn_root/scale", resnet.root[1].weight)
    put("gn_root/bias", resnet.root[1].bias)
    for s, stage in enumerate(resnet.stages):
        for u, unit in enumerate(stage):
            base = f"block{s + 1}/unit{u + 1}/"
            parts = [(f"conv{i + 1}", f"gn{i + 1}", unit.residual[3 * i], unit.residual[3 * i + 1]) for i in range(3)]
            if not isinstance(unit.shortcut, torch.nn.Identity):
                parts.append(("conv_proj", "gn_proj", unit.shortcut[0], unit.shortcut[1]))
            for conv, norm, c, n in parts:
                put(f"{base}{conv}/kernel", c.weight.permute(2, 3, 1, 0))
                put(f"{base}{norm}/scale", n.weight.view(1, 1, 1, -1))  # so shaped in Google's hybrid files
                put(f"{base}{norm}/bias", n.bias.view(1, 1, 1, -1))


def small_vit(patch=16, channels=3, size=64):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vit = timm.models.vision_transformer.VisionTransformer(
            img_size=size,
            patch_size=patch,
            in_chans=channels,
            embed_dim=48,
            depth=2,
            num_heads=3,
            mlp_ratio=2.0,
            num_classes=5,
        )
    return randomised(vit)


def test_plain_vit_gives_the_same_transformer(tmp_path):
    vit = small_vit()
    np.savez(tmp_path / "ViT-B_16.npz", **google_file(vit))
    network = da_transunet()
    _, report = convert(read_checkpoint(tmp_path / "ViT-B_16.npz"), network, known_layouts())
    tokens = torch.randn(2, 16, 48)
    torch.testing.assert_close(network.encoder.transformer(tokens), vit.norm(vit.blocks(tokens)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.encoder.position_embedding, vit.pos_embed[:, 1:])
    assert any(n.startswith("encoder.resnet.") for n in report.fresh)


def test_hybrid_vit_gives_the_same_encoder(tmp_path):
    donor = randomised(da_transunet())
    vit = small_vit(patch=1, channels=donor.encoder.resnet.channels[-1], size=4)
    np.savez(tmp_path / "R50+ViT-B_16.npz", **google_file(vit, donor.encoder.resnet))
    network = da_transunet()
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
    donor = randomised(da_transunet())
    vit = small_vit(patch=1, channels=donor.encoder.resnet.channels[-1], size=4)
    np.savez(tmp_path / "R50+ViT-B_16.npz", **google_file(vit, donor.encoder.resnet))
    network = da_transunet(poolings=3, grid=(7, 5))
    _, report = convert(read_checkpoint(tmp_path / "R50+ViT-B_16.npz"), network, known_layouts())
    assert report.adapted == {"encoder.position_embedding": "position embedding for (7, 5) tokens"}
    assert report.skipped["encoder.patch_embed.weight"] == "its width depends on the depth of the network"
    assert "encoder.resnet.stages.2.0.residual.0.weight" in report.skipped
    assert network(torch.randn(1, 3, 56, 40)).isfinite().all()
