# Forge in a container: `docker build -t forge-inference-gateway .`, or `docker compose up` for all that belongs to it.
#
# Versions are those of constraints.txt. That of llama.cpp stands here, too, and a test compares it with pyproject.toml:
# so the layer that takes long is built anew only when it changes.
ARG PYTHON=python:3.12.12-slim-bookworm

# --- llama.cpp for any CPU, and Forge ---------------------------------------------------------------------------
FROM ${PYTHON} AS build
# Debian's compiler, whichever its stable release has.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/forge
ENV PATH=/opt/forge/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# The CPU's code is compiled once for each generation of CPUs, into libraries of which llama.cpp loads the best that
# the machine can run: an image built here runs there, which -march=native would not promise. They go to where
# workers/llama/library.py looks for them, beside the other libraries. mtmd (images, sound) is not used.
ARG BUILD_JOBS
RUN CMAKE_BUILD_PARALLEL_LEVEL="${BUILD_JOBS:-$(nproc)}" \
    CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON -DCMAKE_INSTALL_BINDIR=llama_cpp/lib -DLLAVA_BUILD=OFF" \
    pip install llama-cpp-python==0.3.36

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY gateway gateway
COPY workers workers
RUN pip install -c constraints.txt ".[otel,postgres,redact]"

# --- Locust, for the profile `load` of docker-compose.yml -------------------------------------------------------
FROM ${PYTHON} AS load
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir --disable-pip-version-check -c /tmp/constraints.txt locust orjson \
    && useradd --uid 10001 --create-home locust
COPY bench/locustfile.py /home/locust/
USER 10001
WORKDIR /home/locust
EXPOSE 8089
ENTRYPOINT ["locust"]
CMD ["--host", "http://gateway:8080"]

# --- What runs --------------------------------------------------------------------------------------------------
FROM ${PYTHON} AS gateway
# OpenMP's threads compute; the compiler stays behind. tini reaps what a killed worker leaves: it has a child process
# of its own, which would be a zombie of process 1.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home forge \
    && install --directory --owner forge /models /home/forge/.cache /home/forge/.config/forge \
    && install --directory --owner forge --mode 700 /home/forge/data
COPY --from=build /opt/forge /opt/forge
COPY deploy/healthcheck.py /opt/forge/healthcheck.py
ENV PATH=/opt/forge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FORGE_HOST=0.0.0.0 \
    FORGE_PORT=8080 \
    FORGE_DATA_DIR=/home/forge/data
USER 10001
WORKDIR /home/forge
# GGUF files, to be named by FORGE_MODEL; models that were pulled; what `forge tune` found; files and batches.
VOLUME ["/models", "/home/forge/.cache", "/home/forge/.config/forge", "/home/forge/data"]
EXPOSE 8080
# Which tini passes on.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --retries=3 \
    CMD ["python", "/opt/forge/healthcheck.py"]
ENTRYPOINT ["tini", "--", "forge"]
CMD ["serve"]
