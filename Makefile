# Every verb of BinTally. `make` lists them; most are one script of services/ or localcloud/ each.

CLOUD ?= local#     local: localcloud on this machine; aws: SageMaker, S3 and Lambda themselves
RUNTIME ?=#         of localcloud, when it is started: process (default) or docker
SOURCE ?= synthetic#   synthetic, abid (the public bucket), or a folder with its layout
ARGS ?=#            more arguments for the script of the verb
VENV := .local/venv
LOCAL := $(or $(BINTALLY_LOCAL),.local)
PYTHON := $(VENV)/operator/bin/python
IMAGES := train serve function
TORCH ?= cpu#       the build of torch in images that train: cpu or gpu
TORCH_INDEX ?=#     address of a package index that has that build, where pip does not find it by itself
BUDGET ?=#          of an exploration: 20m, 90s, 2h
comma := ,

ifeq ($(CLOUD),local)
  # The only place that knows what CLOUD means: the standard AWS environment, or this one.
  AIM := eval "$$($(PYTHON) -m localcloud env)" &&
  UP := up
  ifneq ($(RUNTIME),docker)
    EXPLORING := $(VENV)/explore/.done
  endif
else ifeq ($(CLOUD),aws)
  AWS_FLAG := --aws
else
  $(error CLOUD=$(CLOUD): use local or aws)
endif
SERVICE = @$(AIM) $(PYTHON) -m services

.DEFAULT_GOAL := help
REVISION = $(shell ./ecr-push.sh --revision)
.PHONY: help prerequisites install demo test test-images build lint up down status env push data explore train bootstrap teardown cost evaluate reproduce release export report model deploy undeploy predict pipeline monitor clean install lock

help:  ## list the verbs
	@printf 'BinTally: counts the objects in a photograph of a bin. Verbs:\n\n'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-11s %s\n", $$1, $$2}'
	@printf '\nCLOUD=local (default) runs on this machine, CLOUD=aws on AWS. ARGS="--help" shows a script'"'"'s options.\n'

demo: install $(UP)  ## the main job, from photographs to verdicts (SOURCE=folder for real ones)
	$(SERVICE).demo --source $(SOURCE) $(AWS_FLAG) $(ARGS)

test: install lint $(VENV)/explore/.done $(VENV)/sdk/.done  ## every test but those of images, each in the environment that it is about
	@$(PYTHON) -m pytest tests/operator $(ARGS)
	@$(VENV)/train/bin/python -m pytest tests/train $(ARGS)
	@$(VENV)/serve/bin/python -m pytest tests/serve $(ARGS)
	@$(VENV)/explore/bin/python -m pytest tests/explore $(ARGS)
	@SAGEMAKER_SUPPRESS_V2_WARNING=1 $(VENV)/sdk/bin/python -m pytest tests/sdk $(ARGS)

lint: install  ## style and format
	@$(VENV)/operator/bin/ruff check . && $(VENV)/operator/bin/ruff format --check .

build:  ## build the container images (IMAGE=train for one, TORCH=gpu)
	@docker info >/dev/null || { echo 'error: no Docker engine answers: start one' >&2; exit 1; }
	@for image in $(or $(IMAGE),function serve train explore); do $(BUILD); done

test-images: install  ## build the container images and test them with docker run
	@if ! docker info >/dev/null 2>&1; then \
	  echo 'skipped: no Docker engine answers here, so no image is built or tested'; \
	else \
	  images='function serve torchserve train' choice=; \
	  if [ "$(EXPLORE_INPUTS)" = "$$(cat $(EXPLORE_PROVED))" ]; then \
	    echo 'bintally-explore is as it was when its tests passed last ($(EXPLORE_PROVED)), and left out'; choice='not explor'; \
	  else images="$$images explore"; fi; \
	  for image in $$images; do $(BUILD); done && $(PYTHON) -m pytest tests/images -k "$$choice" $(ARGS) && \
	  if [ -z "$(ARGS)" ]; then echo "$(EXPLORE_INPUTS)" >$(EXPLORE_PROVED); fi; \
	fi

# The exploration image takes minutes to build and is tested only when what it is made of has changed. With
# ARGS perhaps not all tests are run, and nothing is written down as proved.
EXPLORE_PROVED := docker/explore.proved
EXPLORE_INPUTS = $(shell git ls-files docker/explore.Dockerfile docker/explore.*.txt docker/install-torch.sh \
  containers/__init__.py containers/common containers/explore \
  containers/train/__init__.py containers/train/hyperparameters.py containers/train/packaged.py containers/train/torchvision_cpu.py \
  | xargs sha256sum | sha256sum | cut -d' ' -f1)

# One image, without the attestations that make an index of it: Lambda takes none. torchserve, for tests only,
# is another target of serve's file.
define BUILD
echo "building bintally-$$image ..."; \
  case $$image in serve|torchserve) file=serve target="--target $$image" torch= ;; *) file=$$image target= torch=1 ;; esac; \
  BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build -q $$target -f docker/$$file.Dockerfile -t bintally-$$image --build-arg REVISION=$(REVISION) \
    $${torch:+--build-arg TORCH=$(TORCH)} --build-arg TORCH_INDEX=$(TORCH_INDEX) . >/dev/null || exit 1
endef

up: install  ## start localcloud: AWS on this machine (RUNTIME=docker for containers)
	@$(if $(RUNTIME),LOCALCLOUD_RUNTIME=$(RUNTIME)) $(PYTHON) -m localcloud up

down: install  ## stop localcloud and whatever it runs; nothing is lost
	@$(PYTHON) -m localcloud down

status: install  ## what localcloud runs
	@$(PYTHON) -m localcloud status

env: install  ## lines that point a shell at localcloud: eval "$(make -s env)"
	@$(PYTHON) -m localcloud env

bootstrap: install $(UP)  ## create or update bucket, roles, repositories, functions, alarms (ARGS="CaptureDays=14")
	$(SERVICE).bootstrap $(AWS_FLAG) $(ARGS)

teardown: install $(UP)  ## delete everything that BinTally has there, data and models too (ARGS=--yes)
	$(SERVICE).teardown $(AWS_FLAG) $(ARGS)

cost: install  ## what each verb starts and costs, by the prices in infra/prices.csv
	@$(PYTHON) -m services.cost $(ARGS)

push: install $(UP)  ## images to ECR, by digest from then on (ARGS="bintally-serve")
	@$(AIM) ./ecr-push.sh $(AWS_FLAG) $(ARGS)

data: install $(UP)  ## obtain photographs, split them by bin, upload them (SOURCE=…)
	$(SERVICE).data --source $(SOURCE) $(AWS_FLAG) $(ARGS)

explore: install $(EXPLORING) $(UP)  ## search for a recipe with AutoGluon (BUDGET=20m, ARGS="profile=wide")
	$(SERVICE).explore $(if $(BUDGET),--budget $(BUDGET)) $(AWS_FLAG) $(ARGS)

train: install $(UP)  ## train on the data uploaded last (RECIPE=recipe.json or none, ARGS="epochs=8")
	$(SERVICE).train $(if $(RECIPE),--recipe $(RECIPE)) $(AWS_FLAG) $(ARGS)

evaluate: install $(UP)  ## score the model trained last on the test bins
	$(SERVICE).evaluate $(AWS_FLAG) $(ARGS)

reproduce: install $(UP)  ## train the shipped model again and compare (SOURCE=folder)
	$(SERVICE).reproduce --source $(SOURCE) $(AWS_FLAG) $(ARGS)

release: install $(UP)  ## make the model trained last the one that ships, in models/
	$(SERVICE).release $(AWS_FLAG) $(ARGS)

export: install  ## the shipped model's float graphs, ONNX and TorchScript, into .local/export
	@$(VENV)/train/bin/python -m containers.train.graphs --model models --to $(LOCAL)/export $(ARGS)

report: install  ## the shipped model's report with pictures, into .local/report.html (SOURCE=folder)
	@$(VENV)/train/bin/python -m containers.train.report --model models --photographs $(SOURCE) --to $(LOCAL)/report.html $(ARGS)

model: install $(UP)  ## fetch the model trained last into .local/model
	$(SERVICE).model $(AWS_FLAG) $(ARGS)

deploy: install $(UP)  ## put the model trained last, or the shipped one, behind an endpoint and a function
	$(SERVICE).deploy $(AWS_FLAG) $(ARGS)

undeploy: install $(UP)  ## delete the endpoint and the function
	$(SERVICE).deploy --delete $(AWS_FLAG) $(ARGS)

predict: install $(UP)  ## ask about a photograph (IMAGE=bin.jpg EXPECTED=3)
	$(if $(IMAGE),,$(error IMAGE is missing: make predict IMAGE=bin.jpg EXPECTED=3))
	$(SERVICE).predict $(IMAGE) $(if $(EXPECTED),--expected $(EXPECTED)) $(AWS_FLAG) $(ARGS)

pipeline: install $(UP)  ## train, compare with what is deployed, promote if better (ARGS="watch", "retry", …)
	$(SERVICE).pipeline $(ARGS) $(AWS_FLAG)

monitor: install $(UP)  ## what the endpoint saw and answered: a page, metrics, alarms (ARGS="--retrain")
	$(SERVICE).monitor $(AWS_FLAG) $(ARGS)

clean: down  ## stop localcloud and delete everything it keeps, but not the environments
	@cd .local && rm -rf cloud data demo evaluations explorations export model monitor recipe.json report.html

# --- virtual environments: one for the operator, one for each image of the process runtime ---

install: prerequisites $(VENV)/operator/.done $(IMAGES:%=$(VENV)/%/.done)  ## create the virtual environments

$(VENV)/operator/.done: pyproject.toml docker/constraints.txt
	@echo "installing the operator's environment (half a minute) ..." >&2
	@python3.11 -m venv $(@D)
	@$(@D)/bin/pip install -qq --disable-pip-version-check -c docker/constraints.txt '.[test]' >&2
	@touch $@

$(VENV)/%/.done: docker/%.requirements.txt docker/constraints.txt
	@echo "installing the $* image's environment $(if $(filter train,$*),(torch$(comma) a minute or two) ,) ..." >&2
	@python3.11 -m venv $(@D)
	@$(@D)/bin/pip install -qq --disable-pip-version-check -c docker/constraints.txt -r $< pytest pytest-timeout >&2
	@touch $@

# AutoGluon is gigabytes, so it comes only where something explores; installed as in its Dockerfile.
$(VENV)/explore/.done: docker/explore.requirements.txt docker/explore.lock.txt
	@echo "installing the explore image's environment (AutoGluon: two gigabytes, two to four minutes) ..." >&2
	@python3.11 -m venv $(@D)
	@$(@D)/bin/pip install -qq --disable-pip-version-check -c docker/explore.lock.txt \
	  "$$(grep -oE '^torch==[0-9.]+' $<)" >&2
	@$(@D)/bin/pip install -qq --disable-pip-version-check --use-pep517 --no-deps -r docker/explore.lock.txt >&2
	@$(@D)/bin/pip install -qq --disable-pip-version-check -c docker/constraints.txt pytest pytest-timeout >&2
	@touch $@

# SageMaker's SDK, for the one test that compares our pipeline's definition with its builder's.
$(VENV)/sdk/.done: tests/sdk/requirements.txt tests/sdk/constraints.txt
	@echo "installing the SageMaker SDK's environment, for a test (300 megabytes, a minute) ..." >&2
	@python3.11 -m venv $(@D)
	@$(@D)/bin/pip install -qq --disable-pip-version-check -c tests/sdk/constraints.txt -r $< pytest pytest-timeout >&2
	@touch $@

lock:  ## pin what the environments hold now, direct or not, in docker/constraints.txt
	@{ sed -n '/^#/p' docker/constraints.txt; for name in operator $(IMAGES); do $(VENV)/$$name/bin/pip freeze; done \
	  | grep -vE '^(torch|bintally)\b|^#|^-e' | sort -fu; } > .local/constraints.txt && mv .local/constraints.txt docker/constraints.txt

prerequisites:
	@python3.11 -c 'import ensurepip, pathlib, sysconfig; assert pathlib.Path(sysconfig.get_path("include"), "Python.h").exists()' 2>/dev/null || { echo 'error: Python 3.11 with venv and its C headers is missing: apt-get install python3.11 python3.11-venv python3.11-dev' >&2; exit 1; }
	@command -v git >/dev/null || { echo 'error: git is missing: apt-get install git' >&2; exit 1; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || { echo 'error: a C compiler is missing: apt-get install gcc libc6-dev' >&2; exit 1; }
