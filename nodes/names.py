"""Where the nodes stand in ComfyUI's menu, and the words that find them.

Node ids never change. Display names may: before 0.11 the front end searches ids and display names only, so they hold the words
people type; later it also searches aliases, which hold former names too.
"""

_ROOT = "NoiseSearch"
SAMPLERS = f"{_ROOT}/samplers"
METHODS = f"{_ROOT}/search methods"
JUDGES = f"{_ROOT}/judges"
NOISE = f"{_ROOT}/noise and recipes"
RESEARCH = f"{_ROOT}/research"
DEMO = f"{_ROOT}/demo"
CATEGORIES = (SAMPLERS, METHODS, JUDGES, NOISE, RESEARCH, DEMO)
