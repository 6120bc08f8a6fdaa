"""The tiny text encoder as ComfyUI's CLIP: stock CLIP Text Encode takes it."""

import comfy.model_management as mm
import comfy.sd
import torch
from comfy.sd1_clip import escape_important, token_weights, unescape_important

from .text_encoder import PAD, encoder_for, padded, tokens_of


class Tokenizer:
    """Prompt -> one list of (token, weight) pairs, padded to the encoder's length. Understands "(red:1.3)" as ComfyUI's tokenizers do."""

    vocabulary: dict
    length: int

    def __init__(self, embedding_directory=None, tokenizer_data=None):
        pass

    def tokenize_with_weights(self, text, return_word_ids=False, **kwargs):
        pairs = [
            (token, weight)
            for part, weight in token_weights(escape_important(text), 1.0)
            for token in tokens_of(unescape_important(part), self.vocabulary)
        ]
        pairs = padded(pairs, self.length, (PAD, 1.0))
        return {"demo": [[(*pair, 0) for pair in pairs] if return_word_ids else pairs]}

    def untokenize(self, pairs):
        words = {token: word for word, token in self.vocabulary.items()}
        return [(pair, words.get(pair[0], "")) for pair in pairs]

    def state_dict(self):
        return {}


class ConditioningModel(torch.nn.Module):
    """What `comfy.sd.CLIP` expects of a text model, around a TinyTextEncoder."""

    def __init__(self, state_dict, dtype=None, device=None, model_options=None):
        super().__init__()
        self.encoder = encoder_for(state_dict)
        self.encoder.load_state_dict(state_dict)
        self.encoder.requires_grad_(False).train(False).to(device)
        self.dtypes = {torch.float32}

    def set_clip_options(self, options):
        """There are no layers to skip and nothing to project."""

    def reset_clip_options(self):
        """See set_clip_options."""

    def encode_token_weights(self, tokens):
        """Context [1, L, width] and pooled [1, width]. A weight scales a token's difference from the empty prompt's token in its place."""
        pairs = tokens["demo"][0]
        ids = torch.tensor(
            [[pair[0] for pair in pairs], [PAD] * len(pairs)], device=self.encoder.positions.device
        )
        context, pooled = self.encoder(ids)
        weights = torch.tensor([pair[1] for pair in pairs], device=context.device).view(1, -1, 1)
        context = context[1:] + weights * (context[:1] - context[1:])
        device = mm.intermediate_device()
        return context.float().to(device), pooled[:1].float().to(device)


def load_clip(state_dict, vocabulary):
    """A `comfy.sd.CLIP` from a text encoder's weights and its words (word -> token)."""
    words, size = vocabulary, state_dict["positions"].shape[0]

    class WorldTokenizer(Tokenizer):
        vocabulary, length = words, size

    class Target:
        params = {"state_dict": {name: value.float() for name, value in state_dict.items()}}
        clip, tokenizer = ConditioningModel, WorldTokenizer

    return comfy.sd.CLIP(Target, parameters=sum(value.numel() for value in state_dict.values()))
