"""Folders of small segmentation models with random weights, as `transformers` saves them."""

from __future__ import annotations

from pathlib import Path

import torch

NAMES = {0: "background", 1: "lung", 2: "Mass"}
WORDS = ("<pad>", "<s>", "</s>", "<unk>", "mass", "the", "task", "is", "semantic")


def tokenizer(folder: Path) -> None:
    """One word a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    told = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **told).save_pretrained(folder)


def segformer(folder: Path) -> None:
    """Two stages; pictures of 32 x 32."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation
    from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=8,
        id2label=NAMES,
        label2id={name: place for place, name in NAMES.items()},
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def _swin() -> object:
    from transformers import SwinConfig

    return SwinConfig(
        image_size=32,
        patch_size=2,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


def mask2former(folder: Path) -> None:
    """Four queries."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation
    from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

    config = Mask2FormerConfig(
        backbone_config=_swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=8,
        num_queries=4,
        id2label=NAMES,
        label2id={name: place for place, name in NAMES.items()},
    )
    Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    Mask2FormerImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(folder)


def oneformer(folder: Path) -> None:
    """Four queries and a task."""
    from transformers import OneFormerConfig, OneFormerForUniversalSegmentation
    from transformers.models.oneformer.image_processing_pil_oneformer import OneFormerImageProcessorPil

    config = OneFormerConfig(
        backbone_config=_swin(),
        num_queries=4,
        task_seq_len=8,
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=8,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=8,
        query_dec_layers=1,
        text_encoder_width=32,
        text_encoder_context_length=8,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=len(WORDS),
        is_training=False,
        id2label=NAMES,
        label2id={name: place for place, name in NAMES.items()},
    )
    OneFormerForUniversalSegmentation(config).save_pretrained(folder)
    OneFormerImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 64}, class_info_file=None).save_pretrained(
        folder
    )
    tokenizer(folder)


def clipseg(folder: Path) -> None:
    """Pictures of 32 x 32 in patches of 8."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(WORDS), "max_position_embeddings": 6, "bos_token_id": 1, "eos_token_id": 2}
    config = CLIPSegConfig(
        text_config=text,
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=12,
        extract_layers=[0, 1, 2],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=8,
        conditional_layer=0,
    )
    CLIPSegForImageSegmentation(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer(folder)


def sam2(folder: Path) -> None:
    """Pictures of 64 x 64, stretched."""
    from transformers import Sam2Config, Sam2Model

    vision = {
        "backbone_config": {
            "hidden_size": 8,
            "num_attention_heads": 1,
            "image_size": [64, 64],
            "blocks_per_stage": [1, 2, 1, 1],
            "embed_dim_per_stage": [8, 16, 32, 64],
            "num_attention_heads_per_stage": [1, 2, 2, 4],
            "window_size_per_stage": [4, 2, 2, 2],
            "global_attention_blocks": [2],
            "model_type": "sam2_hiera_det_model",
        },
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 16,
        "num_feature_levels": 3,
    }
    prompt = {"hidden_size": 16, "image_size": 64, "mask_input_channels": 4}
    mask = {
        "hidden_size": 16,
        "mlp_dim": 16,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
        "num_hidden_layers": 1,
    }
    Sam2Model(Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=mask)).save_pretrained(
        folder
    )


KINDS = {"segformer": segformer, "mask2former": mask2former, "oneformer": oneformer, "clipseg": clipseg, "sam2": sam2}


def saved(kind: str, folder: Path) -> Path:
    """A folder of that kind of model."""
    torch.manual_seed(3)
    KINDS[kind](folder)
    return folder
