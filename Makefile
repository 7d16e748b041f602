# 两条命令就够：make book 读书，make test 检查一切。

PYTHON ?= python3
VENV   ?= .venv
PORT   ?=
LAB_FLAGS ?= # 例如 --no-browser --port 9000

PY      := $(VENV)/bin/python
INSTALL := $(PY) -m pip install --quiet --no-input --disable-pip-version-check
LOCKED  := --no-deps --require-hashes --no-build-isolation
PYTEST  := $(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# 环境装好的标记。名字里有锁文件和所在目录的校验和：两者都没变，就不必再装。
CHECKSUM := $(shell { pwd; cat requirements-build.lock requirements.lock pyproject.toml; } | cksum | cut -d ' ' -f 1)
READY    := $(VENV)/.ready-$(CHECKSUM)

INSTALL_LOG := $(VENV)/install.log

COMPILE := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
           --no-emit-index-url --custom-compile-command "make lock"

.PHONY: help setup book html zip lab test test-fast notebooks assignments teacher lock clean

help:
	@echo "make book       装好环境，运行每一章，做成静态书；第一遍做着就能读，网址印在终端（PORT=8000 可指定端口）"
	@echo "make test       装好环境，运行全部检查，与 CI 相同"
	@echo "make lab        在 JupyterLab 里打开第一章"
	@echo "make html       只做书，不开网址；结果在 _build/html"
	@echo "make zip        做书，再打成 _build/ppo-book.zip，解开后不用服务器就能读"
	@echo "make test-fast  只跑快的测试"
	@echo "make notebooks  由 chapters/*.md 重新生成 .ipynb"
	@echo "make assignments  由各章写出三份作业：发给学生的和老师自己留着的，在 _build/assignments"
	@echo "make teacher    幻灯片、课表、常见的错、打过分的样板报告、笔试和答案，在 _build/teacher，不进书和压缩包"
	@echo "make lock       重新解出锁文件与 environment.yml"
	@echo "make setup      只装环境；make clean 删去生成物（保留环境）"

setup: $(READY)

$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "需要 Python 3.11 或更新的版本，而 $(PYTHON) 是：$$($(PYTHON) --version 2>&1 || true)" >&2; \
	  echo "请指定一个：make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) 缺少 venv 模块。Debian 或 Ubuntu 请先运行：apt-get install python3-venv" >&2; exit 1; }
	@$(PY) -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "正在把锁定的依赖装进 $(VENV)，约一两分钟……"
	@{ $(INSTALL) $(LOCKED) -r requirements-build.lock \
	  && $(INSTALL) $(LOCKED) -r requirements.lock \
	  && $(INSTALL) --no-deps --no-build-isolation --editable .; } >$(INSTALL_LOG) 2>&1 || { \
	  grep ERROR $(INSTALL_LOG) | tail -n 3 >&2; \
	  echo "没有装好，pip 的全文在 $(INSTALL_LOG)。这个盘还剩 $$(df -Pk . | awk 'NR == 2 {print int($$4 / 1024)}') MB，要 2200 MB 以上；" >&2; \
	  echo "空间够的话，请检查网络（要用镜像，先设好 pip 的 index-url），再运行一次：装过的不会重装。" >&2; exit 1; }
	@rm -f $(VENV)/.ready-*
	@touch $@

book: setup
	@$(PY) -m book.tools.site.build --serve $(PORT)

html: setup
	@$(PY) -m book.tools.site.build

zip: setup
	@$(PY) -m book.tools.site.build --zip

lab: setup
	@echo "正在用 JupyterLab 打开第一章，网址在下面；按两次 Ctrl-C 停止。"
	@JUPYTER_CONFIG_PATH=book/tools/site/lab $(PY) -m jupyterlab --log-level=WARN $(LAB_FLAGS) \
	  --LabApp.default_url=/lab/tree/$(firstword $(sort $(wildcard chapters/*.md)))

test: setup
	@echo "正在备好像 Colab 的内核，各章的 .ipynb 都在它上面运行，每一格几遍……"
	@$(PY) -m book.tools.checks.colab --setup-only
	@$(PY) -m book.tools.checks.twice
	JUPYTER_PATH="$(CURDIR)/_build/colab" $(PYTEST) --nbval-lax --nbval-kernel-name colab tests _build/twice

test-fast: setup
	$(PYTEST) -m "not slow" tests

notebooks: setup
	$(PY) -m book.tools.generate.notebooks

assignments: setup
	@$(PY) -m book.tools.teach.assignments

teacher: html
	@$(PY) -m book.tools.teach.pack

lock: setup
	$(COMPILE) --constraint requirements.in --all-extras --output-file requirements.lock pyproject.toml
	printf '%s\n' setuptools hatchling editables | \
	  $(COMPILE) --constraint requirements.lock --output-file requirements-build.lock -
	$(PY) -m uv pip compile --quiet --no-deps --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header requirements-colab.in --output-file requirements-colab.lock
	$(PY) -m uv pip compile --quiet --no-deps --universal --python-version 3.12 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header requirements-newest.in --output-file requirements-newest.lock
	$(PY) -m uv pip compile --quiet --no-deps --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header requirements-zig.in --output-file requirements-zig.lock
	$(PY) -m uv pip compile --quiet --no-deps --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header requirements-cluster.in --output-file requirements-cluster.lock
	$(PY) -m book.tools.generate.environment

clean:
	rm -rf _build .pytest_cache .hypothesis
	find ppo_lib tests book benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
