# Thin aliases; tools/dev.py does the work, on Windows too. More arguments: make test ARGS="--comfyui PATH -- -x"
PYTHON ?= python3

.PHONY: demo test types serve bench test-transformers4 test-image-reward
demo test types serve bench:
	@$(PYTHON) tools/dev.py $@ $(ARGS)

# A longer suite: tools/suites.py names them.
test-%:
	@$(PYTHON) tools/dev.py test --suite $* $(ARGS)

# The tests of ImageReward on transformers 4, and with its own package, which are kept apart in .cache/references. After a first `make test`.
test-transformers4 test-image-reward:
	@.venv/bin/python tools/verifier_references/make.py --$@
