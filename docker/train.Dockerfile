# Every command of watchnext, from a watch log to a release. Training needs TensorFlow, so this image is large;
# docker/serve.Dockerfile makes the small one that answers requests.

FROM python:3.11-slim AS build
ENV PIP_CACHE_DIR=/cache PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# The venv has no pip of its own: the base image's fills it, and stays behind in this stage.
RUN python -m venv --without-pip /venv
COPY requirements/build.txt requirements/demo.txt requirements/
RUN --mount=type=cache,target=/cache --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/etc/pip-ca.pem \
    pip install --no-deps --require-hashes -r requirements/build.txt && \
    pip --python /venv/bin/python install --no-deps --require-hashes -r requirements/demo.txt && \
    rm -r /venv/lib/python3*/site-packages/tensorflow/include # 430 MB of C++ headers
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . && \
    pip --python /venv/bin/python install --no-deps --no-index /wheels/*.whl

FROM python:3.11-slim
LABEL org.opencontainers.image.title="watchnext training" \
      org.opencontainers.image.description="From a watch log to a watchnext release" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --home-dir /tmp watchnext && install --directory --owner watchnext /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /data
ENTRYPOINT ["watchnext"]
CMD ["--help"]
