# Thin aliases; tools/dev.py does the work, on Windows too. More arguments: make test ARGS="--slow -- -x"
PYTHON ?= python3

.PHONY: demo test serve bench test-transformers4 test-ocr
demo test serve bench:
	@$(PYTHON) tools/dev.py $@ $(ARGS)

# Tests that need packages of their own, which are kept apart in .cache/references. After a first `make test`.
test-transformers4 test-ocr:
	@.venv/bin/python tools/verifier_references/make.py --$@
