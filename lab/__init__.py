"""The laboratory: consistency models, one formulation of diffusion and flow, and when small models win. Not part of the published pack.

Plain torch. One file, `demo_world.py`, touches ComfyUI and the rest of the pack; tests/test_import_rules.py holds that.
"""
