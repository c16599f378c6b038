# Everything runs in `.venv`, which the first target that needs it creates; see CONTRIBUTING.md.

PYTHON ?= python3.11
MILLSTREAM_HOME ?= $(CURDIR)/var
TEST_PROCESSES ?= 2

BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# MLflow compares with "true" and ignores "1".
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# The ports are those of the environment, else of the project file: a default here would win over it.
export MILLSTREAM_HOME

.DEFAULT_GOAL := help
.PHONY: help setup demo example up serve status down check-config docs test test-fast faults scale data-sets \
	operation-test command-test promotion-test cluster-test spark-test readme-test soak serving-soak browser-test \
	bench business-bench learn-bench cluster-bench detectors lint format mlflow-ui prefect-ui pins clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Create .venv and install what pyproject.toml lists, as pinned in constraints.txt

# The stamp is removed first and written last: an interrupted set-up starts over.
$(INSTALLED): pyproject.toml constraints.txt
	.ci/system-packages $(PYTHON)
	test -f $@ || $(PYTHON) -m venv --clear .venv
	rm -f $@
	$(PIP) install --constraint constraints.txt pip
	$(PIP) install --constraint constraints.txt --build-constraint constraints.txt --group dev
	touch $@

# The demo and the page of the defaults are the same whatever one's own project is.
demo docs: export MILLSTREAM_PROJECT := /dev/null
demo: $(INSTALLED) ## Fine-tune, register, build, promote and score on the packaged reviews
	$(BIN)/python -m flows.end_to_end

# In a state folder of its own, so that no champion of yours is replaced.
EXAMPLE := $(MILLSTREAM_HOME)/example
TICKETS := docs/examples/tickets
example: export MILLSTREAM_PROJECT := /dev/null
example: export MILLSTREAM_SOURCE_CRM = sqlite:///$(EXAMPLE)/crm.db
example: export MILLSTREAM_HOME := $(EXAMPLE)
example: $(INSTALLED) ## Score support tickets with look-ups and rules, deliver them, and change a rule
	mkdir -p $(EXAMPLE)
	$(BIN)/python $(TICKETS)/make_customers.py $(EXAMPLE)/crm.db
	$(BIN)/python -m flows.train_classifier --base-model static --sample-size 0
	$(BIN)/python -m flows.build_inference_pipeline --composition $(TICKETS)/tickets.yaml --promotion always
	$(BIN)/python -m flows.score_shards --inputs $(TICKETS)/inbox --output-dir $(EXAMPLE)/scored --deliver-to crm.decisions
	$(BIN)/python $(TICKETS)/show_queues.py $(EXAMPLE)/crm.db
	$(BIN)/python -m flows.build_inference_pipeline --composition $(TICKETS)/changed.yaml --promotion always
	$(BIN)/python -m flows.score_shards --inputs $(TICKETS)/inbox --output-dir $(EXAMPLE)/scored --deliver-to crm.decisions
	$(BIN)/python $(TICKETS)/show_queues.py $(EXAMPLE)/crm.db

test: $(INSTALLED) ## Run every test
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test-fast: $(INSTALLED) ## Run the tests that take no more than a few seconds each
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder -m "not slow"

# Takes less than 30 minutes on two cores. Fewer KILLS leave out damaged input, output and state.
KILLS ?= 30
faults: export MILLSTREAM_FAULT_KILLS := $(KILLS)
faults: $(INSTALLED) ## Kill scoring and deliveries at random moments, training and commands, and inject other faults
	$(BIN)/python -m pytest tests/system/faults --timeout 1800

scale: $(INSTALLED) ## Score 25,000 reviews twice, and compare the memory of 200,000 and 2,000,000 rows
	$(BIN)/python -m pytest -s tests/system/scale/prove_scale.py

data-sets: $(INSTALLED) ## Train on and score the shapes of ten public data sets
	$(BIN)/python -m pytest -s tests/system/data_sets/prove_data_sets.py

operation-test: $(INSTALLED) ## Test the services of make up: overlaps, reruns, events, kills
	$(BIN)/python -m pytest tests/system/operating/prove_*.py

command-test: $(INSTALLED) ## Run commands and a served model in processes of their own
	$(BIN)/python -m pytest tests/system/commands/prove_*.py

promotion-test: $(INSTALLED) ## Compare, learn, promote and take back: with processes that measure
	$(BIN)/python -m pytest tests/system/promotion/prove_*.py

CLUSTER_KILLS ?= 2
cluster-test: export MILLSTREAM_FAULT_KILLS := $(CLUSTER_KILLS)
cluster-test: $(INSTALLED) ## Test a Dask cluster: kills, certificates, unfit workers, shared services
	$(BIN)/python -m pytest -s tests/system/cluster/prove_*.py

readme-test: $(INSTALLED) ## Run the six commands of README in a copy of the repository
	$(BIN)/python -m pytest tests/system/readme/prove_six_commands.py

# Needs Java 17 or later.
spark-test: $(INSTALLED) ## Score with the model as a function of Spark; installs PySpark
	$(PIP) install --constraint constraints.txt --group spark
	$(BIN)/python -m pytest tests/system/cluster/prove_spark.py

soak: $(INSTALLED) ## Score a growing folder every minute for 15, while runs and services are killed
	$(BIN)/python -m pytest -s tests/system/soak/prove_soak.py

serving-soak: $(INSTALLED) ## Serve online for 12 minutes: promotions under load, kills, poisoned and long texts
	$(BIN)/python -m pytest -s tests/system/serving/prove_*.py

# Each run replaces the screenshots of the docs; `make browser-test PICTURES=` keeps them.
PICTURES ?= docs/images
browser-test: export MILLSTREAM_PICTURES := $(PICTURES)
browser-test: $(INSTALLED) ## Test both user interfaces and attacks in a browser, and take the screenshots of the docs
	.ci/chromium
	$(BIN)/python -m pytest -s -x tests/system/browser/prove_*.py

# All its state is under var/bench.
bench: $(INSTALLED) ## Benchmark against transformers, MLflow, torch and LitServe; about 80 minutes on two cores
	$(PIP) install --constraint constraints.txt --group bench
	$(BIN)/python -m benchmarks

business-bench: $(INSTALLED) ## Time look-ups in PostgreSQL and rules, beside a model without them
	$(BIN)/python -m benchmarks.business_logic

# BASE_MODEL=minilm learns with a transformer, and takes much longer.
BASE_MODEL ?= static
learn-bench: $(INSTALLED) ## Compare ways to learn from a stream of labels that changes, and poison it
	$(BIN)/python -m benchmarks.learning --base-model $(BASE_MODEL)

cluster-bench: $(INSTALLED) ## Measure a cluster on this machine, and check the simulation that plans larger ones
	$(BIN)/python -m benchmarks.cluster

detectors: $(INSTALLED) ## Print accuracy and speed of the language detectors, on translated manual pages
	$(BIN)/python -m benchmarks.detectors

lint: $(INSTALLED) ## Check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED) ## Sort imports, apply fixes, and format
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

up: $(INSTALLED) ## Start Prefect, MLflow and a worker, and deploy every flow
	$(BIN)/python -m deployments.up

status: $(INSTALLED) ## Print health and address of each service
	@$(BIN)/python -m deployments.status || [ $$? = 3 ] # nothing is up

down: $(INSTALLED) ## Stop the services of `make up`
	$(BIN)/python -m deployments.down

check-config: $(INSTALLED) ## Validate prefect.yaml, more strictly than Prefect, and millstream.toml
	$(BIN)/python -m deployments.check_config

docs: $(INSTALLED) ## Generate docs/reference.md from the code
	$(BIN)/python -m deployments.reference

serve: $(INSTALLED) ## Answer requests with the champion at port SERVE_PORT, until Ctrl-C
	$(BIN)/python -m deployments.serve

mlflow-ui: $(INSTALLED) ## Serve MLflow's UI alone, at port MLFLOW_PORT
	$(BIN)/python -m deployments.user_interface mlflow

prefect-ui: $(INSTALLED) ## Serve Prefect's UI alone, at port PREFECT_PORT
	$(BIN)/python -m deployments.user_interface prefect

pins: ## Resolve pyproject.toml and rewrite constraints.txt
	.ci/system-packages $(PYTHON)
	$(PYTHON) -m venv --clear .venv-pins
	.venv-pins/bin/python -m pip install --upgrade pip
	.venv-pins/bin/python -m pip install --group dev --group bench --group spark
	.venv-pins/bin/python -m pip freeze --all > .venv-pins/frozen.txt
	{ grep '^#' constraints.txt; sed 's/+.*//' .venv-pins/frozen.txt; } > .venv-pins/constraints.txt
	mv .venv-pins/constraints.txt constraints.txt
	rm -rf .venv-pins

clean: ## Remove .venv and the tools' caches, but not var/
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './var/*' -prune -exec rm -rf {} +
