# SGLang on a processor, as `make setup-sglang` installs it (docs/decisions/0006); on a GPU its own image is used.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PATH=/opt/sglang/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/sglang
WORKDIR /src
COPY inference/requirements-sglang-cpu.txt inference/requirements-sglang-cpu-nodeps.txt ./
# Where wheels of torch are that are smaller than those of PyPI, which bring CUDA; empty for those of PyPI.
ARG TORCH_INDEX="https://download.pytorch.org/whl/cpu"
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --requirement requirements-sglang-cpu.txt \
    && pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --no-deps \
      --requirement requirements-sglang-cpu-nodeps.txt

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 pilotcommit \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp pilotcommit \
    && install --directory --owner 10001 --group 10001 /models /weights
COPY --from=build /opt/sglang /opt/sglang
COPY inference/cpu /opt/sglang-cpu
ENV PATH=/opt/sglang/bin:$PATH \
    HOME=/tmp \
    HF_HUB_OFFLINE=1 \
    OMP_NUM_THREADS=1 \
    PYTHONPATH=/opt/sglang-cpu/shim \
    PYTHONUNBUFFERED=1 \
    SGLANG_CUDA_COREDUMP_BEFORE_CRASH_WAIT_SECS=0 \
    SGLANG_USE_CPU_ENGINE=1
WORKDIR /tmp
USER 10001:10001
EXPOSE 30000
# Not /health, which generates a token and waits behind everything else; nor /ready, which says no during every push.
HEALTHCHECK --interval=10s --timeout=10s --start-period=300s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:30000/model_info', timeout=8)"]
ENTRYPOINT ["python", "/opt/sglang-cpu/launch_cpu.py"]
