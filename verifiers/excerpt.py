"""Prompts in error messages."""


def excerpt(prompt, most=200):
    """A prompt in quotes, its beginning only when it is long."""
    text = repr(prompt)
    return text if len(text) <= most else f"{text[:most]} …"
