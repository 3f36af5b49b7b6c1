# make demo     install, then run a simulated season through the whole pipeline
# make test     install, then lint, types and tests; make test-slow: the longer proofs
# make PYTHON=/path/to/python3.12 ...  chooses the Python (3.11, 3.12 or 3.13)

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# Two workers, for types and for tests, the latter of one thread each: more threads than cores only wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
WORKERS ?= 2

.PHONY: demo install lint test test-slow clean
.DEFAULT_GOAL := demo

demo: $(STAMP)
	$(BIN)/soilpipe demo

install: $(STAMP)

$(STAMP): constraints.txt pyproject.toml scripts/install.sh
	@PYTHON='$(PYTHON)' sh scripts/install.sh

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -n $(WORKERS)

# A file goes to one worker whole: what its tests share (a season, a trained detector) is then made once, not twice.
test: lint
	$(ONE_THREAD) $(BIN)/pytest -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# pytest ends with 5 when it has nothing to run, which is no failure here.
test-slow: $(STAMP)
	$(ONE_THREAD) $(BIN)/pytest -m slow -n $(WORKERS) || test $$? -eq 5

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist
