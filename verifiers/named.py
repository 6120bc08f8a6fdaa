"""Names within a prompt."""

import re


def named_in(prompt, names):
    """Those of `names` that the prompt contains as whole words, whatever their case; of names within names, the longest."""
    prompt = prompt.lower()
    found = [
        name
        for name in names
        if name.lower() in prompt and re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", prompt)
    ]
    return [
        name for name in found if not any(name != other and name.lower() in other.lower() for other in found)
    ]
