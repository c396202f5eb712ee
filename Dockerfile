# The image of `replayer worker` and `replayer investigator`. No Java, no tools: the embedded broker is for laptops.
# The native fold, built as replayer/native/build.py does it.
FROM rust:1.95-slim-bookworm AS native
WORKDIR /src
COPY replayer replayer
RUN rustc --edition=2021 --crate-type=cdylib --crate-name=fold -Copt-level=3 -Ccodegen-units=1 -Coverflow-checks=on \
      -Cpanic=unwind -Cstrip=symbols -o /fold.cdylib replayer/native/src/lib.rs

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY bootstrap.txt constraints.txt ./
RUN python -m venv /opt/tools \
 && /opt/tools/bin/python -m pip install --no-cache-dir --require-hashes --no-deps -r bootstrap.txt \
 && /opt/tools/bin/uv pip install --no-cache --python /opt/tools/bin/python --require-hashes --no-deps -r constraints.txt
COPY pyproject.toml README.md ./
COPY k8s/runtime_requirements.py k8s/
RUN /opt/tools/bin/python k8s/runtime_requirements.py > runtime.txt \
 && python -m venv --without-pip /opt/replayer \
 && /opt/tools/bin/uv pip install --no-cache --python /opt/replayer/bin/python --require-hashes --no-deps -r runtime.txt
COPY topics topics
COPY replayer replayer
RUN /opt/tools/bin/python -m hatchling build --target wheel --directory /wheels \
 && /opt/tools/bin/uv pip install --no-cache --python /opt/replayer/bin/python --no-deps /wheels/*.whl
COPY --from=native /fold.cdylib /opt/replayer/lib/python3.11/site-packages/replayer/native/fold.cdylib

FROM python:3.11-slim-bookworm
# glibc keeps what RocksDB and the client give back full of holes (docs/decisions/005).
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libjemalloc2 \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin replayer \
 && install --directory --owner 10001 /var/lib/replayer
COPY --from=build /opt/replayer /opt/replayer
ENV PATH=/opt/replayer/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LD_PRELOAD=libjemalloc.so.2 \
    MALLOC_CONF=background_thread:true,dirty_decay_ms:1000 \
    REPLAYER_DATA_DIR=/var/lib/replayer \
    REPLAYER_ARTEFACT_DIR=/var/lib/replayer/artefacts
USER 10001:10001
WORKDIR /var/lib/replayer
EXPOSE 6066
ENTRYPOINT ["replayer"]
CMD ["--help"]
