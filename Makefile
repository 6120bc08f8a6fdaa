# Thin aliases; tools/dev.py does the work, on Windows too. More arguments: make test ARGS="--slow -- -x"
PYTHON ?= python3

.PHONY: demo test serve bench
demo test serve bench:
	@$(PYTHON) tools/dev.py $@ $(ARGS)
