"""Seeds made from seeds: well mixed, the same on every machine, small enough for browsers."""

BROWSER_SEED = 2**53  # JavaScript numbers are exact below this
MASK = 2**64 - 1


def mix(*numbers: int) -> int:
    """A seed in [0, 2^53) that depends on all of `numbers` and their order (SplitMix64, Steele et al. 2014)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state % BROWSER_SEED
